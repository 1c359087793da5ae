import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type MaskOptions, maskWindows, type WindowSource } from '../src/index.js';

const V = 20;
const EOS = 0;

/** Windows of pseudo-random tokens, with EOS at every tenth place. */
function source(nCtx: number): WindowSource {
  return {
    nCtx,
    dVocab: V,
    windowsFor: (exposures) => 3 * exposures,
    window(index, ids, targets) {
      for (let t = 0; t < nCtx; t++) {
        ids[t] = t % 10 === 9 ? EOS : 1 + ((index * 7919 + t * t * 31 + t) % (V - 1));
        targets[t] = 1;
      }
    },
  };
}

function read(windows: WindowSource, index: number): { ids: number[]; targets: number[] } {
  const [ids, targets] = [new Int32Array(windows.nCtx), new Int32Array(windows.nCtx)];
  windows.window(index, ids, targets);
  return { ids: [...ids], targets: [...targets] };
}

const options: MaskOptions = { seed: 5, mask: V, never: [EOS] };

describe('maskWindows', () => {
  test('hides 15 % of the tokens, of which 80 % are masked, 10 % random, 10 % kept', () => {
    const plain = source(100);
    const hidden = maskWindows(plain, options);
    const counts = { all: 0, chosen: 0, masked: 0, kept: 0 };
    for (let i = 0; i < 2000; i++) {
      const before = read(plain, i).ids;
      const { ids, targets } = read(hidden, i);
      before.forEach((token, t) => {
        if (token !== EOS) counts.all++;
        if (targets[t] === -1) {
          expect(ids[t]).toBe(token);
          return;
        }
        expect(targets[t]).toBe(token);
        expect(token).not.toBe(EOS);
        counts.chosen++;
        if (ids[t] === V) counts.masked++;
        else if (ids[t] === token) counts.kept++;
        else expect(ids[t]).toSatisfy((x: number) => x > EOS && x < V);
      });
    }
    // 13.5 places of each window of 90 tokens: 27,000 chosen; five standard deviations are 0.012 and 0.009.
    expect(counts.chosen / counts.all).toBeCloseTo(0.15, 3);
    expect(Math.abs(counts.masked / counts.chosen - 0.8)).toBeLessThan(0.012);
    // A random token is the same one again in 1 of 19 cases.
    expect(Math.abs(counts.kept / counts.chosen - 0.1 - 0.1 / 19)).toBeLessThan(0.009);
  });

  test('gives each place its turn', () => {
    const hidden = maskWindows(source(100), options);
    const chosen = new Float64Array(100);
    for (let i = 0; i < 2000; i++) {
      read(hidden, i).targets.forEach((target, t) => {
        if (target !== -1) chosen[t]!++;
      });
    }
    chosen.forEach((n, t) => {
      if (t % 10 === 9) expect(n).toBe(0);
      else expect(Math.abs(n / 2000 - 0.15)).toBeLessThan(0.045);
    });
  });

  test('window i is the same whatever was read before, and another for another seed', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 64 }), fc.integer(), fc.nat(10_000), (nCtx, seed, index) => {
        const fresh = read(maskWindows(source(nCtx), { ...options, seed }), index);
        const used = maskWindows(source(nCtx), { ...options, seed });
        read(used, index + 1);
        read(used, 0);
        expect(read(used, index)).toEqual(fresh);
        const chosen = fresh.targets.filter((target) => target !== -1).length;
        expect(Math.abs(chosen - 0.15 * fresh.targets.filter((_, t) => t % 10 !== 9).length)).toBeLessThan(1);
      }),
      { numRuns: 50 },
    );
    const [a, b] = [5, 6].map((seed) => read(maskWindows(source(60), { ...options, seed }), 3));
    expect(a).not.toEqual(b);
  });

  test('hides words whole', () => {
    const startsWord = (_: Int32Array, t: number): boolean => t % 3 === 0;
    const hidden = maskWindows(source(100), { ...options, rate: 0.3, startsWord });
    let chosen = 0;
    for (let i = 0; i < 200; i++) {
      const { targets } = read(hidden, i);
      for (let t = 0; t < 100; t++) {
        if (targets[t] === -1) continue;
        chosen++;
        // The word around t: from a multiple of 3 or behind an EOS, to the next of these.
        for (let s = t + 1; s < 100 && s % 3 !== 0 && s % 10 !== 9; s++) expect(targets[s]).not.toBe(-1);
        for (let s = t; s % 3 !== 0 && (s - 1) % 10 !== 9; s--) expect(targets[s - 1]).not.toBe(-1);
      }
    }
    expect(chosen / (200 * 90)).toBeGreaterThan(0.28);
    expect(chosen / (200 * 90)).toBeLessThan(0.305);
  });

  test('knows its vocabulary and length, and says what does not fit', () => {
    const hidden = maskWindows(source(8), options);
    expect([hidden.dVocab, hidden.nCtx, hidden.windowsFor(2)]).toEqual([V + 1, 8, 6]);
    expect(maskWindows(source(8), { ...options, mask: 3 }).dVocab).toBe(V);
    expect(() => maskWindows(source(8), { ...options, rate: 1, mask: -1 })).toThrow(
      /maskWindows\.rate\] expected a number between 0 and 1, got 1\n.*maskWindows\.mask/,
    );
    const all = Array.from({ length: V }, (_, token) => token);
    expect(() => maskWindows(source(8), { ...options, never: all })).toThrow('all 20 excluded');
  });
});
