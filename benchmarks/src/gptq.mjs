// Rounding a model to 4 bits with GPTQ: calibration and rounding, on as much text as 1000 biographies have.
import { here, ourEnvironment } from './contender.mjs';
import { percent, printTable, quartiles, runOnce, times, timeText } from './harness.mjs';
import { gptqSizes } from './sizes.mjs';

/** Windows of 512 tokens that 1000 biographies fill, at 86 tokens each. */
const nWindow = 170;

export async function gptq({ quick, isa, threads, deadline }) {
  const rows = [];
  const leftOut = [];
  const jobs = (quick ? ['2M'] : ['10M']).flatMap((size) => threads.map((nThread) => ({ size, nThread })));
  for (const { size, nThread } of jobs) {
    const seconds = [];
    let last;
    for (let round = 0; round < (quick ? 1 : 3); round++) {
      if (performance.now() > deadline) break;
      const args = [here('./gptq-child.mjs'), size, `${nThread}`, `${quick ? 16 : nWindow}`];
      last = await runOnce('gptq', [process.execPath, args], ourEnvironment(isa), nThread);
      if (!(last.change < last.nearestChange)) {
        throw new Error(`gptq is no nearer than rounding to nearest: ${last.change}, ${last.nearestChange}`);
      }
      seconds.push(last.seconds);
    }
    if (last === undefined) leftOut.push(`${size}, ${nThread}`);
    else rows.push({ size, threads: nThread, contender: 'physlm', ...last, seconds: quartiles(seconds) });
  }
  printTable(
    `GPTQ to 4 bits, ${isa}, ${quick ? 16 : nWindow} windows of ${gptqSizes['10M'].T} tokens`,
    [
      ['model', ({ size }) => size],
      ['threads', (row) => `${row.threads}`],
      ['parameters', ({ nParameter }) => `${nParameter}`],
      ['time', ({ seconds }) => timeText(seconds.median)],
      ['quartiles', ({ seconds }) => `${timeText(seconds.low)} … ${timeText(seconds.high)}`],
      ['processor time', ({ processorSeconds }) => timeText(processorSeconds)],
      ['waited', ({ waitShare }) => percent(waitShare)],
      ['error / nearest', ({ change, nearestChange }) => times(change / nearestChange)],
    ],
    rows,
  );
  return { rows, leftOut };
}
