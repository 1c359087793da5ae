import { ConfigError, Rng } from '@physlm/base';
import type { Interval } from '../recipes/recipe.js';

/** Which quantity is fitted against which: measures of a run, or parameters that are numbers. */
export interface FitRequest {
  readonly y: string;
  readonly x: string;
}

/** A power law y = coefficient · x^slope through points, fitted by least squares to their logarithms. */
export interface PowerFit {
  readonly slope: number;
  readonly coefficient: number;
  /** 95 % bootstrap interval of the slope over points; null with fewer than three points. */
  readonly interval: Interval | null;
  /** Points that were fitted: those above 0 in both. */
  readonly nPoint: number;
}

/**
 * Reads `y~x`.
 *
 * @throws ConfigError when it is written otherwise.
 */
export function parseFit(text: string): FitRequest {
  const [y, x, ...rest] = text.split('~').map((part) => part.trim());
  if (y && x && rest.length === 0) return { y, x };
  throw new ConfigError([{ path: 'fit', expected: 'y~x, as in bits~nParameter', got: `'${text}'` }]);
}

/**
 * Slope of log y against log x, with a 95 % percentile bootstrap interval over points. The same points give the same
 * interval. Undefined when fewer than two different x are above 0.
 *
 * @see Efron and Tibshirani 1993, "An Introduction to the Bootstrap", Section 9.5 (bootstrapping pairs).
 */
export function powerFit(
  points: readonly (readonly [x: number, y: number])[],
  { nResample = 2000 } = {},
): PowerFit | undefined {
  const logs = points
    .filter(([x, y]) => x > 0 && y > 0 && x < Infinity && y < Infinity)
    .map(([x, y]) => [Math.log(x), Math.log(y)] as const);
  const line = leastSquares(logs);
  if (line === undefined) return undefined;
  const { slope, offset } = line;
  const rng = new Rng('power-fit');
  const slopes: number[] = [];
  if (logs.length > 2) {
    for (let r = 0; r < nResample; r++) {
      // A resample with one x alone has no slope, and does not count.
      const drawn = leastSquares(logs.map(() => logs[rng.below(logs.length)]!));
      if (drawn !== undefined) slopes.push(drawn.slope);
    }
    slopes.sort((a, b) => a - b);
  }
  const at = (share: number): number => slopes[Math.min(slopes.length - 1, Math.floor(share * slopes.length))]!;
  return {
    slope,
    coefficient: Math.exp(offset),
    interval: slopes.length === 0 ? null : { low: at(0.025), high: at(0.975) },
    nPoint: logs.length,
  };
}

function leastSquares(points: readonly (readonly [number, number])[]): { slope: number; offset: number } | undefined {
  const n = points.length;
  const [meanX, meanY] = [0, 1].map((i) => points.reduce((sum, point) => sum + point[i as 0 | 1], 0) / n) as [
    number,
    number,
  ];
  let [sxx, sxy] = [0, 0];
  for (const [x, y] of points) {
    sxx += (x - meanX) ** 2;
    sxy += (x - meanX) * (y - meanY);
  }
  if (n < 2 || sxx <= 1e-18 * n * (1 + meanX ** 2)) return undefined;
  return { slope: sxy / sxx, offset: meanY - (sxy / sxx) * meanX };
}
