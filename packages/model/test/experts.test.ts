import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, Rng } from '@physlm/base';
import { afterAll, describe, expect, test } from 'vitest';
import {
  balancePenalty,
  buildModel,
  deviceNames,
  deviceStatus,
  expertMlp,
  type Gpt,
  generate,
  gpt2,
  gptq,
  loadModel,
  openDevice,
  roundToNearest,
  saveModel,
  type Tensor,
} from '../src/index.js';
import { expectGradients, randomLeaf } from './finite-differences.js';

const js = openDevice('js');
const available = deviceNames.filter((name) => name !== 'cuda' && deviceStatus(name).available);
const sandbox = mkdtempSync(join(tmpdir(), 'physlm-experts-'));
afterAll(() => rmSync(sandbox, { recursive: true, force: true }));

const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

describe('a layer of experts', () => {
  test('is the case done by hand: two experts, four rows, one of them too late', () => {
    const f64 = (values: number[], shape: number[]): Tensor => js.tensor(values, shape, 'f64');
    const x = [1, -2, 3, 0.5];
    // Rows choose experts 0, 1, 0, 0 (a draw goes to the first): with one group of four and room for two, row 3 is left.
    const logits = [
      [1, 0],
      [0, 2],
      [0.5, 0.5],
      [3, 1],
    ];
    const { y, pre } = expertMlp(
      {
        x: f64(x, [4, 1]),
        logits: f64(logits.flat(), [4, 2]),
        up: f64([2, -1], [2, 1, 1]),
        upBias: f64([0.5, 1], [2, 1]),
        down: f64([3, 10], [2, 1, 1]),
        downBias: f64([0.25, -0.75], [2, 1]),
      },
      { group: 4, capacity: 2 },
    );
    const p = (a: number, b: number): number => 1 / (1 + Math.exp(b - a));
    const first = (z: number): number => 3 * gelu(2 * z + 0.5) + 0.25;
    const second = (z: number): number => 10 * gelu(-z + 1) - 0.75;
    const expected = [p(1, 0) * first(1), p(2, 0) * second(-2), 0.5 * first(3), 0];
    for (const [r, value] of y.toArray().entries()) expect(value).toBeCloseTo(expected[r]!, 12);
    for (const [r, value] of pre.toArray().entries()) expect(value).toBeCloseTo([2.5, 3, 6.5, 0][r]!, 12);
  });

  test.each(available)('of equal logits the first decides, wherever it stands, on %s', (name) => {
    const device = openDevice(name);
    const E = 37; // two whole vectors of 16 and five more
    const best = [[0, 1], [3, 19], [15, 16], [17, 36], [33, 36], [36], [20, 4, 33], []];
    const logits = best.map((some) => Array.from({ length: E }, (_, e) => (some.includes(e) ? 2 : 1)));
    const of = (values: number[], shape: number[]): Tensor => device.tensor(values, shape);
    // Expert e says e before its non-linearity, whatever it is given.
    const { pre } = expertMlp(
      {
        x: of(Array(best.length).fill(1), [best.length, 1]),
        logits: of(logits.flat(), [best.length, E]),
        up: of(Array(E).fill(0), [E, 1, 1]),
        upBias: of([...Array(E).keys()], [E, 1]),
        down: of(Array(E).fill(1), [E, 1, 1]),
        downBias: of(Array(E).fill(0), [E, 1]),
      },
      { group: best.length, capacity: best.length },
    );
    expect([...pre.values()]).toEqual([0, 3, 15, 17, 33, 36, 4, 0]);
  });

  test('has the penalty done by hand: `weight` when experts are used alike, more when they are not', () => {
    const penalty = (logits: number[][], group: number): number[] =>
      balancePenalty(
        { logits: js.tensor(logits.flat(), [logits.length, 2], 'f64') },
        { group, weight: 0.1 },
      ).penalty.toArray();
    const [a, b] = [Math.log(3), 0]; // probabilities 3/4 and 1/4
    const even = penalty(
      [
        [a, b],
        [b, a],
      ],
      2,
    );
    expect((even[0]! + even[1]!) / 2).toBeCloseTo(0.1, 12);
    // Both rows choose expert 0: 0.1·2·(1·3/4).
    for (const value of penalty(
      [
        [a, b],
        [a, b],
      ],
      2,
    ))
      expect(value).toBeCloseTo(0.15, 12);
    // In groups of one, each row's own choice is all there is.
    for (const value of penalty(
      [
        [a, b],
        [b, a],
      ],
      1,
    ))
      expect(value).toBeCloseTo(0.15, 12);
  });

  test.each([
    { group: 3, capacity: 1 },
    { group: 6, capacity: 6 },
  ])('has the gradients of central differences in f64: $group rows, capacity $capacity', (attrs) => {
    const rng = new Rng(`gradients ${attrs.group}`);
    const [R, E, D, F] = [6, 3, 2, 4];
    const shapes = { x: [R, D], logits: [R, E], up: [E, F, D], upBias: [E, F], down: [E, D, F], downBias: [E, D] };
    const leaves = Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, randomLeaf(js, shape, rng.fork(name))]),
    ) as Record<keyof typeof shapes, Tensor>;
    expectGradients(Object.values(leaves), () => [expertMlp(leaves, attrs).y]);
    expectGradients([leaves.logits], () => [balancePenalty(leaves, { group: attrs.group, weight: 0.7 }).penalty]);
  });

  test('says what does not fit', () => {
    const zeros = (...shape: number[]): Tensor => js.zeros(shape);
    const inputs = {
      x: zeros(6, 2),
      logits: zeros(6, 3),
      up: zeros(3, 4, 2),
      upBias: zeros(3, 4),
      down: zeros(3, 2, 4),
      downBias: zeros(3, 2),
    };
    expect(() => expertMlp(inputs, { group: 4, capacity: 1 })).toThrow('R a multiple of group');
    expect(() => expertMlp(inputs, { group: 3, capacity: 0 })).toThrow('capacity ≥ 1');
    expect(() => expertMlp({ ...inputs, down: zeros(3, 4, 2) }, { group: 3, capacity: 1 })).toThrow('[expertMlp.down]');
  });
});

