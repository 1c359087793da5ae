import { Rng } from '@physlm/base';
import { deviceStatus, openDevice } from '@physlm/model';
import { describe, expect, it } from 'vitest';
import { type ProbeArchitecture, type TrainProbeOptions, trainProbe } from '../src/index.js';
import { ProbeProgram } from '../src/probe-program.js';
import { draws, type MadeUp, madeUp, noise, oneHots } from './made-up.js';

const devices = (['js', 'cpu'] as const).filter((name) => deviceStatus(name).available).map((name) => openDevice(name));
const js = devices[0]!;

const position = (mask: 'full' | 'diagonal' | 'tridiagonal', nHead = 2, dPosition = 16): ProbeArchitecture => ({
  kind: 'position',
  mask,
  nHead,
  dPosition,
});
const architectures: [string, ProbeArchitecture][] = [
  ['full', position('full')],
  ['tridiagonal', position('tridiagonal')],
  ['diagonal', position('diagonal')],
  ['linear', { kind: 'linear' }],
  ['mlp', { kind: 'mlp', dHidden: 16 }],
];

/** Ragged sentences of 4 … 9 positions. */
const lengthOf = (rng: Rng): number => 4 + rng.below(6);
const small = {
  nPosition: 9,
  nTrain: 320,
  nTest: 120,
  batchSize: 20,
  nStep: 150,
  learningRate: 0.03,
  seed: 1,
} as const;

/** States that are the labels: two families, one defined at every other position only; keys have nothing to do with them. */
function labelsAsStates(rng: Rng): MadeUp {
  const n = lengthOf(rng);
  const [first, second] = [draws(rng, n, 4), draws(rng, n, 2)];
  const states = oneHots(
    first.map((label, i) => 2 * label + second[i]!),
    8,
  );
  return { states, labels: [first, second.map((label, i) => (i % 2 ? label : -1))], keys: draws(rng, n, 40) };
}
const twoFamilies = [
  { name: 'four', nClass: 4, ceiling: 1 },
  { name: 'two', nClass: 2 },
];

