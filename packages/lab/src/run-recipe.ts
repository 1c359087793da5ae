import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setImmediate as yieldToEvents } from 'node:timers/promises';
import { DataError } from '@physlm/base';
import type { Device } from '@physlm/model';
import { type Progress, RunDirectory } from '@physlm/train';
import { baseRun } from './base-run.js';
import { currentEnvironment, type Environment, requireSameDevice } from './environment.js';
import { lawsDecidedBy } from './laws/index.js';
import { criterion } from './laws/law.js';
import {
  type Aborted,
  type Execution,
  type Experiment,
  type Recipe,
  type Results,
  type RunContext,
  runName,
} from './recipes/recipe.js';
import { figureData } from './report/document.js';
import { type Judgement, renderReport } from './report/html.js';
import { takeTraining } from './same-training.js';
import { RankDone, type RankTeam, trainRun } from './training.js';

/** A run directory whose run is finished, read back. */
export interface FinishedRun {
  readonly run: RunDirectory;
  readonly experiment: Experiment;
  readonly results: Results;
  readonly environment: Environment;
}

/** Where the run of an experiment goes unless told otherwise. */
export function runFolder(experiment: Experiment, runs = 'runs'): string {
  return join(runs, runName(experiment));
}

/** What `runRecipe` needs. */
export interface RunRecipeOptions {
  readonly recipe: Recipe;
  readonly experiment: Experiment;
  readonly run: RunDirectory;
  readonly device: Device;
  /** The command that gives this run again, for its report. */
  readonly command: string;
  readonly resume: boolean;
  /** Threads that make training data ahead of time; on a GPU some, elsewhere none, when absent. The run is the same for any number. */
  readonly dataWorkers?: number | undefined;
  /** The processes that train it together; this one alone when absent. */
  readonly team?: RankTeam | undefined;
  /** Trains even where a run beside this one has done the same training. */
  readonly afresh?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  /** Recipes among which that of a run to start from is found; the package's when absent. */
  readonly recipes?: ReadonlyMap<string, Recipe>;
  /** Hears what happens before this run can start: that another one is made, or waited for. */
  readonly tell?: (text: string) => void;
}

/** How a run ended. */
export type RunOutcome = Aborted | { readonly stopped: 'finished'; readonly finished: FinishedRun };

/**
 * Executes an experiment in a run directory and leaves there `environment.json`, `report.html`, `figures/` and, last, so
 * that it marks a finished run, `results.json`.
 *
 * @throws ConfigError when the run was started on another device.
 * @throws PhyslmError as the recipe does.
 */
export async function runRecipe(options: RunRecipeOptions): Promise<RunOutcome> {
  const {
    recipe,
    experiment,
    run,
    device,
    command,
    signal,
    onProgress,
    team,
    dataWorkers,
    tell = () => undefined,
  } = options;
  const before = options.resume ? run.readJson<Environment>('environment.json') : undefined;
  if (before !== undefined) requireSameDevice(before.device, device.name);
  const taken = options.afresh ? undefined : takeTraining(recipe, experiment, run, device.name);
  if (taken !== undefined)
    tell(`Its training is that of ${join(dirname(run.path), taken.run)}: only measuring is left.`);
  const resume = options.resume || taken !== undefined;
  const trained = taken ?? before?.trained;
  const begin = performance.now();
  // Time that went into the run that this one starts from, which counts it itself.
  let elsewhere = 0;
  const now = currentEnvironment(device, command, team?.plan.worldSize);
  const environmentSoFar = (): Environment => ({
    ...now,
    ...(trained && { trained }),
    started: before?.started ?? now.started,
    seconds: Number(((before?.seconds ?? 0) + (performance.now() - begin - elsewhere) / 1000).toFixed(1)),
  });
  run.writeJson('environment.json', environmentSoFar());
  // A run that trains nothing is one step to whoever watches.
  const nStep = Math.max(1, experiment.train.nStep);
  const measured = async <T>(name: string, measure: () => T | Promise<T>): Promise<T> => {
    if (run.hasMeasured(name)) return run.measured(name, measure as () => T);
    onProgress?.({ ...done(nStep), part: name });
    // Whoever wants the run to stop is heard between two parts.
    await yieldToEvents();
    if (signal?.aborted) throw new StoppedMeasuring();
    const made = await measure();
    const value = run.measured(name, () => made);
    run.writeJson('environment.json', environmentSoFar());
    return value;
  };
  const watched = (progress: Progress): void => {
    // A run that is killed after this checkpoint resumes from it, so this is the time that counts.
    if (progress.phase === 'checkpoint') run.writeJson('environment.json', environmentSoFar());
    onProgress?.(progress);
  };
  const execution = await executeOrStop(recipe, experiment, {
    run,
    measured,
    device,
    resume,
    ...(signal && { signal }),
    async base() {
      const from = performance.now();
      try {
        // Whoever starts from it trains with others; it is made by one process.
        return await baseRun(experiment, { ...options, team: undefined });
      } finally {
        elsewhere += performance.now() - from;
      }
    },
    train: (training) =>
      trainRun(training, { experiment, run, resume, team, dataWorkers, signal, onProgress: watched }),
    onProgress: watched,
  });
  if (execution.stopped === 'aborted') {
    run.writeJson('environment.json', environmentSoFar());
    return execution;
  }
  const environment = { ...environmentSoFar(), finished: new Date().toISOString() };
  run.writeJson('environment.json', environment);
  const finished = { run, experiment, results: execution.results, environment };
  await writeReport(recipe, finished);
  run.writeJson('results.json', execution.results);
  run.dropMeasured();
  return { stopped: 'finished', finished };
}

