// A problem without words: which parameters there are, what each is computed from, what they are worth, and what is asked.
import { invariant } from '@physlm/base';
import type { ParameterIndex } from './parameters.js';

/** How an instance parameter is computed, modulo the modulus: `constant (+ or ×) (sum or difference of operands)`. */
export interface Rule {
  /** −1 when no random number feeds the parameter. */
  readonly constant: number;
  /** Whether the constant multiplies. */
  readonly times: boolean;
  /** Whether the two operands are subtracted. */
  readonly difference: boolean;
  /** Up to four parameters, in the order of the sentence. */
  readonly operands: readonly number[];
}

/** A problem; parameters are numbers of `index`. */
export interface Problem {
  readonly modulus: number;
  readonly index: ParameterIndex;
  /** By instance parameter; undefined where there is no edge. */
  readonly rules: readonly (Rule | undefined)[];
  /** By item: the items of the next layer that it has, ascending. */
  readonly children: readonly (readonly number[])[];
  /** By parameter: what it is computed from, without the random number; empty where there is no edge. */
  readonly parents: readonly (readonly number[])[];
  /** By parameter: its value; −1 where there is no edge. */
  readonly values: Int32Array;
  /** Instance parameters in the order of their sentences. */
  readonly statements: readonly number[];
  readonly query: number;
}

/** Whether the parameter exists in this problem: pairs without an edge do not. */
export function exists(problem: Problem, parameter: number): boolean {
  return parameter >= problem.index.nPair || problem.rules[parameter] !== undefined;
}

/** What an abstract parameter is computed from: the edges to its children, then for deeper layers what these have. */
export function abstractParents(
  index: ParameterIndex,
  children: readonly (readonly number[])[],
  parameter: number,
): number[] {
  const [i, j, k] = [index.layer[parameter]!, index.item[parameter]!, index.target[parameter]!];
  const below = children[index.itemNumber(i, j)]!;
  const parents: number[] = [];
  for (let x = 0; x < below.length; x++) parents.push(index.instance(i, j, below[x]!));
  if (k > i + 1) for (let x = 0; x < below.length; x++) parents.push(index.abstract(i + 1, below[x]!, k));
  return parents;
}

/** The value of a parameter from the values of its parents. */
export function evaluate(
  problem: Pick<Problem, 'index' | 'rules' | 'parents' | 'modulus'>,
  parameter: number,
  values: ArrayLike<number>,
): number {
  const { index, modulus } = problem;
  const parents = problem.parents[parameter]!;
  let total = 0;
  if (parameter >= index.nPair) {
    if (index.target[parameter]! === index.layer[parameter]! + 1) {
      for (let x = 0; x < parents.length; x++) total += values[parents[x]!]!;
      return total % modulus;
    }
    const half = parents.length / 2;
    for (let x = 0; x < half; x++) total = (total + values[parents[x]!]! * values[parents[half + x]!]!) % modulus;
    return total;
  }
  const rule = problem.rules[parameter];
  invariant(rule !== undefined, 'only existing parameters have values');
  const { constant, times, difference, operands } = rule;
  if (operands.length === 0) return constant % modulus;
  if (difference) total = values[operands[0]!]! - values[operands[1]!]! + modulus;
  else for (let x = 0; x < operands.length; x++) total += values[operands[x]!]!;
  if (constant < 0) return total % modulus;
  return (times ? (total % modulus) * constant : total + constant) % modulus;
}

/** Operations that computing a parameter takes. @see arXiv:2407.20311, Appendix D.1. */
export function operations(problem: Pick<Problem, 'index' | 'rules' | 'parents'>, parameter: number): number {
  const nParent = problem.parents[parameter]!.length + ((problem.rules[parameter]?.constant ?? -1) >= 0 ? 1 : 0);
  return Math.max(1, nParent - 1);
}

/** By parameter: 1 if it is `parameter` or something that this is computed from, however indirectly. */
export function ancestors(parents: readonly (readonly number[])[], parameter: number): Uint8Array {
  const marked = new Uint8Array(parents.length);
  const stack = [parameter];
  marked[parameter] = 1;
  while (stack.length > 0) {
    for (const parent of parents[stack.pop()!]!) {
      if (marked[parent] === 1) continue;
      marked[parent] = 1;
      stack.push(parent);
    }
  }
  return marked;
}
