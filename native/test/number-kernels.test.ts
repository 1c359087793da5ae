import { afterEach, describe, expect, it } from 'vitest';
import { absent, f, ids, native, noise, out, runKernel } from './kernel-runner.js';

const isas = absent ? [] : native.isas();

describe.skipIf(absent).each(isas)('numbers at the edge on %s', (isa) => {
  const started = absent ? 1 : native.threads();
  const use = (): void => {
    expect(native.setIsa(isa)).toBe(true);
  };
  afterEach(() => {
    native.setIsa(isas[0] as string);
    native.setThreads(started);
  });

  it('NaN and infinity come through', () => {
    use();
    const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
    const x = Float64Array.from([1, nan, -inf, inf, 100, -100, 0]);
    const [y] = runKernel('gelu_forward', [f([7], x)], [out(7)]) as [Float64Array];
    expect(y[1]).toBeNaN();
    expect(y[2]).toBeNaN(); // 0.5·(−∞)·(1 + tanh(−∞)) is −∞·0
    expect([y[3], y[4], Math.abs(y[5] as number), y[6]]).toEqual([inf, 100, 0, 0]);
    const poisoned = (R: number, C: number, r: number): Float64Array =>
      noise(R * C, 1).map((v, i) => (i === r * C + 1 ? nan : v));
    const rowsWithNan = (values: Float64Array, C: number): number[] => {
      const rows = new Set<number>();
      values.forEach((v, i) => {
        if (Number.isNaN(v)) rows.add(Math.floor(i / C));
      });
      return [...rows];
    };
    for (const C of [5, 16, 33, 200]) {
      const at = f([20, C], poisoned(20, C, 13));
      const ones = f([C], new Float64Array(C).fill(1));
      expect(rowsWithNan(runKernel('linear_forward', [at, f([3, C], noise(3 * C, 2))], [out(20, 3)])[0]!, 3)).toEqual([
        13,
      ]);
      expect(rowsWithNan(runKernel('rmsNorm_forward', [at, ones], [out(20, C), out(20)], [1e-5])[0]!, C)).toEqual([13]);
      expect(
        rowsWithNan(runKernel('layerNorm_forward', [at, ones, ones], [out(20, C), out(20), out(20)], [1e-5])[0]!, C),
      ).toEqual([13]);
      const [loss, lse] = runKernel(
        'crossEntropy_forward',
        [at, ids([20], new Array(20).fill(0))],
        [out(20), out(20)],
        [-1],
      );
      expect(rowsWithNan(loss!, 1)).toEqual([13]);
      expect(rowsWithNan(lse!, 1)).toEqual([13]);
      expect(runKernel('gradNorm_forward', [at], [out(1)])[0]![0]).toBeNaN();
    }
    const K = 8;
    const qkv = noise(40 * 3 * K, 3);
    qkv[30 * 3 * K] = nan; // a query: its own row only
    const o = runKernel(
      'attention_forward',
      [f([1, 40, 3 * K], qkv)],
      [out(1, 40, K), out(1, 1, 40)],
      [1, 1, K, 0.3, 1],
    )[0]!;
    expect(rowsWithNan(o, K)).toEqual([30]);
    const one = f([1], [1]);
    const stepped = runKernel(
      'adamW_forward',
      [one, one, one, one, f([1], [nan]), f([8], [0.1, 0.9, 0.9, 1e-8, 0, 0.1, 0.1, 1])],
      [out(1), out(1), out(1)],
      [0],
    );
    expect(stepped[0]![0]).toBeNaN();
  });

  it('exp is accurate over its whole range', () => {
    use();
    // Through the gradient of a softmax of two, with a log-sum-exp given as 0: e^d for the other token.
    for (let gap = -110; gap <= 88; gap += 0.37) {
      const d = Math.fround(gap);
      const [grad] = runKernel(
        'crossEntropy_backward',
        [f([1, 2], [0, d]), ids([1], [0]), f([1], [0]), f([1], [1])],
        [out(1, 2)],
        [-1],
      );
      const got = grad![1] as number;
      const exact = Math.exp(d);
      // The exponent of 2 is rounded once, so the relative error grows with it; what is not a normal number may be 0.
      const slack = 1.2e-38 + (3e-7 + 1e-7 * Math.abs(d)) * exact;
      expect(Math.abs(got - exact) <= slack, `e^${d}: ${got}, ${exact}`).toBe(true);
    }
  });
});
