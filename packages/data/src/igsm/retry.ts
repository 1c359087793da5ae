// Mistakes that are taken back at once: where a solution says `Define X as BACK.` before it goes on.
import type { Rng } from '@physlm/base';
import type { Problem } from './problem.js';
import type { Solution } from './solution.js';
import type { Choice } from './variant.js';

export const RETRY_KINDS = ['retry', 'retry_weak', 'retry_miss'] as const;

/**
 * Which wrong parameters are inserted: `retry` any that cannot be computed yet, `retry_weak` one of a later sentence,
 * `retry_miss` one of the problem's statements that the solution has not reached.
 */
export type RetryKind = (typeof RETRY_KINDS)[number];

/** What is not learned of a mistake: nothing is left out, its name, or `Define name as` as a whole. */
export const RETRY_MASKS = ['none', 'name', 'define'] as const;
export type RetryMask = (typeof RETRY_MASKS)[number];

/** Mistakes to insert. */
export interface Retry {
  readonly kind: RetryKind;
  /** Chance of a mistake before each sentence, and of one more after each mistake. */
  readonly rate: number;
  /** 'none' when absent. */
  readonly mask?: RetryMask;
}

/**
 * By definition: the wrong parameters in front of it, none twice at one place.
 *
 * @see Ye et al. 2024, arXiv:2408.16293, Sections 4 and 6.
 */
export function drawRetries(
  rng: Rng,
  problem: Problem,
  solution: Solution,
  { kind, rate }: Retry,
  weak: Choice,
): number[][] {
  const { index, parents, statements } = problem;
  const order = solution.definitions.map(({ parameter }) => parameter);
  const known = new Uint8Array(index.nParameter);
  const candidates = (t: number): number[] => {
    if (kind === 'retry_weak') return order.slice(weak === 'code' ? t : t + 1);
    if (kind === 'retry_miss') return statements.filter((one) => known[one] === 0);
    const wrong: number[] = [];
    for (let one = 0; one < index.nParameter; one++) {
      if (known[one] === 0 && parents[one]!.some((parent) => known[parent] === 0)) wrong.push(one);
    }
    return wrong;
  };
  return order.map((parameter, t) => {
    const drawn: number[] = [];
    let free: number[] | undefined;
    while (rng.uniform() < rate) {
      free ??= candidates(t);
      if (free.length === 0) break;
      const at = rng.below(free.length);
      drawn.push(free[at]!);
      free[at] = free[free.length - 1]!;
      free.pop();
    }
    known[parameter] = 1;
    return drawn;
  });
}
