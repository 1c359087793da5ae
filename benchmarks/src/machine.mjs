// What a figure needs beside it to mean something.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { loadNative } from '@physlm/native';

/** The repository's root, with a slash at its end. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

/** First line of a command's output, or undefined where it cannot be run. */
export function answer(file, args, env = process.env) {
  try {
    return execFileSync(file, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'ignore'] })
      .toString()
      .trim()
      .split('\n')[0];
  } catch {
    return undefined; // Not installed: reported as absent.
  }
}

/** What sets the clock of the cores; virtual machines often do not say. */
function governor() {
  const file = '/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor';
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : 'unknown';
}

/** Processor, instruction set, versions and commit. */
export function machine() {
  const { binding } = loadNative();
  return {
    cpu: cpus()[0].model.trim(),
    nCore: cpus().length,
    isa: binding?.isa() ?? 'none',
    isas: binding?.isas() ?? [],
    governor: governor(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    os: `${process.platform} ${release()}`,
    node: process.version,
    compiler: answer('c++', ['--version']),
    commit: answer('git', ['rev-parse', '--short', 'HEAD']),
    dirty: answer('git', ['status', '--porcelain', '--untracked-files=no']) !== '',
    date: new Date().toISOString().slice(0, 10),
  };
}

/** The folder name that results of this machine are kept under. */
export function machineName({ cpu, nCore }) {
  return `${cpu} ${nCore} cores`.toLowerCase().replace(/[^a-z0-9]+/g, '-');
}
