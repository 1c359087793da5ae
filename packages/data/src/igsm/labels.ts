// Exact labels of a problem for probes: what is necessary, what depends on what, what is known and can be computed next.
import { ancestors, exists, type Problem } from './problem.js';
import type { Solution } from './solution.js';

/** Labels that do not change while the solution is written, and those after each of its sentences. */
export interface Labels {
  /** Parameters that probes ask about. */
  readonly parameters: readonly number[];
  /** By parameter: 1 if the answer needs it. */
  readonly nece: Uint8Array;
  /** Whether `a` is computed from `b`, however indirectly. */
  dep(a: number, b: number): boolean;
  /** Labels after `t` sentences, 0 … definitions.length. */
  after(t: number): StateLabels;
}

/** Labels between two sentences; each by parameter. */
export interface StateLabels {
  /** 1 if it was computed. */
  readonly known: Uint8Array;
  /** Its value, or the modulus while it is not known. */
  readonly value: Int32Array;
  /** 1 if all its parents are known and it is not. Pairs without an edge have no parents, so theirs is always 1. */
  readonly canNext: Uint8Array;
  /** 1 if it can be computed next and the answer needs it. */
  readonly neceNext: Uint8Array;
}

/**
 * The labels `nece`, `dep`, `known`, `value`, `can_next` and `nece_next` of every parameter at every place.
 *
 * @param which `all` parameters, also pairs of items without an edge, as the papers' majority baselines imply; or those of the
 *   `graph`, which exist.
 * @see Ye et al. 2024, arXiv:2407.20311, Section 4.
 */
export function labelsOf(problem: Problem, solution: Solution, which: 'all' | 'graph' = 'all'): Labels {
  const { index, parents, modulus, values } = problem;
  const { nParameter } = index;
  const nece = ancestors(parents, problem.query);
  const reach: (Uint8Array | undefined)[] = new Array(nParameter).fill(undefined);
  const parameters: number[] = [];
  for (let one = 0; one < nParameter; one++) if (which === 'all' || exists(problem, one)) parameters.push(one);
  return {
    parameters,
    nece,
    dep(a, b) {
      reach[a] ??= ancestors(parents, a);
      return a !== b && reach[a][b] === 1;
    },
    after(t) {
      const known = new Uint8Array(nParameter);
      const value = new Int32Array(nParameter).fill(modulus);
      for (const { parameter } of solution.definitions.slice(0, t)) {
        known[parameter] = 1;
        value[parameter] = values[parameter]!;
      }
      const canNext = new Uint8Array(nParameter);
      for (let one = 0; one < nParameter; one++) {
        canNext[one] = known[one] === 0 && parents[one]!.every((parent) => known[parent] === 1) ? 1 : 0;
      }
      return { known, value, canNext, neceNext: canNext.map((can, one) => can & nece[one]!) };
    },
  };
}
