// Whole training steps (data, forward, backward, clip, AdamW) against PyTorch: same weights, same tokens, same optimiser.
// Contenders run in fresh processes, turn by turn; the first steps' losses must agree, or no time is reported.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { answer, keep, quartiles } from './machine.mjs';
import { optimizer, sizes } from './sizes.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const run = promisify(execFile);

/** Steps a contender takes in one turn, so that a turn lasts a few seconds. */
const steps = { tiny: 150, small: 20, medium: 8, large: 4 };

function contenders(python) {
  const ours = (size, threads, folder) => [
    process.execPath,
    [here('./train-step-child.mjs'), size, String(threads), String(steps[size]), folder],
  ];
  const torch = (size, threads, folder) => [
    python,
    [
      here('../peers/train_step.py'),
      join(folder, 'size.json'),
      String(threads),
      String(steps[size]),
      join(folder, 'model.safetensors'),
    ],
  ];
  const list = [
    { name: 'physlm, 1 thread', command: (size, folder) => ours(size, 1, folder) },
    { name: 'physlm, 2 threads', command: (size, folder) => ours(size, 2, folder) },
  ];
  if (python === undefined) return list;
  return [
    ...list,
    { name: 'PyTorch, 1 thread', command: (size, folder) => torch(size, 1, folder) },
    { name: 'PyTorch, as shipped', command: (size, folder) => torch(size, 0, folder) },
  ];
}

/** A Python that has PyTorch, or undefined. */
function pythonWithTorch() {
  return ['python3', '/usr/bin/python3'].find((file) => answer(file, ['-c', 'import torch; print(torch.__version__)']));
}

export async function trainStep({ quick }) {
  const python = pythonWithTorch();
  if (python === undefined) console.log('PyTorch: absent (Debian: apt-get install python3-torch)');
  const results = [];
  for (const size of quick ? ['tiny', 'small'] : Object.keys(sizes)) {
    const { T, B, config } = sizes[size];
    const folder = mkdtempSync(join(tmpdir(), 'physlm-bench-'));
    writeFileSync(join(folder, 'size.json'), JSON.stringify({ ...sizes[size], optimizer }));
    const field = contenders(python).map((contender) => ({ ...contender, ms: [], losses: [], rssMiB: 0 }));
    let nParameter = 0;
    for (let round = 0; round < (quick ? 1 : 3); round++) {
      for (const contender of field) {
        const { stdout } = await run(...contender.command(size, folder), { maxBuffer: 2 ** 26 });
        const result = JSON.parse(stdout);
        contender.ms.push(...result.ms);
        contender.losses = result.losses;
        contender.rssMiB = Math.max(contender.rssMiB, result.rssMiB);
        contender.version = result.version;
        nParameter = result.nParameter ?? nParameter;
      }
    }
    rmSync(folder, { recursive: true });
    const tokens = B * T;
    console.log(
      `\n${size}: ${config.nLayer} layers, d=${config.dModel}, V=${config.dVocab}, ${B} windows of ${T}, ${nParameter} parameters`,
    );
    for (const contender of field) {
      const worst = Math.max(...contender.losses.map((loss, i) => Math.abs(loss - field[0].losses[i])));
      // Two roundings of the same sum drift apart slowly; another computation would differ at once.
      if (!(worst < 5e-3)) throw new Error(`${contender.name} does other work: losses differ by ${worst}`);
      const { low, median, high } = quartiles(contender.ms);
      const row = {
        size,
        contender: contender.name,
        version: contender.version,
        nParameter,
        tokensPerStep: tokens,
        msPerStep: { low, median, high },
        tokensPerSec: Math.round((tokens / median) * 1000),
        gflops: Math.round((6 * nParameter * tokens) / median / 1e6),
        ratioToFirst: quartiles(field[0].ms).median / median,
        worstLossDifference: worst,
        nStep: contender.losses.length,
        rssMiB: Math.round(contender.rssMiB),
      };
      results.push(row);
      console.log(
        `  ${row.contender.padEnd(22)} ${String(row.tokensPerSec).padStart(9)} tokens/s  ${median.toFixed(2).padStart(9)} ms` +
          `  ${String(row.gflops).padStart(5)} GFLOP/s by 6P  loss Δ ${worst.toExponential(1)}  ${row.rssMiB} MiB`,
      );
    }
  }
  if (!quick) keep('train-step', { results });
}
