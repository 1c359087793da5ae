import { ConfigError, type ConfigProblem } from '@physlm/base';
import type { ScheduleConfig } from './schedule.js';

/** AdamW with decoupled weight decay on matrices; biases and gains do not decay. */
export interface OptimizerConfig {
  readonly lrPeak: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weightDecay: number;
  /** Largest global gradient norm; 0 means no clipping. */
  readonly clipNorm: number;
}

/** How to train, as plain JSON. */
export interface TrainConfig {
  /** Optimiser steps of the whole run. */
  readonly nStep: number;
  /** Windows in one optimiser step. */
  readonly batchSize: number;
  /** Parts that a step's windows are processed in; same result up to rounding, less memory. */
  readonly nAccumulate?: number;
  readonly optimizer: OptimizerConfig;
  readonly schedule: ScheduleConfig;
  /** Steps between records of loss, learning rate and gradient norm. */
  readonly logEvery: number;
  /** Steps between checkpoints; the last step always writes one. */
  readonly checkpointEvery: number;
  /** Checkpoints to keep, the latest ones; all when left out. */
  readonly keepCheckpoints?: number;
  /** Completed steps after which `evaluate` is called; 0 is before training. */
  readonly evaluateAt?: readonly number[];
}

/** @throws ConfigError with every field that cannot be trained with, by `worldSize` processes together. */
export function checkTrainConfig(config: TrainConfig, worldSize = 1): void {
  const problems: ConfigProblem[] = [];
  const check = (ok: boolean, path: string, expected: string, got: unknown): void => {
    if (!ok) problems.push({ path: `train.${path}`, expected, got: JSON.stringify(got) ?? 'nothing' });
  };
  const positive = (x: number): boolean => Number.isInteger(x) && x > 0;
  check(positive(config.nStep), 'nStep', 'a positive integer', config.nStep);
  check(positive(config.batchSize), 'batchSize', 'a positive integer', config.batchSize);
  const nAccumulate = config.nAccumulate ?? 1;
  const divides = positive(nAccumulate) && config.batchSize % nAccumulate === 0;
  check(divides, 'nAccumulate', `a divisor of batchSize ${config.batchSize}`, nAccumulate);
  const shares = worldSize * (divides ? nAccumulate : 1);
  if (worldSize > 1) {
    const expected = `a multiple of ${worldSize} ranks${shares > worldSize ? ` times nAccumulate ${nAccumulate}` : ''}`;
    check(config.batchSize % shares === 0, 'batchSize', expected, config.batchSize);
  }
  check(positive(config.logEvery), 'logEvery', 'a positive integer', config.logEvery);
  check(positive(config.checkpointEvery), 'checkpointEvery', 'a positive integer', config.checkpointEvery);
  const keep = config.keepCheckpoints ?? 1;
  check(positive(keep), 'keepCheckpoints', 'a positive integer', keep);
  const { lrPeak, betas, eps, weightDecay, clipNorm } = config.optimizer;
  check(lrPeak > 0 && Number.isFinite(lrPeak), 'optimizer.lrPeak', 'a number > 0', lrPeak);
  check(betas.length === 2 && betas.every((b) => b >= 0 && b < 1), 'optimizer.betas', 'two numbers in [0, 1)', betas);
  check(eps > 0, 'optimizer.eps', 'a number > 0', eps);
  check(weightDecay >= 0, 'optimizer.weightDecay', 'a number ≥ 0', weightDecay);
  check(clipNorm >= 0, 'optimizer.clipNorm', 'a number ≥ 0', clipNorm);
  const { kind, nWarmup, finalFraction } = config.schedule;
  check(['constant', 'linear', 'cosine'].includes(kind), 'schedule.kind', "'constant', 'linear' or 'cosine'", kind);
  check(Number.isInteger(nWarmup) && nWarmup >= 0, 'schedule.nWarmup', 'an integer ≥ 0', nWarmup);
  check(finalFraction >= 0 && finalFraction <= 1, 'schedule.finalFraction', 'a number in [0, 1]', finalFraction);
  const steps = config.evaluateAt ?? [];
  const inside = steps.every((step) => Number.isInteger(step) && step >= 0 && step <= config.nStep);
  check(inside, 'evaluateAt', `steps in 0 … ${config.nStep}`, steps);
  if (problems.length > 0) throw new ConfigError(problems);
}
