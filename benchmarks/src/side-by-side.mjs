// Two single-thread training processes at once against one alone: how much of a second core a sweep gets.
import { here, ourEnvironment } from './contender.mjs';
import { median, percent, printTable, quartiles, removeFolder, runOnce, temporaryFolder, times } from './harness.mjs';
import { sizes } from './sizes.mjs';

const steps = { 'tiny-16': 800, tiny: 300, 'tiny-64': 100, small: 24 };
const quickSteps = { tiny: 120 };

export async function sideBySide({ quick, isa, nCore, deadline }) {
  if (nCore < 2) {
    console.log('side-by-side: skipped, this machine lets the process use one core');
    return { rows: [], leftOut: [] };
  }
  const rows = [];
  const leftOut = [];
  for (const [size, nStep] of Object.entries(quick ? quickSteps : steps)) {
    if (performance.now() > deadline) {
      leftOut.push(size);
      continue;
    }
    const folder = temporaryFolder();
    const { T, B } = sizes[size];
    const one = async () => {
      const args = [here('./train-step-child.mjs'), size, '1', `${nStep}`, folder];
      const { ms, waitShare } = await runOnce(size, [process.execPath, args], ourEnvironment(isa));
      // The middle half: at both ends one of two may still be starting, or already be done.
      const middle = ms.slice(Math.floor(ms.length / 4), Math.ceil((3 * ms.length) / 4));
      return { tokensPerSec: (B * T * 1000) / median(middle), waitShare };
    };
    try {
      await one(); // Writes the first weights, which the next ones find.
      const [alone, pair, waits] = [[], [], []];
      for (let round = 0; round < (quick ? 2 : 5); round++) {
        alone.push((await one()).tokensPerSec);
        const both = await Promise.all([one(), one()]);
        pair.push(both[0].tokensPerSec + both[1].tokensPerSec);
        waits.push(...both.map(({ waitShare }) => waitShare));
      }
      const [aloneRate, pairRate] = [quartiles(alone), quartiles(pair)];
      const ratio = quartiles(pair.map((rate, i) => rate / alone[i]));
      rows.push({
        size,
        nStep,
        aloneTokensPerSec: aloneRate,
        pairTokensPerSec: pairRate,
        ratio,
        waitShare: median(waits),
      });
    } finally {
      removeFolder(folder);
    }
  }
  printTable(
    `one process and two side by side, one thread each, ${isa}`,
    [
      ['size', ({ size }) => size],
      ['alone, tokens/s', ({ aloneTokensPerSec }) => aloneTokensPerSec.median.toFixed(0)],
      ['two, tokens/s', ({ pairTokensPerSec }) => pairTokensPerSec.median.toFixed(0)],
      ['ratio', ({ ratio }) => times(ratio.median)],
      ['quartiles', ({ ratio }) => `${times(ratio.low)} … ${times(ratio.high)}`],
      ['waited', ({ waitShare }) => percent(waitShare)],
    ],
    rows,
  );
  return { rows, leftOut };
}
