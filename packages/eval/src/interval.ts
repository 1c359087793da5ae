import { Rng } from '@physlm/base';

/** An interval that holds the true value in 95 of 100 repetitions. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/**
 * 95 % percentile bootstrap interval of the mean over independent units (people, sentences, problems: never tokens).
 * The same values give the same interval.
 *
 * @see Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
 */
export function bootstrapInterval(values: ArrayLike<number>, { nResample = 1000 } = {}): Interval {
  const n = values.length;
  if (n === 0) return { low: Number.NaN, high: Number.NaN };
  const rng = new Rng('bootstrap');
  const means = new Float64Array(nResample);
  for (let r = 0; r < nResample; r++) {
    let total = 0;
    for (let i = 0; i < n; i++) total += values[rng.below(n)]!;
    means[r] = total / n;
  }
  means.sort();
  return { low: means[Math.floor(0.025 * nResample)]!, high: means[Math.ceil(0.975 * nResample) - 1]! };
}
