import { afterEach, describe, expect, it } from 'vitest';
import { absentCuda, type Operand, runCuda } from './cuda-runner.js';
import { noise } from './kernel-runner.js';

// Tokens chosen on device cuda, against the definition written out.

const skipped = absentCuda === '' ? '' : ` (skipped: ${absentCuda})`;

interface Asked {
  readonly V: number;
  readonly logits: Float64Array;
  /** [B, S], −1 where a token is to be chosen. */
  readonly script: readonly (readonly number[])[];
  readonly draws: readonly number[];
  readonly position: number;
  readonly temperature: number;
  readonly topK: number;
}

/** ids, script and position after one step. */
function run({ V, logits, script, draws, position, temperature, topK }: Asked): Float64Array[] {
  const [B, S] = [script.length, script[0]!.length];
  const inputs: Operand[] = [
    { shape: [B, V], data: logits },
    { shape: [B, S], kind: 'i32', data: script.flat() },
    { shape: [B, S], data: script.flatMap((_, b) => Array.from({ length: S }, () => draws[b]!)) },
    { shape: [1], kind: 'i32', data: [position] },
  ];
  const outputs: Operand[] = [
    { shape: [B], kind: 'i32' },
    { shape: [B, S], kind: 'i32' },
    { shape: [1], kind: 'i32' },
  ];
  return runCuda('nextTokens_forward', inputs, outputs, [temperature, topK]) as Float64Array[];
}

/** The token that a draw falls on, in doubles: the topK largest, the smaller token among equals, laid out by token. */
function expected(row: Float64Array, draw: number, temperature: number, topK: number): number {
  const order = Array.from(row.keys()).sort((a, b) => row[b]! - row[a]! || a - b);
  if (temperature === 0) return order[0]!;
  const chosen = order.slice(0, topK).sort((a, b) => a - b);
  const weights = chosen.map((i) => Math.exp((row[i]! - row[order[0]!]!) / temperature));
  let target = Math.fround(draw) * weights.reduce((a, b) => a + b, 0);
  const at = weights.findIndex((w) => {
    target -= w;
    return target < 0;
  });
  return chosen[at]!;
}

afterEach(() => {
  delete process.env.PHYSLM_EMULATE_ORDER;
});

describe.skipIf(skipped !== '')(`CUDA sampling${skipped}`, () => {
  it.each([
    [1, 1, 1],
    [7, 0, 7],
    [300, 0, 300],
    [300, 1, 300],
    [300, 0.7, 300],
    [300, 1.5, 1],
    [300, 1, 40],
    [1000, 2, 999],
    [5000, 1, 17],
  ])('of %i tokens at temperature %d among %i', (V, temperature, topK) => {
    const draws = [0, 0.1, 0.37, 0.5, 0.9, 1 - 2 ** -24];
    // A coarse grid: many logits are equal, of both signs and zero.
    const logits = noise(V * draws.length, V, 3).map((x) => Math.round(4 * x) / 4);
    const script = draws.map(() => [3, 2, -1, -1]);
    const [ids, after, position] = run({ V, logits, script, draws, position: 1, temperature, topK });
    const wanted = draws.map((draw, b) => expected(logits.subarray(b * V, (b + 1) * V), draw, temperature, topK));
    expect([...ids!]).toEqual(wanted);
    expect([...after!]).toEqual(wanted.flatMap((token) => [3, 2, token, -1]));
    expect([...position!]).toEqual([2]);
  });

  it('hits every token as often as its weight says', () => {
    const [V, n] = [5, 300];
    const row = [0, 1, -2, 1, 0.5];
    const draws = Array.from({ length: n }, (_, i) => (i + 0.5) / n);
    const logits = Float64Array.from({ length: n * V }, (_, i) => row[i % V]!);
    const script = draws.map(() => [0, -1]);
    const [ids] = run({ V, logits, script, draws, position: 0, temperature: 2, topK: 4 });
    const weights = row.map((x) => (x === -2 ? 0 : Math.exp(x / 2)));
    const total = weights.reduce((a, b) => a + b);
    weights.forEach((w, token) => {
      expect(Math.abs(ids!.filter((id) => id === token).length - (n * w) / total)).toBeLessThanOrEqual(1);
    });
  });

  it('follows the script while it lasts, and stops at its end', () => {
    const common = { V: 4, logits: noise(8, 1), draws: [0.5, 0.5], temperature: 1, topK: 4 };
    const [ids, script] = run({ ...common, script: [[1, 3, 2].concat(-1), [0, 0, 0, 0]], position: 0 });
    expect([...ids!]).toEqual([3, 0]);
    expect([...script!]).toEqual([1, 3, 2, -1, 0, 0, 0, 0]);
    const [none, same, position] = run({
      ...common,
      script: [
        [1, 3],
        [0, 0],
      ],
      position: 1,
    });
    expect(none!.every((id) => id === -1)).toBe(true); // not written
    expect([...same!]).toEqual([1, 3, 0, 0]);
    expect([...position!]).toEqual([2]);
  });

  it('gives a token of the vocabulary whatever the logits are', () => {
    const inf = Number.POSITIVE_INFINITY;
    const logits = Float64Array.from([Number.NaN, Number.NaN, Number.NaN, -inf, -inf, -inf, inf, 0, inf]);
    for (const temperature of [0, 1]) {
      const script = [0, 1, 2].map(() => [0, -1]);
      const [ids] = run({ V: 3, logits, script, draws: [0.5, 0.5, 0.5], position: 0, temperature, topK: 2 });
      expect(ids!.every((id) => id >= 0 && id < 3)).toBe(true);
    }
  });

  it('gives the same tokens in whatever order threads run', () => {
    const [V, draws] = [700, [0.2, 0.6]];
    const logits = noise(V * 2, 9, 3).map((x) => Math.round(4 * x) / 4);
    const asked = { V, logits, draws, script: draws.map(() => [0, -1]), position: 0, temperature: 1, topK: 50 };
    const first = run(asked);
    for (const order of ['backward', '1', '2']) {
      process.env.PHYSLM_EMULATE_ORDER = order;
      expect(run(asked), order).toEqual(first);
    }
  });

  it('refuses to choose among none', () => {
    const asked = { V: 3, logits: noise(3, 1), draws: [0.5], script: [[0, -1]], position: 0, temperature: 1, topK: 0 };
    expect(() => run(asked)).toThrow('[topK] expected at least 1 token to choose from, got 0 of 3');
  });
});
