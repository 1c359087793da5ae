import { Rng } from '@physlm/base';
import { buildModel, deviceStatus, gpt2, openDevice, positionMix } from '@physlm/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { modelActivations, modelPoints, type ProbeArchitecture, trainProbe, trainProbes } from '../src/index.js';
import { ProbeProgram } from '../src/probe-program.js';
import { StreamBootstrap } from '../src/probe-score.js';
import { draws, noise } from './made-up.js';

const devices = (['js', 'cpu'] as const).filter((name) => deviceStatus(name).available).map((name) => openDevice(name));

describe.each(devices)('the position mix on $name', (device) => {
  const [B, T, H, C, K] = [3, 6, 2, 3, 4];
  const rng = new Rng('mix');
  const p = device.tensor(noise(rng, T * H, K), [T, H, K]);
  const f = device.tensor(noise(rng, B * T * H, C), [B, T, H, C]);
  const n = [6, 1, 4];
  const lengths = device.tensor(n, [B], 'i32');
  const [pv, fv] = [p.toArray(), f.toArray()];

  /** Equation 4.2 as it is written. */
  const byHand = (b: number, i: number, c: number, near: (k: number) => boolean): number => {
    let total = 0;
    for (let r = 0; r < H; r++) {
      const weight = (k: number): number => {
        let score = 0;
        for (let x = 0; x < K; x++) score += pv[(i * H + r) * K + x]! * pv[(k * H + r) * K + x]!;
        return Math.exp(score);
      };
      const keys = Array.from({ length: n[b]! }, (_, k) => k).filter(near);
      const z = keys.reduce((sum, k) => sum + weight(k), 0);
      for (const k of keys) total += (weight(k) / z) * fv[((b * T + k) * H + r) * C + c]!;
    }
    return total;
  };

  it.each([-1, 0, 1])('with reach %i is equation 4.2 with its mask, over the tokens of each sentence', (reach) => {
    const mixed = positionMix({ p, f, lengths }, { reach }).mixed.toArray();
    for (let b = 0; b < B; b++) {
      for (let i = 0; i < T; i++) {
        for (let c = 0; c < C; c++) {
          const near = (k: number): boolean => reach < 0 || Math.abs(k - i) <= reach;
          expect(mixed[(b * T + i) * C + c]).toBeCloseTo(i < n[b]! ? byHand(b, i, c, near) : 0, 4);
        }
      }
    }
  });
  it('with the diagonal mask is one linear map for each position: the sum over heads', () => {
    const mixed = positionMix({ p, f, lengths }, { reach: 0 }).mixed.toArray();
    for (let at = 0; at < n[0]! * C; at++) {
      const [i, c] = [Math.floor(at / C), at % C];
      expect(mixed[at]).toBeCloseTo(fv[i * H * C + c]! + fv[i * H * C + C + c]!, 5);
    }
    const sizes = { d: 4, nClass: [3], nPosition: 6, batchSize: 2 };
    const batch = { states: [noise(rng, 6, 4), noise(rng, 3, 4)], labels: [[draws(rng, 6, 3)], [draws(rng, 3, 3)]] };
    const [diagonal, linear] = (
      [{ kind: 'position', mask: 'diagonal', nHead: 2, dPosition: 8 }, { kind: 'linear' }] as const
    ).map((architecture) => new ProbeProgram(device, architecture, sizes, new Rng(1)));
    for (let step = 0; step < 3; step++) expect(diagonal!.train(batch, 0.01)).toBe(linear!.train(batch, 0.01));
    expect(diagonal!.predict(batch)).toEqual(linear!.predict(batch));
  });
  it('of a sentence does not depend on the sentences beside it', () => {
    const alone = device.tensor(fv.slice(2 * T * H * C), [1, T, H, C]);
    const mixed = positionMix({ p, f: alone, lengths: device.tensor([4], [1], 'i32') }, { reach: -1 }).mixed.toArray();
    const all = positionMix({ p, f, lengths }, { reach: -1 })
      .mixed.toArray()
      .slice(2 * T * C);
    for (const [at, x] of mixed.entries()) expect(x).toBeCloseTo(all[at]!, 5);
  });
});

