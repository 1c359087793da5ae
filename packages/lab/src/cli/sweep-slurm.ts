import { existsSync, readFileSync, rmSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeFileAtomic } from '@physlm/base';
import { memberState } from '../sweep/member-state.js';
import type { SweepMember, SweepPlan } from '../sweep/plan.js';
import { lastWords } from '../sweep/pool.js';
import { isOver, type SlurmTask, slurmScript, slurmTasks, submit } from '../sweep/slurm.js';
import { interruption } from './interruption.js';
import { type Io, note, say } from './io.js';
import { PoolLine } from './pool-line.js';
import { selfCommand } from './run-jobs.js';
import type { Launched, SweepFlags } from './sweep.js';

/** Seconds between two looks at Slurm, and looks without an answer after which it is taken to be down. */
const [LOOK_SECONDS, MOST_SILENT] = [2, 30];

type Todo = readonly { readonly index: number; readonly run: SweepMember }[];

/** Prints the script that `--launcher slurm` would submit. */
export function dryRunSlurm(plan: SweepPlan, manifest: string, todo: Todo, flags: SweepFlags, io: Io): void {
  say(io, scriptOf(plan, manifest, todo, flags, io).trimEnd());
}

/**
 * Submits the missing members as a job array and follows it to its end. An array of this sweep that Slurm still works on
 * is followed instead. Ctrl-C ends the following, not the jobs.
 *
 * @throws ConfigError when Slurm is not here, or refuses the job.
 */
export async function runThroughSlurm(
  plan: SweepPlan,
  manifest: string,
  todo: Todo,
  flags: SweepFlags,
  io: Io,
): Promise<Launched> {
  const file = join(plan.path, 'slurm-job');
  const before = existsSync(file) ? readFileSync(file, 'utf8').trim() : undefined;
  let id = before !== undefined && slurmTasks(before, io.env)?.some((task) => !isOver(task)) ? before : undefined;
  if (id !== undefined) note(io, `Slurm still works on job ${id} of this sweep.`);
  else if (todo.length === 0) return { problems: new Map(), interrupted: undefined };
  else {
    id = submit(scriptOf(plan, manifest, todo, flags, io), io.env);
    writeFileAtomic(file, `${id}\n`);
    note(io, `Submitted job ${id}: ${todo.length} tasks. To stop them: scancel ${id}`);
  }
  const { tasks, interrupted } = await follow(todo, id, io);
  if (interrupted !== undefined) {
    note(io, `Job ${id} goes on without this command. Give it again to follow the job, or stop it: scancel ${id}`);
    return { problems: new Map(), interrupted };
  }
  rmSync(file, { force: true });
  return { problems: problemsOf(plan, todo, id, tasks), interrupted };
}

/** Waits until Slurm has no task of the job left that waits or runs. */
async function follow(
  todo: Todo,
  id: string,
  io: Io,
): Promise<{ readonly tasks: ReadonlyMap<number, SlurmTask>; readonly interrupted: number | undefined }> {
  const line = new PoolLine(io);
  const interrupt = interruption(io, line, undefined, 'no longer following the jobs.');
  const tasks = new Map<number, SlurmTask>();
  let said = '';
  try {
    for (let silent = 0; silent < MOST_SILENT && !interrupt.signal.aborted; ) {
      const now = slurmTasks(id, io.env);
      silent = now === undefined ? silent + 1 : 0;
      if (now !== undefined) remember(tasks, now);
      const waiting = (now ?? []).find(({ state }) => state === 'PENDING');
      if (waiting !== undefined && waiting.reason !== said && !/^(None|Priority)$/.test(waiting.reason)) {
        line.stop();
        said = waiting.reason;
        note(io, `Slurm lets tasks wait: ${said}`);
      }
      line.update(progressOf(todo, tasks));
      if (now?.every(isOver)) break;
      await sleep(1000 * LOOK_SECONDS, undefined, { signal: interrupt.signal }).catch(() => undefined);
    }
    return { tasks, interrupted: interrupt.signal.aborted ? interrupt.exitCode() : undefined };
  } finally {
    line.stop();
    interrupt.release();
  }
}

/** Brings what is known of tasks up to date. A task that was cancelled before it began is in no later answer. */
function remember(tasks: Map<number, SlurmTask>, now: readonly SlurmTask[]): void {
  const told = new Set(now.map(({ index }) => index));
  for (const task of tasks.values()) {
    if (!told.has(task.index) && task.state === 'PENDING') tasks.set(task.index, { ...task, state: 'CANCELLED' });
  }
  for (const task of now) tasks.set(task.index, task);
}

function progressOf(todo: Todo, tasks: ReadonlyMap<number, SlurmTask>): Parameters<PoolLine['update']>[0] {
  const finished = todo.filter(({ run }) => memberState(run.path, run.experiment).state === 'finished').length;
  const all = [...tasks.values()];
  return {
    nJob: todo.length,
    nFinished: finished,
    nFailed: all.filter((task) => isOver(task) && task.state !== 'COMPLETED').length,
    running: all.filter(({ state }) => state === 'RUNNING').map(({ index }) => ({ label: String(index), fraction: 0 })),
    fraction: todo.length === 0 ? 1 : finished / todo.length,
    secondsLeft: Number.NaN,
  };
}

/** Why members are not finished: what Slurm did to them, else what they said last. */
function problemsOf(
  plan: SweepPlan,
  todo: Todo,
  id: string,
  tasks: ReadonlyMap<number, SlurmTask>,
): ReadonlyMap<SweepMember, string> {
  const problems = new Map<SweepMember, string>();
  for (const { index, run } of todo) {
    if (memberState(run.path, run.experiment).state === 'finished') continue;
    const state = tasks.get(index)?.state;
    const words = lastWords(join(plan.path, `slurm-${id}-${index}.txt`));
    if (state === 'FAILED') problems.set(run, words ?? 'Slurm says FAILED');
    else problems.set(run, `Slurm says ${state ?? 'nothing'} of task ${id}_${index}; give the command again to go on`);
  }
  return problems;
}

function scriptOf(plan: SweepPlan, manifest: string, todo: Todo, flags: SweepFlags, io: Io): string {
  return slurmScript({
    name: basename(plan.path),
    indices: todo.map(({ index }) => index),
    nSlot: flags.jobs,
    threads: flags.threadsPerJob,
    folder: process.cwd(),
    logs: resolve(plan.path),
    argv: [...selfCommand(io), 'member', resolve(manifest)],
    flags: ['--device', flags.device, '--threads', String(flags.threadsPerJob)],
    options: flags.slurm ?? [],
  });
}
