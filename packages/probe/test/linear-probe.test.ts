import { Rng } from '@physlm/base';
import { deviceStatus, openDevice } from '@physlm/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type LinearProbeOptions, linearProbe } from '../src/index.js';

const devices = (['js', 'cpu'] as const).filter((name) => deviceStatus(name).available).map((name) => openDevice(name));
const js = devices[0]!;

/** `nGroup` groups of `perGroup` rows; `row` gives the features of a row and its label. */
function rows(
  nGroup: number,
  perGroup: number,
  nClass: number,
  row: (label: number, rng: Rng, index: number) => readonly number[],
): LinearProbeOptions {
  const nRow = nGroup * perGroup;
  const rng = new Rng('rows');
  const labels = Int32Array.from({ length: nRow }, () => rng.below(nClass));
  const features = Float32Array.from([...labels].flatMap((label, i) => row(label, rng.at(i), i)));
  const groups = Int32Array.from({ length: nRow }, (_, i) => Math.floor(i / perGroup));
  return { features, nRow, d: features.length / nRow, labels, nClass, groups, seed: 1 };
}
const oneHot = (n: number, at: number): number[] => Array.from({ length: n }, (_, i) => Number(i === at));
const noise = (d: number, rng: Rng): number[] => Array.from({ length: d }, () => rng.normal());
/** Keys that recur across groups and have nothing to do with the label. */
const recurringKeys = (nRow: number, nKey: number): Int32Array => {
  const rng = new Rng('keys');
  return Int32Array.from({ length: nRow }, () => rng.below(nKey) - 3);
};

describe.each(devices)('linear probe on $name', (device) => {
  it('reads a label that is the features, with selectivity near 1 − chance', () => {
    const data = rows(100, 6, 4, (label) => oneHot(4, label));
    const result = linearProbe(device, { ...data, controlKeys: recurringKeys(600, 60) });
    expect(result).toMatchObject({ accuracy: 1, interval: { low: 1, high: 1 }, trainAccuracy: 1, converged: true });
    expect(result).toMatchObject({ nTrain: 300, nTest: 300, nGroupTrain: 50, nGroupTest: 50 });
    expect(result.nTestSeen).toBeGreaterThan(280);
    expect(Math.abs(result.controlAccuracy! - 0.25)).toBeLessThan(0.1);
    expect(result.selectivity!).toBeCloseTo(1 - result.controlAccuracy!, 12);
    expect(result.selectivityInterval!.low).toBeGreaterThan(0.6);
  });

  it('finds nothing in noise: task and control stay at the majority', () => {
    const data = rows(200, 5, 3, (_, rng) => noise(8, rng));
    const result = linearProbe(device, { ...data, controlKeys: recurringKeys(1000, 50) });
    expect(result.interval.low).toBeLessThan(result.majority);
    expect(result.interval.high).toBeGreaterThan(result.majority);
    const { low, high } = result.selectivityInterval!;
    expect(low).toBeLessThan(result.majority - result.controlMajority!);
    expect(high).toBeGreaterThan(result.majority - result.controlMajority!);
  });

  it('catches a memoriser: features that name one of few keys fit any labels of keys', () => {
    const nKey = 12;
    const keys = recurringKeys(600, nKey);
    const byKey = Array.from({ length: nKey }, (_, key) => (key * 7) % 5);
    const data = rows(100, 6, 5, (_label, _rng, i) => oneHot(nKey, keys[i]! + 3));
    const labels = keys.map((key) => byKey[key + 3]!);
    const result = linearProbe(device, { ...data, labels, controlKeys: keys });
    expect(result.accuracy).toBe(1);
    expect(result.controlAccuracy).toBe(1);
    expect(result.selectivity).toBe(0);
  });

  it('gives the same bits for the same seed, and another split for another', () => {
    const data = {
      ...rows(60, 4, 3, (label, rng) => [label + rng.normal(), rng.normal()]),
      controlKeys: recurringKeys(240, 9),
    };
    const result = linearProbe(device, data);
    expect(linearProbe(device, data)).toEqual(result);
    expect(linearProbe(device, { ...data, seed: 2 }).testRows).not.toEqual(result.testRows);
    expect(result.accuracy).toBeGreaterThan(result.majority);
  });

  it('is not fooled by the scale or offset of a feature', () => {
    const plain = rows(80, 4, 2, (label, rng) => [label + rng.normal(), rng.normal(), 1]);
    const scaled = { ...plain, features: plain.features.map((x, i) => (i % 3 === 2 ? 0.1 : x * 1024 - 4096)) };
    expect(linearProbe(device, scaled).predicted).toEqual(linearProbe(device, plain).predicted);
  });
});

