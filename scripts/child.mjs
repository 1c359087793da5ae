import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { root } from './root.mjs';

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP'];
/** npm repeats a terminal's Ctrl-C to its script, so one key press arrives twice within milliseconds. */
const SAME_KEY_PRESS_MS = 300;

/**
 * Runs a program to its end and answers `{ code, output, interrupted }`; a program ended by a signal has code 128 + its
 * number. `interrupted` is 128 + the number of the first signal that was passed on, 0 without one.
 *
 * The program gets a process group of its own and each signal that arrives here is passed on to it once, whether it
 * came from a terminal, from npm, or from `kill`.
 *
 * @param {string} file
 * @param {readonly string[]} args
 * @param {{ quiet?: boolean }} [options] quiet: keep the output instead of showing it.
 */
export function run(file, args, { quiet = false } = {}) {
  const grouped = process.platform !== 'win32';
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd: root,
      detached: grouped,
      stdio: quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit',
    });
    const chunks = [];
    child.stdout?.on('data', (chunk) => chunks.push(chunk));
    child.stderr?.on('data', (chunk) => chunks.push(chunk));

    const send = (signal) => {
      try {
        process.kill(grouped ? -child.pid : child.pid, signal);
      } catch (error) {
        // ESRCH: it has ended in the meantime.
        if (error.code !== 'ESRCH') throw error;
      }
    };
    let interrupted = 0;
    let last = Number.NEGATIVE_INFINITY;
    const handlers = FORWARDED.map((signal) => {
      const handler = () => {
        const now = performance.now();
        if (now - last > SAME_KEY_PRESS_MS) send(signal);
        interrupted ||= 128 + constants.signals[signal];
        last = now;
      };
      process.on(signal, handler);
      return () => process.off(signal, handler);
    });
    const settle = () => {
      for (const off of handlers) off();
    };
    child.on('error', (error) => {
      settle();
      reject(error);
    });
    child.on('close', (code, signal) => {
      settle();
      resolve({
        code: code ?? 128 + constants.signals[signal],
        output: Buffer.concat(chunks).toString(),
        interrupted,
      });
    });
  });
}

/** The npm that started this script, or the one on the PATH: `[file, ...leading arguments]`. */
export function npm() {
  const entry = process.env.npm_execpath ?? '';
  if (/npm-cli\.c?js$/.test(entry) && existsSync(entry)) return [process.execPath, entry];
  const beside = join(process.execPath, '..', 'node_modules', 'npm', 'bin', 'npm-cli.js');
  if (process.platform === 'win32' && existsSync(beside)) return [process.execPath, beside];
  return ['npm'];
}

/** The workspace's own Nx: `[file, ...leading arguments]`. */
export function nx() {
  const folder = join(root, 'node_modules', 'nx');
  const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  return [process.execPath, join(folder, bin.nx)];
}

/**
 * Runs one phase in silence and prints one line with its seconds; its whole output is shown only when it fails, and
 * then this process ends with exit code 1 (128 + the signal's number when one interrupted it).
 *
 * @returns {Promise<string>} the phase's output.
 */
export async function phase(label, [file, ...leading], args) {
  const start = performance.now();
  const { code, output, interrupted } = await run(file, [...leading, ...args], { quiet: true });
  const seconds = `${((performance.now() - start) / 1000).toFixed(1)} s`;
  if (interrupted) {
    console.error(`${label}: interrupted after ${seconds}`);
    process.exit(interrupted);
  }
  if (code !== 0) {
    console.error(output.trimEnd());
    console.error(`${label}: failed after ${seconds}`);
    process.exit(1);
  }
  console.error(`${label}: done in ${seconds}`);
  return output;
}
