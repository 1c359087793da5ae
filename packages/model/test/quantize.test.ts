import { ConfigError, Rng } from '@physlm/base';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { factorUpper } from '../src/factor-upper.js';
import {
  buildModel,
  type DeviceName,
  deviceNames,
  deviceStatus,
  gpt2,
  gptq,
  type LanguageModel,
  llama,
  openDevice,
  removeLastLayers,
  roundByHessian,
  roundRows,
  roundToNearest,
  Trace,
  type WeightMatrix,
} from '../src/index.js';

const available = deviceNames.filter((name) => name !== 'cuda' && deviceStatus(name).available);

/** Inputs whose features go together, as activations do, and some that are always zero. */
function correlatedHessian(nIn: number, nRow: number, rng: Rng, nDead = 0): Float64Array {
  const hessian = new Float64Array(nIn * nIn);
  const mix = Float64Array.from({ length: nIn * nIn }, () => rng.normal());
  for (let r = 0; r < nRow; r++) {
    const source = Float64Array.from({ length: nIn }, (_, i) => rng.normal() / (1 + i));
    const x = Float64Array.from({ length: nIn }, (_, i) =>
      i < nDead ? 0 : source.reduce((sum, s, j) => sum + s * mix[i * nIn + j]!, 0),
    );
    for (let i = 0; i < nIn; i++) for (let j = 0; j < nIn; j++) hessian[i * nIn + j]! += x[i]! * x[j]!;
  }
  return hessian;
}

function matrix(nOut: number, nIn: number, rng: Rng): WeightMatrix {
  return { nOut, nIn, values: Float32Array.from({ length: nOut * nIn }, () => rng.normal()) };
}

/** Σ over rows of (w − q)·H·(w − q)ᵀ. */
function errorOf(before: WeightMatrix, after: WeightMatrix, hessian: Float64Array): number {
  const { nIn, nOut } = before;
  let total = 0;
  for (let o = 0; o < nOut; o++) {
    const e = Float64Array.from({ length: nIn }, (_, i) => before.values[o * nIn + i]! - after.values[o * nIn + i]!);
    for (let i = 0; i < nIn; i++) for (let j = 0; j < nIn; j++) total += e[i]! * hessian[i * nIn + j]! * e[j]!;
  }
  return total;
}

const largestDifference = (a: WeightMatrix, b: WeightMatrix): number =>
  Math.max(...a.values.map((value, i) => Math.abs(value - b.values[i]!)));
const copy = (w: WeightMatrix): WeightMatrix => ({ ...w, values: w.values.slice() });

describe('rounding to nearest', () => {
  test('is the case done by hand: 3 bits have seven levels a channel', () => {
    const w = { nOut: 2, nIn: 4, values: Float32Array.from([3, -1.4, 0.6, 0.4, 0, -0.9, 0.1, 0.5]) };
    roundRows(w, 3);
    // Steps 3/3 = 1 and 0.9/3 = 0.3.
    const expected = [3, -1, 1, 0, 0, -0.9, 0, 0.6];
    expect(largestDifference(w, { ...w, values: Float32Array.from(expected) })).toBeLessThan(1e-6);
  });

  test('moves no weight by more than half a step, to one of 2^bits − 1 levels; what is rounded stays', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 16 }), fc.integer({ min: 1, max: 40 }), fc.nat(), (bits, nIn, seed) => {
        const w = matrix(2, nIn, new Rng(seed));
        const q = copy(w);
        roundRows(q, bits);
        for (let o = 0; o < 2; o++) {
          const row = w.values.subarray(o * nIn, (o + 1) * nIn);
          const step = Math.max(...row.map(Math.abs)) / (2 ** (bits - 1) - 1);
          row.forEach((value, i) => {
            const rounded = q.values[o * nIn + i]!;
            expect(Math.abs(rounded - value)).toBeLessThanOrEqual(step * 0.5 + 1e-6 * Math.abs(value));
            expect(Math.abs(rounded / step - Math.round(rounded / step))).toBeLessThan(1e-2);
          });
        }
        const again = copy(q);
        roundRows(again, bits);
        expect(largestDifference(again, q)).toBeLessThan(1e-5);
      }),
    );
  });

  test('leaves a channel of zeros as it is', () => {
    const w = { nOut: 1, nIn: 3, values: new Float32Array(3) };
    roundRows(w, 4);
    expect([...w.values]).toEqual([0, 0, 0]);
  });
});

