import { Rng } from '@physlm/base';
import {
  adamW,
  backward,
  buildModel,
  crossEntropy,
  deviceStatus,
  gpt2,
  gradNorm,
  type LanguageModel,
  openDevice,
  ParameterArena,
  reshape,
} from '@physlm/model';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  type EmbeddingProbeExample,
  type EmbeddingProbeOptions,
  type EmbeddingProbeProgress,
  type EmbeddingProbeRun,
  type EmbeddingProbeSource,
  embeddingProbe,
  probeLayers,
  probeMatrix,
} from '../src/index.js';
import { draws } from './made-up.js';

const name = deviceStatus('cpu').available ? 'cpu' : 'js';
const device = openDevice(name);
const V = 8;
const modelOf = (seed: string, rest: { causal?: boolean; nLayer?: number } = {}) =>
  buildModel(
    device,
    gpt2(rest.nLayer ?? 1, 2, {
      dModel: 16,
      dVocab: V,
      nCtx: 12,
      initStd: 0.4,
      position: rest.causal === false ? 'absolute' : 'rotary',
      ...(rest.causal === false && { causal: false }),
    }),
    new Rng(seed),
  );

/** Text i: random tokens, then a new token where it is read. */
const textOf = (i: number, nToken: number): Int32Array =>
  Int32Array.from([...draws(new Rng('text').at(i), nToken, V), V]);

const madeUpSource = (
  nExample: number,
  tasks: EmbeddingProbeSource['tasks'],
  example: (ids: Int32Array, i: number) => Omit<EmbeddingProbeExample, 'ids' | 'positions'>,
  nToken: (i: number) => number = (i) => 3 + (i % 2),
): EmbeddingProbeSource => ({
  tasks,
  nExample,
  unit: (i) => Math.floor(i / 2),
  example(i) {
    const ids = textOf(i, nToken(i));
    return { ids, positions: [ids.length - 1], ...example(ids, i) };
  },
});

const small: EmbeddingProbeOptions = {
  rank: 4,
  nNewToken: 1,
  nStep: 300,
  batchSize: 32,
  learningRate: 0.03,
  readout: { norm: 'layer' },
  nTest: 400,
  seed: 1,
};

