import { afterEach, describe, expect, it } from 'vitest';
import { absent, check, f, ids, native, noise, out, runKernel, want } from './kernel-runner.js';
import * as reference from './reference.js';

const isas = absent ? [] : native.isas();

describe.skipIf(absent).each(isas)('kernels on rows on %s', (isa) => {
  const started = absent ? 1 : native.threads();
  const use = (): void => {
    expect(native.setIsa(isa)).toBe(true);
  };
  afterEach(() => {
    native.setIsa(isas[0] as string);
    native.setThreads(started);
  });

  it('gelu and the gated silu', () => {
    use();
    for (const n of [1, 5, 33, 4099, 60_001]) {
      const x = noise(n, 1, 3);
      const dy = noise(n, 2);
      check('gelu_forward', [f([n], x)], [out(n)], [], [want(x.map(reference.gelu), 2e-6)]);
      check('gelu_forward', [f([n], x)], [{ shape: [n], alias: 0 }], [], [want(x.map(reference.gelu), 2e-6)]);
      check(
        'gelu_backward',
        [f([n], x), f([n], dy)],
        [out(n)],
        [],
        [
          want(
            x.map((v, i) => (dy[i] as number) * reference.geluSlope(v)),
            3e-6,
          ),
        ],
      );
    }
    for (const [R, F] of [
      [1, 1],
      [3, 5],
      [17, 16],
      [65, 33],
      [500, 100],
    ] as const) {
      const x = noise(R * 2 * F, 1, 2);
      const dy = noise(R * F, 2);
      const y = new Float64Array(R * F);
      const dx = new Float64Array(R * 2 * F);
      for (let r = 0; r < R; r++)
        for (let i = 0; i < F; i++) {
          const g = x[r * 2 * F + i] as number;
          const u = x[r * 2 * F + F + i] as number;
          const s = reference.sigmoid(g);
          const d = dy[r * F + i] as number;
          y[r * F + i] = g * s * u;
          dx[r * 2 * F + i] = d * u * (s + g * s * (1 - s));
          dx[r * 2 * F + F + i] = d * g * s;
        }
      check('siluGate_forward', [f([R, 2 * F], x)], [out(R, F)], [], [want(y, 3e-6)]);
      check('siluGate_backward', [f([R, 2 * F], x), f([R, F], dy)], [out(R, 2 * F)], [], [want(dx, 3e-6)]);
    }
  });

  it('norms', () => {
    use();
    for (const [R, D] of [
      [1, 1],
      [3, 5],
      [17, 16],
      [65, 33],
      [130, 48],
      [700, 100],
      [1100, 240], // far from the core: row by row
    ] as const) {
      const x = noise(R * D, 1, 2);
      const g = noise(D, 2);
      const b = noise(D, 3);
      const dy = noise(R * D, 4);
      const sums = 4e-6 * Math.sqrt(R) + 1e-5;
      const layer = reference.norm(x, g, b, R, D, 1e-3);
      check(
        'layerNorm_forward',
        [f([R, D], x), f([D], g), f([D], b)],
        [out(R, D), out(R), out(R)],
        [1e-3],
        [want(layer.y, 1e-5), want(layer.mean, 1e-6), want(layer.rstd, 2e-6)],
      );
      const dl = reference.normBackward(x, g, layer.mean, layer.rstd, dy, R, D);
      check(
        'layerNorm_backward',
        [f([R, D], x), f([D], g), f([R], layer.mean), f([R], layer.rstd), f([R, D], dy)],
        [out(R, D), out(D), out(D)],
        [1e-3],
        [want(dl.dx, 2e-5), want(dl.dg, sums), want(dl.db, sums)],
      );
      const rms = reference.norm(x, g, undefined, R, D, 1e-3);
      check(
        'rmsNorm_forward',
        [f([R, D], x), f([D], g)],
        [out(R, D), out(R)],
        [1e-3],
        [want(rms.y, 1e-5), want(rms.rstd, 2e-6)],
      );
      const dr = reference.normBackward(x, g, undefined, rms.rstd, dy, R, D);
      check(
        'rmsNorm_backward',
        [f([R, D], x), f([D], g), f([R], rms.rstd), f([R, D], dy)],
        [out(R, D), out(D)],
        [1e-3],
        [want(dr.dx, 2e-5), want(dr.dg, sums)],
      );
    }
  });

  it('embedding', () => {
    use();
    for (const [R, V, D] of [
      [1, 1, 1],
      [3, 7, 5],
      [65, 10, 33],
      [900, 50, 48],
    ] as const) {
      const tokens = Array.from({ length: R }, (_, r) => (r * r * 7 + 3 * r) % V);
      const w = noise(V * D, 1);
      const dy = noise(R * D, 2);
      const y = Float64Array.from(
        { length: R * D },
        (_, i) => w[(tokens[Math.floor(i / D)] as number) * D + (i % D)] as number,
      );
      const dw = new Float64Array(V * D);
      dy.forEach((d, i) => {
        dw[(tokens[Math.floor(i / D)] as number) * D + (i % D)]! += d;
      });
      check('embedding_forward', [ids([R], tokens), f([V, D], w)], [out(R, D)], [], [want(y, 0)]);
      check('embedding_backward', [ids([R], tokens), f([R, D], dy)], [out(V, D)], [], [want(dw, 1e-5)]);
    }
  });

  it('rotary positions, and back', () => {
    use();
    for (const [B, T, heads, others, K, D] of [
      [1, 1, 1, 0, 2, 2],
      [2, 7, 3, 1, 8, 6],
      [2, 65, 4, 2, 5, 4],
      [3, 130, 6, 2, 32, 32],
      [1, 2, 2, 1, 7, 0],
    ] as const) {
      const P = (heads + others) * K;
      const x = noise(B * T * P, 1);
      const positions = Array.from({ length: T }, (_, t) => 3 * t + 1);
      const attrs = [heads, K, D, 10_000];
      const y = reference.rotary(x, positions, [B, T, P], attrs);
      check('rotary_forward', [f([B, T, P], x), ids([T], positions)], [out(B, T, P)], attrs, [want(y, 1e-6)]);
      check('rotary_forward', [f([B, T, P], x), ids([T], positions)], [{ shape: [B, T, P], alias: 0 }], attrs, [
        want(y, 1e-6),
      ]);
      const back = reference.rotary(x, positions, [B, T, P], attrs, -1);
      check('rotary_backward', [ids([T], positions), f([B, T, P], x)], [out(B, T, P)], attrs, [want(back, 1e-6)]);
    }
  });

  it('cross-entropy', () => {
    use();
    for (const [R, V] of [
      [1, 1],
      [3, 5],
      [17, 33],
      [65, 461],
      [300, 100],
    ] as const) {
      const logits = noise(R * V, 1, 4);
      const targets = Array.from({ length: R }, (_, r) => (r % 5 === 4 ? -1 : (r * 31) % V));
      const weight = noise(R, 2);
      const { loss, lse } = reference.crossEntropy(logits, targets, R, V, -1);
      check(
        'crossEntropy_forward',
        [f([R, V], logits), ids([R], targets)],
        [out(R), out(R)],
        [-1],
        [want(loss, 3e-6), want(lse, 2e-6)],
      );
      const d = Float64Array.from({ length: R * V }, (_, i) => {
        const r = Math.floor(i / V);
        if (targets[r] === -1) return 0;
        return (
          (Math.exp((logits[i] as number) - (lse[r] as number)) - (i % V === targets[r] ? 1 : 0)) *
          (weight[r] as number)
        );
      });
      const inputs = [f([R, V], logits), ids([R], targets), f([R], lse), f([R], weight)];
      check('crossEntropy_backward', inputs, [out(R, V)], [-1], [want(d, 3e-6)]);
      check('crossEntropy_backward', inputs, [{ shape: [R, V], alias: 0 }], [-1], [want(d, 3e-6)]);
    }
  });

  it('columns taken out and put back', () => {
    use();
    for (const [R, W, N, start] of [
      [1, 1, 1, 0],
      [3, 7, 2, 5],
      [65, 40, 17, 3],
    ] as const) {
      const wide = noise(R * W, 1);
      const narrow = Float64Array.from({ length: R * N }, (_, i) => wide[Math.floor(i / N) * W + start + (i % N)]!);
      const back = wide.map((x, i) => (i % W >= start && i % W < start + N ? x : 0));
      check('slice_forward', [f([R, W], wide)], [out(R, N)], [1, start], [want(narrow, 0)]);
      check('pad_forward', [f([R, N], narrow)], [out(R, W)], [1, start], [want(back, 0)]);
    }
    const slice = (attrs: number[]) => () => runKernel('slice_forward', [f([2, 3], noise(6, 1))], [out(2, 2)], attrs);
    expect(slice([0, 0])).toThrow('[axis] expected the last, 1, got 0');
    expect(slice([1, 2])).toThrow('[start] expected 0 <= start <= 1, got 2');
  });

  it('cross-entropy of rows far from zero, and of masked logits', () => {
    use();
    const V = 37;
    const near = noise(V, 5);
    for (const shift of [-1e4, -300, -60, -25, 0, 25, 60, 80, 300, 1e4]) {
      const row = near.map((v) => Math.fround(v + shift));
      const [masked, target] = [5, 3];
      row[masked] = Number.NEGATIVE_INFINITY;
      const { loss, lse } = reference.crossEntropy(row, [target], 1, V, -1);
      const rounding = 1e-6 + 2e-7 * Math.abs(shift);
      check(
        'crossEntropy_forward',
        [f([1, V], row), ids([1], [target])],
        [out(1), out(1)],
        [-1],
        [want(loss, rounding), want(lse, rounding)],
      );
      const inputs = [f([1, V], row), ids([1], [target]), f([1], lse), f([1], [1])];
      expect(runKernel('crossEntropy_backward', inputs, [out(1, V)], [-1])[0]![masked]).toBe(0);
    }
    const bad = [Number.NaN, Number.POSITIVE_INFINITY];
    for (const value of bad)
      expect(
        runKernel('crossEntropy_forward', [f([1, 2], [0, value]), ids([1], [0])], [out(1), out(1)], [-1])[1]![0],
      ).toBeNaN();
  });

  it('gelu far from zero', () => {
    use();
    const inf = Number.POSITIVE_INFINITY;
    const x = [-1e30, -200, -30, -10.2, -10, 10, 30, 200, 1e30, inf];
    const y = runKernel('gelu_forward', [f([x.length], x)], [out(x.length)])[0]!;
    expect([...y]).toEqual(x.map((v) => (v > 0 ? Math.fround(v) : expect.closeTo(0, 30))));
    expect(runKernel('gelu_forward', [f([2], [-inf, Number.NaN])], [out(2)])[0]!.every(Number.isNaN)).toBe(true);
  });

  it('says which token is out of range', () => {
    use();
    const w = f([4, 2], noise(8, 1));
    expect(() => runKernel('embedding_forward', [ids([3], [0, 4, 1]), w], [out(3, 2)])).toThrow(
      '[command 0: embedding_forward_cpu][ids] expected 0 <= id < 4, got 4 in row 1',
    );
    expect(() => runKernel('embedding_backward', [ids([3], [0, -1, 1]), f([3, 2], noise(6, 1))], [out(4, 2)])).toThrow(
      /got -1 in row 1/,
    );
    const logits = f([3, 2], noise(6, 1));
    expect(() => runKernel('crossEntropy_forward', [logits, ids([3], [0, 1, 2])], [out(3), out(3)], [-1])).toThrow(
      /got 2 in row 2/,
    );
  });
});