const [T, V] = [16, 19];
const config = gpt2(2, 2, { dModel: 8, dVocab: V, nCtx: T, dMlp: 8, initStd: 0.4, nExpert: 4, dRotary: 4 });
const tokens = (seed: string, n = T): number[] => {
  const rng = new Rng(seed);
  return Array.from({ length: n }, () => rng.below(V));
};

describe.each(available)('a GPT of experts on %s', (name) => {
  const device = openDevice(name);
  const fresh = (more: Partial<typeof config> = {}): Gpt =>
    buildModel(device, { ...config, ...more }, new Rng(7)) as Gpt;
  const logits = (model: Gpt, windows: number[][]): number[][] => {
    const ids = device.tensor(windows.flat(), [windows.length, windows[0]!.length], 'i32');
    const values = device.withoutGrad(() => model.forward(ids)).toArray();
    return windows.map((window, b) => values.slice(b * window.length * V, (b + 1) * window.length * V));
  };
  const close = (a: number[], b: number[]): number => Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

  test('depends on earlier tokens of its own window only, however few an expert takes', () => {
    const model = fresh({ testCapacityFactor: 0.5 });
    const [one, other] = [tokens('one'), tokens('other')];
    const [alone] = logits(model, [one]);
    expect(close(logits(model, [other, one])[1]!, alone!)).toBe(0);
    const start = logits(model, [one.slice(0, 9)])[0]!;
    expect(close(start, alone!.slice(0, 9 * V))).toBeLessThan(1e-5);
  });

  test('takes fewer tokens in training than in a test, and all of them when there is room', () => {
    const model = fresh({ capacityFactor: 0.25, testCapacityFactor: 4 });
    const ids = device.tensor(tokens('one'), [1, T], 'i32');
    const training = model.forwardTraining(ids);
    const test = device.withoutGrad(() => model.forward(ids)).toArray();
    expect(close(training.logits.toArray(), test)).toBeGreaterThan(1e-3);
    expect(training.penalty!.shape).toEqual([T]);
    const same = fresh({ capacityFactor: 4, testCapacityFactor: 4 });
    expect(close(same.forwardTraining(ids).logits.toArray(), test)).toBe(0);
    const plain = buildModel(device, gpt2(1, 2, { dModel: 8, dVocab: V, nCtx: T }), new Rng(1));
    expect(plain.forwardTraining(ids).penalty).toBeUndefined();
  });

  test('decodes token by token what it reads at once', () => {
    const model = fresh();
    const prompt = tokens('prompt', 6);
    const options = { nNew: 5, eos: V, temperature: 0, rng: new Rng(1) };
    const [added] = generate(model, [prompt], options);
    const whole = [...prompt, ...added!];
    const values = logits(model, [whole.slice(0, -1)])[0]!;
    for (let i = 0; i < added!.length; i++) {
      const row = values.slice((prompt.length - 1 + i) * V, (prompt.length + i) * V);
      expect(row.indexOf(Math.max(...row))).toBe(added![i]);
    }
  });

  test('is saved with its own names, and rounds to nearest', () => {
    const model = fresh();
    const folder = join(sandbox, name);
    saveModel(folder, model);
    const loaded = loadModel(folder, device) as Gpt;
    expect(logits(loaded, [tokens('one')])).toEqual(logits(model, [tokens('one')]));
    expect([...loaded.parameters().keys()]).toContain('blocks.1.mlp.up');
    roundToNearest(loaded, { bits: 3 });
    const up = loaded.parameters().get('blocks.0.mlp.up')!.toArray().slice(8, 16);
    expect(new Set(up.map((w) => Math.abs(w).toPrecision(5))).size).toBeLessThanOrEqual(4);
    expect(() => gptq(loaded, { bits: 4, windows: [tokens('one')] })).toThrow(/mixture of experts/);
  });
});

test('every size that does not fit is named', () => {
  const wrong = { ...config, nExpert: 0, capacityFactor: -1, balanceWeight: -1, dMlp: 0 };
  const error = (() => {
    try {
      return buildModel(js, wrong, new Rng(1));
    } catch (thrown) {
      return thrown;
    }
  })();
  expect(error).toBeInstanceOf(ConfigError);
  expect((error as ConfigError).problems.map(({ path }) => path)).toEqual([
    'model.capacityFactor',
    'model.balanceWeight',
    'model.nExpert',
    'model.dMlp',
  ]);
  const plain = gpt2(1, 1, { dModel: 8, dVocab: 3, nCtx: 4, capacityFactor: 2 });
  expect(() => buildModel(js, plain, new Rng(1))).toThrow(/nothing without nExpert/);
});