describe('a label that a token of the text decides', () => {
  /** The last token but the one that is read, up to 4; and a coin. */
  const source = madeUpSource(
    100_000,
    [
      { name: 'token', nClass: 4, ceiling: 1 },
      { name: 'coin', nClass: 2 },
    ],
    (ids, i) => ({
      labels: [[ids.at(-2)! % 4], [new Rng('coin').at(i).below(2)]],
      // Triples of tokens: they recur, and are more than the probe can learn by heart.
      keys: [ids[0]! * 64 + ids[1]! * 8 + ids[2]!],
      groups: { length: [ids.length], parity: [i % 2 === 0 ? 'even' : 'odd'] },
    }),
  );
  let run: EmbeddingProbeRun;
  const progress: EmbeddingProbeProgress[] = [];
  beforeAll(async () => {
    run = await embeddingProbe(modelOf('a'), source, { ...small, onProgress: (at) => progress.push(at) });
  });

  it('is found, and its control is not', () => {
    const { token } = run.result.tasks;
    expect(token!.accuracy).toBeGreaterThan(0.98);
    expect(token!.interval.low).toBeGreaterThan(0.96);
    expect(token!.controlAccuracy).toBeLessThan(0.4);
    expect(token!.selectivity).toBeCloseTo(0.75, 0);
    expect(token!.selectivity).toBeGreaterThan(0.6);
    expect(token!.majority).toBeLessThan(0.35);
    expect(token).toMatchObject({ ceiling: 1, nTest: 400, nTrain: 300 * 32 });
    expect(run.result.controls).toEqual({ majority: 'run', randomModel: 'run', controlTask: 'run' });
  });
  it('is read less well without an update of the embedding, from states as they are', async () => {
    const found = await embeddingProbe(modelOf('a'), source, { ...small, rank: 0, without: ['randomModel'] });
    expect(found.result.tasks.token!.accuracy).toBeGreaterThan(0.4);
    expect(found.result.tasks.token!.accuracy).toBeLessThan(run.result.tasks.token!.accuracy - 0.1);
    expect(found.result.tasks.coin!.accuracy).toBeLessThan(0.58);
  });
  it('is no news where the label is noise', () => {
    const { coin } = run.result.tasks;
    expect(coin!.accuracy).toBeLessThan(0.58);
    expect(coin!.interval.low).toBeLessThan(0.5);
    expect(coin!.randomModelAccuracy).toBeLessThan(0.58);
  });
  it('is scored by class and by group, and parts add up to the whole', () => {
    for (const { accuracy, classes, groups, nTest } of Object.values(run.result.tasks)) {
      for (const parts of [classes, groups.length!, groups.parity!]) {
        expect(parts.reduce((a, { n }) => a + n, 0)).toBe(nTest);
        expect(parts.reduce((a, part) => a + part.n * part.accuracy, 0) / nTest).toBeCloseTo(accuracy, 10);
        for (const { interval, accuracy: own } of parts) {
          expect(interval.low).toBeLessThanOrEqual(own);
          expect(interval.high).toBeGreaterThanOrEqual(own);
        }
      }
      for (const { classes: inGroup, n } of groups.length!) {
        expect(inGroup.reduce((a, part) => a + part.n, 0)).toBe(n);
      }
    }
    expect(run.result.tasks.token!.groups.length!.map(({ group }) => group)).toEqual([4, 5]);
    expect(run.result.tasks.token!.groups.parity!.map(({ group }) => group).sort()).toEqual(['even', 'odd']);
    const matrix = probeMatrix(run.result.tasks, 'length');
    expect(matrix).toMatchObject({ rows: [4, 5], columns: ['token', 'coin'] });
    expect(matrix.cells[1]![1]).toEqual(run.result.tasks.coin!.groups.length![1]);
    expect(() => probeMatrix(run.result.tasks, 'lenght')).toThrow("Did you mean 'length'?");
  });
  it('is plain JSON, and can be asked for in other texts', () => {
    expect(JSON.parse(JSON.stringify(run.result))).toEqual(JSON.parse(JSON.stringify(run.result)));
    const probe = run.probes.get('token')!;
    const inputs = Array.from({ length: 50 }, (_, i) => {
      const ids = textOf(1_000_000 + i, 3 + (i % 2));
      return { ids, positions: [ids.length - 1] };
    });
    const answers = probe.answer(inputs);
    const hits = answers.filter(([answer], i) => answer!.class === inputs[i]!.ids.at(-2)! % 4);
    expect(hits.length).toBeGreaterThan(45);
    for (const [answer] of answers) {
      expect(answer!.probabilities.reduce((a, x) => a + x, 0)).toBeCloseTo(1, 5);
      expect(Math.max(...answer!.probabilities)).toBe(answer!.probabilities[answer!.class]);
    }
    expect(() => probe.answer([{ ids: [0, 9], positions: [0] }])).toThrow(
      '[embeddingProbe.answer(0).ids[1]] expected a token 0 … 8 (8 of the model, 1 new), got 9',
    );
  });
  it('says how far it is', () => {
    expect(progress.filter(({ phase, tasks }) => phase === 'train' && tasks[0] === 'token')).toHaveLength(300);
    expect(progress.at(-1)).toMatchObject({ tasks: ['coin'], phase: 'score' });
  });
  it('gives the same bits for any number of threads', async () => {
    if (name !== 'cpu') return;
    const brief = { ...small, nStep: 12, nTest: 40 };
    const before = await embeddingProbe(modelOf('a'), source, brief);
    openDevice('cpu', { nThread: 3 });
    const after = await embeddingProbe(modelOf('a'), source, brief);
    openDevice('cpu', { nThread: 2 });
    expect(after.result).toEqual(before.result);
    expect([5, 0].map((token) => after.probes.get('token')!.embeddingUpdate(token))).toEqual(
      [5, 0].map((token) => before.probes.get('token')!.embeddingUpdate(token)),
    );
  });
  it('is scored on other sources too, and controls can be left out', async () => {
    const brief = { ...small, nStep: 120, nTest: 200, without: ['randomModel', 'controlTask', 'majority'] as const };
    const last = { ...source, example: (i: number) => ({ ...source.example(i + 500_000), labels: [[3], [0]] }) };
    const { result } = await embeddingProbe(modelOf('a'), source, { ...brief, tests: { last } });
    expect(result.controls).toEqual({ majority: 'left out', randomModel: 'left out', controlTask: 'left out' });
    const { token } = result.tests.last!;
    // Every label is 3 there: right where the token says so.
    expect(token!.accuracy).toBeLessThan(0.4);
    expect(token!.accuracy).toBeGreaterThan(0.1);
    expect(token).toMatchObject({ majority: undefined, randomModelAccuracy: undefined, controlAccuracy: undefined });
    expect(token!.classes.map((one) => one.class)).toEqual([3]);
  });
});