describe.each(devices)('a trained probe on $name', (device) => {
  it.each(architectures)(
    '%s: states that are the label give accuracy 1 and selectivity near 1 − chance',
    (_, architecture) => {
      const made = madeUp(440, 8, twoFamilies, labelsAsStates);
      const result = trainProbe(device, { architecture, randomModel: undefined, ...made, ...small });
      const { four, two } = result.families as Record<'four' | 'two', (typeof result.families)[string]>;
      expect(four).toMatchObject({ accuracy: 1, interval: { low: 1, high: 1 }, trainAccuracy: 1, ceiling: 1 });
      expect(two).toMatchObject({ accuracy: 1, interval: { low: 1, high: 1 }, trainAccuracy: 1, ceiling: undefined });
      // States know nothing of keys: the control cannot beat the commonest of its labels by much.
      for (const score of [four, two]) {
        expect(score.selectivity).toBeCloseTo(1 - score.controlAccuracy!, 12);
        expect(Math.abs(score.controlAccuracy! - score.controlMajority!)).toBeLessThan(0.1);
        expect(score.selectivityInterval!.low).toBeGreaterThan(1 - score.controlMajority! - 0.15);
      }
      expect(four.nTest).toBeGreaterThan(120 * 4);
      expect(two.nTest).toBeLessThan(four.nTest / 2 + 1);
      expect(JSON.parse(JSON.stringify(result)).families.four.accuracy).toBe(1);
    },
  );

  it.each(architectures)('%s: noise gives chance', (_, architecture) => {
    const make = (rng: Rng): MadeUp => {
      const n = lengthOf(rng);
      return { labels: [draws(rng, n, 3)], keys: draws(rng, n, 30), states: noise(rng, n, 4) };
    };
    const result = trainProbe(device, {
      architecture,
      ...madeUp(440, 4, [{ name: 'x', nClass: 3 }], make),
      randomModel: madeUp(440, 4, [], make).states,
      ...small,
      nStep: 60,
      learningRate: 0.01,
    });
    const { x } = result.families;
    expect(Math.abs(x!.accuracy - 1 / 3)).toBeLessThan(0.06);
    expect(x!.interval.low).toBeLessThan(1 / 3 + 0.02);
    expect(x!.interval.high).toBeGreaterThan(1 / 3 - 0.02);
    expect(Math.abs(x!.selectivity! - (x!.majority - x!.controlMajority!))).toBeLessThan(0.1);
    // The same states as the task's: the same numbers.
    expect(x!.randomModelAccuracy).toBe(x!.accuracy);
    expect(x!.randomModelInterval).toEqual(x!.interval);
  });

  it('catches a memoriser: a wide MLP fits any labels of the types that its states name', () => {
    const nKey = 24;
    const make = (rng: Rng): MadeUp => {
      const keys = draws(rng, lengthOf(rng), nKey);
      return { keys, states: oneHots(keys, nKey), labels: [keys.map((key) => (key * 7) % 5)] };
    };
    const made = madeUp(100, nKey, [{ name: 'x', nClass: 5 }], make);
    const architecture = { kind: 'mlp', dHidden: 64 } as const;
    const options = { ...small, nTrain: 40, nTest: 60, learningRate: 0.02, nStep: 80 };
    const { x } = trainProbe(device, { architecture, randomModel: undefined, ...made, ...options }).families;
    expect(x).toMatchObject({ accuracy: 1, controlAccuracy: 1, selectivity: 0, controlTrainAccuracy: 1 });
  });

  it('catches a memoriser whose types never recur: it learns the control by heart', () => {
    const make = (rng: Rng, sentence: number): MadeUp => {
      const labels = draws(rng, 5, 2);
      return { labels: [labels], keys: labels.map((_, i) => sentence * 5 + i), states: noise(rng, 5, 48) };
    };
    const made = madeUp(60, 48, [{ name: 'x', nClass: 2 }], make);
    const architecture = { kind: 'mlp', dHidden: 64 } as const;
    const options = { ...small, nTrain: 10, nTest: 50, learningRate: 0.02, nStep: 80 };
    const { x } = trainProbe(device, { architecture, randomModel: undefined, ...made, ...options }).families;
    expect(x).toMatchObject({ trainAccuracy: 1, controlTrainAccuracy: 1, controlAccuracy: undefined, nTestSeen: 0 });
    expect(x!.accuracy).toBeLessThan(0.65);
  });

  it('gives the same bits again, and others for another seed', () => {
    const made = madeUp(60, 8, twoFamilies, labelsAsStates);
    const run = (seed: number) =>
      trainProbe(device, {
        architecture: position('full'),
        randomModel: undefined,
        ...made,
        ...small,
        nTrain: 40,
        nTest: 20,
        nStep: 5,
        seed,
      });
    expect(run(1)).toEqual(run(1));
    expect(run(2)).not.toEqual(run(1));
  });
});

describe('masks', () => {
  it('finds a label one position later only with weights on it, and one far away only with all positions', () => {
    const next =
      (far: boolean) =>
      (rng: Rng): MadeUp => {
        const codes = draws(rng, 8, 3);
        const label = codes.map((_, i) => (far ? (i === 7 ? -1 : codes[7]!) : (codes[i + 1] ?? -1)));
        return { states: oneHots(codes, 3), labels: [label], keys: draws(rng, 8, 20) };
      };
    const accuracy = (mask: 'full' | 'diagonal' | 'tridiagonal', far: boolean): number => {
      const made = madeUp(440, 3, [{ name: 'x', nClass: 3 }], next(far));
      const options = { ...small, nPosition: 8, nStep: 250 };
      return trainProbe(devices.at(-1)!, {
        architecture: position(mask, 4, 64),
        randomModel: undefined,
        ...made,
        ...options,
      }).families.x!.accuracy;
    };
    expect(accuracy('diagonal', false)).toBeLessThan(0.45);
    expect(accuracy('tridiagonal', false)).toBe(1);
    expect(accuracy('full', false)).toBeGreaterThan(0.97);
    expect(accuracy('tridiagonal', true)).toBeLessThan(0.55);
    expect(accuracy('full', true)).toBeGreaterThan(0.97);
  });
});