describe('the control', () => {
  it('is scored on seen keys only: keys that are the groups leave it undefined, but show what was memorised', () => {
    const data = rows(40, 1, 2, (label, rng) => [label, ...noise(60, rng)]);
    const result = linearProbe(js, data);
    expect(result).toMatchObject({ controlAccuracy: undefined, selectivity: undefined, nTestSeen: 0 });
    // 20 rows in 61 dimensions: any labelling can be learnt by heart.
    expect(result.controlTrainAccuracy).toBe(1);
  });
  it('does not count test rows whose key training never saw', () => {
    const nKey = 6;
    const data = rows(60, 2, 2, (_label, _rng, i) => oneHot(nKey, i % nKey));
    const keys = Int32Array.from({ length: data.nRow }, (_, i) => i % nKey);
    const { testRows, ...whole } = linearProbe(js, { ...data, controlKeys: keys });
    expect(whole).toMatchObject({ nTestSeen: whole.nTest, controlAccuracy: 1 });
    // A third of the test rows get a key of their own.
    const unseen = keys.slice();
    const strangers = testRows.filter((_, i) => i % 3 === 0);
    for (const [i, row] of strangers.entries()) unseen[row] = 1000 + i;
    const partly = linearProbe(js, { ...data, controlKeys: unseen });
    expect(partly.nTestSeen).toBe(whole.nTest - strangers.length);
    expect(partly.controlAccuracy).toBe(1);
    expect(partly.accuracy).toBe(whole.accuracy);
  });
});

describe('the split', () => {
  it('never shares a group and keeps its share', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 2, maxLength: 40 }).filter((g) => new Set(g).size > 1),
        fc.double({ min: 0.05, max: 0.95, noNaN: true }),
        fc.integer(),
        (list, split, seed) => {
          const groups = Int32Array.from(list);
          const data = { features: new Float32Array(list.length), nRow: list.length, d: 1, nClass: 2 };
          const labels = new Int32Array(list.length);
          const result = linearProbe(js, { ...data, labels, groups, split, seed });
          const tested = new Set(result.testRows);
          const [test, train] = [true, false].map((side) => new Set(list.filter((_, row) => tested.has(row) === side)));
          expect([...test!].filter((group) => train!.has(group))).toEqual([]);
          expect(result).toMatchObject({ nGroupTrain: train!.size, nGroupTest: test!.size, accuracy: 1, majority: 1 });
          expect(result.nTrain + result.nTest).toBe(list.length);
          expect(Math.abs(train!.size - split * (train!.size + test!.size))).toBeLessThan(1);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('the interval', () => {
  it('resamples groups: rows that repeat inside a group add no certainty', () => {
    const once = rows(200, 1, 2, (label, rng) => [label + rng.normal()]);
    const repeat = (values: ArrayLike<number>): number[] => Array.from(values).flatMap((x) => new Array(9).fill(x));
    const nine = {
      ...once,
      nRow: 9 * once.nRow,
      features: Float32Array.from(repeat(once.features)),
      labels: Int32Array.from(repeat(once.labels)),
      groups: Int32Array.from(repeat(once.groups)),
      l2: 1 / 100,
    };
    const [a, b] = [linearProbe(js, { ...once, l2: 1 / 100 }), linearProbe(js, nine)];
    expect(b.accuracy).toBeCloseTo(a.accuracy, 12);
    expect(b.interval).toEqual({ low: expect.closeTo(a.interval.low, 12), high: expect.closeTo(a.interval.high, 12) });
  });
});

describe('linear probe refuses', () => {
  const data = rows(6, 2, 3, (label) => [label]);
  it('a label that is no class, naming row and value', () => {
    const labels = data.labels.with(7, 3);
    expect(() => linearProbe(js, { ...data, labels })).toThrow('[linearProbe.labels[7]] expected a class 0 … 2, got 3');
    expect(() => linearProbe(js, { ...data, labels: labels.with(2, -1) })).toThrow('[linearProbe.labels[2]]');
  });
  it('a feature that is not finite, naming row and column', () => {
    const features = data.features.with(5, Number.NaN);
    expect(() => linearProbe(js, { ...data, features })).toThrow(
      '[linearProbe.features[row 5, column 0]] expected a finite number, got NaN',
    );
  });
  it('rows that do not agree, and groups that cannot be split', () => {
    expect(() => linearProbe(js, { ...data, groups: new Int32Array(3) })).toThrow(
      '[linearProbe.groups] expected 12 rows, got 3',
    );
    expect(() => linearProbe(js, { ...data, groups: new Int32Array(12) })).toThrow(
      'at least two groups to split, got 1',
    );
  });
  it('options out of range, all at once', () => {
    expect(() => linearProbe(js, { ...data, split: 1, l2: 0, nStep: 1.5 })).toThrow(
      /linearProbe\.nStep.*linearProbe\.split.*linearProbe\.l2/s,
    );
  });
});

describe('further controls', () => {
  it('score the same probe on an untrained model and pass the ceiling on', () => {
    const data = rows(100, 4, 3, (label) => oneHot(3, label));
    const untrained = rows(100, 4, 3, (_, rng) => noise(3, rng)).features;
    const result = linearProbe(js, { ...data, randomModel: untrained, ceiling: 0.9 });
    expect(result).toMatchObject({ accuracy: 1, ceiling: 0.9 });
    expect(Math.abs(result.randomModelAccuracy! - 1 / 3)).toBeLessThan(0.1);
    expect(result.randomModelInterval!.low).toBeLessThan(result.randomModelAccuracy!);
    expect(linearProbe(js, { ...data, randomModel: data.features }).randomModelAccuracy).toBe(1);
    expect(() => linearProbe(js, { ...data, randomModel: untrained.slice(1) })).toThrow(
      '[linearProbe.randomModel] expected 1200 numbers, as features, got 1199',
    );
  });
});