describe('what training never saw', () => {
  it('catches a probe that learns units by heart: held-out units are at chance, and so is the control', async () => {
    // Twelve units, each with texts of its own token: nothing links a new unit to its label.
    const source: EmbeddingProbeSource = {
      tasks: [{ name: 'label', nClass: 2 }],
      nExample: 240,
      unit: (i) => i % 24,
      example(i) {
        const unit = i % 24;
        const ids = [unit % 8, Math.floor(unit / 8), draws(new Rng('filler').at(i), 1, V)[0]!];
        return { ids, positions: [2], labels: [[new Rng('label').at(unit).below(2)]], keys: [unit] };
      },
    };
    const options = { ...small, nNewToken: 0, rank: 16, nStep: 400, without: ['randomModel'] as const };
    const { result } = await embeddingProbe(modelOf('b'), source, options);
    const { label } = result.tasks;
    expect(label!.trainAccuracy).toBeGreaterThan(0.97);
    expect(label!.controlTrainAccuracy).toBeGreaterThan(0.97);
    expect(label!.accuracy).toBeLessThan(0.85);
    // No key is on both sides: no selectivity to claim.
    expect(label).toMatchObject({ nTestSeen: 0, selectivity: undefined, controlAccuracy: undefined });
  });
});

describe('kinds of models and probes', () => {
  const tasks = [{ name: 'token', nClass: V }];
  const first = madeUpSource(50_000, tasks, (ids) => ({ labels: [[ids[0]!]], groups: { length: [ids.length] } }));

  it('reads an encoder in steps of one length, with batch normalisation', async () => {
    const options = { ...small, readout: { norm: 'batch' as const }, without: ['randomModel'] as const };
    const { result, probes } = await embeddingProbe(modelOf('c', { causal: false }), first, options);
    expect(result.tasks.token!.accuracy).toBeGreaterThan(0.9);
    expect(result.controls.controlTask).toBe('no keys');
    const inputs = [3, 6, 3].map((n, i) => ({ ids: textOf(2_000_000 + i, n), positions: [n] }));
    const together = probes.get('token')!.answer(inputs);
    for (const [i, input] of inputs.entries()) {
      const alone = probes.get('token')!.answer([input])[0]!;
      expect(together[i]![0]!.class).toBe(alone[0]!.class);
      expect(together[i]![0]!.probabilities[0]).toBeCloseTo(alone[0]!.probabilities[0]!, 4);
    }
  });

  it('shares one update between tasks where asked', async () => {
    const two = madeUpSource(
      50_000,
      [
        { name: 'half', nClass: 2 },
        { name: 'quarter', nClass: 4 },
      ],
      (ids) => ({ labels: [[Math.floor(ids.at(-2)! / 4)], [Math.floor(ids.at(-2)! / 2)]] }),
    );
    const options = { ...small, update: 'shared' as const, without: ['randomModel'] as const };
    const { result, probes } = await embeddingProbe(modelOf('a'), two, options);
    expect(result.tasks.half!.accuracy).toBeGreaterThan(0.95);
    expect(result.tasks.quarter!.accuracy).toBeGreaterThan(0.9);
    expect(probes.get('half')!.embeddingUpdate(3)).toEqual(probes.get('quarter')!.embeddingUpdate(3));
  });

  it('learns with dropout on what it reads', async () => {
    const options = { ...small, dropout: 0.1, without: ['randomModel'] as const };
    const last = madeUpSource(50_000, tasks, (ids) => ({ labels: [[ids.at(-2)!]] }));
    const { result } = await embeddingProbe(modelOf('a'), last, options);
    expect(result.tasks.token!.accuracy).toBeGreaterThan(0.9);
  });

  it('goes through layers: what only later layers hold is in none before', async () => {
    // Layer 0 before attention sees the token it is at, which is the same in every text.
    const layers = ['embed', 'blocks.0.residPost', 'blocks.1.residPost'];
    const options = { ...small, nStep: 200, without: ['randomModel'] as const, layers, grouping: 'length' };
    const { matrices, layers: results } = await probeLayers(modelOf('d', { nLayer: 2 }), first, options);
    const { rows, columns, cells } = matrices.token!;
    expect(rows).toEqual([4, 5]);
    expect(columns).toEqual(layers);
    for (const row of cells) {
      expect(row[0]!.accuracy).toBeLessThan(0.35);
      expect(row[2]!.accuracy).toBeGreaterThan(0.5);
    }
    expect(results.embed!.readout).toEqual({ layer: 'embed', norm: 'layer' });
  });
});

