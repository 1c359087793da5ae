import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attention, distance } from './attention-reference.js';
import { absentCuda, cuda, type Kind, type Operand, runCuda, toBf16 } from './cuda-runner.js';
import { noise } from './kernel-runner.js';

// Attention within documents on device cuda, three ways: Hopper's kernels, those for sm_80, and f32.

const skipped = absentCuda === '' ? '' : ` (skipped: ${absentCuda})`;

interface Shape {
  readonly T: number;
  readonly H: number;
  readonly G: number;
  readonly K: number;
  /** Where documents begin, for each sequence, in order; the first begins at 0. */
  readonly begins: readonly (readonly number[])[];
}

const show = ({ T, H, G, K, begins }: Shape): string => `B${begins.length} T${T} H${H} G${G} K${K}`;

const single = (T: number): number[] => Array.from({ length: T }, (_, t) => t);

/** Documents of one token and of all, that begin and end inside tiles and at their borders; ragged ends, groups of heads. */
const shapes: readonly Shape[] = [
  { T: 1, H: 1, G: 1, K: 32, begins: [[], []] },
  { T: 64, H: 2, G: 1, K: 64, begins: [[], [1], [63], [20, 21, 40]] },
  { T: 65, H: 1, G: 1, K: 128, begins: [[64], [10, 33]] },
  { T: 130, H: 4, G: 2, K: 32, begins: [single(130), [128], [5, 37, 70, 71, 129]] },
  { T: 130, H: 2, G: 1, K: 128, begins: [[60, 64, 100], [127]] },
  { T: 200, H: 1, G: 1, K: 64, begins: [[], [64, 128, 192], [30, 90, 170], [3, 150]] },
  { T: 200, H: 2, G: 1, K: 16, begins: [[32, 96, 160], [100]] },
  { T: 70, H: 2, G: 2, K: 13, begins: [[33, 50], [69]] },
  { T: 130, H: 1, G: 1, K: 100, begins: [[16, 80, 129]] },
  { T: 330, H: 1, G: 1, K: 32, begins: [[300], [10, 130, 131, 256]] },
];

interface Way {
  readonly name: string;
  readonly kind: Kind;
  readonly sm?: string;
}
const ways: readonly Way[] = [
  { name: 'Hopper', kind: 'bf16' },
  { name: 'sm_80', kind: 'bf16', sm: '80' },
  { name: 'f32', kind: 'f32' },
];

/** starts of all sequences. */
const startsOf = ({ T, begins }: Shape): Float64Array =>
  Float64Array.from({ length: begins.length * T }, (_, i) =>
    begins[Math.floor(i / T)]!.reduce((start, at) => (at <= i % T ? at : start), 0),
  );

const random = ({ T, H, G, K, begins }: Shape): Float64Array =>
  Float64Array.from(noise(begins.length * T * (H + 2 * G) * K, 1), (x) => toBf16(x * 1.5));
const seedOf = ({ T, H, K, begins }: Shape): Float64Array =>
  Float64Array.from(noise(begins.length * T * H * K, 2), toBf16);

interface Results {
  readonly o: Float64Array;
  readonly lse: Float64Array;
}

/** Within documents, or causal attention without `starts`. */
function forward(shape: Shape, kind: Kind, qkv: Float64Array, starts: Float64Array | undefined, to = kind): Results {
  const { T, H, G, K, begins } = shape;
  const B = begins.length;
  const packed: Operand = { shape: [B, T, (H + 2 * G) * K], kind, data: qkv };
  const outputs: Operand[] = [{ shape: [B, T, H * K], kind: to }, { shape: [B, H, T] }];
  const heads = [H, G, K, 1 / Math.sqrt(K)];
  const [o, lse] =
    starts === undefined
      ? runCuda('attention_forward', [packed], outputs, [...heads, 1])
      : runCuda('documentAttention_forward', [packed, { shape: [B, T], kind: 'i32', data: starts }], outputs, heads);
  return { o: o!, lse: lse! };
}

