import { ConfigError, type ConfigProblem, DataError, Rng } from '@physlm/base';
import type { Device } from '@physlm/model';
import type { ProbeInterval, ProbeScore } from './probe-score.js';
import { SoftmaxRegression } from './softmax-regression.js';

/** What to probe for, in which rows, and how. */
export interface LinearProbeOptions {
  /** Rows of hidden states [nRow, d], row-major. */
  readonly features: Float32Array;
  readonly nRow: number;
  readonly d: number;
  /** The class of each row, 0 … nClass − 1. */
  readonly labels: Int32Array;
  readonly nClass: number;
  /** What each row belongs to (person, sentence, problem): rows of one group are never on both sides of the split. */
  readonly groups: Int32Array;
  /** Share of the groups to train on. Half, as arXiv:2309.14316 does. */
  readonly split?: number | undefined;
  /** Decides the split, the control's labels and the resampling. */
  readonly seed: number | string;
  /**
   * The type of each row that a memorising probe could key on (token, person, n-gram), any integers. Types should recur
   * across groups: see {@link linearProbe}. Without it every group is its own type.
   */
  readonly controlKeys?: Int32Array | undefined;
  /** Features [nRow, d] of the same rows in an untrained model of the same config, for the random-model control. */
  readonly randomModel?: Float32Array | undefined;
  /** Best possible accuracy given what the model has read, where it is known. */
  readonly ceiling?: number | undefined;
  /** Penalty l2/2·‖W‖² on the mean loss, nats. 1/nTrain is a standard normal prior on every weight, and the default. */
  readonly l2?: number | undefined;
  /** Most optimiser steps for each fit; 300. */
  readonly nStep?: number | undefined;
}

/** What a linear probe found: its score, and what was tested. */
export interface LinearProbeResult extends ProbeScore {
  readonly nGroupTrain: number;
  readonly nGroupTest: number;
  /** Whether both fits reached their optimum within `nStep`. */
  readonly converged: boolean;
  /** Rows that were tested, ascending, and the class predicted for each: accuracies by class or position follow. */
  readonly testRows: Int32Array<ArrayBuffer>;
  readonly predicted: Int32Array<ArrayBuffer>;
}

/**
 * Asks whether a label can be read off hidden states linearly, and whether the reader could have learnt as much by heart.
 *
 * A multinomial logistic regression on features standardised by their training mean and deviation is fitted to the
 * training groups and scored on the others. The control task gives every key one random label, drawn once from the
 * training labels (so with their frequencies), and fits and scores the same probe on it. An accuracy counts as far as it
 * exceeds the control: selectivity.
 *
 * The control is scored on **seen keys**: test rows whose key also occurs in training rows. On unseen keys a control task
 * is at chance by construction and would flatter any probe. So keys that never recur across the split, as persons do when
 * persons are also the groups, leave `controlAccuracy` and `selectivity` undefined; `controlTrainAccuracy` still says how
 * much can be memorised. With few keys the control's labels may be more lopsided than the task's, and on features that
 * know neither, `selectivity` is then `majority` − `controlMajority` instead of 0. With `randomModel` the same probe is also
 * fitted to, and scored on, the features of an untrained model.
 *
 * Deterministic: the same rows, options and device give the same bits.
 *
 * @throws ConfigError naming every option out of its range.
 * @throws DataError when sizes disagree, a label is not a class or a feature not finite (naming row and value), or there
 * are fewer than two groups.
 * @see Hewitt and Liang 2019, arXiv:1909.03368. Differs from the paper: task and control are compared on seen keys only.
 */