describe('what cannot be probed', () => {
  const source = madeUpSource(100, [{ name: 'token', nClass: V }], (ids) => ({ labels: [[ids[0]!]] }));
  const model = modelOf('a');
  const brief = { ...small, nStep: 2, without: ['randomModel'] as const };
  it('is refused, all of it at once', async () => {
    const bad = {
      ...brief,
      rank: -1,
      split: 1,
      readout: { norm: 'btach' as 'batch' },
      without: ['majorty' as 'majority'],
    };
    const failed = embeddingProbe(model, source, bad);
    await expect(failed).rejects.toThrow('[embeddingProbe.rank] expected an integer ≥ 0, got -1');
    await expect(failed).rejects.toThrow('[embeddingProbe.split] expected a share of the units in (0, 1), got 1');
    await expect(failed).rejects.toThrow("Did you mean 'batch'?");
    await expect(failed).rejects.toThrow("Did you mean 'majority'?");
  });
  it('names the layer that there is none of, or too many', async () => {
    await expect(embeddingProbe(model, source, { ...brief, readout: { layer: 'blocks.0.residPst' } })).rejects.toThrow(
      'blocks.0.residPost',
    );
    await expect(embeddingProbe(model, source, { ...brief, readout: { layer: 'blocks.0.*' } })).rejects.toThrow(
      'expected the path of one activation, got',
    );
  });
  it.each([
    [{ labels: [[8]] }, "labels 'token'[0]] expected a class 0 … 7 or −1, got 8"],
    [{ labels: [] }, 'labels] expected labels of 1 tasks, got 0'],
    [{ labels: [[1, 2]] }, "labels 'token'] expected 1 of them, as positions, got 2"],
    [{ labels: [[1]], groups: { t: [] } }, 't] expected 1 of them, as positions, got 0'],
    [{ labels: [[1]], positions: [40] }, 'positions] expected whole numbers 0 … 3, got 40'],
    [{ labels: [[1]], ids: new Array(13).fill(0) }, "ids] expected 1 … 12 tokens, the model's context, got 13"],
    [{ labels: [[1]], ids: [0, 9, 0, 0] }, 'ids[1]] expected a token 0 … 8'],
  ])('names the example that does not fit: %j', async (part, message) => {
    const broken = { ...source, example: () => ({ ids: [0, 1, 2, 3], positions: [3], ...part }) };
    await expect(embeddingProbe(model, broken, brief)).rejects.toThrow(message);
  });
  it('stops when it is told to', async () => {
    const controller = new AbortController();
    const onProgress = ({ step }: EmbeddingProbeProgress): void => {
      if (step === 3) controller.abort(new Error('enough'));
    };
    const long = { ...brief, nStep: 100_000, signal: controller.signal, onProgress };
    await expect(embeddingProbe(model, source, long)).rejects.toThrow('enough');
  });
  it('says when a task has nothing to learn from, or to be tested on', async () => {
    const none = { ...source, example: (i: number) => ({ ...source.example(i), labels: [[-1]] }) };
    await expect(embeddingProbe(model, none, brief)).rejects.toThrow(
      "expected labels of 'token' to train on, got none",
    );
    await expect(embeddingProbe(model, source, { ...brief, tests: { none } })).rejects.toThrow(
      "[embeddingProbe.tests.none] expected a label of task 'token' to test on, got none",
    );
  });
});