/** Gradients of the packed rows; turned back where `rotary` says how. */
function backward(
  shape: Shape,
  kind: Kind,
  qkv: Float64Array,
  starts: Float64Array | undefined,
  d: Float64Array,
  { o, lse }: Results,
  { to = kind, rotary }: { to?: Kind; rotary?: { positions: Float64Array; attrs: number[] } } = {},
): Float64Array {
  const { T, H, G, K, begins } = shape;
  const B = begins.length;
  const rows = (data: Float64Array, n: number): Operand => ({ shape: [B, T, n], kind, data });
  const packed = rows(qkv, (H + 2 * G) * K);
  const rest = [rows(o, H * K), { shape: [B, H, T], data: lse }, rows(d, H * K)];
  const heads = [H, G, K, 1 / Math.sqrt(K)];
  const outputs: Operand[] = [{ shape: packed.shape, kind: to }];
  if (starts === undefined) return runCuda('attention_backward', [packed, ...rest], outputs, [...heads, 1])[0]!;
  const inputs = [packed, { shape: [B, T], kind: 'i32', data: starts } as const, ...rest];
  if (rotary === undefined) return runCuda('documentAttention_backward', inputs, outputs, heads)[0]!;
  inputs.push({ shape: [T], kind: 'i32', data: rotary.positions });
  return runCuda('documentAttentionOfRotary_backward', inputs, outputs, [...heads, ...rotary.attrs])[0]!;
}

/** Where two results differ first, as a sentence; undefined when all bits are the same. */
function difference(got: Results | Float64Array, expected: Results | Float64Array): string | undefined {
  if (!(got instanceof Float64Array) || !(expected instanceof Float64Array)) {
    const [a, b] = [got as Results, expected as Results];
    return difference(a.o, b.o) ?? difference(a.lse, b.lse);
  }
  if (got.length !== expected.length) return `${got.length} elements, expected ${expected.length}`;
  const at = expected.findIndex((v, i) => !Object.is(v, got[i]));
  return at < 0 ? undefined : `[${at}] is ${got[at]}, expected ${expected[at]}`;
}

const size = (x: Float64Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0));

afterEach(() => {
  delete process.env.PHYSLM_EMULATE_ORDER;
  delete process.env.PHYSLM_EMULATE_SM;
});

describe.skipIf(skipped !== '')(`starts of documents on cuda${skipped}`, () => {
  it('are the last place of the separator', () => {
    const T = fc.constantFrom(1, 2, 31, 32, 33, 255, 256, 257, 700);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), T, fc.integer({ min: 1, max: 300 }), fc.nat(), (B, n, rare, seed) => {
        const ids = Float64Array.from(noise(B * n, seed), (x) => Math.abs(Math.round(x * 1e6)) % rare);
        let start = 0;
        const expected = ids.map((id, i) => {
          if (i % n === 0) start = 0;
          if (id === 0) start = i % n;
          return start;
        });
        const shape = [B, n];
        const [got] = runCuda(
          'documentStarts_forward',
          [{ shape, kind: 'i32', data: ids }],
          [{ shape, kind: 'i32' }],
          [0],
        );
        expect(got).toEqual(expected);
      }),
      { numRuns: 25 },
    );
  });
});

