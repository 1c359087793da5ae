import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '@physlm/base';
import { openDevice } from '@physlm/model';
import { RunDirectory } from '@physlm/train';
import { type Environment, requireSameDevice } from '../environment.js';
import type { Experiment, Recipe } from '../recipes/recipe.js';
import { lockRun } from '../run-lock.js';
import { type FinishedRun, openFinishedRun, runRecipe, writeReport } from '../run-recipe.js';
import { chooseDevice } from './choose-device.js';
import { interruption } from './interruption.js';
import { type Io, note, recipesOf } from './io.js';
import type { ParentProcess } from './parent-process.js';
import { ProgressLine } from './progress-line.js';
import { teamOf } from './ranks.js';

/** One experiment to have finished, and how. */
export interface ExecuteOptions {
  readonly recipe: Recipe;
  readonly experiment: Experiment;
  readonly path: string;
  /** The command that gives this run again on any machine: goes into its report. */
  readonly command: string;
  /** The command that the user would give again here. */
  readonly again: string;
  /** The command that makes a finished run anew; removing its folder does when absent. */
  readonly anew?: string;
  readonly device: string;
  readonly threads?: number | undefined;
  readonly dataWorkers?: number | undefined;
  /** Processes that train together; 1. */
  readonly ranks?: number | undefined;
  /** What to do with an unfinished run of this experiment; `fresh` also throws away a finished one. */
  readonly unfinished: 'refuse' | 'resume' | 'fresh';
  /** What is run, in a few words. */
  readonly about: string;
  /** The process that this one works for: where to tell how far the run is, and what asks it to save and stop. */
  readonly parent?: ParentProcess;
}

/** How it ended. */
export type Executed =
  | { readonly stopped: 'aborted'; readonly exitCode: number }
  | { readonly stopped: 'finished'; readonly finished: FinishedRun };

/**
 * Runs an experiment in its run directory, or reads it back when it is finished there already.
 *
 * @throws ConfigError when the folder holds another experiment or device, or an unfinished run that may not be resumed.
 * @throws DataError, NativeError, OutputError, PhyslmError: whatever made the run impossible.
 */
export async function execute(options: ExecuteOptions, io: Io): Promise<Executed> {
  const { recipe, experiment, path, command, again, unfinished } = options;
  const found = existsSync(join(path, 'experiment.json')) && unfinished !== 'fresh';
  const directory = found ? RunDirectory.open(path, experiment, 'resume') : undefined;
  const before = directory?.readJson<Environment>('environment.json');
  const { name, because } = chooseDevice(options.device, before?.device);
  if (before !== undefined) requireSameDevice(before.device, name);
  const readBack = async (): Promise<Executed> => {
    const finished = openFinishedRun(path);
    const anew = options.anew ?? `remove ${path}, then ${again}`;
    note(io, `This run is finished: nothing was trained. To run it again: ${anew}`);
    if (!existsSync(join(path, 'report.html'))) await writeReport(recipe, finished);
    return { stopped: 'finished', finished };
  };
  if (directory?.finished) return readBack();
  if (directory !== undefined && unfinished === 'refuse') {
    const at = directory.latestCheckpoint();
    throw new ConfigError(
      [{ path: 'out', expected: 'a new or a finished run', got: `${path} with an unfinished one` }],
      `Use --resume to go on ${at === undefined ? '(it has no checkpoint yet)' : `from step ${at.step}`}, or --fresh to start again.`,
    );
  }

  const { dataWorkers, ranks = 1 } = options;
  const threads =
    ranks === 1 ? options.threads : (options.threads ?? Math.max(1, Math.floor(availableParallelism() / ranks)));
  const team = ranks === 1 ? undefined : teamOf(ranks, path, { device: name, threads, dataWorkers }, io);
  const device = openDevice(name, { nThread: threads, precision: name === 'cuda' ? 'bf16' : 'f32' });
  if (because !== undefined) {
    note(io, `Using device js, which is slow: ${because}. physlm doctor shows what is missing.`);
  }
  const target = directory ?? RunDirectory.open(path, experiment, unfinished === 'fresh' ? 'fresh' : 'new');
  const native =
    device.native === undefined
      ? ''
      : ` (${device.native.description()}, ${
          device.name === 'cpu' ? `${device.nThread} ${device.nThread === 1 ? 'thread' : 'threads'}` : device.precision
        })`;
  note(io, `${experiment.name}: ${options.about}`);
  note(io, `device ${device.name}${native}${ranks === 1 ? '' : `, ${ranks} ranks`}, ${path}`);

  const progress = new ProgressLine(io);
  const interrupt = interruption(io, progress, options.parent?.signal);
  const lock = await lockRun(path, (text) => note(io, text));
  try {
    // Another process had the run, and may have finished it.
    if (target.finished) return await readBack();
    const outcome = await runRecipe({
      recipe,
      experiment,
      run: target,
      device,
      command,
      resume: directory !== undefined,
      afresh: unfinished === 'fresh',
      dataWorkers,
      team,
      signal: interrupt.signal,
      recipes: recipesOf(io),
      tell(text) {
        progress.stop();
        note(io, text);
      },
      onProgress(now) {
        progress.update(now);
        options.parent?.tell(now);
      },
    });
    progress.stop();
    if (outcome.stopped === 'finished') return outcome;
    const { step, checkpoint } = outcome;
    note(
      io,
      checkpoint === undefined ? 'Stopped before it began.' : `Stopped after step ${step}; saved ${checkpoint}.`,
    );
    note(io, `To go on: ${again}${unfinished === 'resume' ? '' : ' --resume'}`);
    return { stopped: 'aborted', exitCode: interrupt.exitCode() };
  } finally {
    progress.stop();
    interrupt.release();
    lock.release();
    team?.release();
  }
}
