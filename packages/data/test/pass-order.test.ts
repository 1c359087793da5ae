import { Rng } from '@physlm/base';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PassOrder, Permutation } from '../src/index.js';

describe('PassOrder', () => {
  test('visits each element once a pass and keeps visits of one element apart', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), fc.integer(), (n, seed) => {
        const order = new PassOrder(n, new Rng(seed));
        const last = new Map<number, number>();
        for (let pass = 0; pass < 6; pass++) {
          const seen = new Set<number>();
          for (let i = pass * n; i < (pass + 1) * n; i++) {
            const element = order.at(i);
            seen.add(element);
            if (last.has(element)) expect(i - last.get(element)!).toBeGreaterThanOrEqual(order.gap);
            last.set(element, i);
          }
          expect([...seen].sort((a, b) => a - b)).toEqual([...Array(n).keys()]);
        }
      }),
    );
  });

  test('a pass does not depend on which passes were read', () => {
    const walked = new PassOrder(50, new Rng(4));
    for (let i = 0; i < 1000; i++) walked.at(i);
    for (const i of [0, 49, 50, 333, 999]) expect(walked.at(i)).toBe(new PassOrder(50, new Rng(4)).at(i));
  });

  test('every element is as likely at every place', () => {
    const n = 6;
    const counts = Array.from({ length: n }, () => new Array<number>(n).fill(0));
    const order = new PassOrder(n, new Rng(9));
    const nPass = 6000;
    for (let i = 0; i < n * nPass; i++) counts[i % n]![order.at(i)]!++;
    for (const row of counts) {
      const chi2 = row.reduce((sum, count) => sum + (count - nPass / n) ** 2 / (nPass / n), 0);
      expect(chi2).toBeLessThan(20.5); // 5 degrees of freedom, p = 0.001
    }
  });

  test('sizeForGap is the smallest size with that gap', () => {
    for (let gap = 2; gap < 20; gap++) {
      const n = PassOrder.sizeForGap(gap);
      expect(new PassOrder(n, new Rng(1)).gap).toBe(gap);
      expect(new PassOrder(n - 1, new Rng(1)).gap).toBeLessThan(gap);
    }
  });
});

describe('Permutation', () => {
  test('is a bijection that depends on its stream', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer(),
        (left, right, seed) => {
          const permutation = new Permutation(left, right, new Rng(seed));
          const images = new Set(Array.from({ length: left * right }, (_, i) => permutation.at(i)));
          expect(images.size).toBe(left * right);
          expect(Math.max(...images)).toBe(left * right - 1);
        },
      ),
    );
    const images = [1, 2].map((seed) => {
      const permutation = new Permutation(30, 40, new Rng(seed));
      return Array.from({ length: 1200 }, (_, i) => permutation.at(i));
    });
    expect(images[0]!.filter((image, i) => image === images[1]![i]).length).toBeLessThan(15);
  });

  test('sizes that cannot be counted exactly are refused', () => {
    expect(() => new Permutation(0, 5, new Rng(1))).toThrow(/sides/);
    expect(() => new Permutation(2 ** 30, 2 ** 30, new Rng(1))).toThrow(/2\^53/);
  });
});