describe('the factor of a Hessian', () => {
  test('is upper triangular and gives the matrix back', () => {
    const n = 13;
    const h = correlatedHessian(n, 40, new Rng(3));
    const r = h.slice();
    factorUpper(r, n, openDevice('js'));
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        if (j < i) expect(r[i * n + j]).toBe(0);
        let product = 0;
        for (let k = 0; k < n; k++) product += r[i * n + k]! * r[j * n + k]!;
        expect(product).toBeCloseTo(h[i * n + j]!, 8);
      }
    }
  });

  test.each(available)('is found in blocks as well, with products made on %s', (name) => {
    const n = 150;
    const h = correlatedHessian(n, 3 * n, new Rng(5));
    for (let i = 0; i < n; i++) h[i * (n + 1)]! += 0.01 * h[0]!;
    const r = h.slice();
    factorUpper(r, n, openDevice(name));
    for (let i = 0; i < n; i++) {
      expect(r[i * (n + 1)]).toBeGreaterThan(0);
      for (let j = 0; j < n; j++) {
        if (j < i) expect(r[i * n + j]).toBe(0);
        let product = 0;
        for (let k = 0; k < n; k++) product += r[i * n + k]! * r[j * n + k]!;
        expect(Math.abs(product - h[i * n + j]!)).toBeLessThan(1e-6 * Math.sqrt(h[i * (n + 1)]! * h[j * (n + 1)]!));
      }
    }
  });

  test('refuses a matrix that is not positive definite', () => {
    expect(() => factorUpper(Float64Array.from([1, 2, 2, 1]), 2, openDevice('js'))).toThrow('positive definite');
  });
});

describe('rounding by a Hessian', () => {
  test('gives outputs that are nearer than those of the nearest weights, on every random layer', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 6 }), fc.integer({ min: 8, max: 24 }), fc.nat(), (bits, nIn, seed) => {
        const rng = new Rng(seed);
        const hessian = correlatedHessian(nIn, 3 * nIn, rng);
        const w = matrix(40, nIn, rng);
        const [nearest, chosen] = [copy(w), copy(w)];
        roundRows(nearest, bits);
        roundByHessian(chosen, hessian, { bits, damp: 0.01, device: openDevice('js') });
        expect(errorOf(w, chosen, hessian)).toBeLessThanOrEqual(errorOf(w, nearest, hessian));
      }),
      { numRuns: 60 },
    );
  });

  test('is rounding to nearest when inputs do not go together, or never come', () => {
    const rng = new Rng(8);
    for (const scale of [1, 0]) {
      const [w, nearest] = [matrix(5, 9, rng), matrix(5, 9, rng)];
      nearest.values.set(w.values);
      const hessian = new Float64Array(81);
      for (let i = 0; i < 9; i++) hessian[i * 10] = scale * (1 + i);
      roundByHessian(w, hessian, { bits: 4, damp: 0.01, device: openDevice('js') });
      roundRows(nearest, 4);
      expect(w.values).toEqual(nearest.values);
    }
  });

  test.each(available)(
    'halves the error at least where inputs go together, over several blocks of columns, on %s',
    (name) => {
      const [nIn, bits] = [150, 4];
      const rng = new Rng(17);
      const hessian = correlatedHessian(nIn, 2 * nIn, rng);
      const w = matrix(8, nIn, rng);
      const [nearest, chosen, published] = [copy(w), copy(w), copy(w)];
      roundRows(nearest, bits);
      roundByHessian(chosen, hessian.slice(), { bits, damp: 0.01, device: openDevice(name) });
      expect(errorOf(w, chosen, hessian)).toBeLessThan(errorOf(w, nearest, hessian) / 2);
      algorithm1(published, hessian, bits, 0.01);
      expect(errorOf(w, chosen, hessian) / errorOf(w, published, hessian)).toBeCloseTo(1, 1);
      // A weight half-way between two levels may go either way, and those behind it follow.
      const same = published.values.filter((value, i) => Math.abs(value - chosen.values[i]!) < 1e-5).length;
      expect(same / w.values.length).toBeGreaterThan(0.9);
    },
  );

  test('reads the upper triangle of the Hessian only', () => {
    const nIn = 70;
    const rng = new Rng(2);
    const whole = correlatedHessian(nIn, 100, rng);
    const upper = whole.map((value, at) => (at % nIn < Math.floor(at / nIn) ? Number.NaN : value));
    const [a, b] = [matrix(3, nIn, new Rng(6)), matrix(3, nIn, new Rng(6))];
    for (const [w, hessian] of [
      [a, whole],
      [b, upper],
    ] as const) {
      roundByHessian(w, hessian, { bits: 4, damp: 0.01, device: openDevice('js') });
    }
    expect(b.values).toEqual(a.values);
  });

  test('is Algorithm 1 of the paper, with the inverse Hessian spelt out', () => {
    const [nIn, nOut, bits, damp] = [12, 5, 4, 0.01];
    const rng = new Rng(21);
    const hessian = correlatedHessian(nIn, 50, rng, 1);
    const w = matrix(nOut, nIn, rng);
    const expected = copy(w);
    algorithm1(expected, hessian, bits, damp);
    roundByHessian(w, hessian, { bits, damp, device: openDevice('js') });
    expect(largestDifference(w, expected)).toBeLessThan(1e-5);
  });
});

