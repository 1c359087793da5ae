// How large a problem shall be: the numbers that everything else is drawn from.
import type { Rng } from '@physlm/base';
import { portableExp } from './portable.js';
import type { Level } from './variant.js';

/** Sizes of one attempt. */
export interface Sizes {
  /** Operations aimed at. */
  readonly s: number;
  /** Operations within which abstract parameters are taken. */
  readonly n: number;
  /** Operations to which instance parameters are added before edges add the rest; n ≤ m ≤ s. */
  readonly m: number;
  /** Layers. */
  readonly d: number;
  /** Fewest and most items of a layer. */
  readonly w0: number;
  readonly w1: number;
  /** Edges of the structure graph. */
  readonly e: number;
  /** How gladly layers grow. */
  readonly p: number;
}

/** Uniform integer in low … high. */
const between = (rng: Rng, low: number, high: number): number => low + rng.below(high - low + 1);

/** Layers and two widths, each 2 … 4. */
const SHAPES = [2, 3, 4].flatMap((d) => [2, 3, 4].flatMap((a) => [2, 3, 4].map((b) => [d, a, b] as const)));

/** A place of `weights`, drawn by weight. */
function weighted(rng: Rng, weights: readonly number[]): number {
  let left = rng.uniform() * weights.reduce((sum, one) => sum + one, 0);
  let x = 0;
  while (x + 1 < weights.length && left >= weights[x]!) left -= weights[x++]!;
  return x;
}

/** The smaller of two uniform integers in 1 … max: how operations of natural problems are spread. */
export function naturalOp(rng: Rng, max: number): number {
  return Math.min(between(rng, 1, max), between(rng, 1, max));
}

/**
 * The sizes of an attempt at s operations.
 *
 * @see Ye et al. 2024, arXiv:2407.20311, Algorithm 7. Differs from it where ipMax is under 12: layers and widths that need more
 * edges than ipMax are left out.
 */
export function drawSizes(rng: Rng, level: Level, s: number): Sizes {
  const n = Math.max(between(rng, 1, s), between(rng, 1, s));
  const m = between(rng, n, s);
  const relative = (s - 1) / (level.ipMax - 1);
  const weight = (centre: number): number => portableExp(-((relative - centre) ** 2));
  const [two, three, four] = [weight(0.2), weight(0.5), weight(0.8)];
  const weights = [two, three, four];
  // Draws of (d, a, b) one by one, or all at once among those that fit when few do.
  const shapes = level.ipMax < 12 ? SHAPES.filter(([d, a, b]) => (d - 1) * Math.min(a, b) <= level.ipMax) : undefined;
  const [d, a, b] =
    shapes === undefined
      ? [2 + weighted(rng, weights), 2 + weighted(rng, weights), 2 + weighted(rng, weights)]
      : shapes[
          weighted(
            rng,
            shapes.map((sizes) => sizes.reduce((product, one) => product * weights[one - 2]!, 1)),
          )
        ]!;
  const [w0, w1] = [Math.min(a, b), Math.max(a, b)];
  const fewest = (d - 1) * w0;
  const drawn = Math.min(between(rng, fewest, level.ipMax), between(rng, fewest, level.ipMax));
  return { s, n, m, d, w0, w1, e: Math.min(drawn, (d - 1) * w1 * w1), p: rng.uniform() };
}