describe('a probe of a running model', () => {
  it('reads the token off the embedding, which its control shows to be no feat, and not the token before', () => {
    const device = devices.at(-1)!;
    const model = (seed: string) =>
      buildModel(device, gpt2(2, 2, { dModel: 16, dVocab: 6, nCtx: 16, initStd: 0.3 }), new Rng(seed));
    const sentences = { nSentence: 300, sentence: (i: number) => draws(new Rng('s').at(i), 5 + (i % 9), 6) };
    const result = trainProbe(device, {
      architecture: { kind: 'linear' },
      states: modelActivations(model('a'), sentences, { at: 'embed', first: 0 }),
      randomModel: modelActivations(model('b'), sentences, { at: 'blocks.1.residPost', first: 0 }),
      labels: {
        families: [
          { name: 'token', nClass: 6 },
          { name: 'previous', nClass: 6 },
        ],
        sentence: (i) => {
          const tokens = sentences.sentence(i);
          return { labels: [tokens, tokens.map((_, t) => tokens[t - 1] ?? -1)], keys: tokens };
        },
      },
      nPosition: 16,
      nTrain: 200,
      nTest: 100,
      nStep: 200,
      learningRate: 0.02,
      batchSize: 20,
      seed: 1,
    });
    const { token, previous } = result.families;
    // The key is the token: what is read off the embedding could have been learnt by heart.
    expect(token).toMatchObject({ accuracy: 1, controlAccuracy: 1, selectivity: 0 });
    expect(token!.randomModelAccuracy).toBeGreaterThan(0.9);
    expect(previous!.accuracy).toBeLessThan(0.3);
    expect(previous!.selectivity).toBeLessThan(-0.6);
  });
});

describe('several probes side by side', () => {
  it('share forward passes, and find what each finds alone', () => {
    const device = devices.at(-1)!;
    const model = buildModel(device, gpt2(2, 2, { dModel: 8, dVocab: 4, nCtx: 12, initStd: 0.3 }), new Rng('model'));
    let nRead = 0;
    const source = {
      nSentence: 60,
      sentence: (i: number) => {
        nRead++;
        return draws(new Rng('s').at(i), 4 + (i % 5), 4);
      },
    };
    const labels = {
      families: [{ name: 'token', nClass: 4 }],
      sentence: (i: number) => {
        const tokens = draws(new Rng('s').at(i), 4 + (i % 5), 4);
        return { labels: [tokens], keys: tokens };
      },
    };
    const sizes = {
      labels,
      randomModel: undefined,
      nPosition: 12,
      nTrain: 40,
      nTest: 20,
      nStep: 6,
      batchSize: 10,
      seed: 1,
    };
    const points = modelPoints(model, source, { at: ['embed', 'blocks.*.residPost'] });
    expect([...points.keys()]).toEqual(['embed', 'blocks.0.residPost', 'blocks.1.residPost']);
    const position = { kind: 'position', mask: 'full', nHead: 2, dPosition: 8 } as const;
    const options = (at: string, architecture: ProbeArchitecture) => ({
      ...sizes,
      architecture,
      states: points.get(at)!,
    });
    const together = trainProbes(device, {
      a: options('embed', { kind: 'linear' }),
      b: options('blocks.1.residPost', { kind: 'linear' }),
      c: options('blocks.1.residPost', position),
    });
    // 6 steps of 10 sentences, then all 60 of them: once for three probes.
    expect(nRead).toBe(6 * 10 + 40 + 20);
    for (const [name, at, architecture] of [
      ['a', 'embed', { kind: 'linear' }],
      ['b', 'blocks.1.residPost', { kind: 'linear' }],
      ['c', 'blocks.1.residPost', position],
    ] as const) {
      const states = modelActivations(model, source, { at });
      expect(trainProbe(device, { ...sizes, architecture, states })).toEqual(together[name]);
    }
  });
});

describe('the bootstrap in a stream', () => {
  it('has the width of a binomial proportion, for groups of one', () => {
    const bootstrap = new StreamBootstrap(new Rng(1));
    for (let i = 0; i < 400; i++) bootstrap.add(i, [[i % 4 === 0 ? 1 : 0, 1]]);
    const { low, high } = bootstrap.interval(0)!;
    const half = 1.96 * Math.sqrt((0.25 * 0.75) / 400);
    expect(Math.abs(low - (0.25 - half))).toBeLessThan(0.2 * half);
    expect(Math.abs(high - (0.25 + half))).toBeLessThan(0.2 * half);
  });
  it('does not depend on the order of groups, and is wider when rows of a group agree', () => {
    fc.assert(
      fc.property(
        fc.shuffledSubarray(
          Array.from({ length: 30 }, (_, i) => i),
          { minLength: 30 },
        ),
        (order) => {
          const [a, b] = [new StreamBootstrap(new Rng(2)), new StreamBootstrap(new Rng(2))];
          for (let i = 0; i < 30; i++) a.add(i, [[i % 3, 2]]);
          for (const i of order) b.add(i, [[i % 3, 2]]);
          expect(a.interval(0)).toEqual(b.interval(0));
        },
      ),
      { numRuns: 10 },
    );
    const width = (perGroup: number): number => {
      const bootstrap = new StreamBootstrap(new Rng(3));
      for (let i = 0; i < 400 / perGroup; i++) bootstrap.add(i, [[(i % 2) * perGroup, perGroup]]);
      const { low, high } = bootstrap.interval(0)!;
      return high - low;
    };
    expect(width(16)).toBeGreaterThan(2.5 * width(1));
  });
  it('has no interval without rows', () => {
    expect(new StreamBootstrap(new Rng(1)).interval(0)).toBeUndefined();
  });
});
