import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { attention, distance } from './attention-reference.js';
import { absentCuda, cuda, type Kind, type Operand, runCuda, toBf16 } from './cuda-runner.js';
import { noise } from './kernel-runner.js';

// Hopper's attention kernels (attention_sm90.cu, attention_backward_sm90.cu). On the host their fetches come late and into
// memory full of NaN, and threads run in any order; index maps are checked when emulate/index-maps.cc is compiled.

const skipped = absentCuda === '' ? '' : ` (skipped: ${absentCuda})`;

interface Shape {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly G: number;
  readonly K: number;
  readonly causal: boolean;
}

const show = ({ B, T, H, G, K, causal }: Shape): string => `B${B} T${T} H${H} G${G} K${K}${causal ? '' : ' both ways'}`;

/** Shapes with ragged ends, one tile and many, groups of heads, every width. */
const shapes: readonly Shape[] = [
  { B: 1, T: 33, H: 1, G: 1, K: 32, causal: true },
  { B: 2, T: 64, H: 2, G: 1, K: 64, causal: true },
  { B: 2, T: 65, H: 2, G: 2, K: 128, causal: true },
  { B: 1, T: 200, H: 3, G: 3, K: 64, causal: true },
  { B: 1, T: 200, H: 4, G: 2, K: 32, causal: false },
  { B: 1, T: 150, H: 2, G: 1, K: 128, causal: false },
  { B: 2, T: 470, H: 1, G: 1, K: 64, causal: true },
];

afterEach(() => {
  delete process.env.PHYSLM_EMULATE_ORDER;
  delete process.env.PHYSLM_CUDA_WITHOUT;
});

const attrsOf = ({ H, G, K, causal }: Shape): number[] => [H, G, K, 1 / Math.sqrt(K), Number(causal)];

/** o and lse of packed bf16 rows. */
function forward(shape: Shape, qkv: ArrayLike<number>, kind: Kind = 'bf16'): [Float64Array, Float64Array] {
  const { B, T, H, G, K } = shape;
  const packed: Operand = { shape: [B, T, (H + 2 * G) * K], kind: 'bf16', data: qkv };
  const outputs: Operand[] = [{ shape: [B, T, H * K], kind }, { shape: [B, H, T] }];
  return runCuda('attention_forward', [packed], outputs, attrsOf(shape)) as [Float64Array, Float64Array];
}

const random = ({ B, T, H, G, K }: Shape): Float64Array =>
  Float64Array.from(noise(B * T * (H + 2 * G) * K, 1), (x) => toBf16(x * 1.5));

/** Gradients of the packed rows, from o and lse in doubles. */
function backward(
  shape: Shape,
  qkv: Float64Array,
  d: Float64Array,
  o: Float64Array,
  lse: Float64Array,
  kind: Kind = 'bf16',
) {
  const { B, T, H, G, K } = shape;
  const rows = (data: Float64Array, n: number): Operand => ({ shape: [B, T, n], kind: 'bf16', data });
  return runCuda(
    'attention_backward',
    [rows(qkv, (H + 2 * G) * K), rows(o, H * K), { shape: [B, H, T], data: lse }, rows(d, H * K)],
    [{ shape: [B, T, (H + 2 * G) * K], kind }],
    attrsOf(shape),
  )[0]!;
}

const seedOf = ({ B, T, H, K }: Shape): Float64Array => Float64Array.from(noise(B * T * H * K, 2), toBf16);

