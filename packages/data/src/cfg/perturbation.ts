// The three ways in which training sentences are spoiled: mistakes in terminals, mistakes in non-terminals, and mistakes
// that are always the same.
import { ConfigError, type ConfigProblem, nearest } from '@physlm/base';
import type { Disturbance } from './sampler.js';

/** Kinds of mistakes, with the rate that the paper uses. */
export const PERTURBATIONS = {
  /** Each terminal becomes, at the rate, a terminal drawn uniformly (which may be the same one). */
  't-random': 0.15,
  /** While a sentence is drawn, each non-terminal becomes, at the rate, one drawn uniformly from its level. */
  'nt-random': 0.1,
  /** While a sentence is drawn, each non-terminal becomes, at the rate, the next one of its level, the last one the first. */
  'nt-permutation': 0.05,
} as const;

export type PerturbationKind = keyof typeof PERTURBATIONS;

/** Which mistakes the sentences of a source have, and how many. */
export interface Perturbation {
  readonly kind: PerturbationKind;
  /** The chance of each symbol; that of the paper when absent. */
  readonly rate?: number;
  /** γ: the share of sentences that are perturbed; the others stay clean. */
  readonly gamma: number;
}

/**
 * A perturbation as what it does to a node. The root has a level of its own and never changes.
 *
 * @throws ConfigError when the kind is unknown, or the rate or γ lies outside 0 … 1.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Results 11–13 (robustness).
 */
export function disturbanceOf({ kind, rate = PERTURBATIONS[kind], gamma }: Perturbation): Disturbance {
  const problems: ConfigProblem[] = [];
  const kinds = Object.keys(PERTURBATIONS);
  if (!kinds.includes(kind)) {
    problems.push({
      path: 'perturbation.kind',
      expected: `one of ${kinds.join(', ')}`,
      got: `'${kind}'`,
      nearest: nearest(kind, kinds),
    });
  } else if (!(rate >= 0 && rate <= 1))
    problems.push({ path: 'perturbation.rate', expected: 'a number in 0 … 1', got: `${rate}` });
  if (!(gamma >= 0 && gamma <= 1))
    problems.push({ path: 'perturbation.gamma', expected: 'a number in 0 … 1', got: `${gamma}` });
  if (problems.length > 0) throw new ConfigError(problems);
  return {
    terminals: kind === 't-random',
    rate,
    replace: kind === 'nt-permutation' ? (place, size) => (place + 1) % size : (_, size, rng) => rng.below(size),
  };
}