describe('a model that has learnt something', () => {
  /** p, for sums modulo p. */
  const P = 11;
  const EQUALS = P;

  /** A model trained to say a + b modulo P behind "a b =", by the recorded step of a flat arena. */
  function adder(): LanguageModel {
    const config = gpt2(2, 2, { dModel: 32, dVocab: P + 1, nCtx: 4, initStd: 0.1 });
    const model = buildModel(device, config, new Rng('adder'));
    const arena = new ParameterArena(device, model);
    const [m, v, hyper] = [arena.like(), arena.like(), device.zeros([8])];
    const pairs = Array.from({ length: P * P }, (_, i) => [Math.floor(i / P), i % P] as const);
    const ids = device.tensor(
      pairs.flatMap(([a, b]) => [a, b, EQUALS]),
      [P * P, 3],
      'i32',
    );
    const targets = device.tensor(
      pairs.flatMap(([a, b]) => [-1, -1, (a + b) % P]),
      [3 * P * P],
      'i32',
    );
    const weight = device.tensor(new Float32Array(3 * P * P).fill(1 / (P * P)), [3 * P * P]);
    const step = device.record(() => {
      const logits = model.forward(ids);
      const { loss } = crossEntropy({ logits: reshape(logits, [3 * P * P, P + 1]), targets }, { ignore: -1 });
      backward(loss, weight);
      const g = arena.gradients.view([arena.weights.size]);
      adamW({ w: arena.weights, g, m, v, norm: gradNorm({ g }, {}).norm, hyper }, { nDecay: arena.nDecay });
      return { loss };
    });
    for (let t = 1; t <= 300; t++) {
      hyper.values().set([0.003, 0.9, 0.98, 1e-8, 0, 1 - 0.9 ** t, 1 - 0.98 ** t, 0]);
      step.run();
    }
    const loss = step.results.loss.toArray().reduce((a, x) => a + x, 0) / (P * P);
    expect(loss).toBeLessThan(0.1);
    return model;
  }

  it('tells it of pairs that the probe never saw, and an untrained model does not', async () => {
    const source: EmbeddingProbeSource = {
      tasks: [{ name: 'sum', nClass: P }],
      nExample: P * P,
      unit: (i) => i,
      example: (i) => ({
        ids: [Math.floor(i / P), i % P, EQUALS],
        positions: [2],
        labels: [[(Math.floor(i / P) + (i % P)) % P]],
      }),
    };
    const model = adder();
    const before = [...model.parameters()].map(([, x]) => [x.toArray(), x.grad!.toArray()]);
    const options = { rank: 2, nStep: 200, batchSize: 32, learningRate: 0.01, split: 0.6, seed: 2 };
    const { result } = await embeddingProbe(model, source, options);
    const { sum } = result.tasks;
    expect(sum!.accuracy).toBeGreaterThan(0.9);
    expect(sum!.randomModelAccuracy).toBeLessThan(0.4);
    expect(sum!.randomModelInterval!.high).toBeLessThan(sum!.interval.low);
    // Weights, and the gradients that training left beside them.
    expect([...model.parameters()].map(([, x]) => [x.toArray(), x.grad!.toArray()])).toEqual(before);
  });
});
