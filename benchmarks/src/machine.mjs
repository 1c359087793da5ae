// What a figure needs beside it to mean something, and where it is kept.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadNative } from '@physlm/native';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** First line of a command's output, or undefined where it cannot be run. */
export function answer(file, args) {
  try {
    return execFileSync(file, args, { cwd: root, stdio: ['ignore', 'pipe', 'ignore'] })
      .toString()
      .trim()
      .split('\n')[0];
  } catch {
    return undefined; // Not installed: reported as absent.
  }
}

export function machine() {
  const { binding } = loadNative();
  return {
    cpu: cpus()[0].model.trim(),
    nCore: cpus().length,
    isa: binding?.isa() ?? 'none',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    os: `${process.platform} ${release()}`,
    node: process.version,
    compiler: answer('c++', ['--version']),
    commit: answer('git', ['rev-parse', '--short', 'HEAD']),
    dirty: answer('git', ['status', '--porcelain']) !== '',
    date: new Date().toISOString().slice(0, 10),
  };
}

/** Keeps a benchmark's results under results/<machine>/<date>-<what>.json and says where. */
export function keep(what, results) {
  const here = machine();
  const name = `${here.cpu} ${here.nCore} cores ${here.isa}`.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  const folder = join(root, 'benchmarks', 'results', name);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${here.date}-${what}.json`);
  writeFileSync(
    file,
    `${JSON.stringify({ what, command: `npm run bench -- ${what}`, machine: here, ...results }, null, 2)}\n`,
  );
  console.log(`kept in ${file.slice(root.length)}`);
}

/** Lower quartile, median and upper quartile. */
export function quartiles(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (fraction) => sorted[Math.min(sorted.length - 1, Math.floor(fraction * sorted.length))];
  return { low: at(0.25), median: at(0.5), high: at(0.75) };
}