export function linearProbe(device: Device, options: LinearProbeOptions): LinearProbeResult {
  checkOptions(options);
  checkRows(options);
  const { features, d, labels, nClass, groups, controlKeys = groups, split = 0.5, nStep = 300 } = options;
  const rng = new Rng(options.seed).fork('linearProbe');
  const trainGroups = chooseGroups(groups, split, rng.fork('split'));
  const rowsWhere = (inTrain: boolean): Int32Array<ArrayBuffer> =>
    Int32Array.from([...groups.keys()].filter((row) => trainGroups.has(groups[row]!) === inTrain));
  const [trainRows, testRows] = [rowsWhere(true), rowsWhere(false)];
  const own_X = standardise(features, d, trainRows, testRows);

  const probe = new SoftmaxRegression(device, d, nClass, Math.max(trainRows.length, testRows.length));
  const penalty = { l2: options.l2 ?? 1 / trainRows.length, nStep };
  const score = ([trainX, testX]: readonly [Float32Array, Float32Array], answers: Int32Array) => {
    const [train, test] = [at(answers, trainRows), at(answers, testRows)];
    const fit = probe.fit(trainX, train, penalty);
    const predicted = probe.predict(testX);
    return {
      converged: fit.converged,
      predicted,
      isCommonest: hits(new Int32Array(test.length).fill(commonestOf(train, nClass)), test),
      trainAccuracy: mean(hits(probe.predict(trainX), train)),
      hits: hits(predicted, test),
    };
  };
  const task = score(own_X, labels);
  const control = score(own_X, controlLabels(controlKeys, at(labels, trainRows), rng.fork('control')));
  const random = options.randomModel && score(standardise(options.randomModel, d, trainRows, testRows), labels);

  const seenKeys = new Set(at(controlKeys, trainRows));
  const seen = [...testRows.keys()].filter((i) => seenKeys.has(controlKeys[testRows[i]!]!));
  const gain = (i: number): number => task.hits[i]! - control.hits[i]!;
  const groupOf = (i: number): number => groups[testRows[i]!]!;
  const all = [...testRows.keys()];
  return {
    accuracy: mean(task.hits),
    interval: bootstrapOverGroups(all, (i) => task.hits[i]!, groupOf, rng.fork('interval')),
    majority: mean(task.isCommonest),
    trainAccuracy: task.trainAccuracy,
    controlAccuracy: seen.length === 0 ? undefined : mean(seen.map((i) => control.hits[i]!)),
    controlMajority: seen.length === 0 ? undefined : mean(seen.map((i) => control.isCommonest[i]!)),
    controlTrainAccuracy: control.trainAccuracy,
    selectivity: seen.length === 0 ? undefined : mean(seen.map(gain)),
    selectivityInterval:
      seen.length === 0 ? undefined : bootstrapOverGroups(seen, gain, groupOf, rng.fork('selectivity')),
    randomModelAccuracy: random && mean(random.hits),
    randomModelInterval: random && bootstrapOverGroups(all, (i) => random.hits[i]!, groupOf, rng.fork('random')),
    ceiling: options.ceiling,
    nTrain: trainRows.length,
    nTest: testRows.length,
    nTestSeen: seen.length,
    nGroupTrain: trainGroups.size,
    nGroupTest: new Set(at(groups, testRows)).size,
    converged: task.converged && control.converged && random?.converged !== false,
    testRows,
    predicted: task.predicted,
  };
}

/** A random choice of groups that depends on which groups there are, not on the order of their rows. */
function chooseGroups(groups: Int32Array, split: number, rng: Rng): ReadonlySet<number> {
  const all = rng.shuffle([...new Set(groups)].sort((a, b) => a - b));
  const nTrain = Math.min(all.length - 1, Math.max(1, Math.round(split * all.length)));
  return new Set(all.slice(0, nTrain));
}

/** One label for each key: a function of the stream, the key and the training labels. */
function controlLabels(keys: Int32Array, trainLabels: Int32Array, rng: Rng): Int32Array {
  const byKey = new Map<number, number>();
  return keys.map((key) => {
    const known = byKey.get(key);
    if (known !== undefined) return known;
    const label = trainLabels[rng.at(key >>> 0).below(trainLabels.length)]!;
    byKey.set(key, label);
    return label;
  });
}

/** (x − mean)/deviation of both parts, by the training rows; a feature that is constant there becomes 0. */
function standardise(
  features: Float32Array,
  d: number,
  trainRows: Int32Array,
  testRows: Int32Array,
): readonly [Float32Array, Float32Array] {
  const means = new Float64Array(d);
  for (const row of trainRows) for (let i = 0; i < d; i++) means[i]! += features[row * d + i]! / trainRows.length;
  const variances = new Float64Array(d);
  for (const row of trainRows) {
    for (let i = 0; i < d; i++) variances[i]! += (features[row * d + i]! - means[i]!) ** 2 / trainRows.length;
  }
  // The mean of equal numbers can be off by rounding: a deviation that small is none.
  const scales = variances.map((variance, i) => (variance > (1e-12 * means[i]!) ** 2 ? 1 / Math.sqrt(variance) : 0));
  const apply = (rows: Int32Array): Float32Array => {
    const x = new Float32Array(rows.length * d);
    rows.forEach((row, r) => {
      for (let i = 0; i < d; i++) x[r * d + i] = (features[row * d + i]! - means[i]!) * scales[i]!;
    });
    return x;
  };
  return [apply(trainRows), apply(testRows)];
}