describe.skipIf(skipped !== '')(`attention on Hopper${skipped}`, () => {
  it.each(shapes.map((shape) => [show(shape), shape] as const))('comes close to doubles: %s', (_, shape) => {
    const { B, T, H, G, K, causal } = shape;
    const qkv = random(shape);
    const expected = attention(qkv, new Float64Array(B * T * H * K), B, T, H, G, K, causal);
    for (const kind of ['bf16', 'f32'] as const) {
      const [o, lse] = forward(shape, qkv, kind);
      expect(distance(o, expected.o)).toBeLessThan(kind === 'bf16' ? 4e-3 : 3e-3);
      expect(lse.every((v, i) => Math.abs(v - expected.lse[i]!) < 2e-5)).toBe(true);
    }
  });

  it.each(shapes.map((shape) => [show(shape), shape] as const))('finds gradients close to doubles: %s', (_, shape) => {
    const { B, T, H, G, K, causal } = shape;
    const [qkv, d] = [random(shape), seedOf(shape)];
    const expected = attention(qkv, d, B, T, H, G, K, causal);
    for (const kind of ['bf16', 'f32'] as const) {
      const got = backward(shape, qkv, d, expected.o, expected.lse, kind);
      for (const [from, to] of [
        [0, H * K],
        [H * K, (H + G) * K],
        [(H + G) * K, (H + 2 * G) * K],
      ] as const) {
        const part = (x: Float64Array): Float64Array =>
          x.filter((__, i) => i % ((H + 2 * G) * K) >= from && i % ((H + 2 * G) * K) < to);
        expect(distance(part(got), part(expected.grad)), `columns ${from} to ${to}`).toBeLessThan(8e-3);
      }
    }
  });

  it.each([
    [64, 16],
    [64, 64],
    [32, 32],
    [128, 32],
  ])('turns gradients of heads of %i back by %i columns', (K, dRotary) => {
    const shape = { B: 1, T: 70, H: 2, G: 1, K, causal: true };
    const { T, H, G } = shape;
    const [qkv, d, P, half] = [random(shape), seedOf(shape), (H + 2 * G) * K, dRotary / 2];
    const { o, lse } = attention(qkv, d, 1, T, H, G, K, true);
    const turned = backward(shape, qkv, d, o, lse, 'f32');
    const expected = turned.map((v, i) => {
      const [column, t] = [i % P, Math.floor(i / P)];
      const at = column % K;
      if (column >= (H + G) * K || at >= dRotary) return v;
      const angle = (t + 3) * 500 ** (-(at % half) / half);
      return at < half
        ? v * Math.cos(angle) + turned[i + half]! * Math.sin(angle)
        : v * Math.cos(angle) - turned[i - half]! * Math.sin(angle);
    });
    const rows = (data: Float64Array, n: number): Operand => ({ shape: [1, T, n], kind: 'bf16', data });
    const positions: Operand = { shape: [T], kind: 'i32', data: Float64Array.from({ length: T }, (_, t) => t + 3) };
    const inputs = [rows(qkv, P), rows(o, H * K), { shape: [1, H, T], data: lse }, rows(d, H * K), positions];
    const attrs = [...attrsOf(shape), dRotary, 500];
    const [got] = runCuda('attentionOfRotary_backward', inputs, [{ shape: [1, T, P] }], attrs);
    expect(distance(got!, expected)).toBeLessThan(1e-6);
  });

  it('averages values exactly where queries are zero', () => {
    const shape = { B: 1, T: 256, H: 2, G: 2, K: 64, causal: true };
    const [P, Q] = [6 * 64, 2 * 64];
    const qkv = Float64Array.from({ length: 256 * P }, (_, i) =>
      i % P < Q ? 0 : ((((i + 3) * 2654435761) >>> 9) % 17) - 8,
    );
    const [o, lse] = forward(shape, qkv, 'f32');
    for (const n of [1, 2, 4, 8, 16, 32, 64, 128, 256]) {
      for (let c = 0; c < Q; c++) {
        let sum = 0;
        for (let j = 0; j < n; j++) sum += qkv[j * P + 2 * Q + c]!;
        expect(o[(n - 1) * Q + c], `position ${n - 1}, column ${c}`).toBe(sum / n);
      }
      expect(lse[n - 1]).toBeCloseTo(Math.log(n), 5);
    }
  });

  it('sees itself and what came before, and only its own sequence and head', () => {
    const shape = { B: 2, T: 130, H: 2, G: 1, K: 32, causal: true };
    const P = 4 * 32;
    const qkv = random(shape);
    const [before] = forward(shape, qkv);
    fc.assert(
      fc.property(fc.nat(1), fc.nat(129), fc.constantFrom(2, 3), (b, t, head) => {
        const changed = qkv.slice();
        for (let k = 0; k < 32; k++) changed[(b * 130 + t) * P + head * 32 + k]! += 4;
        const [after] = forward(shape, changed);
        // One key, or one value, of the group that all heads read. A weight may be too small for its key or value to show.
        const isChanged = Array.from({ length: 260 }, (_, row) =>
          before.subarray(row * 64, row * 64 + 64).some((v, i) => v !== after[row * 64 + i]),
        );
        const sees = (row: number): boolean => row >= b * 130 + t && row < (b + 1) * 130;
        for (const [row, changed] of isChanged.entries()) if (!sees(row)) expect(changed, `row ${row}`).toBe(false);
        expect(isChanged.some((changed, row) => changed && sees(row))).toBe(true);
      }),
      { numRuns: 4 },
    );
  });

  it('serves many heads a block at a time with the bits of few', () => {
    const few = { B: 3, T: 33, H: 4, G: 4, K: 32, causal: true };
    const many = { ...few, B: 132 };
    const one = random(few);
    const all = new Float64Array(44 * one.length);
    for (let i = 0; i < 44; i++) all.set(one, i * one.length);
    const [o, lse] = forward(few, one);
    const [allO, allLse] = forward(many, all);
    for (const i of [0, 17, 43]) {
      expect(allO.subarray(i * o.length, (i + 1) * o.length)).toEqual(o);
      expect(allLse.subarray(i * lse.length, (i + 1) * lse.length)).toEqual(lse);
    }
  });

  it('gives the same bits in whatever order threads and blocks run, and may be left out', (context) => {
    if (cuda.description() !== 'emulated on the host') return context.skip('a GPU has its own order');
    for (const shape of [
      { ...shapes[3]!, H: 1, G: 1 },
      { ...shapes[2]!, B: 1, T: 150 },
    ]) {
      const [qkv, d] = [random(shape), seedOf(shape)];
      const first = forward(shape, qkv);
      const gradient = backward(shape, qkv, d, ...first);
      for (const order of ['backward', '1', '2']) {
        process.env.PHYSLM_EMULATE_ORDER = order;
        expect(forward(shape, qkv), order).toEqual(first);
        expect(backward(shape, qkv, d, ...first), order).toEqual(gradient);
      }
      process.env.PHYSLM_CUDA_WITHOUT = 'gemm attention_forward';
      const other = forward(shape, qkv);
      expect(other[1]).not.toEqual(first[1]);
      expect(distance(other[0], first[0])).toBeLessThan(3e-3);
      expect(backward(shape, qkv, d, ...first)).toEqual(gradient);
      process.env.PHYSLM_CUDA_WITHOUT = 'attention_backward';
      expect(forward(shape, qkv)).toEqual(first);
      expect(backward(shape, qkv, d, ...first)).not.toEqual(gradient);
      delete process.env.PHYSLM_CUDA_WITHOUT;
    }
  });
});
