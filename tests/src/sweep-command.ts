// Starts the built `physlm` as users do, for tests of sweeps.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { deviceStatus } from '@physlm/model';

const bin = fileURLToPath(new URL('../../packages/lab/bin/physlm.js', import.meta.url));
const device = deviceStatus('cpu').available ? 'cpu' : 'js';

/** A model that trains in a second or two on any device: the kernels of `cpu` are some forty times as fast. */
export const smallGrid = [
  ...['nPeople=24', 'nLayer=1', 'dModel=16', 'nCtx=64', 'batchSize=4'],
  `exposures=${device === 'cpu' ? 160 : 4}`,
].flatMap((axis) => ['--grid', axis]);

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that has been started. */
export interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
}

/** Starts `physlm` in a folder. */
export function start(folder: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Started {
  // What is printed is compared: without colours, also where the test runner forces them.
  const { FORCE_COLOR: _, ...plain } = { ...env, NO_COLOR: '1' } as NodeJS.ProcessEnv;
  const child = spawn(process.execPath, [bin, ...args], { cwd: folder, env: plain, stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const ended = new Promise<Ended>((resolve) => child.on('exit', (code) => resolve({ code, stdout, stderr })));
  return { child, ended };
}

/** Starts a sweep of small models, four learning rates with more axes on demand. */
export function sweep(folder: string, args: readonly string[] = [], env?: NodeJS.ProcessEnv): Started {
  return start(folder, ['sweep', 'capacity', '--device', device, ...smallGrid, ...args], env);
}

/** Run directories of a folder. */
export function runsOf(folder: string): string[] {
  const runs = join(folder, 'runs');
  if (!existsSync(runs)) return [];
  return readdirSync(runs)
    .filter((name) => name.startsWith('capacity-'))
    .map((name) => join(runs, name));
}

/** Folder of the one sweep that a folder holds. */
export function sweepOf(folder: string): string {
  return join(folder, 'runs', readdirSync(join(folder, 'runs')).find((name) => name.startsWith('sweep-'))!);
}

/** Numbers of the processes that work on runs of a folder. */
export function workers(folder: string): number[] {
  return runsOf(folder).flatMap((run) => {
    try {
      return [(JSON.parse(readFileSync(join(run, 'run.lock'), 'utf8')) as { pid: number }).pid];
    } catch {
      return []; // Nobody works on this one.
    }
  });
}

/** Whether a process lives. */
export function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // ESRCH.
  }
}

/** Waits until something holds; fails with `what` when it does not come to. */
export async function until(what: string, holds: () => boolean, seconds = 40): Promise<void> {
  for (let i = 0; i < seconds * 50; i++) {
    if (holds()) return;
    await sleep(20);
  }
  throw new Error(`not within ${seconds} s: ${what}`);
}

/** What a run leaves that does not depend on when and how often it was stopped. */
export function outcome(run: string): string {
  return ['results.json', 'metrics.jsonl'].map((name) => readFileSync(join(run, name), 'utf8')).join('\n');
}
