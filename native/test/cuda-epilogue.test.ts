import { afterEach, describe, expect, it } from 'vitest';
import { absentCuda, type Kind, type Operand, runCuda, toBf16 } from './cuda-runner.js';
import { noise } from './kernel-runner.js';

// Products with what comes before or after them (Tail of gemm.h): on Hopper while results are stored, elsewhere one by one.

const skipped = absentCuda === '' ? '' : ` (skipped: ${absentCuda})`;

/** Who does the work: Hopper's kernel with and without tails, the kernels for sm_80. */
const ways = [{}, { PHYSLM_CUDA_WITHOUT: 'epilogue' }, { PHYSLM_EMULATE_SM: '80' }];

afterEach(() => {
  for (const name of ['PHYSLM_CUDA_WITHOUT', 'PHYSLM_EMULATE_SM', 'PHYSLM_EMULATE_ORDER']) delete process.env[name];
});

/** Rows, inputs, outputs of y = x·wᵀ: one tile and several, ragged rows, columns that tiles of 128 and of 192 share out, a sum in parts. */
const shapes = [
  { R: 64, I: 32, O: 64 },
  { R: 200, I: 72, O: 136 },
  { R: 260, I: 192, O: 192 },
  { R: 130, I: 40, O: 44 },
  { R: 128, I: 128, O: 1304 },
] as const;

const whole = (n: number, seed: number): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => ((((i + 7) * 2654435761 + seed * 40503) >>> 7) % 9) - 4);
const random = (n: number, seed: number): Float64Array => Float64Array.from(noise(n, seed), toBf16);
const bf16 = (data: ArrayLike<number>, ...shape: number[]): Operand => ({ shape, kind: 'bf16', data });

/** a[M, K]·b, b [N, K] or turned [K, N]. */
function product(a: Float64Array, b: Float64Array, M: number, N: number, K: number, turned: boolean): Float64Array {
  const c = new Float64Array(M * N);
  for (let m = 0; m < M; m++)
    for (let k = 0; k < K; k++) {
      const x = a[m * K + k]!;
      for (let n = 0; n < N; n++) c[m * N + n]! += x * (turned ? b[k * N + n]! : b[n * K + k]!);
    }
  return c;
}
const transposed = (a: Float64Array, M: number, N: number): Float64Array =>
  Float64Array.from({ length: M * N }, (_, i) => a[(i % M) * N + Math.floor(i / M)]!);
const columnSums = (a: Float64Array, N: number): Float64Array => {
  const sums = new Float64Array(N);
  a.forEach((x, i) => {
    sums[i % N]! += x;
  });
  return sums;
};

