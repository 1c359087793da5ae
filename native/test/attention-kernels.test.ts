import { afterEach, describe, expect, it } from 'vitest';
import { absent, check, f, ids, misfit, native, noise, out, runKernel, want } from './kernel-runner.js';
import * as reference from './reference.js';

const isas = absent ? [] : native.isas();

describe.skipIf(absent).each(isas)('attention on %s', (isa) => {
  const started = absent ? 1 : native.threads();
  const use = (): void => {
    expect(native.setIsa(isa)).toBe(true);
  };
  afterEach(() => {
    native.setIsa(isas[0] as string);
    native.setThreads(started);
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

  it('attention within documents gives each the bits that it has alone, on any number of threads', () => {
    use();
    // Short ones, of one token, long ones; few, and enough to go side by side.
    const windows = [[40, 1, 200, 9], [250], Array.from({ length: 50 }, (_, i) => 1 + (i % 9)).concat([10])];
    for (const [H, G, K] of [HEADS[1]!, HEADS[3]!]) {
      const [B, T, P, Q] = [windows.length, 250, (H + 2 * G) * K, H * K];
      const scale = Math.fround(1 / Math.sqrt(K));
      const [x, grad] = [noise(B * T * P, 3), noise(B * T * Q, 4)];
      const starts = windows.flatMap((lengths) => {
        let at = 0;
        return lengths.flatMap((n) => {
          at += n;
          return Array.from({ length: n }, () => at - n);
        });
      });
      const seen = { shape: [B, T], data: starts, dtype: 'i32' } as const;
      const attrs = [H, G, K, scale];
      let first: Float64Array[] | undefined;
      for (const threads of [1, 2, 3]) {
        native.setThreads(threads);
        const [o, lse] = runKernel(
          'documentAttention_forward',
          [f([B, T, P], x), seen],
          [out(B, T, Q), out(B, H, T)],
          attrs,
        );
        const inputs = [f([B, T, P], x), seen, f([B, T, Q], o!), f([B, H, T], lse!), f([B, T, Q], grad)];
        const [dx] = runKernel('documentAttention_backward', inputs, [out(B, T, P)], attrs);
        first ??= [o!, lse!, dx!];
        expect([o, lse, dx]).toEqual(first);
      }
      const [o, lse, dx] = first!;
      const rows = (all: ArrayLike<number>, from: number, n: number, width: number): Float32Array =>
        Float32Array.from({ length: n * width }, (_, i) => all[from * width + i]!);
      windows.forEach((lengths, b) => {
        let at = 0;
        for (const n of lengths) {
          const row = b * T + at;
          const alone = [rows(x, row, n, P), rows(grad, row, n, Q)] as const;
          const [one, sums] = runKernel(
            'attention_forward',
            [f([1, n, P], alone[0])],
            [out(1, n, Q), out(1, H, n)],
            [...attrs, 1],
          );
          expect(rows(o!, row, n, Q)).toEqual(Float32Array.from(one!));
          for (let h = 0; h < H; h++)
            expect(lse!.slice((b * H + h) * T + at, (b * H + h) * T + at + n)).toEqual(sums!.slice(h * n, (h + 1) * n));
          const given = [f([1, n, P], alone[0]), f([1, n, Q], one!), f([1, H, n], sums!), f([1, n, Q], alone[1])];
          const [slope] = runKernel('attention_backward', given, [out(1, n, P)], [...attrs, 1]);
          expect(rows(dx!, row, n, P)).toEqual(Float32Array.from(slope!));
          at += n;
        }
      });
    }
  });

  it('documents begin at their separator; a mask that does not fit is refused', () => {
    use();
    const tokens = [5, 0, 1, 2, 0, 0, 7, 8, 0, 1, 1, 1, 0, 3, 0, 4];
    const [starts] = runKernel(
      'documentStarts_forward',
      [{ shape: [2, 8], data: tokens, dtype: 'i32' }],
      [{ shape: [2, 8], dtype: 'i32' }],
      [0],
    );
    const words = new Int32Array(Float32Array.from(starts!).buffer);
    expect([...words]).toEqual([0, 1, 1, 1, 4, 5, 5, 5, 0, 0, 0, 0, 4, 4, 6, 6]);
    for (const [bad, what] of [
      [[0, 0, 1, 1], 'got 1 at position 2'],
      [[1, 1, 1, 1], 'got 1 at position 0'],
      [[0, 0, 2, -1], 'got -1 at position 3'],
    ] as const) {
      const inputs = [f([1, 4, 6], noise(24, 1)), { shape: [1, 4], data: bad, dtype: 'i32' } as const];
      expect(() => runKernel('documentAttention_forward', inputs, [out(1, 4, 2), out(1, 1, 4)], [1, 1, 2, 1])).toThrow(
        what,
      );
    }
  });

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
});
