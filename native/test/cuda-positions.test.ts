import { afterEach, describe, expect, it } from 'vitest';
import { absentCuda, cuda, type Kind, type Operand, runCuda, toBf16 } from './cuda-runner.js';
import { noise } from './kernel-runner.js';
import { positionMix } from './position-mix.js';
import { attentionSteps, positionAttention, relativeAttention, uniformAttention } from './position-reference.js';

// Attention whose scores know positions, the probe's mixing of positions and decoding, on device cuda against float64.

const skipped = absentCuda === '' ? '' : ` (skipped: ${absentCuda})`;

/** ‖got − expected‖ / ‖expected‖, the latter at least that of a tenth everywhere; NaN when anything is. */
function distance(got: Float64Array | undefined, expected: Float64Array): number {
  let [error, size] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    error += (got![i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return Math.sqrt(error / Math.max(size, 0.01 * expected.length));
}

/** What rounding operands and results to bf16 may cost; f32 costs next to nothing. */
const budget: Readonly<Record<Kind, number>> = { f32: 3e-6, bf16: 6e-3, i32: 0 };
const rounded = (kind: Kind, values: Float64Array): Float64Array =>
  kind === 'bf16' ? Float64Array.from(values, toBf16) : values;

afterEach(() => {
  delete process.env.PHYSLM_EMULATE_ORDER;
});

/** Each output alone and all together must fit, and have the same bits either way. */
function check(
  name: string,
  inputs: readonly Operand[],
  outputs: readonly Operand[],
  attrs: readonly number[],
  expected: readonly Float64Array[],
  limit: number,
): void {
  const all = runCuda(name, inputs, outputs, attrs);
  expected.forEach((values, i) => {
    expect(distance(all[i], values), `${name}[${i}] ${inputs.map(({ shape }) => shape)}`).toBeLessThan(limit);
  });
  if (!name.endsWith('backward')) return;
  outputs.forEach((_, i) => {
    const one = runCuda(
      name,
      inputs,
      outputs.map((y, j) => (i === j ? y : undefined)),
      attrs,
    );
    expect(one[i], `${name}[${i}] alone`).toEqual(all[i]);
  });
}

describe.skipIf(skipped !== '')(`CUDA attention by position${skipped}`, () => {
  it.each([
    [1, 1, 1, 8, 1, true, 'f32'],
    [2, 2, 2, 5, 9, false, 'f32'],
    [2, 33, 3, 16, 7, true, 'f32'],
    [2, 40, 1, 16, 41, false, 'bf16'],
    [5, 70, 2, 64, 70, true, 'bf16'],
    [1, 97, 1, 130, 31, false, 'f32'],
    [1, 66, 1, 100, 200, true, 'bf16'],
  ] as const)('relative: B%i T%i H%i K%i N%i causal %s %s', (B, T, H, K, N, causal, kind) => {
    const Q = H * K;
    const scale = Math.fround(1 / Math.sqrt(3 * K));
    const x = rounded(kind, noise(B * T * 3 * Q, T));
    const [kp, qp] = [rounded(kind, noise(N * Q, 2)), rounded(kind, noise(N * Q, 3))];
    const grad = rounded(kind, noise(B * T * Q, 4));
    const { o, lse, dx, dkp, dqp } = relativeAttention({ B, T, H, K, causal }, N, scale, x, kp, qp, grad);
    const attrs = [H, K, scale, Number(causal)];
    const inputs: Operand[] = [
      { shape: [B, T, 3 * Q], kind, data: x },
      { shape: [N, Q], kind, data: kp },
      { shape: [N, Q], kind, data: qp },
    ];
    const results: Operand[] = [{ shape: [B, T, Q], kind }, { shape: [B, H, T] }];
    check('relativeAttention_forward', inputs, results, attrs, [o, lse], budget[kind]);
    const saved: Operand[] = [
      { shape: [B, T, Q], kind, data: o },
      { shape: [B, H, T], data: lse },
      { shape: [B, T, Q], kind, data: grad },
    ];
    const grads: Operand[] = [
      { shape: [B, T, 3 * Q], kind },
      { shape: [N, Q], kind },
      { shape: [N, Q], kind },
    ];
    const limit = kind === 'f32' ? 2e-5 : 1e-2;
    if (T > 1) check('relativeAttention_backward', [...inputs, ...saved], grads, attrs, [dx, dkp, dqp], limit);
  });

  it.each([
    [1, 1, 2, 4, 1, 1, 'f32'],
    [2, 7, 1, 5, 3, 1, 'f32'],
    [4, 33, 2, 16, 40, 1, 'bf16'],
    [2, 130, 1, 70, 50, 1, 'f32'],
    [2, 65, 2, 8, 65, 120, 'f32'], // rises by hundreds of nats
  ] as const)('position: B%i T%i H%i K%i N%i scores up to %i %s', (B, T, H, K, N, range, kind) => {
    const Q = H * K;
    const v = rounded(kind, noise(B * T * Q, 1));
    const table = noise(H * N, 2, range);
    const grad = rounded(kind, noise(B * T * Q, 3));
    const { o, lse, dv, dtable } = positionAttention({ B, T, H, K, causal: true }, N, v, table, grad);
    const inputs: Operand[] = [
      { shape: [B, T, Q], kind, data: v },
      { shape: [H, N], data: table },
    ];
    const results: Operand[] = [{ shape: [B, T, Q], kind }, { shape: [H, T] }];
    check('positionAttention_forward', inputs, results, [], [o, lse], budget[kind] * Math.max(1, range / 10));
    const saved: Operand[] = [
      { shape: [B, T, Q], kind, data: o },
      { shape: [H, T], data: lse },
      { shape: [B, T, Q], kind, data: grad },
    ];
    const limit = kind === 'f32' ? 2e-5 * Math.max(1, range / 10) : 1e-2;
    if (T > 1)
      check(
        'positionAttention_backward',
        [...inputs, ...saved],
        [{ shape: [B, T, Q], kind }, { shape: [H, N] }],
        [],
        [dv, dtable],
        limit,
      );
  });

  it.each([
    [1, 1, 1, 3, 'f32'],
    [2, 7, 3, 5, 'f32'],
    [2, 33, 8, 16, 'bf16'],
    [1, 200, 9, 33, 'f32'],
  ] as const)('uniform: B%i T%i H%i K%i %s', (B, T, H, K, kind) => {
    const Q = H * K;
    const [v, grad] = [rounded(kind, noise(B * T * Q, 1)), rounded(kind, noise(B * T * Q, 2))];
    const { o, dv } = uniformAttention({ B, T, H, K }, v, grad);
    const row: Operand = { shape: [B, T, Q], kind };
    check('uniformAttention_forward', [{ ...row, data: v }], [row], [H], [o], budget[kind]);
    check('uniformAttention_backward', [{ ...row, data: grad }], [row], [H], [dv], budget[kind]);
  });

  it('keep a NaN within the windows that hold it', () => {
    const [T, H, K] = [80, 6, 8];
    const Q = H * K;
    const v = noise(T * Q, 1);
    v[10 * Q + K] = Number.NaN; // head 1, whose window is 3 tokens
    v[10 * Q + 5 * K] = Number.NaN; // head 5: 63 tokens
    const [o] = runCuda('uniformAttention_forward', [{ shape: [1, T, Q], data: v }], [{ shape: [1, T, Q] }], [H]);
    const rows = (head: number): number[] =>
      Array.from({ length: T }, (_, t) => t).filter((t) => Number.isNaN(o![t * Q + head * K]));
    expect(rows(1)).toEqual([10, 11, 12]);
    expect(rows(5)).toEqual(Array.from({ length: 63 }, (_, i) => 10 + i));
    expect(o!.filter(Number.isNaN)).toHaveLength(3 + 63);
  });

  it('decode: every part of the cache, every kind of attention, at the first, a middle and the last position', () => {
    for (const [B, H, K, S, N, positions] of [
      [1, 1, 8, 4, 4, [0, 1, 3]],
      [2, 4, 40, 140, 13, [0, 127, 128, 139]],
      [1, 9, 5, 400, 500, [255, 256, 399]],
    ] as const)
      for (const position of positions) {
        const Q = H * K;
        const x = noise(B * 3 * Q, 1);
        const caches = [noise(B * S * Q, 2), noise(B * S * Q, 3)] as const;
        const [kp, qp, table] = [noise(N * Q, 4), noise(N * Q, 5), noise(H * N, 6)];
        const scale = Math.fround(1 / Math.sqrt(3 * K));
        const expected = attentionSteps({ B, S, H, K, N }, position, scale, x, caches, kp, qp, table);
        const cache = { shape: [B, S, H, K] };
        const [k, v] = caches.map((data): Operand => ({ ...cache, data })) as [Operand, Operand];
        const at: Operand = { shape: [1], kind: 'i32', data: [position] };
        const row: Operand = { shape: [B, 3 * Q], data: x };
        const o: Operand = { shape: [B, Q] };
        const [kNext, vNext] = expected.next;
        const limit = 1e-5;
        check(
          'attentionStep_forward',
          [row, k, v, at],
          [o, cache, cache],
          [H, H, K, scale],
          [expected.plain, kNext, vNext],
          limit,
        );
        check(
          'relativeAttentionStep_forward',
          [row, k, v, { shape: [N, Q], data: kp }, { shape: [N, Q], data: qp }, at],
          [o, cache, cache],
          [scale],
          [expected.relative, kNext, vNext],
          limit,
        );
        const values: Operand = { shape: [B, Q], data: expected.values };
        check(
          'positionAttentionStep_forward',
          [values, { shape: [H, N], data: table }, v, at],
          [o, cache],
          [],
          [expected.position, vNext],
          limit,
        );
        check('uniformAttentionStep_forward', [values, v, at], [o, cache], [], [expected.uniform, vNext], limit);
      }
  });

  it('decode with grouped heads as a query head of its own group would', () => {
    const [B, H, G, K, S, position] = [2, 4, 2, 16, 200, 150];
    const row = noise(B * (H + 2 * G) * K, 1);
    const [k, v] = [noise(B * S * G * K, 2), noise(B * S * G * K, 3)];
    const at: Operand = { shape: [1], kind: 'i32', data: [position] };
    const run = (x: Float64Array, heads: number, groups: number, keys: Float64Array, values: Float64Array) => {
      const cache = { shape: [B, S, groups, K] };
      const P = (heads + 2 * groups) * K;
      const inputs = [{ shape: [B, P], data: x }, { ...cache, data: keys }, { ...cache, data: values }, at];
      return runCuda(
        'attentionStep_forward',
        inputs,
        [{ shape: [B, heads * K] }, cache, cache],
        [heads, groups, K, 0.25],
      );
    };
    /** Each of `rows` rows of G heads with every head written H/G times. */
    const repeat = (x: Float64Array, rows: number): Float64Array =>
      Float64Array.from({ length: rows * H * K }, (_, i) => {
        const [r, h, j] = [Math.floor(i / (H * K)), Math.floor(i / K) % H, i % K];
        return x[(r * G + Math.floor((h * G) / H)) * K + j]!;
      });
    const own = Float64Array.from({ length: B * 3 * H * K }, (_, i) => {
      const [b, h, j] = [Math.floor(i / (3 * H * K)), Math.floor(i / K) % (3 * H), i % K];
      const head =
        h < H ? h : h < 2 * H ? H + Math.floor(((h - H) * G) / H) : H + G + Math.floor(((h - 2 * H) * G) / H);
      return row[(b * (H + 2 * G) + head) * K + j]!;
    });
    const [grouped, kNext] = run(row, H, G, k, v);
    const [single, kOwn] = run(own, H, H, repeat(k, B * S), repeat(v, B * S));
    expect(grouped).toEqual(single);
    expect(repeat(kNext!, B * S)).toEqual(kOwn);
  });

  it.each([
    [1, 1, 1, 1, 1, -1],
    [3, 40, 2, 17, 5, -1],
    [4, 70, 3, 70, 8, 2],
    [2, 35, 2, 3, 4, 0],
    [2, 5, 2, 3, 4, 40],
  ] as const)('mix positions: B%i T%i H%i C%i K%i reach %i', (B, T, H, C, K, reach) => {
    const V = T + 3;
    const [p, f, dy] = [noise(V * H * K, 1), noise(B * T * H * C, 2), noise(B * T * C, 3)];
    const lengths = [T, 0, 7, T + 2].slice(0, B);
    const { mixed, heads, lse, dp, df } = positionMix({ B, T, H, C, K, V, reach }, p, f, lengths, dy);
    const inputs: Operand[] = [
      { shape: [V, H, K], data: p },
      { shape: [B, T, H, C], data: f },
      { shape: [B], kind: 'i32', data: lengths },
    ];
    const saved: Operand[] = [
      { shape: [H, T, B, C], data: heads },
      { shape: [H, T, B], data: lse },
    ];
    const results: Operand[] = [{ shape: [B, T, C] }, { shape: [H, T, B, C] }, { shape: [H, T, B] }];
    check('positionMix_forward', inputs, results, [reach], [mixed, heads, lse], 5e-6);
    const grads: Operand[] = [{ shape: [V, H, K] }, { shape: [B, T, H, C] }];
    const all = [...inputs, ...saved, { shape: [B, T, C], data: dy }];
    check('positionMix_backward', all, grads, [reach], [dp, df], 2e-5);
  });

  it('take columns out, put them back among zeros, and add slices in order', () => {
    for (const [R, W, N, first, kind] of [
      [3, 7, 2, 4, 'f32'],
      [5, 32, 16, 8, 'bf16'],
      [2, 24, 8, 16, 'f32'],
    ] as const) {
      const x = rounded(kind, noise(R * W, 1));
      const inside = (column: number): boolean => column >= first && column < first + N;
      const cut = x.filter((_, i) => inside(i % W));
      const wide: Operand = { shape: [R, W], kind };
      const narrow: Operand = { shape: [R, N], kind };
      expect(runCuda('slice_forward', [{ ...wide, data: x }], [narrow], [1, first])).toEqual([cut]);
      const among = x.map((value, i) => (inside(i % W) ? value : 0));
      expect(runCuda('pad_forward', [{ ...narrow, data: cut }], [wide], [1, first])).toEqual([among]);
    }
    const g = noise(3 * 50, 1);
    const sums = Float64Array.from({ length: 50 }, (_, i) =>
      Math.fround(Math.fround(g[i]! + g[50 + i]!) + g[100 + i]!),
    );
    expect(runCuda('sumSlices_forward', [{ shape: [3, 50], data: g }], [{ shape: [50] }])).toEqual([sums]);
    const wide: Operand = { shape: [2, 6], data: noise(12, 1) };
    expect(() => runCuda('slice_forward', [wide], [{ shape: [2, 3] }], [1, 4])).toThrow(
      '[start] expected 0 <= start <= 3, got 4',
    );
    expect(() => runCuda('slice_forward', [wide], [{ shape: [2, 3] }], [0, 1])).toThrow(
      '[axis] expected the last, 1, got 0',
    );
  });

  it('refuse what does not fit', () => {
    const some = (...shape: number[]): Operand => ({
      shape,
      data: noise(
        shape.reduce((a, b) => a * b, 1),
        1,
      ),
    });
    const relative = (columns: number, causal: number) => () =>
      runCuda(
        'relativeAttention_forward',
        [some(1, 3, columns), some(2, 4), some(2, 4)],
        [{ shape: [1, 3, 4] }, { shape: [1, 2, 3] }],
        [2, 2, 1, causal],
      );
    expect(relative(12, 0)).toThrow('[keyPositions] expected an odd number of rows, got 2');
    expect(relative(10, 1)).toThrow('[qkv] expected 3·nHead·dHead = 12 columns');
    expect(() =>
      runCuda('positionAttention_forward', [some(1, 3, 5), some(2, 3)], [{ shape: [1, 3, 5] }, { shape: [2, 3] }]),
    ).toThrow('[v] expected a multiple of 2 heads, got 5 columns');
    const step = (position: number) => () =>
      runCuda(
        'uniformAttentionStep_forward',
        [some(1, 4), some(1, 5, 2, 2), { shape: [1], kind: 'i32', data: [position] }],
        [{ shape: [1, 4] }, { shape: [1, 5, 2, 2] }],
      );
    expect(step(5)).toThrow('expected a row of the caches, got 5');
    expect(step(-1)).toThrow('expected a row of the caches, got -1');
  });

  it('give the same bits in whatever order threads and blocks run', (context) => {
    if (cuda.description() !== 'emulated on the host') return context.skip('a GPU has its own order');
    const [B, T, H, K, N, S] = [2, 40, 2, 16, 9, 150];
    const Q = H * K;
    const some = (seed: number, ...shape: number[]): Operand => ({
      shape,
      data: noise(
        shape.reduce((a, b) => a * b, 1),
        seed,
      ),
    });
    const at: Operand = { shape: [1], kind: 'i32', data: [140] };
    const lengths: Operand = { shape: [B], kind: 'i32', data: [T, 17] };
    const tables = [some(2, N, Q), some(3, N, Q)];
    const stats = [some(4, B, T, Q), some(5, B, H, T), some(6, B, T, Q)];
    const out = (...shape: number[]): Operand => ({ shape });
    const all = () => [
      runCuda(
        'relativeAttention_forward',
        [some(1, B, T, 3 * Q), ...tables],
        [out(B, T, Q), out(B, H, T)],
        [H, K, 0.2, 0],
      ),
      runCuda(
        'relativeAttention_backward',
        [some(1, B, T, 3 * Q), ...tables, ...stats],
        [out(B, T, 3 * Q), out(N, Q), out(N, Q)],
        [H, K, 0.2, 1],
      ),
      runCuda('positionAttention_forward', [some(1, B, T, Q), some(2, H, N)], [out(B, T, Q), out(H, T)]),
      runCuda(
        'positionAttention_backward',
        [some(1, B, T, Q), some(2, H, N), some(3, B, T, Q), some(4, H, T), some(5, B, T, Q)],
        [out(B, T, Q), out(H, N)],
      ),
      runCuda('uniformAttention_backward', [some(1, B, T, Q)], [out(B, T, Q)], [H]),
      runCuda(
        'relativeAttentionStep_forward',
        [some(1, B, 3 * Q), some(2, B, S, H, K), some(3, B, S, H, K), ...tables, at],
        [out(B, Q), out(B, S, H, K), out(B, S, H, K)],
        [0.2],
      ),
      runCuda(
        'positionMix_backward',
        [some(1, T, H, K), some(2, B, T, H, 5), lengths, some(3, H, T, B, 5), some(4, H, T, B), some(5, B, T, 5)],
        [out(T, H, K), out(B, T, H, 5)],
        [-1],
      ),
    ];
    const first = all();
    for (const order of ['backward', '1', '2']) {
      process.env.PHYSLM_EMULATE_ORDER = order;
      expect(all(), order).toEqual(first);
    }
  });
});