/** Ends an execution between two parts of its evaluation. */
class StoppedMeasuring extends Error {}

const done = (nStep: number): Progress => ({
  phase: 'measure',
  step: nStep,
  nStep,
  loss: Number.NaN,
  tokensPerSec: 0,
  secondsLeft: Number.POSITIVE_INFINITY,
});

async function executeOrStop(recipe: Recipe, experiment: Experiment, context: RunContext): Promise<Execution> {
  try {
    return await recipe.execute(experiment, context);
  } catch (error) {
    if (!(error instanceof StoppedMeasuring || error instanceof RankDone)) throw error;
    const checkpoint = context.run.latestCheckpoint();
    return { stopped: 'aborted', step: checkpoint?.step ?? 0, checkpoint: checkpoint?.path };
  }
}

/**
 * Writes `report.html` and `figures/` of a finished run; returns the path of the page.
 *
 * @throws OutputError when they cannot be written.
 */
export async function writeReport(
  recipe: Recipe,
  { run, experiment, results, environment }: FinishedRun,
): Promise<string> {
  const document = recipe.report(experiment, results);
  const { html, figures } = await renderReport(document, experiment, environment, judge(recipe, experiment, results));
  for (const [id, { svg, data }] of figures) {
    run.writeText(`figures/${id}.svg`, svg);
    run.writeJson(`figures/${id}.json`, { ...data, table: figureData(data) });
  }
  run.writeText('report.html', html);
  return `${run.path}/report.html`;
}

/** What the laws say that this run decides by itself: none when its parameters are not those of a law's scale. */
export function judge(recipe: Recipe, experiment: Experiment, results: Results): readonly Judgement[] {
  return lawsDecidedBy(recipe, experiment).map(({ law, member, expect }) => ({
    verdict: criterion(law.measure({ [member]: results }).measures, expect),
    claim: law.claim,
    source: `${law.source.paper}, ${law.source.section}`,
    expect,
  }));
}

/**
 * Reads a finished run back from its folder.
 *
 * @throws DataError when the folder holds no run, or an unfinished one.
 */
export function openFinishedRun(path: string): FinishedRun {
  const experiment = readExperiment(path);
  const run = RunDirectory.open(path, experiment, 'resume');
  const results = run.readJson<Results>('results.json');
  const environment = run.readJson<Environment>('environment.json');
  if (results === undefined) {
    throw new DataError(path, 'a finished run', 'one without results.json', 'Finish it with physlm run … --resume.');
  }
  if (environment === undefined) throw new DataError(path, 'a finished run', 'one without environment.json');
  return { run, experiment, results, environment };
}

/**
 * The experiment of a run's folder.
 *
 * @throws DataError when there is none.
 */
export function readExperiment(path: string): Experiment {
  let text: string;
  try {
    text = readFileSync(join(path, 'experiment.json'), 'utf8');
  } catch (error) {
    const problem =
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no experiment.json' : (error as Error).message;
    throw new DataError(path, 'the folder of a run', problem);
  }
  try {
    return JSON.parse(text) as Experiment;
  } catch (error) {
    throw new DataError(join(path, 'experiment.json'), 'JSON', (error as Error).message);
  }
}
