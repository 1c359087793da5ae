import { afterEach, describe, expect, it } from 'vitest';
import { absent, check, f, native, noise, out, want } from './kernel-runner.js';

const isas = absent ? [] : native.isas();

describe.skipIf(absent).each(isas)('the optimiser, sums and the gradient norm on %s', (isa) => {
  const started = absent ? 1 : native.threads();
  const use = (): void => {
    expect(native.setIsa(isa)).toBe(true);
  };
  afterEach(() => {
    native.setIsa(isas[0] as string);
    native.setThreads(started);
  });

  it('add, fill and the gradient norm', () => {
    use();
    for (const n of [1, 5, 33, 4099, 200_001]) {
      const a = noise(n, 1);
      const b = noise(n, 2);
      const sum = want(
        a.map((v, i) => Math.fround(v + (b[i] as number))),
        0,
      );
      check('add_forward', [f([n], a), f([n], b)], [out(n)], [], [sum]);
      check('add_forward', [f([n], a), f([n], b)], [{ shape: [n], alias: 0 }], [], [sum]);
      check('add_forward', [f([n], a), f([n], b)], [{ shape: [n], alias: 1 }], [], [sum]);
      check('fill_forward', [], [out(n)], [0.25], [want(new Float64Array(n).fill(0.25), 0)]);
      check(
        'gradNorm_forward',
        [f([n], a)],
        [out(1)],
        [],
        [want(Float64Array.of(Math.sqrt(a.reduce((t, v) => t + v * v, 0))), 1e-7)],
      );
    }
    for (const [S, N] of [
      [1, 1],
      [3, 37],
      [5, 9001],
    ] as const) {
      const g = noise(S * N, 3);
      const total = Float64Array.from({ length: N }, (_, n) => {
        let sum = g[n] as number;
        for (let s = 1; s < S; s++) sum = Math.fround(sum + (g[s * N + n] as number));
        return sum;
      });
      check('sumSlices_forward', [f([S, N], g)], [out(N)], [], [want(total, 0)]);
    }
    // Squares beyond f32 must not overflow: the sum is in double.
    check('gradNorm_forward', [f([2], [3e30, 4e30])], [out(1)], [], [want(Float64Array.of(Math.fround(5e30)), 1e-6)]);
  });

  it('AdamW, with and without clipping, decay on the first parameters only', () => {
    use();
    for (const n of [1, 5, 33, 1000, 70_001])
      for (const maxNorm of [0, 0.5]) {
        const w = noise(n, 1);
        const g = noise(n, 2);
        const m = noise(n, 3);
        const v = noise(n, 4).map(Math.abs);
        const nDecay = Math.floor(n / 3);
        const norm = Math.fround(Math.sqrt(g.reduce((t, x) => t + x * x, 0)));
        const hyper = [1e-2, 0.9, 0.95, 1e-8, 0.1, 1 - 0.9 ** 3, 1 - 0.95 ** 3, maxNorm].map(Math.fround) as number[];
        const [lr, b1, b2, eps, decay, u1, u2] = hyper as [number, number, number, number, number, number, number];
        const clip = maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1;
        const m1 = m.map((x, i) => b1 * x + (1 - b1) * (g[i] as number) * clip);
        const v1 = v.map((x, i) => b2 * x + (1 - b2) * ((g[i] as number) * clip) ** 2);
        const w1 = w.map(
          (x, i) =>
            x -
            lr * ((m1[i] as number) / u1 / (Math.sqrt((v1[i] as number) / u2) + eps) + (i < nDecay ? decay * x : 0)),
        );
        const inputs = [f([n], w), f([n], g), f([n], m), f([n], v), f([1], [norm]), f([8], hyper)];
        const wants = [want(w1, 2e-6), want(m1, 2e-6), want(v1, 2e-6)];
        check(
          'adamW_forward',
          inputs,
          [
            { shape: [n], alias: 0 },
            { shape: [n], alias: 2 },
            { shape: [n], alias: 3 },
          ],
          [nDecay],
          wants,
        );
        check('adamW_forward', inputs, [out(n), out(n), out(n)], [nDecay], wants);
      }
  });
});
