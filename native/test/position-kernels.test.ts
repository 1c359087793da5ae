import { afterEach, describe, expect, it } from 'vitest';
import { absent, check, f, ids, native, noise, out, runKernel, want } from './kernel-runner.js';

// Attention whose scores know positions: relative (content and distance), position (distance alone), uniform (a window).
// One float64 formula serves all three: scores, softmax, and the slopes of both.

const isas = absent ? [] : native.isas();

interface Sizes {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly K: number;
  readonly causal: boolean;
}

interface Mixed {
  readonly o: Float64Array;
  readonly lse: Float64Array;
}

/** Softmax over `score(b, h, t, s)` of `value(b, s, h, k)`; calls `slope` with dL/dscore and `flow` with the weight of each pair. */
function mix(
  { B, T, H, K, causal }: Sizes,
  score: (b: number, h: number, t: number, s: number) => number,
  value: (b: number, s: number, h: number, k: number) => number,
  grad?: Float64Array,
  slope?: (b: number, h: number, t: number, s: number, d: number) => void,
  flow?: (b: number, h: number, t: number, s: number, weight: number) => void,
): Mixed {
  const o = new Float64Array(B * T * H * K);
  const lse = new Float64Array(B * H * T);
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++)
      for (let t = 0; t < T; t++) {
        const n = causal ? t + 1 : T;
        const scores = Float64Array.from({ length: n }, (_, s) => score(b, h, t, s));
        const top = Math.max(...scores);
        const total = scores.reduce((sum, x) => sum + Math.exp(x - top), 0);
        lse[(b * H + h) * T + t] = top + Math.log(total);
        const p = scores.map((x) => Math.exp(x - top) / total);
        const at = ((b * T + t) * H + h) * K;
        p.forEach((weight, s) => {
          for (let k = 0; k < K; k++) o[at + k]! += weight * value(b, s, h, k);
        });
        if (!grad) continue;
        const dp = p.map((_, s) => {
          let sum = 0;
          for (let k = 0; k < K; k++) sum += grad[at + k]! * value(b, s, h, k);
          return sum;
        });
        const delta = dp.reduce((sum, x, s) => sum + x * p[s]!, 0);
        p.forEach((weight, s) => {
          slope?.(b, h, t, s, weight * (dp[s]! - delta));
          flow?.(b, h, t, s, weight);
        });
      }
  return { o, lse };
}