describe('the recorded step', () => {
  it.skipIf(devices.length < 2)('has no TypeScript kernels on cpu, and trains as on js', () => {
    const rng = new Rng(1);
    const batch = {
      states: [5, 9, 2].map((n) => noise(rng, n, 6)),
      labels: [5, 9, 2].map((n) => [draws(rng, n, 3), draws(rng, n, 2)]),
    };
    for (const [, architecture] of architectures) {
      const losses = devices.map((device) => {
        const program = new ProbeProgram(
          device,
          architecture,
          { d: 6, nClass: [3, 2], nPosition: 9, batchSize: 4 },
          new Rng(2),
        );
        const list = Array.from({ length: 20 }, () => program.train(batch, 0.01));
        expect([...program.profile().keys()].filter((name) => !native.has(name) && device.name === 'cpu')).toEqual([]);
        return list;
      });
      for (const [i, loss] of losses[0]!.entries()) expect(loss).toBeCloseTo(losses[1]![i]!, 4);
      expect(losses[0]!.at(-1)).toBeLessThan(losses[0]![0]!);
    }
  });
  const native = new Set(
    devices
      .at(-1)!
      .native?.manifest()
      .map(({ name }) => name.replace(/_cpu$/, '')),
  );
});

describe('bad input', () => {
  const made = madeUp(60, 8, twoFamilies, labelsAsStates);
  const good: TrainProbeOptions = {
    architecture: { kind: 'linear' },
    randomModel: undefined,
    ...made,
    ...small,
    nTrain: 40,
    nTest: 20,
    nStep: 2,
  };
  const refuses = (change: Partial<TrainProbeOptions>, message: string): void =>
    expect(() => trainProbe(js, { ...good, ...change })).toThrow(message);
  const labels = (change: (one: MadeUp) => Partial<MadeUp>) => ({
    labels: {
      families: twoFamilies,
      sentence: (i: number) => ({ ...made.labels.sentence(i), ...change(made.labels.sentence(i) as MadeUp) }),
    },
  });

  it('names every option out of its range', () => {
    refuses({ nStep: 0, nTrain: 50 }, '[trainProbe.nStep] expected a positive integer, got 0');
    refuses({ nStep: 0, nTrain: 50 }, '[trainProbe.states.nSentence] expected nTrain + nTest = 70 sentences, got 60');
    refuses(
      { architecture: { kind: 'position', mask: 'full', nHead: 3, dPosition: 16 } },
      '[trainProbe.architecture.dPosition] expected a multiple of nHead = 3, got 16',
    );
  });
  it('names the sentence whose labels do not fit', () => {
    const sentence = (i: number): string => `[trainProbe.labels.sentence(${i})`;
    refuses(
      labels((one) => ({ keys: one.keys.slice(1) })),
      `${sentence(0)}.keys] expected `,
    );
    refuses(
      labels((one) => ({ labels: [one.labels[0]!] })),
      `${sentence(0)}] expected labels of 2 families, got 1`,
    );
    refuses(
      labels((one) => ({ labels: one.labels.map((list) => list.map(() => 9)) })),
      `${sentence(0)} 'four'[0]] expected a class 0 … 3 or −1, got 9`,
    );
    refuses(
      labels((one) => ({ labels: one.labels.map((list, g) => (g ? list.map(() => -1) : list)) })),
      "expected a label of family 'two' to train on, got none",
    );
  });
  it('says that a sentence is too long, or its states are not finite', () => {
    refuses({ nPosition: 3 }, '[trainProbe.nPosition] expected at least ');
    const states = {
      ...made.states,
      read: (list: readonly number[]) => made.states.read(list).map((rows) => rows.map(() => Number.NaN)),
    };
    refuses({ states }, '[trainProbe.states of sentence 0] expected finite numbers, got NaN');
  });
});
