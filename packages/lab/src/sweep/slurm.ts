import { spawnSync } from 'node:child_process';
import { ConfigError } from '@physlm/base';

/** What a job array is asked for. */
export interface SlurmJob {
  /** Name of the job. */
  readonly name: string;
  /** Places in the manifest. */
  readonly indices: readonly number[];
  /** Tasks at a time; all when left out. */
  readonly nSlot?: number | undefined;
  readonly threads: number;
  /** Working folder of the tasks. */
  readonly folder: string;
  /** Folder of what each task says. */
  readonly logs: string;
  /** The command of one member, up to its place in the manifest. */
  readonly argv: readonly string[];
  /** What follows the place. */
  readonly flags: readonly string[];
  /** Further options of sbatch, as `--time=01:00:00`. */
  readonly options: readonly string[];
}

/** Seconds that a task has to save before its time is up. */
const WARN_SECONDS = 60;

/** The sbatch script of a job array: a task for each member. `exec` lets Slurm's signals reach the run, which then saves. */
export function slurmScript(job: SlurmJob): string {
  const { name, indices, nSlot, threads, folder, logs, argv, flags, options } = job;
  const limit = nSlot === undefined ? '' : `%${nSlot}`;
  const directives = [
    `--job-name=${name}`,
    `--array=${ranges(indices)}${limit}`,
    '--ntasks=1',
    `--cpus-per-task=${threads}`,
    `--signal=B:TERM@${WARN_SECONDS}`,
    '--open-mode=append',
    `--chdir=${folder}`,
    `--output=${logs}/slurm-%A-%a.txt`,
    ...options,
  ];
  return [
    '#!/bin/bash',
    ...directives.map((directive) => `#SBATCH ${quoteDirective(directive)}`),
    '',
    `exec ${[...argv.map(quote), '"$SLURM_ARRAY_TASK_ID"', ...flags.map(quote)].join(' ')}`,
    '',
  ].join('\n');
}

/** `0-2,5` for 0, 1, 2 and 5. */
export function ranges(indices: readonly number[]): string {
  const parts: [number, number][] = [];
  for (const i of [...indices].sort((a, b) => a - b)) {
    const last = parts.at(-1);
    if (last !== undefined && last[1] === i - 1) last[1] = i;
    else parts.push([i, i]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(',');
}

function quote(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** sbatch splits its lines at spaces unless they are quoted, and knows no way to write a quotation mark. */
function quoteDirective(text: string): string {
  const [option, value] = text.split(/=(.*)/s) as [string, string?];
  return value === undefined || !/\s/.test(value) ? text : `${option}="${value}"`;
}

/**
 * Hands a script to Slurm; returns the number of the job.
 *
 * @throws ConfigError when there is no sbatch here, or it refuses the job.
 */
export function submit(script: string, env: Readonly<Record<string, string | undefined>>): string {
  const { stdout, stderr, status, error } = spawnSync('sbatch', ['--parsable'], {
    input: script,
    encoding: 'utf8',
    env: env as NodeJS.ProcessEnv,
  });
  if (error !== undefined) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new ConfigError(
      [
        {
          path: 'launcher',
          expected: 'sbatch, which submits jobs to Slurm',
          got: missing ? 'no such command on the PATH' : error.message,
        },
      ],
      'Use --launcher local to run on this machine, or --dry-run to see the script.',
    );
  }
  const id = /^\d+/.exec(stdout.trim())?.[0];
  if (status !== 0 || id === undefined) {
    const said = stderr
      .trim()
      .replaceAll(/\s*\n\s*/g, '; ')
      .replace(/^sbatch: error: /, '');
    throw new ConfigError(
      [{ path: 'launcher', expected: 'a job that Slurm takes', got: said === '' ? `exit code ${status}` : said }],
      'Give options of sbatch as --slurm --partition=…; --dry-run shows the script.',
    );
  }
  return id;
}

/** What Slurm says about the tasks of an array. */
export interface SlurmTask {
  /** Place in the manifest. */
  readonly index: number;
  /** Slurm's word: RUNNING, PENDING, COMPLETED, TIMEOUT, CANCELLED, OUT_OF_MEMORY, NODE_FAIL, … */
  readonly state: string;
  readonly reason: string;
}

/** States of a task that is over. */
const OVER = new Set([
  'BOOT_FAIL',
  'CANCELLED',
  'COMPLETED',
  'DEADLINE',
  'FAILED',
  'NODE_FAIL',
  'OUT_OF_MEMORY',
  'PREEMPTED',
  'TIMEOUT',
]);

/** Whether Slurm is done with a task. */
export function isOver({ state }: SlurmTask): boolean {
  return OVER.has(state);
}

/**
 * The tasks of a job as Slurm knows them now: none when it has forgotten the job, which it does some minutes after its
 * end. Undefined when it gives no answer.
 */
export function slurmTasks(id: string, env: Readonly<Record<string, string | undefined>>): SlurmTask[] | undefined {
  const { stdout, stderr, status, error } = spawnSync('scontrol', ['--oneliner', 'show', 'job', id], {
    encoding: 'utf8',
    env: env as NodeJS.ProcessEnv,
  });
  if (error !== undefined) return undefined;
  if (status !== 0) return /invalid job id/i.test(stderr) ? [] : undefined;
  return parseTasks(stdout);
}

/** Reads `scontrol --oneliner show job`: a line for each task that has begun, and one for those that have not. */
export function parseTasks(text: string): SlurmTask[] {
  return text.split('\n').flatMap((line) => {
    const field = (name: string): string => new RegExp(`(?:^| )${name}=(\\S*)`).exec(line)?.[1] ?? '';
    const [state, reason] = [field('JobState'), field('Reason')];
    return expand(field('ArrayTaskId')).map((index) => ({ index, state, reason }));
  });
}

/** The numbers of `0-2,5%4`. */
function expand(text: string): number[] {
  return text
    .replace(/%.*/, '')
    .split(',')
    .flatMap((part) => {
      const [from, to] = part.split('-').map(Number) as [number, number?];
      if (part === '' || Number.isNaN(from)) return [];
      return Array.from({ length: (to ?? from) - from + 1 }, (_, i) => from + i);
    });
}