describe.skipIf(absent).each(isas)('attention by position on %s', (isa) => {
  const started = absent ? 1 : native.threads();
  const use = (): void => {
    expect(native.setIsa(isa)).toBe(true);
  };
  afterEach(() => {
    native.setIsa(isas[0] as string);
    native.setThreads(started);
  });

  it('relative attention forward and backward', () => {
    use();
    for (const [T, H, K, N] of [
      [1, 1, 8, 1],
      [2, 2, 5, 9],
      [17, 3, 16, 7],
      [64, 2, 16, 65],
      [97, 1, 33, 31],
      [130, 2, 8, 131],
      [230, 1, 16, 231],
    ] as const)
      for (const causal of [true, false]) {
        const [B, Q] = [T > 100 ? 1 : 3, H * K];
        const sizes = { B, T, H, K, causal };
        const scale = Math.fround(1 / Math.sqrt(3 * K));
        const x = noise(B * T * 3 * Q, T);
        const [kp, qp] = [noise(N * Q, 2), noise(N * Q, 3)];
        const grad = noise(B * T * Q, 4);
        const reach = (N - 1) / 2;
        const clip = (d: number): number =>
          causal ? Math.min(d, N - 1) : reach + Math.min(reach, Math.max(-reach, d));
        const query = (b: number, t: number, h: number, k: number): number => (b * T + t) * 3 * Q + h * K + k;
        const key = (...at: [number, number, number, number]): number => query(...at) + Q;
        const keyRow = (t: number, s: number): number => clip(t - s) * Q;
        const queryRow = (t: number, s: number): number => clip(causal ? t - s : s - t) * Q;
        const [dx, dkp, dqp] = [new Float64Array(x.length), new Float64Array(N * Q), new Float64Array(N * Q)];
        const { o, lse } = mix(
          sizes,
          (b, h, t, s) => {
            let sum = 0;
            for (let k = 0; k < K; k++) {
              const [q, c] = [x[query(b, t, h, k)]!, x[key(b, s, h, k)]!];
              sum += q * c + q * kp[keyRow(t, s) + h * K + k]! + c * qp[queryRow(t, s) + h * K + k]!;
            }
            return sum * scale;
          },
          (b, s, h, k) => x[query(b, s, h, k) + 2 * Q]!,
          grad,
          (b, h, t, s, slope) => {
            for (let k = 0; k < K; k++) {
              const [i, j] = [query(b, t, h, k), key(b, s, h, k)];
              const [m, n] = [keyRow(t, s) + h * K + k, queryRow(t, s) + h * K + k];
              dx[i]! += scale * slope * (x[j]! + kp[m]!);
              dx[j]! += scale * slope * (x[i]! + qp[n]!);
              dkp[m]! += scale * slope * x[i]!;
              dqp[n]! += scale * slope * x[j]!;
            }
          },
          (b, h, t, s, weight) => {
            for (let k = 0; k < K; k++) dx[query(b, s, h, k) + 2 * Q]! += weight * grad[((b * T + t) * H + h) * K + k]!;
          },
        );
        const attrs = [H, K, scale, causal ? 1 : 0];
        const tables = [f([N, Q], kp), f([N, Q], qp)];
        check('relativeAttention_forward', [f([B, T, 3 * Q], x), ...tables], [out(B, T, Q), out(B, H, T)], attrs, [
          want(o, 1e-5),
          want(lse, 1e-5),
        ]);
        const inputs = [f([B, T, 3 * Q], x), ...tables, f([B, T, Q], o), f([B, H, T], lse), f([B, T, Q], grad)];
        const outputs = [out(B, T, 3 * Q), out(N, Q), out(N, Q)];
        const wants = [want(dx, 5e-5), want(dkp, 5e-5), want(dqp, 5e-5)];
        check('relativeAttention_backward', inputs, outputs, attrs, wants);
        for (const skipped of T === 17 ? [0, 1, 2] : []) {
          const some = outputs.map((y, i) => (i === skipped ? { ...y, absent: true } : y));
          check(
            'relativeAttention_backward',
            inputs,
            some,
            attrs,
            wants.map((w, i) => (i === skipped ? undefined : w)),
          );
        }
      }
  }, 240_000);

  it('position attention forward and backward, scores of any range', () => {
    use();
    for (const [B, T, H, K, N, range] of [
      [1, 1, 2, 4, 1, 1],
      [2, 7, 1, 5, 3, 1],
      [9, 33, 2, 16, 40, 1],
      [2, 130, 3, 33, 50, 1],
      [1, 260, 1, 64, 260, 1],
      [2, 65, 2, 8, 65, 120], // rises by hundreds of nats: several factors within a pattern
    ] as const) {
      const Q = H * K;
      const sizes = { B, T, H, K, causal: true };
      const v = noise(B * T * Q, 1);
      const table = noise(H * N, 2, range);
      const grad = noise(B * T * Q, 3);
      const [dv, dtable] = [new Float64Array(v.length), new Float64Array(H * N)];
      const { o, lse } = mix(
        sizes,
        (_, h, t, s) => table[h * N + Math.min(t - s, N - 1)]!,
        (b, s, h, k) => v[((b * T + s) * H + h) * K + k]!,
        grad,
        (_, h, t, s, slope) => {
          dtable[h * N + Math.min(t - s, N - 1)]! += slope;
        },
        (b, h, t, s, weight) => {
          for (let k = 0; k < K; k++)
            dv[((b * T + s) * H + h) * K + k]! += weight * grad[((b * T + t) * H + h) * K + k]!;
        },
      );
      const once = lse.slice(0, H * T);
      check(
        'positionAttention_forward',
        [f([B, T, Q], v), f([H, N], table)],
        [out(B, T, Q), out(H, T)],
        [],
        [want(o, 5e-6 * Math.max(1, range / 10)), want(once, 5e-6)],
      );
      const inputs = [f([B, T, Q], v), f([H, N], table), f([B, T, Q], o), f([H, T], once), f([B, T, Q], grad)];
      const wants = [want(dv, 2e-5 * Math.max(1, range / 10)), want(dtable, 2e-5 * Math.sqrt(B * T))];
      check('positionAttention_backward', inputs, [out(B, T, Q), out(H, N)], [], wants);
      for (const skipped of [0, 1]) {
        const outputs = [out(B, T, Q), out(H, N)].map((y, i) => (i === skipped ? { ...y, absent: true } : y));
        const some = wants.map((w, i) => (i === skipped ? undefined : w));
        check('positionAttention_backward', inputs, outputs, [], some);
      }
    }
  });

  it('uniform attention forward and backward', () => {
    use();
    for (const [B, T, H, K] of [
      [1, 1, 1, 3],
      [2, 7, 3, 5],
      [2, 33, 8, 16],
      [1, 300, 9, 33],
    ] as const) {
      const Q = H * K;
      const v = noise(B * T * Q, 1);
      const grad = noise(B * T * Q, 2);
      const [o, dv] = [new Float64Array(v.length), new Float64Array(v.length)];
      for (let b = 0; b < B; b++)
        for (let h = 0; h < H; h++)
          for (let t = 0; t < T; t++) {
            const n = Math.min(t + 1, 2 ** (h + 1) - 1);
            for (let s = t - n + 1; s <= t; s++)
              for (let k = 0; k < K; k++) {
                const [i, j] = [((b * T + t) * H + h) * K + k, ((b * T + s) * H + h) * K + k];
                o[i]! += v[j]! / n;
                dv[j]! += grad[i]! / n;
              }
          }
      check('uniformAttention_forward', [f([B, T, Q], v)], [out(B, T, Q)], [H], [want(o, 3e-6)]);
      check('uniformAttention_backward', [f([B, T, Q], grad)], [out(B, T, Q)], [H], [want(dv, 3e-6)]);
    }
  });

  it('a NaN stays within the windows that hold it', () => {
    use();
    const [T, H, K] = [40, 3, 8];
    const Q = H * K;
    const v = noise(T * Q, 1);
    v[10 * Q + K] = Number.NaN; // head 1, whose window is 3 tokens
    const [o] = runKernel('uniformAttention_forward', [f([1, T, Q], v)], [out(1, T, Q)], [H]) as [Float64Array];
    const rows = new Set([...o.keys()].filter((i) => Number.isNaN(o[i])).map((i) => Math.floor(i / Q)));
    expect([...rows]).toEqual([10, 11, 12]);
  });

  it('one step of each over a cache, written in place', () => {
    use();
    for (const [B, H, K, S, N] of [
      [1, 1, 8, 4, 4],
      [3, 4, 16, 40, 13],
      [2, 2, 5, 70, 90],
    ] as const)
      for (const position of [0, 1, S - 1]) {
        const Q = H * K;
        const x = noise(B * 3 * Q, 1);
        const caches = [noise(B * S * Q, 2), noise(B * S * Q, 3)];
        const [kp, qp, table] = [noise(N * Q, 4), noise(N * Q, 5), noise(H * N, 6)];
        const scale = Math.fround(1 / Math.sqrt(3 * K));
        const next = caches.map((cache, part) => {
          const written = cache.slice();
          for (let b = 0; b < B; b++)
            written.set(x.subarray((3 * b + 1 + part) * Q, (3 * b + 2 + part) * Q), (b * S + position) * Q);
          return written;
        }) as [Float64Array, Float64Array];
        const distance = (s: number): number => Math.min(position - s, N - 1);
        const step = (score: (b: number, h: number, s: number) => number): Float64Array => {
          const sizes = { B, T: position + 1, H, K, causal: true };
          const value = (b: number, s: number, h: number, k: number): number => next[1][(b * S + s) * Q + h * K + k]!;
          const { o } = mix(sizes, (b, h, t, s) => (t === position ? score(b, h, s) : 0), value);
          const last = new Float64Array(B * Q);
          for (let b = 0; b < B; b++)
            last.set(o.subarray((b * (position + 1) + position) * Q, (b + 1) * (position + 1) * Q), b * Q);
          return last;
        };
        const cache = [B, S, H, K];
        const at = ids([1], [position]);
        const relative = step((b, h, s) => {
          let sum = 0;
          for (let k = 0; k < K; k++) {
            const [q, c] = [x[3 * b * Q + h * K + k]!, next[0][(b * S + s) * Q + h * K + k]!];
            const row = distance(s) * Q + h * K + k;
            sum += q * c + q * kp[row]! + c * qp[row]!;
          }
          return sum * scale;
        });
        check(
          'relativeAttentionStep_forward',
          [f([B, 3 * Q], x), f(cache, caches[0]!), f(cache, caches[1]!), f([N, Q], kp), f([N, Q], qp), at],
          [out(B, Q), { shape: cache, alias: 1 }, { shape: cache, alias: 2 }],
          [scale],
          [want(relative, 1e-5), want(next[0], 0), want(next[1], 0)],
        );
        const values = Float64Array.from({ length: B * Q }, (_, i) => x[(3 * Math.floor(i / Q) + 2) * Q + (i % Q)]!);
        check(
          'positionAttentionStep_forward',
          [f([B, Q], values), f([H, N], table), f(cache, caches[1]!), at],
          [out(B, Q), { shape: cache, alias: 2 }],
          [],
          [
            want(
              step((_, h, s) => table[h * N + distance(s)]!),
              5e-6,
            ),
            want(next[1], 0),
          ],
        );
        const seen = (h: number, s: number): number => (position - s < 2 ** (h + 1) - 1 ? 0 : Number.NEGATIVE_INFINITY);
        check(
          'uniformAttentionStep_forward',
          [f([B, Q], values), f(cache, caches[1]!), at],
          [out(B, Q), { shape: cache, alias: 1 }],
          [],
          [
            want(
              step((_, h, s) => seen(h, s)),
              5e-6,
            ),
            want(next[1], 0),
          ],
        );
      }
  });

  it('refuse what does not fit', () => {
    use();
    const run = (name: string, inputs: number[][], outputs: number[][], attrs: number[]) => () =>
      runKernel(
        name,
        inputs.map((shape) =>
          f(
            shape,
            noise(
              shape.reduce((a, b) => a * b, 1),
              1,
            ),
          ),
        ),
        outputs.map((shape) => ({ shape })),
        attrs,
      );
    expect(
      run(
        'relativeAttention_forward',
        [
          [1, 3, 12],
          [2, 4],
          [2, 4],
        ],
        [
          [1, 3, 4],
          [1, 2, 3],
        ],
        [2, 2, 1, 0],
      ),
    ).toThrow('[keyPositions] expected an odd number of rows, got 2');
    expect(
      run(
        'relativeAttention_forward',
        [
          [1, 3, 10],
          [2, 4],
          [2, 4],
        ],
        [
          [1, 3, 4],
          [1, 2, 3],
        ],
        [2, 2, 1, 1],
      ),
    ).toThrow('[qkv] expected 3·nHead·dHead = 12 columns');
    expect(
      run(
        'positionAttention_forward',
        [
          [1, 3, 5],
          [2, 3],
        ],
        [
          [1, 3, 5],
          [2, 3],
        ],
        [],
      ),
    ).toThrow('[v] expected a multiple of 2 heads, got 5 columns');
  });
});
