import { afterEach, describe, expect, it } from 'vitest';
import { absent, check, f, ids, misfit, native, noise, out, runKernel, want } from './kernel-runner.js';
import { positionMix } from './position-mix.js';

const isas = absent ? [] : native.isas();

describe.skipIf(absent).each(isas)('the position probe on %s', (isa) => {
  const started = absent ? 1 : native.threads();
  const use = (): void => {
    expect(native.setIsa(isa)).toBe(true);
  };
  afterEach(() => {
    native.setIsa(isas[0] as string);
    native.setThreads(started);
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
});