function expectClose(got: Float64Array | undefined, expected: Float64Array, bound: number, what: string): void {
  let [error, size] = [0, 0];
  expect(got?.length, what).toBe(expected.length);
  expected.forEach((x, i) => {
    error += (got![i]! - x) ** 2;
    size += x * x;
  });
  expect(Math.sqrt(error / size), what).toBeLessThan(bound);
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
function geluSlope(x: number): number {
  const c = Math.sqrt(2 / Math.PI);
  const t = Math.tanh(c * (x + 0.044715 * x ** 3));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

/** Runs `body` with each way of doing the work, or in large shapes with the first. */
function eachWay({ R, I, O }: (typeof shapes)[number], body: (label: string) => void): void {
  for (const way of R * I * O < 4e6 ? ways : ways.slice(0, 1)) {
    Object.assign(process.env, way);
    body(JSON.stringify(way));
    for (const name of Object.keys(way)) delete process.env[name];
  }
}

describe.skipIf(skipped !== '').each(shapes)(`products with tails${skipped}: R$R I$I O$O`, (shape) => {
  const { R, I, O } = shape;
  it('add a residual exactly', () => {
    const [x, w, b, r] = [whole(R * I, 1), whole(O * I, 2), whole(O, 3), whole(R * O, 4)];
    const plain = product(x, w, R, O, I, false).map((v, i) => v + r[i]!);
    eachWay(shape, (way) => {
      for (const kind of (R < 250 && O < 1000 ? ['bf16', 'f32'] : ['bf16']) as readonly Kind[]) {
        const rounded = (v: number): number => (kind === 'bf16' ? toBf16(v) : v);
        const y: Operand = { shape: [R, O], kind };
        const biased = runCuda(
          'linearBiasAdd_forward',
          [bf16(x, R, I), bf16(w, O, I), { shape: [O], data: b }, bf16(r, R, O)],
          [y],
        );
        expect(biased[0], way).toEqual(plain.map((v, i) => rounded(v + b[i % O]!)));
        const [got] = runCuda('linearAdd_forward', [bf16(x, R, I), bf16(w, O, I), bf16(r, R, O)], [y]);
        expect(got, way).toEqual(plain.map(rounded));
      }
    });
  });

  it('give the gradient before GELU, and its sums over rows', () => {
    const [x, w, dy, pre] = [random(R * I, 1), random(O * I, 2), random(R * O, 3), random(R * I, 4)];
    const dpre = product(dy, w, R, I, O, true).map((v, i) => v * geluSlope(pre[i]!));
    const dw = product(transposed(dy, R, O), x, O, I, R, true);
    eachWay(shape, (way) => {
      const results = runCuda(
        'linearBiasOfGelu_backward',
        [bf16(x, R, I), bf16(w, O, I), bf16(dy, R, O), bf16(pre, R, I)],
        [{ shape: [R, I], kind: 'bf16' }, { shape: [O, I] }, { shape: [O] }, { shape: [I] }],
      );
      expectClose(results[0], dpre, 3e-3, `dpre ${way}`);
      expectClose(results[1], dw, 1e-5, `dw ${way}`);
      expectClose(results[2], columnSums(dy, O), 1e-5, `db ${way}`);
      expectClose(results[3], columnSums(dpre, I), 5e-3, `sums ${way}`);
    });
  });

  it('gate while they store', () => {
    if (O % 2) return;
    const F = O / 2;
    const [x, w] = [random(R * I, 1), random(O * I, 2)];
    const gates = product(x, w, R, O, I, false).map((v) => v / 4);
    const y = Float64Array.from({ length: R * F }, (_, i) => {
      const at = Math.floor(i / F) * O + (i % F);
      return gates[at]! * sigmoid(gates[at]!) * gates[at + F]!;
    });
    const quarter = w.map((v) => v / 4);
    eachWay(shape, (way) => {
      const [got, kept] = runCuda(
        'linearSiluGate_forward',
        [bf16(x, R, I), bf16(quarter, O, I)],
        [
          { shape: [R, F], kind: 'bf16' },
          { shape: [R, O], kind: 'bf16' },
        ],
      );
      expectClose(kept, gates, 3e-3, `gates ${way}`);
      expectClose(got, y, 6e-3, `y ${way}`);
    });
  });

  it('give the gradients of both gates', () => {
    const [x, w, dy, gates] = [random(R * I, 1), random(O * I, 2), random(R * O, 3), random(R * 2 * I, 4)];
    const d = product(dy, w, R, I, O, true);
    const expected = new Float64Array(R * 2 * I);
    d.forEach((v, i) => {
      const at = Math.floor(i / I) * 2 * I + (i % I);
      const [a, b] = [gates[at]!, gates[at + I]!];
      const s = sigmoid(a);
      expected[at] = v * b * s * (1 + a * (1 - s));
      expected[at + I] = v * a * s;
    });
    const dw = product(transposed(dy, R, O), x, O, I, R, true);
    eachWay(shape, (way) => {
      for (const kind of ['bf16', 'f32'] as readonly Kind[]) {
        const [got, gotW] = runCuda(
          'linearOfSiluGate_backward',
          [bf16(x, R, I), bf16(w, O, I), bf16(dy, R, O), bf16(gates, R, 2 * I)],
          [{ shape: [R, 2 * I], kind }, { shape: [O, I] }],
        );
        expectClose(got, expected, kind === 'bf16' ? 3e-3 : 1e-5, `gates ${way}`);
        expectClose(gotW, dw, 1e-5, `dw ${way}`);
      }
    });
  });
});

describe.skipIf(skipped !== '')(`tails${skipped}`, () => {
  // Heads of 64 of which a quarter turns, whole heads of 32, and heads that the slices of a tile do not hold.
  it.each([
    [64, 16],
    [32, 32],
    [48, 16],
  ])('turn queries and keys of heads of %i by %i columns', (K, dRotary) => {
    const [B, T, nHead, I, half, base] = [2, 50, 4, 40, dRotary / 2, 10_000];
    const [R, O] = [B * T, 6 * K];
    const [x, w, b] = [random(R * I, 1), random(O * I, 2), random(O, 3)];
    const positions = Float64Array.from({ length: T }, (_, t) => 3 * t + 5);
    const plain = product(x, w, R, O, I, false).map((v, i) => v + b[i % O]!);
    const expected = plain.map((v, i) => {
      const [column, t] = [i % O, Math.floor(i / O) % T];
      const d = column % K;
      if (Math.floor(column / K) >= nHead || d >= dRotary) return v;
      const angle = positions[t]! * base ** (-(d % half) / half);
      return d < half
        ? v * Math.cos(angle) - plain[i + half]! * Math.sin(angle)
        : v * Math.cos(angle) + plain[i - half]! * Math.sin(angle);
    });
    const where: Operand = { shape: [T], kind: 'i32', data: positions };
    const attrs = [nHead, K, dRotary, base];
    for (const way of ways) {
      Object.assign(process.env, way);
      const y: Operand[] = [{ shape: [R, O], kind: 'bf16' }];
      const biased = [bf16(x, R, I), bf16(w, O, I), { shape: [O], data: b }, where];
      expectClose(runCuda('linearBiasRotary_forward', biased, y, attrs)[0], expected, 5e-3, JSON.stringify(way));
      const [got] = runCuda('linearRotary_forward', [bf16(x, R, I), bf16(w, O, I), where], y, attrs);
      expect(got![O - 1]).toBeCloseTo(toBf16(plain[O - 1]! - b[O - 1]!), 1);
      for (const name of Object.keys(way)) delete process.env[name];
    }
    const short = { shape: [T - 1], kind: 'i32', data: positions.subarray(1) } as const;
    expect(() =>
      runCuda('linearRotary_forward', [bf16(x, R, I), bf16(w, O, I), short], [{ shape: [R, O] }], attrs),
    ).toThrow('[x] expected rows of whole sequences of 49, got 100');
  });

  it('give the same bits in whatever order threads run', () => {
    const [R, I, O] = [300, 192, 64];
    const inputs = [random(R * I, 1), random(O * I, 2), random(R * O, 3), random(R * I, 4)] as const;
    const run = (): unknown => [
      runCuda(
        'linearBiasOfGelu_backward',
        [bf16(inputs[0], R, I), bf16(inputs[1], O, I), bf16(inputs[2], R, O), bf16(inputs[3], R, I)],
        [{ shape: [R, I], kind: 'bf16' }, undefined, undefined, { shape: [I] }],
      ),
      runCuda(
        'linearSiluGate_forward',
        [bf16(inputs[0], R, I), bf16(inputs[1], O, I)],
        [
          { shape: [R, O / 2], kind: 'bf16' },
          { shape: [R, O], kind: 'bf16' },
        ],
      ),
    ];
    const first = run();
    for (const order of ['backward', '1', '2']) {
      process.env.PHYSLM_EMULATE_ORDER = order;
      expect(run(), order).toEqual(first);
    }
  });
});
