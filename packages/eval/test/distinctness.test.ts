import { Rng } from '@physlm/base';
import { expect, it } from 'vitest';
import { distinctness } from '../src/index.js';

it('counts values and equal pairs', () => {
  // Pairs among a a a b b c: 3 of a, 1 of b, of 15.
  const found = distinctness(['a', 'b', 'a', 'c', 'a', 'b']);
  expect(found).toMatchObject({ n: 6, distinct: 3, collisions: 4 });
  expect(found.repeat).toBeCloseTo(4 / 15, 12);
  expect(distinctness(['a', 'a'])).toMatchObject({ distinct: 1, collisions: 1, repeat: 1 });
  expect(distinctness(['a', 'a']).interval.high).toBe(1);
});

it('says how many values there may be when none repeats', () => {
  const { repeat, interval } = distinctness(Array.from({ length: 1000 }, (_, i) => `${i}`));
  expect([repeat, interval.low]).toEqual([0, 0]);
  // 499,500 pairs without a collision: rarer than one in a hundred thousand.
  expect(interval.high).toBeGreaterThan(1e-6);
  expect(interval.high).toBeLessThan(1e-5);
});

it('one value tells nothing of repetition', () => {
  expect(distinctness([])).toMatchObject({ n: 0, distinct: 0, interval: { low: 0, high: 1 } });
  expect(distinctness(['a']).repeat).toBeNaN();
});

it.each([
  [3, 200],
  [40, 300],
  [20_000, 300],
])('covers the chance of a repetition with %i unequal values about 95 times of 100', (nValue, n) => {
  // Value v is as likely as v + 1.
  const total = (nValue * (nValue + 1)) / 2;
  const chance = Array.from({ length: nValue }, (_, v) => ((v + 1) / total) ** 2).reduce((a, b) => a + b, 0);
  let covered = 0;
  let sum = 0;
  for (let r = 0; r < 200; r++) {
    const rng = new Rng('draws').at(r);
    const draws = Array.from({ length: n }, () => `${Math.floor((Math.sqrt(1 + 8 * rng.uniform() * total) - 1) / 2)}`);
    const { repeat, interval } = distinctness(draws);
    sum += repeat;
    if (interval.low <= chance && chance <= interval.high) covered++;
  }
  expect(covered).toBeGreaterThanOrEqual(180);
  expect(sum / 200 / chance).toBeGreaterThan(0.9);
  expect(sum / 200 / chance).toBeLessThan(1.1);
});
