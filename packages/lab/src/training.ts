// How a run trains: with data made ahead of time by other threads, by one process or by several that share every step.
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ConfigError, digest, PhyslmError } from '@physlm/base';
import {
  joinRanks,
  type Progress,
  type RankPlan,
  type Ranks,
  type RunDirectory,
  soleRank,
  type TrainingWindows,
  type TrainOptions,
  type TrainResult,
  train,
  WindowWorkers,
} from '@physlm/train';
import { packageRoot } from './package-root.js';
import type { Experiment } from './recipes/recipe.js';
import { hasWindows } from './recipes/windows.js';

/** What a recipe trains; the rest is the run's affair. */
export type Training = Pick<TrainOptions, 'model' | 'windows' | 'config' | 'evaluate' | 'files'>;

/** The processes that train a run together, as one of them sees them. */
export interface RankTeam {
  readonly plan: RankPlan;
  /** On rank 0: starts the others, which come to meet it. `ended` resolves when they are gone, with what went wrong in them. */
  readonly call?: () => { ended(): Promise<string | undefined> };
}

/** How a run wants its training done. */
export interface TrainingOptions {
  readonly experiment: Experiment;
  readonly run: RunDirectory;
  readonly resume: boolean;
  readonly team?: RankTeam | undefined;
  /** Threads that make windows; on a GPU some, elsewhere none, when absent. */
  readonly dataWorkers?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress: (progress: Progress) => void;
}

/** A GPU takes what a few threads make. */
const MOST_DATA_WORKERS = 4;

/** Thrown by the training of a rank behind the first when it is done: the rest of the run is rank 0's. */
export class RankDone extends Error {}

/**
 * Trains as the run is asked to.
 *
 * @throws ConfigError when the step cannot be divided among the ranks.
 * @throws PhyslmError 'ranks' with the message of another rank that failed.
 * @throws RankDone on a rank behind the first.
 */
export async function trainRun(training: Training, options: TrainingOptions): Promise<TrainResult> {
  const { experiment, run, resume, team, dataWorkers, signal, onProgress } = options;
  const { windows, config } = training;
  const share = shareOf(config.nAccumulate ?? 1, team?.plan.worldSize ?? 1);
  const called = team?.call?.();
  let ranks: Ranks = soleRank;
  let workers: WindowWorkers | undefined;
  try {
    if (team !== undefined) ranks = joinRanks(team.plan, digest(experiment));
    workers = windowWorkers(windows, experiment, dataWorkers ?? defaultWorkers(training, ranks));
    // Rank 0 keeps the folder, and so knows whether there is a checkpoint to go on from.
    const [resumes] = ranks.sumNumbers([Number(ranks.rank === 0 && resume)]);
    const ended = await train({
      ...training,
      windows: workers ?? windows,
      config: { ...config, nAccumulate: share },
      run,
      resume: resumes! > 0,
      ranks,
      signal,
      onProgress,
    });
    if (ranks.rank > 0) throw new RankDone();
    return ended;
  } catch (error) {
    ranks.close();
    const complaint = await called?.ended();
    throw complaint === undefined ? error : new PhyslmError('ranks', complaint, { cause: error });
  } finally {
    ranks.close();
    await workers?.close();
    await called?.ended();
  }
}

/** Parts of a step that each rank computes in turn. The experiment says into how many the whole step is cut. */
function shareOf(nAccumulate: number, worldSize: number): number {
  if (nAccumulate % worldSize === 0) return nAccumulate / worldSize;
  throw new ConfigError([
    { path: 'train.nAccumulate', expected: `a multiple of ${worldSize} ranks`, got: `${nAccumulate}` },
  ]);
}

function defaultWorkers({ model }: Training, { worldSize }: Ranks): number {
  if (model.device.name !== 'cuda') return 0;
  return Math.min(MOST_DATA_WORKERS, Math.floor(availableParallelism() / worldSize) - 1);
}

/** None where there is nothing to gain, where this package was not built, or where it does not know the data. */
function windowWorkers(
  windows: TrainingWindows,
  { recipe, data, seed }: Experiment,
  n: number,
): WindowWorkers | undefined {
  const built = join(packageRoot(), 'dist', 'index.js');
  if (n <= 0 || !hasWindows(recipe) || !existsSync(built)) return undefined;
  const opener = { url: pathToFileURL(built).href, exported: 'openWindows', options: { recipe, data, seed } };
  return new WindowWorkers(windows, opener, n);
}
