import type { Interval } from './interval.js';
import { wilsonInterval } from './wilson.js';

/** 97.5 % point of the normal distribution. */
const Z = 1.959963984540054;

/** How often independent draws repeat each other. */
export interface Distinctness {
  readonly n: number;
  /** Different values among the n. */
  readonly distinct: number;
  /** Pairs of equal values. None among n draws means that there are of the order of n² values, or more. */
  readonly collisions: number;
  /** Share of all pairs that are equal: an unbiased estimate of the chance that two draws are equal. */
  readonly repeat: number;
  /** Of `repeat`. */
  readonly interval: Interval;
}

/**
 * Counts repetitions among independent draws. The interval of `repeat` is the wider one, on each side, of a normal interval
 * with the variance of a U-statistic, right when there are many collisions, and Wilson's over pairs, right when there are few.
 *
 * @see Hoeffding 1948, "A class of statistics with asymptotically normal distribution", section 5.
 */
export function distinctness(values: Iterable<string>): Distinctness {
  const counts = new Map<string, number>();
  let n = 0;
  for (const value of values) {
    counts.set(value, (counts.get(value) ?? 0) + 1);
    n++;
  }
  let collisions = 0;
  let squares = 0;
  for (const times of counts.values()) {
    collisions += (times * (times - 1)) / 2;
    squares += times * (times - 1) ** 2;
  }
  const nPair = (n * (n - 1)) / 2;
  const repeat = n < 2 ? Number.NaN : collisions / nPair;
  if (n < 2) return { n, distinct: counts.size, collisions, repeat, interval: { low: 0, high: 1 } };
  // Of each draw: the share of the other ones that equal it. Its variance is what pairs of one draw have in common.
  const variance = Math.max(0, squares / n / (n - 1) ** 2 - repeat ** 2);
  const half = Z * Math.sqrt((4 * variance) / n + (2 * repeat * (1 - repeat)) / (n * (n - 1)));
  const pairs = wilsonInterval(collisions, nPair);
  return {
    n,
    distinct: counts.size,
    collisions,
    repeat,
    interval: {
      low: Math.max(0, Math.min(pairs.low, repeat - half)),
      high: Math.min(1, Math.max(pairs.high, repeat + half)),
    },
  };
}