/** GPTQ as published: after each column, the error moves the columns behind it along the rows of U, H⁻¹ = Uᵀ·U. */
function algorithm1({ values, nOut, nIn }: WeightMatrix, hessian: Float64Array, bits: number, damp: number): void {
  const diagonal = Array.from({ length: nIn }, (_, i) => hessian[i * nIn + i]!);
  const order = [...diagonal.keys()].sort((a, b) => diagonal[b]! - diagonal[a]! || a - b);
  const added = (damp * diagonal.reduce((a, b) => a + b, 0)) / nIn;
  const h = order.map((i) => order.map((j) => hessian[i * nIn + j]! + (i === j ? added : 0)));
  const inverse = inverted(h);
  const upper = Array.from({ length: nIn }, () => new Array<number>(nIn).fill(0));
  for (let i = 0; i < nIn; i++) {
    for (let j = i; j < nIn; j++) {
      let sum = inverse[i]![j]!;
      for (let k = 0; k < i; k++) sum -= upper[k]![i]! * upper[k]![j]!;
      upper[i]![j] = i === j ? Math.sqrt(sum) : sum / upper[i]![i]!;
    }
  }
  for (let o = 0; o < nOut; o++) {
    const row = values.subarray(o * nIn, (o + 1) * nIn);
    const most = 2 ** (bits - 1) - 1;
    const step = Math.max(...row.map(Math.abs)) / most;
    const w = order.map((i) => row[i]!);
    for (let k = 0; k < nIn; k++) {
      const q = step * Math.max(-most, Math.min(most, Math.round(w[k]! / step)));
      const error = (w[k]! - q) / upper[k]![k]!;
      for (let j = k + 1; j < nIn; j++) w[j]! -= error * upper[k]![j]!;
      row[order[k]!] = q;
    }
  }
}

function inverted(matrix: number[][]): number[][] {
  const n = matrix.length;
  const work = matrix.map((row, i) => [...row, ...Array.from({ length: n }, (_, j) => (i === j ? 1 : 0))]);
  for (let i = 0; i < n; i++) {
    const pivot = work[i]![i]!;
    work[i] = work[i]!.map((x) => x / pivot);
    for (let k = 0; k < n; k++) {
      if (k === i) continue;
      const factor = work[k]![i]!;
      work[k] = work[k]!.map((x, j) => x - factor * work[i]![j]!);
    }
  }
  return work.map((row) => row.slice(n));
}

const sizes = { dModel: 16, dVocab: 23, nCtx: 12, initStd: 0.3 };
const configs = { gpt: gpt2(2, 2, sizes), llama: llama(2, 2, { ...sizes, nKvHead: 1 }) };
const windows = (n: number): Int32Array[] => {
  const rng = new Rng('windows');
  return Array.from({ length: n }, () => Int32Array.from({ length: 12 }, () => rng.below(23)));
};

function fresh(kind: keyof typeof configs, name: DeviceName): LanguageModel {
  return buildModel(openDevice(name), configs[kind], new Rng(4));
}

function logits(model: LanguageModel): Float64Array {
  const ids = model.device.zeros([1, 12], 'i32');
  ids.values().set(windows(40)[39]!);
  return model.device.withoutGrad(() => Float64Array.from(model.forward(ids).values()));
}

const distance = (a: Float64Array, b: Float64Array): number =>
  Math.sqrt(a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0) / a.length);

