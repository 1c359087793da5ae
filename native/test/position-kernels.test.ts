import { afterEach, describe, expect, it } from 'vitest';
import { absent, check, f, ids, native, noise, out, runKernel, want } from './kernel-runner.js';
import { attentionSteps, positionAttention, relativeAttention, uniformAttention } from './position-reference.js';

// Attention whose scores know positions, on every instruction set.

const isas = absent ? [] : native.isas();

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
        const { o, lse, dx, dkp, dqp } = relativeAttention(sizes, N, scale, x, kp, qp, grad);
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
      const { o, lse: once, dv, dtable } = positionAttention(sizes, N, v, table, grad);
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
      const { o, dv } = uniformAttention({ B, T, H, K }, v, grad);
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
        const caches = [noise(B * S * Q, 2), noise(B * S * Q, 3)] as const;
        const [kp, qp, table] = [noise(N * Q, 4), noise(N * Q, 5), noise(H * N, 6)];
        const scale = Math.fround(1 / Math.sqrt(3 * K));
        const expected = attentionSteps({ B, S, H, K, N }, position, scale, x, caches, kp, qp, table);
        const { next, values } = expected;
        const cache = [B, S, H, K];
        const at = ids([1], [position]);
        check(
          'relativeAttentionStep_forward',
          [f([B, 3 * Q], x), f(cache, caches[0]), f(cache, caches[1]), f([N, Q], kp), f([N, Q], qp), at],
          [out(B, Q), { shape: cache, alias: 1 }, { shape: cache, alias: 2 }],
          [scale],
          [want(expected.relative, 1e-5), want(next[0], 0), want(next[1], 0)],
        );
        check(
          'positionAttentionStep_forward',
          [f([B, Q], values), f([H, N], table), f(cache, caches[1]), at],
          [out(B, Q), { shape: cache, alias: 2 }],
          [],
          [want(expected.position, 5e-6), want(next[1], 0)],
        );
        check(
          'uniformAttentionStep_forward',
          [f([B, Q], values), f(cache, caches[1]), at],
          [out(B, Q), { shape: cache, alias: 1 }],
          [],
          [want(expected.uniform, 5e-6), want(next[1], 0)],
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