describe.skipIf(skipped !== '').each(ways)(`attention within documents on cuda${skipped}: $name`, ({ kind, sm }) => {
  beforeEach(() => {
    if (sm !== undefined) process.env.PHYSLM_EMULATE_SM = sm;
  });

  it.each(shapes.map((shape) => [show(shape), shape] as const))('comes close to doubles: %s', (_, shape) => {
    const { T, H, G, K, begins } = shape;
    const [starts, qkv, d] = [startsOf(shape), random(shape), seedOf(shape)];
    const expected = attention(qkv, d, begins.length, T, H, G, K, true, starts);
    const { o, lse } = forward(shape, kind, qkv, starts);
    expect(distance(o, expected.o)).toBeLessThan(kind === 'f32' ? 1e-6 : 4e-3);
    expect(lse.every((v, i) => Math.abs(v - expected.lse[i]!) < 2e-5)).toBe(true);
    const grad = backward(shape, kind, qkv, starts, d, expected);
    // Gradients of queries and keys are zero in documents of one token.
    for (const [from, to] of [
      [0, H * K],
      [H * K, (H + G) * K],
      [(H + G) * K, (H + 2 * G) * K],
    ] as const) {
      const part = (x: Float64Array): Float64Array =>
        x.filter((__, i) => i % ((H + 2 * G) * K) >= from && i % ((H + 2 * G) * K) < to);
      const [got, wanted] = [part(grad), part(expected.grad)];
      const error = size(got.map((v, i) => v - wanted[i]!)) / Math.max(size(wanted), size(expected.grad) / 4);
      expect(error, `columns ${from} to ${to}`).toBeLessThan(kind === 'f32' ? 2e-6 : 8e-3);
    }
  });

  it('has the bits of causal attention where one document fills the window', () => {
    for (const { T, H, G, K } of [1, 2, 4, 5, 6, 7].map((i) => shapes[i]!)) {
      const shape = { T, H, G, K, begins: [[]] };
      const [starts, qkv, d] = [startsOf(shape), random(shape), seedOf(shape)];
      const plain = forward(shape, kind, qkv, undefined);
      expect(difference(forward(shape, kind, qkv, starts), plain)).toBeUndefined();
      const grad = backward(shape, kind, qkv, undefined, d, plain);
      expect(difference(backward(shape, kind, qkv, starts, d, plain), grad)).toBeUndefined();
    }
  });

  it.each([
    [64, [32, 128], true],
    [128, [64], true],
    [40, [64, 128], false],
    [129, [32, 64], false],
  ])('gives two documents, the second from %i on, what each has alone', (cut, widths, atBorder) => {
    for (const K of widths) {
      const whole = { T: 170, H: 2, G: 1, K, begins: [[cut]] };
      const [starts, qkv, d] = [startsOf(whole), random(whole), seedOf(whole)];
      const together = forward(whole, kind, qkv, starts);
      const grad = backward(whole, kind, qkv, starts, d, together);
      for (const [from, to] of [
        [0, cut],
        [cut, 170],
      ] as const) {
        const alone = { ...whole, T: to - from, begins: [[]] };
        const rows = (x: Float64Array, width: number): Float64Array => x.subarray(from * width, to * width);
        const byHead = (x: Float64Array): Float64Array => x.filter((_, i) => i % 170 >= from && i % 170 < to);
        const own = forward(alone, kind, rows(qkv, 4 * K).slice(), undefined);
        const ownGrad = backward(alone, kind, rows(qkv, 4 * K).slice(), undefined, rows(d, 2 * K).slice(), own);
        if (from === 0 || atBorder) {
          const results = { o: rows(together.o, 2 * K), lse: byHead(together.lse) };
          expect(difference(results, own), `K ${K}`).toBeUndefined();
          expect(difference(rows(grad, 4 * K), ownGrad), `gradients, K ${K}`).toBeUndefined();
        }
        const bound = kind === 'f32' ? 2e-6 : 8e-3;
        expect(distance(rows(together.o, 2 * K), own.o)).toBeLessThan(bound);
        expect(distance(rows(grad, 4 * K), ownGrad)).toBeLessThan(bound);
      }
    }
  });

  it('does not visit tiles between documents: what lies in them does not matter, not even NaN', () => {
    for (const K of [32, 64, 128]) {
      const shape = { T: 260, H: K === 32 ? 2 : 1, G: 1, K, begins: [[64, 128, 192]] };
      const [starts, qkv, d] = [startsOf(shape), random(shape), seedOf(shape)];
      const clean = forward(shape, kind, qkv, starts);
      const grad = backward(shape, kind, qkv, starts, d, clean);
      for (const [from, to] of [
        [0, 64],
        [64, 128],
        [128, 192],
        [192, 260],
      ] as const) {
        const spoil = (x: Float64Array, width: number): Float64Array =>
          x.slice().fill(Number.NaN, from * width, to * width);
        const rest = (x: Float64Array, width: number): Float64Array =>
          x.filter((_, i) => i < from * width || i >= to * width);
        const [P, Q] = [(shape.H + 2) * K, shape.H * K];
        const spoilt = spoil(qkv, P);
        const got = forward(shape, kind, spoilt, starts);
        expect(difference(rest(got.o, Q), rest(clean.o, Q)), `o, K ${K}`).toBeUndefined();
        const gotGrad = backward(shape, kind, spoilt, starts, spoil(d, Q), clean);
        expect(difference(rest(gotGrad, P), rest(grad, P)), `gradients, K ${K}`).toBeUndefined();
      }
    }
  });

  it('sees its own document, up to itself', () => {
    const shape = { T: 150, H: 2, G: 1, K: 32, begins: [[50, 70, 71], [100]] };
    const [starts, qkv] = [startsOf(shape), random(shape)];
    const { o } = forward(shape, kind, qkv, starts);
    fc.assert(
      fc.property(fc.nat(1), fc.constantFrom(0, 20, 49, 50, 69, 70, 71, 99, 100, 140), (b, t) => {
        const changed = qkv.slice();
        for (let k = 0; k < 32; k++) changed[(b * 150 + t) * 128 + 96 + k]! += 40;
        const after = forward(shape, kind, changed, starts).o;
        for (let row = 0; row < 300; row++) {
          const same = o.subarray(row * 64, row * 64 + 64).every((v, i) => v === after[row * 64 + i]);
          const sees = Math.floor(row / 150) === b && row % 150 >= t && starts[row]! <= t;
          expect(same, `row ${row}`).toBe(!sees);
        }
      }),
      { numRuns: 6 },
    );
  });

  it.each([
    [64, 16],
    [64, 64],
    [32, 32],
    [128, 32],
  ])('turns gradients of heads of %i back by %i columns', (K, dRotary) => {
    const shape = { T: 130, H: 2, G: 1, K, begins: [[30, 64, 110]] };
    const [starts, qkv, d, P, half] = [startsOf(shape), random(shape), seedOf(shape), 4 * K, dRotary / 2];
    const results = forward(shape, kind, qkv, starts);
    const plain = backward(shape, kind, qkv, starts, d, results, { to: 'f32' });
    const expected = plain.map((v, i) => {
      const [column, t] = [i % P, Math.floor(i / P)];
      const at = column % K;
      if (column >= 3 * K || at >= dRotary) return v;
      const angle = (t + 3) * 500 ** (-(at % half) / half);
      return at < half
        ? v * Math.cos(angle) + plain[i + half]! * Math.sin(angle)
        : v * Math.cos(angle) - plain[i - half]! * Math.sin(angle);
    });
    const rotary = { positions: Float64Array.from(single(130), (t) => t + 3), attrs: [dRotary, 500] };
    const got = backward(shape, kind, qkv, starts, d, results, { to: 'f32', rotary });
    expect(distance(got, expected)).toBeLessThan(1e-6);
  });

  it('stays within memory and ends, whatever starts hold', () => {
    const wild = fc.constantFrom(0, -1, 1, 64, 100, 199, 200, 2 ** 31 - 1, -(2 ** 31));
    fc.assert(
      fc.property(fc.array(wild, { minLength: 200, maxLength: 200 }), fc.constantFrom(32, 64), (values, K) => {
        const shape = { T: 200, H: 2, G: 1, K, begins: [[]] };
        const [starts, qkv, d] = [Float64Array.from(values), random(shape), seedOf(shape)];
        const results = forward(shape, kind, qkv, starts);
        expect(results.o.every(Number.isFinite)).toBe(true);
        backward(shape, kind, qkv, starts, d, results);
      }),
      { numRuns: 4 },
    );
  });

  it('gives the same bits in whatever order threads and blocks run', (context) => {
    if (cuda.description() !== 'emulated on the host') return context.skip('a GPU has its own order');
    for (const shape of [shapes[3]!, shapes[4]!, { ...shapes[5]!, begins: [[30, 90, 170]] }]) {
      const [starts, qkv, d] = [startsOf(shape), random(shape), seedOf(shape)];
      const first = forward(shape, kind, qkv, starts);
      const grad = backward(shape, kind, qkv, starts, d, first);
      for (const order of ['backward', '1']) {
        process.env.PHYSLM_EMULATE_ORDER = order;
        expect(difference(forward(shape, kind, qkv, starts), first), order).toBeUndefined();
        expect(difference(backward(shape, kind, qkv, starts, d, first), grad), order).toBeUndefined();
      }
      delete process.env.PHYSLM_EMULATE_ORDER;
    }
  });
});