describe.each(available)('models on %s', (device) => {
  test.each(['gpt', 'llama'] as const)(
    '%s: blocks are rounded and nothing else; 16 bits change almost nothing',
    (kind) => {
      const before = fresh(kind, device);
      for (const method of ['rtn', 'gptq'] as const) {
        const distances = [16, 8, 4, 2].map((bits) => {
          const model = fresh(kind, device);
          if (method === 'rtn') roundToNearest(model, { bits });
          else gptq(model, { bits, windows: windows(30) });
          for (const [name, tensor] of model.parameters()) {
            const isMatrix = name.startsWith('blocks.') && tensor.shape.length === 2;
            const row = tensor.values().subarray(0, tensor.shape.at(-1)!);
            const levels = new Set([...row].map(Math.abs)).size;
            if (isMatrix && bits <= 4) expect(levels).toBeLessThanOrEqual(2 ** (bits - 1));
            if (!isMatrix) expect(tensor.values()).toEqual(before.parameters().get(name)!.values());
          }
          return distance(logits(model), logits(before));
        });
        expect(distances[0]).toBeLessThan(2e-4);
        for (let i = 1; i < 4; i++) expect(distances[i]).toBeGreaterThan(distances[i - 1]!);
      }
    },
  );

  test('GPTQ is nearer to the model than rounding to nearest, on text it was not calibrated on', () => {
    const before = fresh('gpt', device);
    const [rtn, chosen] = [fresh('gpt', device), fresh('gpt', device)];
    roundToNearest(rtn, { bits: 3 });
    gptq(chosen, { bits: 3, windows: windows(30) });
    expect(distance(logits(chosen), logits(before))).toBeLessThan(distance(logits(rtn), logits(before)));
  });

  // Thousands of rows go through together: too many for the plain kernels.
  test.skipIf(device === 'js')('is the same with windows left over from full batches: only the text counts', () => {
    const long = gpt2(1, 2, { ...sizes, nCtx: 2048 });
    const rng = new Rng('long');
    const text = Array.from({ length: 3 }, () => Int32Array.from({ length: 2048 }, () => rng.below(23)));
    const bits = 3;
    const [a, b] = [0, 1].map(() => buildModel(openDevice(device), long, new Rng(4)));
    // Two windows go through together; the third is alone. In another order another one is.
    gptq(a!, { bits, windows: text });
    gptq(b!, { bits, windows: [text[2]!, text[0]!, text[1]!] });
    const first = (model: LanguageModel) => model.parameters().get('blocks.0.attn.qkv.weight')!.values();
    const differing = [...first(a!)].filter((w, i) => w !== first(b!)[i]).length;
    expect(differing).toBeLessThanOrEqual(2);
  });

  test.skipIf(device === 'js')('calibrates a map on what the rounded maps before it give, however wide it is', () => {
    const wide = gpt2(1, 2, { ...sizes, dMlp: 600 });
    const [before, model] = [0, 1].map(() => buildModel(openDevice(device), wide, new Rng(4))) as LanguageModel[];
    const text = windows(60);
    gptq(model!, { bits: 3, windows: text });
    const ids = model!.device.tensor(
      text.flatMap((window) => [...window]),
      [60, 12],
      'i32',
    );
    const look = new Trace({ read: ['blocks.0.mlp.post'] });
    model!.device.withoutGrad(() => model!.forward(ids, look));
    const post = look.activations().get('blocks.0.mlp.post')!.values();
    const hessian = new Float64Array(600 * 600);
    for (let r = 0; r < 720; r++) {
      for (let i = 0; i < 600; i++) {
        const x = post[r * 600 + i]!;
        for (let j = 0; j < 600; j++) hessian[i * 600 + j]! += x * post[r * 600 + j]!;
      }
    }
    const values = before!.parameters().get('blocks.0.mlp.down.weight')!.values() as Float32Array;
    const expected = { nOut: 16, nIn: 600, values: values.slice() };
    roundByHessian(expected, hessian, { bits: 3, damp: 0.01, device: openDevice('js') });
    const got = model!.parameters().get('blocks.0.mlp.down.weight')!.values();
    // A weight half-way between two levels may go either way, and those behind it follow.
    const same = expected.values.filter((value, i) => Math.abs(value - got[i]!) < 1e-6).length;
    expect(same / got.length).toBeGreaterThan(0.9);
  });

  test('layers can be taken off: the copy is the model of what is left', () => {
    const model = fresh('gpt', device);
    const shorter = removeLastLayers(model, 1);
    expect(shorter.config.nLayer).toBe(1);
    for (const [name, tensor] of shorter.parameters()) {
      expect([name, tensor.values()]).toEqual([name, model.parameters().get(name)!.values()]);
    }
    expect(logits(removeLastLayers(model, 0))).toEqual(logits(model));
    expect(distance(logits(shorter), logits(model))).toBeGreaterThan(0.1);
    expect(() => removeLastLayers(model, 2)).toThrow(/0 … 1: the model has 2 layers, got 2/);
  });
});

test('what cannot be rounded is refused with the reason', () => {
  const model = fresh('gpt', 'js');
  for (const bits of [1, 17, 4.5]) {
    expect(() => roundToNearest(model, { bits })).toThrow(/an integer in 2 … 16/);
    expect(() => gptq(model, { bits, windows: windows(2) })).toThrow(ConfigError);
  }
  expect(() => gptq(model, { bits: 4, windows: [] })).toThrow(/to calibrate on, got none/);
  expect(() => gptq(model, { bits: 4, windows: [new Int32Array(13)] })).toThrow(/1 … 12 tokens.*13/);
  expect(() => gptq(model, { bits: 4, windows: [new Int32Array(3), new Int32Array(4)] })).toThrow(/all of 3 tokens/);
});
