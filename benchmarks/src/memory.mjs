// Resident memory: of a training run over 2,000 steps, which must not grow, and of a few steps of each size.
import { here, ourEnvironment } from './contender.mjs';
import { printTable, removeFolder, runOnce, temporaryFolder } from './harness.mjs';
import { sizes } from './sizes.mjs';

export async function memory({ quick, isa, threads, deadline }) {
  const nStep = quick ? 500 : 2000;
  const env = ourEnvironment(isa);
  const { arenaMiB, rssMiB } = await runOnce(
    'memory',
    [process.execPath, [here('./memory-child.mjs'), `${nStep}`]],
    env,
  );
  console.log(
    `\nmemory, tiny, ${nStep} steps: arena ${arenaMiB.toFixed(1)} MiB, RSS in tenths: ${rssMiB.join(' ')} MiB`,
  );
  const rows = [];
  const leftOut = [];
  for (const size of quick ? ['tiny', 'small'] : Object.keys(sizes)) {
    if (performance.now() > deadline) {
      leftOut.push(size);
      continue;
    }
    const folder = temporaryFolder();
    try {
      const args = [here('./train-step-child.mjs'), size, `${threads.at(-1)}`, '4', folder];
      const result = await runOnce(size, [process.execPath, args], env);
      const { nParameter } = result;
      // Weights, gradients and both moments in f32: what AdamW cannot do without.
      rows.push({
        size,
        nParameter,
        stateMiB: (16 * nParameter) / 2 ** 20,
        arenaMiB: result.arenaMiB,
        rssMiB: result.rssMiB,
      });
    } finally {
      removeFolder(folder);
    }
  }
  printTable(
    'memory of a training process, MiB',
    [
      ['size', ({ size }) => size],
      ['parameters', ({ nParameter }) => `${nParameter}`],
      ['weights, gradients, moments', ({ stateMiB }) => stateMiB.toFixed(1)],
      ['arena', (row) => row.arenaMiB.toFixed(1)],
      ['RSS', (row) => row.rssMiB.toFixed(0)],
    ],
    rows,
  );
  return { size: 'tiny', nStep, arenaMiB, rssMiB, rows, leftOut };
}
