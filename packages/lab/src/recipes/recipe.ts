import { digest } from '@physlm/base';
import type { Device, ModelConfig } from '@physlm/model';
import type { Progress, RunDirectory, TrainConfig, TrainResult } from '@physlm/train';
import type { z } from 'zod';
import type { CheckpointStart } from '../open-checkpoint.js';
import type { LineFigure, ReportDocument } from '../report/document.js';
import type { FinishedRun } from '../run-recipe.js';
import type { Training } from '../training.js';
import type { ParameterValue } from './run-command.js';

/**
 * How much of a law is tried. `tiny`: under a minute on two processor cores. `small`: under two minutes. `laptop`: up to
 * half an hour on a processor. `gpu`: sized for one data-centre GPU. `paper`: the paper's own setting.
 */
export type ScaleName = 'tiny' | 'small' | 'laptop' | 'gpu' | 'paper';

/** Every scale, smallest first. */
export const scaleNames: readonly ScaleName[] = ['tiny', 'small', 'laptop', 'gpu', 'paper'];

/** A bound that a measured number must keep for its law to hold. */
export interface Expectation {
  /** A key of the law's measures. */
  readonly measure: string;
  readonly atLeast?: number;
  readonly atMost?: number;
  /** What the bound tests at this scale, as a sentence without its full stop. */
  readonly tests: string;
}

/** Everything that decides the outcome of a run, as plain JSON: equal experiments give equal results on one device. */
export interface Experiment {
  readonly name: string;
  readonly recipe: string;
  readonly scale: ScaleName;
  /** Paper and place of the claim. */
  readonly source: string;
  readonly seed: number;
  readonly data: object;
  readonly model: ModelConfig;
  readonly train: TrainConfig;
  readonly evaluate: object;
  /** The run whose last checkpoint training starts from. Part of what this experiment is; equal ones are one run. */
  readonly start?: { readonly experiment: Experiment };
  /** The checkpoint that training starts from when that is not a run of this package's making, or lies elsewhere. */
  readonly from?: CheckpointStart;
}

/** Name of an experiment's run directory: it says what it is, and the digest tells it from all others. */
export function runName(experiment: Experiment): string {
  return `${experiment.name}-${digest(experiment).slice(0, 8)}`;
}

/** A 95 % interval. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** What a finished run measured: the content of `results.json`. No clock times, so equal runs give equal files. */
export interface Results {
  readonly recipe: string;
  readonly measures: Readonly<Record<string, number>>;
  /** Intervals of some of the measures, over the units that were evaluated (people, sentences, problems). */
  readonly intervals: Readonly<Record<string, Interval>>;
}

/** What an execution is given besides its experiment. */
export interface RunContext {
  readonly run: RunDirectory;
  readonly device: Device;
  /** Goes on from the newest checkpoint of the run directory. */
  readonly resume: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  /**
   * Trains in the run directory, as the run is asked to: resumed or not, watched, stopped, alone or with other processes, with data made
   * ahead of time. In a process that only helps another one to train it does not return.
   */
  train(training: Training): Promise<TrainResult>;
  /**
   * One part of the evaluation after training, as plain JSON: `await measured('completions', () => …)`. It is kept in the run
   * directory, so that a resumed run does not measure it again, and a run that is asked to stop ends before its next part.
   * Parts must not depend on each other except through what they return. See `RunDirectory.measured`.
   */
  measured<T>(name: string, measure: () => T | Promise<T>): Promise<T>;
  /**
   * The finished run of `experiment.start`, which lies beside this one. Makes it first when it is missing or unfinished, and
   * waits while another process makes it. `aborted` when it was stopped: the execution then ends with the same value.
   *
   * @throws DataError naming its folder when that run is damaged.
   */
  base(): Promise<Aborted | { readonly stopped: 'finished'; readonly finished: FinishedRun }>;
}

/** Somebody asked to stop. `checkpoint`: where to go on from; undefined when there is none yet. */
export interface Aborted {
  readonly stopped: 'aborted';
  readonly step: number;
  readonly checkpoint: string | undefined;
}

/** How an execution ended. */
export type Execution<R extends Results = Results> = Aborted | { readonly stopped: 'finished'; readonly results: R };

/** What a recipe is asked for: a scale, a seed, and parameters that replace those of the scale. */
export interface RecipeOptions {
  readonly scale: ScaleName;
  readonly seed: number;
  readonly parameters?: Readonly<Record<string, unknown>>;
}

/** What a sweep of a recipe tries and shows unless it is told otherwise. */
export interface RecipeSweep {
  /** Parameters and their values, by scale. */
  readonly grid: Readonly<Partial<Record<ScaleName, Readonly<Record<string, readonly ParameterValue[]>>>>>;
  /** The measure that is fitted, and the measure or parameter that it is fitted against. */
  readonly fit: { readonly y: string; readonly x: string };
  /** What the largest y at each x means, when the law is about it rather than about all members. */
  readonly envelope?: string;
  /** What the papers found for these two, to be drawn beside the sweep's own points. */
  readonly paper: Pick<LineFigure, 'series' | 'rays'>;
  readonly title: string;
  /** What the figure shows of the papers, and what slope they find. */
  readonly caption: string;
  readonly sources: readonly string[];
}

/** A kind of experiment: how to write it down, run it and show its results. */
export interface Recipe<E extends Experiment = Experiment, R extends Results = Results> {
  readonly name: string;
  /** One sentence. */
  readonly describe: string;
  readonly source: string;
  /** What each scale trains, in a few words. */
  readonly scales: Readonly<Partial<Record<ScaleName, string>>>;
  /** Every parameter that may be set, optional and described. */
  readonly parameters: z.ZodObject;
  /**
   * Fields of `evaluate` that only what is measured after training depends on: runs that differ in nothing else share their training.
   * None are shared when absent.
   */
  readonly measuredAfter?: readonly string[];
  /**
   * The experiment; pure.
   *
   * @throws ConfigError with every parameter that is unknown or does not fit.
   */
  experiment(options: RecipeOptions): E;
  execute(experiment: E, context: RunContext): Promise<Execution<R>>;
  report(experiment: E, results: R): ReportDocument;
  readonly sweep?: RecipeSweep;
}
