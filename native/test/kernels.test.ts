import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { absent, check, f, ids, misfit, native, noise, out, runKernel, type Want, want } from './kernel-runner.js';
import { positionMix } from './position-mix.js';
import * as reference from './reference.js';

const isas = absent ? [] : native.isas();

const ROWS = [1, 3, 7, 17, 65];
const WIDTHS = [1, 5, 16, 33, 48];

describe.skipIf(absent).each(isas)('kernels on %s', (isa) => {
  const started = absent ? 1 : native.threads();
  const use = (): void => {
    expect(native.setIsa(isa)).toBe(true);
  };
  afterEach(() => {
    native.setIsa(isas[0] as string);
    native.setThreads(started);
  });

  it('matmul, all four orders', () => {
    use();
    const shapes = [
      ...ROWS.flatMap((m) => WIDTHS.map((k) => [m, k, 33])),
      [2, 300, 70],
      [130, 700, 40],
      [70, 3, 300],
      [20, 1500, 50],
    ];
    for (const [m, k, n] of shapes as [number, number, number][])
      for (const ta of [0, 1])
        for (const tb of [0, 1]) {
          const a = noise(m * k, 1);
          const b = noise(k * n, 2);
          const c = reference.product(
            m,
            n,
            k,
            (i, x) => a[ta ? x * m + i : i * k + x] as number,
            (x, j) => b[tb ? j * k + x : x * n + j] as number,
          );
          check(
            'matmul_forward',
            [f(ta ? [k, m] : [m, k], a), f(tb ? [n, k] : [k, n], b)],
            [out(m, n)],
            [ta, tb],
            [want(c, 2e-6 * Math.sqrt(k) + 1e-6)],
          );
        }
  });

  it('linear layers forward and backward', () => {
    use();
    const shapes = [
      ...ROWS.flatMap((R) => WIDTHS.flatMap((I) => WIDTHS.map((O) => [R, I, O]))),
      [200, 64, 256],
      [1100, 16, 48], // weight gradient cut along its rows
      [1300, 33, 20],
      [9, 40, 700],
      [65, 800, 20],
      [1700, 3, 620], // the gradient of gelu in a pass of its own
    ];
    for (const [R, I, O] of shapes as [number, number, number][]) {
      const x = noise(R * I, 1);
      const w = noise(O * I, 2, 1 / Math.sqrt(I));
      const b = noise(O, 3);
      const dy = noise(R * O, 4);
      const pre = reference.linear(x, w, R, I, O, b);
      const inputs = [f([R, I], x), f([O, I], w)];
      check('linear_forward', inputs, [out(R, O)], [], [want(reference.linear(x, w, R, I, O), 1e-5)]);
      check('linearBias_forward', [...inputs, f([O], b)], [out(R, O)], [], [want(pre, 1e-5)]);
      const y = want(pre.map(reference.gelu), 1e-5);
      check('linearBiasGelu_forward', [...inputs, f([O], b)], [out(R, O), out(R, O)], [], [y, want(pre, 1e-5)]);
      check('linearBiasGelu_forward', [...inputs, f([O], b)], [out(R, O), { shape: [R, O], absent: true }], [], [y]);

      const gradients = (d: Float64Array): Want[] => {
        const { dx, dw, db } = reference.linearBackward(x, w, d, R, I, O);
        const rounding = 3e-6 * Math.sqrt(R);
        return [want(dx, 1e-5 * Math.sqrt(O / 16 + 1)), want(dw, rounding + 1e-6), want(db, rounding + 1e-6)];
      };
      const grads = [out(R, I), out(O, I), out(O)];
      const plain = gradients(dy);
      check('linear_backward', [...inputs, f([R, O], dy)], grads.slice(0, 2), [], plain.slice(0, 2));
      check('linearBias_backward', [...inputs, f([R, O], dy)], grads, [], plain);
      const pre32 = Float64Array.from(pre, Math.fround);
      check(
        'linearBiasGelu_backward',
        [...inputs, f([R, O], pre32), f([R, O], dy)],
        grads,
        [],
        gradients(dy.map((d, i) => d * reference.geluSlope(pre32[i] as number))),
      );
      for (let skipped = 0; skipped < 3; skipped++) {
        const some = grads.map((g, i) => (i === skipped ? { ...g, absent: true } : g));
        const wanted = plain.map((g, i) => (i === skipped ? undefined : g));
        if (R === 17 && O === 33) check('linearBias_backward', [...inputs, f([R, O], dy)], some, [], wanted);
      }
    }
  }, 240_000);

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

  const HEADS: readonly [number, number, number][] = [
    [1, 1, 8],
    [4, 2, 16],
    [2, 1, 5],
    [3, 3, 33],
  ];
  it('attention forward and backward', () => {
    use();
    for (const T of [1, 2, 7, 64, 65, 130])
      for (const [H, G, K] of HEADS)
        for (const causal of [true, false]) {
          const B = 2;
          const heads = { B, T, H, G, K, scale: Math.fround(1 / Math.sqrt(K)), causal };
          const P = (H + 2 * G) * K;
          const x = noise(B * T * P, T + H);
          const grad = noise(B * T * H * K, 2);
          const attrs = [H, G, K, heads.scale, causal ? 1 : 0];
          const { o, lse } = reference.attention(x, heads);
          check('attention_forward', [f([B, T, P], x)], [out(B, T, H * K), out(B, H, T)], attrs, [
            want(o, 5e-6),
            want(lse, 5e-6),
          ]);
          const inputs = [f([B, T, P], x), f([B, T, H * K], o), f([B, H, T], lse), f([B, T, H * K], grad)];
          check('attention_backward', inputs, [out(B, T, P)], attrs, [
            want(reference.attentionBackward(x, grad, heads), 3e-5),
          ]);
        }
  }, 240_000);

  it('attention over more keys than one block, wide and narrow heads, few and many', () => {
    use();
    for (const [T, H, G, K, causal] of [
      [300, 2, 1, 64, true],
      [500, 1, 1, 8, true],
      [257, 2, 2, 80, true],
      [401, 3, 1, 7, false],
      [129, 12, 4, 3, true],
    ] as const) {
      const heads = { B: 1, T, H, G, K, scale: Math.fround(1 / Math.sqrt(K)), causal };
      const P = (H + 2 * G) * K;
      const x = noise(T * P, 5);
      const grad = noise(T * H * K, 6);
      const attrs = [H, G, K, heads.scale, causal ? 1 : 0];
      const { o, lse } = reference.attention(x, heads);
      check('attention_forward', [f([1, T, P], x)], [out(1, T, H * K), out(1, H, T)], attrs, [
        want(o, 5e-6),
        want(lse, 5e-6),
      ]);
      const inputs = [f([1, T, P], x), f([1, T, H * K], o), f([1, H, T], lse), f([1, T, H * K], grad)];
      check('attention_backward', inputs, [out(1, T, P)], attrs, [
        want(reference.attentionBackward(x, grad, heads), 5e-5),
      ]);
    }
  }, 120_000);

  it('attention gives keys of score -inf no weight, however many come first, and rows of nothing else NaN', () => {
    use();
    const [T, K, hidden] = [300, 4, 150];
    const x = noise(T * 3 * K, 7);
    const rest = new Float64Array((T - hidden) * 3 * K);
    for (let t = 0; t < T; t++) {
      x[t * 3 * K] = 0.5; // q · k = -inf for the first keys
      if (t < hidden) x[t * 3 * K + K] = Number.NEGATIVE_INFINITY;
      else rest.set(x.subarray(t * 3 * K, (t + 1) * 3 * K), (t - hidden) * 3 * K);
    }
    const heads = { B: 1, T: T - hidden, H: 1, G: 1, K, scale: 0.5, causal: true };
    const got = runKernel('attention_forward', [f([1, T, 3 * K], x)], [out(1, T, K), out(1, 1, T)], [1, 1, K, 0.5, 1]);
    const seen = reference.attention(rest, heads);
    const [o, lse] = got as [Float64Array, Float64Array];
    expect(o.subarray(0, hidden * K).every(Number.isNaN)).toBe(true);
    expect(misfit(o.slice(hidden * K), seen.o, 5e-6)).toBeLessThanOrEqual(1);
    expect(misfit(lse.slice(hidden), seen.lse, 5e-6)).toBeLessThanOrEqual(1);
  });

  it('one step of attention over a cache, written in place', () => {
    use();
    for (const [B, H, G, K, S] of [
      [1, 1, 1, 8, 4],
      [3, 4, 2, 16, 40],
      [2, 6, 3, 5, 70],
      [2, 4, 4, 64, 300],
    ] as const)
      for (const position of [0, 1, S - 1]) {
        const P = (H + 2 * G) * K;
        const x = noise(B * P, 1);
        const kCache = noise(B * S * G * K, 2);
        const vCache = noise(B * S * G * K, 3);
        const scale = Math.fround(1 / Math.sqrt(K));
        const k1 = kCache.slice();
        const v1 = vCache.slice();
        const o = new Float64Array(B * H * K);
        for (let b = 0; b < B; b++) {
          const T = position + 1;
          const seen = new Float64Array(T * P);
          for (let g = 0; g < G; g++)
            for (let i = 0; i < K; i++) {
              const cell = ((b * S + position) * G + g) * K + i;
              k1[cell] = x[b * P + (H + g) * K + i] as number;
              v1[cell] = x[b * P + (H + G + g) * K + i] as number;
            }
          for (let t = 0; t < T; t++)
            for (let g = 0; g < G; g++)
              for (let i = 0; i < K; i++) {
                const cell = ((b * S + t) * G + g) * K + i;
                seen[t * P + (H + g) * K + i] = k1[cell] as number;
                seen[t * P + (H + G + g) * K + i] = v1[cell] as number;
              }
          seen.set(x.subarray(b * P, b * P + H * K), position * P);
          const all = reference.attention(seen, { B: 1, T, H, G, K, scale, causal: true }).o;
          o.set(all.subarray(position * H * K), b * H * K);
        }
        const cache = [B, S, G, K];
        check(
          'attentionStep_forward',
          [f([B, P], x), f(cache, kCache), f(cache, vCache), ids([1], [position])],
          [out(B, H * K), { shape: cache, alias: 1 }, { shape: cache, alias: 2 }],
          [H, G, K, scale],
          [want(o, 5e-6), want(k1, 0), want(v1, 0)],
        );
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

  it('the position probe: all positions and bands, ragged sentences', () => {
    use();
    for (const [B, T, H, C, K] of [
      [1, 1, 1, 1, 1],
      [3, 6, 2, 5, 3],
      [5, 40, 3, 17, 20],
    ] as const) {
      for (const reach of [-1, 0, 1, 3]) {
        const V = T + 2;
        const lengths = Int32Array.from({ length: B }, (_, b) => Math.max(0, T - 7 * b));
        const [p, y, dy] = [noise(V * H * K, 1), noise(B * T * H * C, 2), noise(B * T * C, 3)];
        const expected = positionMix({ B, T, H, C, K, V, reach }, p, y, lengths, dy);
        const given = [f([V, H, K], p), f([B, T, H, C], y), ids([B], lengths)];
        const kept = [f([H, T, B, C], expected.heads), f([H, T, B], expected.lse)];
        check(
          'positionMix_forward',
          given,
          [out(B, T, C), out(H, T, B, C), out(H, T, B)],
          [reach],
          [want(expected.mixed, 1e-5), want(expected.heads, 1e-5), want(expected.lse, 1e-5)],
        );
        check(
          'positionMix_backward',
          [...given, ...kept, f([B, T, C], dy)],
          [out(V, H, K), out(B, T, H, C)],
          [reach],
          [want(expected.dp, 1e-4), want(expected.df, 1e-5)],
        );
      }
    }
  });
  it('the position probe stays finite when a position behind the end of a short sentence has a far higher score', () => {
    use();
    // ⟨p0, p1⟩ = 300 against ⟨p0, p0⟩ = 9; the first sentence is one token long.
    const given = [f([2, 1, 1], [3, 100]), f([2, 2, 1, 1], [5, 7, 5, 7])];
    const [mixed] = runKernel(
      'positionMix_forward',
      [...given, ids([2], [1, 2])],
      [out(2, 2, 1), out(1, 2, 2, 1), out(1, 2, 2)],
      [-1],
    );
    expect(misfit(mixed!, Float64Array.of(5, 0, 7, 7), 1e-6)).toBeLessThanOrEqual(1);
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

it.skipIf(absent)('runs every kernel of the manifest in some test here', () => {
  const files = ['./kernels.test.ts', './position-kernels.test.ts'];
  const source = files.map((file) => readFileSync(new URL(file, import.meta.url), 'utf8')).join('');
  const untested = native.manifest().filter((k) => !source.includes(`'${k.name.replace(/_cpu$/, '')}'`));
  expect(untested).toEqual([]);
});