function at(values: Int32Array, rows: Int32Array): Int32Array {
  return rows.map((row) => values[row]!);
}

/** The commonest label; of equals the smallest. */
function commonestOf(labels: Int32Array, nClass: number): number {
  const counts = new Int32Array(nClass);
  for (const label of labels) counts[label]!++;
  return counts.indexOf(counts.reduce((a, b) => Math.max(a, b)));
}

/** 1 where predicted and true class agree, else 0. */
function hits(predicted: Int32Array, truth: Int32Array): Int32Array {
  return predicted.map((label, i) => Number(label === truth[i]));
}

function mean(values: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i]!;
  return total / values.length;
}

/**
 * 95 % percentile interval of the mean of `value` over items, resampling whole groups: rows of one group are not
 * independent.
 *
 * @see Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
 */
function bootstrapOverGroups(
  items: readonly number[],
  value: (item: number) => number,
  groupOf: (item: number) => number,
  rng: Rng,
): ProbeInterval {
  const byGroup = new Map<number, { total: number; n: number }>();
  for (const item of items) {
    const group = byGroup.get(groupOf(item)) ?? { total: 0, n: 0 };
    group.total += value(item);
    group.n++;
    byGroup.set(groupOf(item), group);
  }
  const sums = [...byGroup.values()];
  const nResample = 1000;
  const means = new Float64Array(nResample).map(() => {
    let [total, n] = [0, 0];
    for (let i = 0; i < sums.length; i++) {
      const drawn = sums[rng.below(sums.length)]!;
      total += drawn.total;
      n += drawn.n;
    }
    return total / n;
  });
  means.sort();
  return { low: means[Math.floor(0.025 * nResample)]!, high: means[Math.ceil(0.975 * nResample) - 1]! };
}

function checkOptions({ nRow, d, nClass, split, l2, nStep }: LinearProbeOptions): void {
  const problems: ConfigProblem[] = [];
  const check = (ok: boolean, name: string, expected: string, got: unknown): void => {
    if (!ok) problems.push({ path: `linearProbe.${name}`, expected, got: String(got) });
  };
  for (const [name, size] of Object.entries({ nRow, d, nClass, nStep: nStep ?? 1 })) {
    check(Number.isInteger(size) && size > 0, name, 'a positive integer', size);
  }
  check(split === undefined || (split > 0 && split < 1), 'split', 'a share of the groups in (0, 1)', split);
  check(l2 === undefined || (l2 > 0 && Number.isFinite(l2)), 'l2', 'a number > 0', l2);
  if (problems.length > 0) throw new ConfigError(problems);
}

function checkRows(options: LinearProbeOptions): void {
  const { features, nRow, d, labels, nClass, groups, controlKeys = groups, randomModel = features } = options;
  if (randomModel.length !== features.length) {
    throw new DataError(
      'linearProbe.randomModel',
      `${features.length} numbers, as features`,
      String(randomModel.length),
    );
  }
  const sizes = { features: features.length / d, labels: labels.length, groups: groups.length };
  for (const [name, n] of Object.entries({ ...sizes, controlKeys: controlKeys.length })) {
    if (n !== nRow) throw new DataError(`linearProbe.${name}`, `${nRow} rows`, String(n));
  }
  labels.forEach((label, row) => {
    if (label >= 0 && label < nClass) return;
    throw new DataError(`linearProbe.labels[${row}]`, `a class 0 … ${nClass - 1}`, String(label));
  });
  for (let i = 0; i < features.length; i++) {
    if (Number.isFinite(features[i])) continue;
    const where = `linearProbe.features[row ${Math.floor(i / d)}, column ${i % d}]`;
    throw new DataError(where, 'a finite number', String(features[i]));
  }
  const nGroup = new Set(groups).size;
  if (nGroup < 2) throw new DataError('linearProbe.groups', 'at least two groups to split', String(nGroup));
}
