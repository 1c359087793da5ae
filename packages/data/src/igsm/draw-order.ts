// The query, and an order in which the necessary parameters can be computed; drawn from the back, with the edges it takes.
import type { Rng } from '@physlm/base';
import type { Structure } from './draw-structure.js';
import { portableExp } from './portable.js';
import { abstractParents } from './problem.js';
import type { Choice } from './variant.js';

/** A topological order; the last parameter is the query. */
export interface Order {
  readonly parameters: readonly number[];
  /** By parameter: the parent that the order gave it; −1 when none. */
  readonly parent: Int16Array;
}

/**
 * An order of the necessary parameters in which every one but the last is needed by a later one; undefined when the draws lead
 * nowhere.
 *
 * @see Ye et al. 2024, arXiv:2407.20311, Algorithm 3.
 */
export function drawOrder(
  rng: Rng,
  structure: Structure,
  necessary: readonly number[],
  bonus: Choice,
): Order | undefined {
  const { index, children } = structure;
  const { nParameter, nPair } = index;
  const keenness = rng.uniform();
  const contrast = Math.abs(rng.normal());
  const weights = [1, portableExp(contrast), portableExp(2 * contrast)];

  /** By parameter: necessary ones not yet placed that need it. */
  const waiting = new Int16Array(nParameter);
  /** By parameter: 1 if a placed one needs it. */
  const needed = new Uint8Array(nParameter);
  const parent = new Int16Array(nParameter).fill(-1);
  const unplaced = necessary.slice();
  const parentsOf = new Map<number, number[]>();
  for (const parameter of necessary) {
    if (parameter < nPair) continue;
    const parents = abstractParents(index, children, parameter);
    parentsOf.set(parameter, parents);
    for (const one of parents) waiting[one]!++;
  }

  const order: number[] = [];
  const candidates: number[] = [];
  while (unplaced.length > 0) {
    candidates.length = 0;
    for (let x = 0; x < unplaced.length; x++) {
      const one = unplaced[x]!;
      if (waiting[one] === 0 && (order.length === 0 || needed[one] === 1)) candidates.push(x);
    }
    if (candidates.length === 0) return undefined;
    const at = candidates[rng.below(candidates.length)]!;
    const placed = unplaced[at]!;
    unplaced[at] = unplaced[unplaced.length - 1]!;
    unplaced.pop();
    order.push(placed);
    if (placed >= nPair) {
      for (const one of parentsOf.get(placed)!) {
        waiting[one]!--;
        needed[one] = 1;
      }
      continue;
    }
    if (unplaced.length === 0) break;
    const goesOn = unplaced.some((one) => needed[one] === 1 && waiting[one] === 0);
    if (goesOn && rng.uniform() >= keenness) continue;
    const free = goesOn ? unplaced : unplaced.filter((one) => waiting[one] === 0);
    const weight = (one: number): number =>
      weights[(one >= nPair ? 1 : 0) + ((needed[one] === 1) === (bonus === 'paper') ? 1 : 0)]!;
    let total = 0;
    for (const one of free) total += weight(one);
    let left = rng.uniform() * total;
    let x = 0;
    while (x + 1 < free.length && left >= weight(free[x]!)) left -= weight(free[x++]!);
    parent[placed] = free[x]!;
    needed[free[x]!] = 1;
  }
  return { parameters: order.reverse(), parent };
}
