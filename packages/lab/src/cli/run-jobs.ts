import { join, resolve } from 'node:path';
import { packageRoot } from '../package-root.js';
import type { PlannedRun } from '../sweep/manifest.js';
import { workOf } from '../sweep/plan.js';
import { type Job, type JobEnd, runPool } from '../sweep/pool.js';
import { interruption } from './interruption.js';
import { type Io, note } from './io.js';
import { PoolLine } from './pool-line.js';

/** How runs are made in processes of their own. */
export interface RunJobsOptions {
  readonly jobs: number;
  readonly threadsPerJob: number;
  readonly device: string;
}

/** How it ended: why runs failed, and the exit code when somebody asked to stop. */
export interface RanJobs {
  readonly ends: ReadonlyMap<PlannedRun, JobEnd>;
  readonly interrupted: number | undefined;
}

/** The words that start this command again, as a process of its own. */
export function selfCommand(io: Io): readonly [string, ...string[]] {
  return io.self ?? [process.execPath, join(packageRoot(), 'bin', 'physlm.js')];
}

/** The environment of a process whose messages this one passes on: without colours. */
export function plainText({ FORCE_COLOR: _, ...env }: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...env, NO_COLOR: '1' };
}

/**
 * Makes runs of a manifest, some at a time, each by `physlm member` in a process of its own that writes into `log.txt` of
 * its run directory.
 *
 * @throws OutputError when a log cannot be written.
 */
export async function runJobs(
  manifest: string,
  runs: readonly { readonly index: number; readonly run: PlannedRun }[],
  { jobs, threadsPerJob, device }: RunJobsOptions,
  io: Io,
): Promise<RanJobs> {
  const planned = new Map<Job, PlannedRun>(
    runs.map(({ index, run }) => [
      {
        label: run.label,
        argv: [
          ...selfCommand(io),
          ...['member', resolve(manifest), String(index), '--device', device, '--threads', String(threadsPerJob)],
        ],
        log: join(run.path, 'log.txt'),
        work: workOf(run.experiment),
      },
      run,
    ]),
  );
  const line = new PoolLine(io);
  const interrupt = interruption(io, line);
  try {
    const ends = await runPool([...planned.keys()], {
      nSlot: jobs,
      signal: interrupt.signal,
      onProgress: (progress) => line.update(progress),
    });
    line.stop();
    if (interrupt.signal.aborted) note(io, 'Stopped; unfinished runs have saved. Give the command again to go on.');
    return {
      ends: new Map([...ends].map(([job, end]) => [planned.get(job)!, end])),
      interrupted: interrupt.signal.aborted ? interrupt.exitCode() : undefined,
    };
  } finally {
    line.stop();
    interrupt.release();
  }
}
