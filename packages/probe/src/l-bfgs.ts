/** A function's value and gradient at one point; the gradient is the caller's to keep. */
export interface Slope {
  readonly value: number;
  readonly gradient: Float64Array;
}

/** Where a minimisation ended. */
export interface Minimum {
  readonly x: Float64Array;
  readonly value: number;
  /** Steps taken. */
  readonly nStep: number;
  /** Whether the gradient fell below the tolerance. */
  readonly converged: boolean;
}

/** How to minimise. */
export interface MinimiseOptions {
  /** Most steps. */
  readonly nStep: number;
  /** Stop when ‖gradient‖ ≤ tolerance · ‖gradient at the start‖. */
  readonly tolerance: number;
  /** Relative rounding error of values: a rise below it is no rise. */
  readonly precision: number;
}

/** A step s and the change y it made to the gradient. */
interface Pair {
  readonly s: Float64Array;
  readonly y: Float64Array;
  /** sᵀy > 0. */
  readonly curvature: number;
}

const nPair = 10;
const sufficientDecrease = 1e-4;
const nHalving = 30;

/**
 * Minimises a smooth convex function by limited-memory BFGS with ten pairs and a backtracking line search. Deterministic.
 *
 * @see Nocedal and Wright 2006, "Numerical Optimization", Algorithms 7.4 and 7.5; line search: Algorithm 3.1.
 */
export function minimise(
  evaluate: (x: Float64Array) => Slope,
  start: Float64Array,
  { nStep, tolerance, precision }: MinimiseOptions,
): Minimum {
  let x = start;
  let here = evaluate(x);
  const small = tolerance * norm(here.gradient);
  let pairs: Pair[] = [];
  let step = 0;
  while (norm(here.gradient) > small && step < nStep) {
    const direction = descent(here.gradient, pairs);
    const slope = dot(direction, here.gradient);
    const slack = precision * Math.abs(here.value);
    // Without curvature the scale of a step is unknown: try one of length 1.
    let length = pairs.length === 0 ? 1 / norm(here.gradient) : 1;
    let next: { readonly x: Float64Array; readonly at: Slope } | undefined;
    for (let i = 0; i < nHalving && next === undefined; i++, length /= 2) {
      const tryX = x.map((value, k) => value + length * direction[k]!);
      const at = evaluate(tryX);
      if (at.value <= here.value + sufficientDecrease * length * slope + slack) next = { x: tryX, at };
    }
    if (next === undefined) {
      // Stale curvature can point uphill; without any, rounding hides what descent is left.
      if (pairs.length === 0) break;
      pairs = [];
      continue;
    }
    const s = subtract(next.x, x);
    const y = subtract(next.at.gradient, here.gradient);
    const curvature = dot(s, y);
    if (curvature > Number.EPSILON * norm(s) * norm(y)) pairs = [...pairs, { s, y, curvature }].slice(-nPair);
    x = next.x;
    here = next.at;
    step++;
  }
  return { x, value: here.value, nStep: step, converged: norm(here.gradient) <= small };
}

/** −H·gradient, H the inverse Hessian that the pairs imply (Algorithm 7.4). */
function descent(gradient: Float64Array, pairs: readonly Pair[]): Float64Array {
  const q = gradient.map((value) => -value);
  const weights = pairs.toReversed().map(({ s, y, curvature }) => {
    const weight = dot(s, q) / curvature;
    addScaled(q, y, -weight);
    return weight;
  });
  const newest = pairs.at(-1);
  if (newest !== undefined) {
    const scale = newest.curvature / dot(newest.y, newest.y);
    for (let i = 0; i < q.length; i++) q[i]! *= scale;
  }
  weights.reverse();
  for (const [i, { s, y, curvature }] of pairs.entries()) addScaled(q, s, weights[i]! - dot(y, q) / curvature);
  return q;
}

function dot(a: Float64Array, b: Float64Array): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i]! * b[i]!;
  return total;
}

function norm(a: Float64Array): number {
  return Math.sqrt(dot(a, a));
}

function subtract(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value - b[i]!);
}

function addScaled(to: Float64Array, x: Float64Array, factor: number): void {
  for (let i = 0; i < to.length; i++) to[i]! += factor * x[i]!;
}
