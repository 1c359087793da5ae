import type { Interval } from './interval.js';

/** 97.5 % point of the normal distribution. */
const Z = 1.959963984540054;

/**
 * 95 % Wilson score interval of a share of independent trials. Unlike share ± 2 errors it stays within 0 … 1, and says
 * something at 0 and at n successes.
 *
 * @see Wilson 1927, "Probable inference, the law of succession, and statistical inference".
 */
export function wilsonInterval(nSuccess: number, n: number): Interval {
  if (n === 0) return { low: 0, high: 1 };
  const share = nSuccess / n;
  const scale = 1 / (1 + (Z * Z) / n);
  const centre = scale * (share + (Z * Z) / (2 * n));
  const half = scale * Z * Math.sqrt((share * (1 - share)) / n + (Z * Z) / (4 * n * n));
  return {
    low: nSuccess === 0 ? 0 : Math.max(0, centre - half),
    high: nSuccess === n ? 1 : Math.min(1, centre + half),
  };
}
