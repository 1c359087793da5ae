import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeFolder, OutputError } from '@physlm/base';

/** A program to run to its end. */
export interface Job {
  readonly label: string;
  readonly argv: readonly [file: string, ...args: string[]];
  /** Takes what the program says, behind what is there already. */
  readonly log: string;
  /** Work in any unit that all jobs share: the longest job starts first, and the time left is told by it. */
  readonly work: number;
}

/** What a job tells about itself over its channel. */
export interface JobProgress {
  readonly step: number;
  readonly nStep: number;
}

/** How a job ended. `stopped`: the pool was asked to stop before it was done. */
export type JobEnd =
  | { readonly ended: 'finished' }
  | { readonly ended: 'stopped' }
  | { readonly ended: 'failed'; readonly problem: string };

/** A pool at work. */
export interface PoolProgress {
  readonly nJob: number;
  readonly nFinished: number;
  readonly nFailed: number;
  readonly running: readonly { readonly label: string; readonly fraction: number }[];
  /** Work done, of 1. */
  readonly fraction: number;
  /** NaN before there is anything to tell it by. */
  readonly secondsLeft: number;
  /** The job whose end this tells of. */
  readonly latest?: { readonly label: string; readonly end: JobEnd };
}

/** How a pool works. */
export interface PoolOptions {
  /** Jobs at a time. */
  readonly nSlot: number;
  /** Aborting asks every job to save and stop, and starts no other. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: PoolProgress) => void;
}

interface Running {
  readonly job: Job;
  readonly child: ChildProcess;
  readonly begin: number;
  /** Part that was done when it began to count. */
  before: number | undefined;
  fraction: number;
}

/**
 * Runs jobs, a few at a time, each in a process of its own; a job that fails does not stop the others.
 *
 * Each process has a channel to this one. A closed channel asks it to save and stop: so it does when this process asks
 * for it, and also when this process is gone without a word. Processes are kept out of the terminal's reach, which would
 * send them Ctrl-C a second time.
 *
 * @throws OutputError when a log cannot be written.
 */
export async function runPool(jobs: readonly Job[], options: PoolOptions): Promise<ReadonlyMap<Job, JobEnd>> {
  const { nSlot, signal, onProgress } = options;
  const ends = new Map<Job, JobEnd>();
  const waiting = [...jobs].sort((a, b) => b.work - a.work);
  const running = new Set<Running>();
  const pace = { work: 0, seconds: 0 };
  const tell = (latest?: PoolProgress['latest']): void =>
    onProgress?.({ ...progressOf(jobs, ends, running, waiting, pace, nSlot), ...(latest && { latest }) });

  const runOne = async (job: Job): Promise<void> => {
    const { child, logged } = start(job);
    const one: Running = { job, child, begin: performance.now(), before: undefined, fraction: 0 };
    running.add(one);
    child.on('message', (message) => {
      const { step, nStep } = message as JobProgress;
      one.fraction = step / nStep;
      one.before ??= one.fraction;
      tell();
    });
    const end = await endOf(child, job, logged, signal);
    running.delete(one);
    if (end.ended === 'finished') {
      pace.work += job.work * (1 - (one.before ?? 0));
      pace.seconds += (performance.now() - one.begin) / 1000;
    }
    ends.set(job, end);
    tell({ label: job.label, end });
  };
  const stop = (): void => {
    for (const { child } of running) if (child.connected) child.disconnect();
  };
  signal?.addEventListener('abort', stop);
  const slot = async (): Promise<void> => {
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
      if (signal?.aborted) ends.set(job, { ended: 'stopped' });
      else await runOne(job);
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(nSlot, jobs.length) }, slot));
  } finally {
    signal?.removeEventListener('abort', stop);
    stop();
  }
  return ends;
}

/** Starts a job; `logged` is what its log held before, in bytes. */
function start({ argv, log }: Job): { readonly child: ChildProcess; readonly logged: number } {
  const [file, ...args] = argv;
  makeFolder(dirname(log));
  let output: number;
  try {
    output = openSync(log, 'a');
  } catch (error) {
    throw new OutputError(log, `cannot be written: ${(error as Error).message}`, { cause: error });
  }
  try {
    const stdio = ['ignore', output, output, 'ipc'] as const;
    // What it says goes to a log and is quoted here: without colours, even where the parent's are forced.
    const { FORCE_COLOR: _, ...env } = process.env;
    const child = spawn(file, args, {
      stdio: [...stdio],
      detached: process.platform !== 'win32',
      env: { ...env, NO_COLOR: '1' },
    });
    return { child, logged: fstatSync(output).size };
  } finally {
    closeSync(output);
  }
}

function endOf(child: ChildProcess, job: Job, logged: number, stop: AbortSignal | undefined): Promise<JobEnd> {
  return new Promise((resolve) => {
    child.on('error', ({ message }) => resolve({ ended: 'failed', problem: message }));
    child.on('exit', (code, signal) => {
      if (code === 0) resolve({ ended: 'finished' });
      else if (stop?.aborted) resolve({ ended: 'stopped' });
      else if (signal !== null) resolve({ ended: 'failed', problem: `ended by ${signal}` });
      else resolve({ ended: 'failed', problem: lastWords(job.log, logged) ?? `exit code ${code}` });
    });
  });
}

/** Why a job failed, as the last lines of its log say, from byte `from` on. */
export function lastWords(log: string, from = 0): string | undefined {
  let text: string;
  try {
    text = readFileSync(log).subarray(from).toString();
  } catch {
    // A job that never came to write has no log.
    return undefined;
  }
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.findLast((line) => line.startsWith('physlm: '))?.slice('physlm: '.length) ?? lines.at(-1);
}

function progressOf(
  jobs: readonly Job[],
  ends: ReadonlyMap<Job, JobEnd>,
  running: ReadonlySet<Running>,
  waiting: readonly Job[],
  pace: { readonly work: number; readonly seconds: number },
  nSlot: number,
): PoolProgress {
  const now = [...running];
  const over = [...ends.values()];
  const doneOf = ({ job, fraction }: Running): number => job.work * fraction;
  const total = jobs.reduce((sum, { work }) => sum + work, 0);
  const done =
    [...ends.keys()].reduce((sum, { work }) => sum + work, 0) + now.reduce((sum, one) => sum + doneOf(one), 0);
  const work = now.reduce((sum, one) => sum + one.job.work * (one.fraction - (one.before ?? 0)), pace.work);
  const seconds = now.reduce((sum, { begin }) => sum + (performance.now() - begin) / 1000, pace.seconds);
  // Each waiting job goes to the slot that is free first, as it will.
  const slots: number[] = [...now.map((one) => one.job.work - doneOf(one))];
  while (slots.length < nSlot) slots.push(0);
  for (const job of waiting) slots[slots.indexOf(Math.min(...slots))]! += job.work;
  return {
    nJob: jobs.length,
    nFinished: over.filter(({ ended }) => ended === 'finished').length,
    nFailed: over.filter(({ ended }) => ended === 'failed').length,
    running: now.map(({ job, fraction }) => ({ label: job.label, fraction })),
    fraction: total === 0 ? 1 : done / total,
    secondsLeft: work > 0 ? (Math.max(...slots) * seconds) / work : Number.NaN,
  };
}
