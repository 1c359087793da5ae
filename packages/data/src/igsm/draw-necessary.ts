// The parameters that the answer will need: abstract ones with all they are computed from, then instance ones.
import type { Rng } from '@physlm/base';
import type { Sizes } from './draw-sizes.js';
import type { Structure } from './draw-structure.js';
import type { Choice } from './variant.js';

/** A set of parameters and the fewest operations that they take. */
export interface NecessarySet {
  readonly parameters: readonly number[];
  readonly op: number;
}

/** @see Ye et al. 2024, arXiv:2407.20311, Algorithm 2. */
export function drawNecessary(rng: Rng, structure: Structure, { n, m }: Sizes, order: Choice): NecessarySet {
  const growing = new Growing(structure);
  if (order === 'code') growing.addFromLowLevels(rng, Math.min(n, availableOperations(structure)));
  else growing.addFromHighLevels(rng, n);
  growing.addInstances(rng, m);
  return { parameters: growing.parameters, op: growing.op };
}

/** The released code's bound on the operations of a structure. */
function availableOperations({ index, children, edges }: Structure): number {
  let total = edges.length;
  for (let i = 0; i + 1 < index.nLayer; i++) {
    for (let j = 0; j < index.widths[i]!; j++) {
      const c = children[index.itemNumber(i, j)]!.length;
      total += (c > 1 ? c - 1 : c) + (index.nLayer - 2 - i) * Math.max(2 * c - 1, 0);
    }
  }
  return total;
}

class Growing {
  readonly parameters: number[] = [];
  op = 0;
  readonly #structure: Structure;
  /** By parameter: −1 when in the set, else the number of the last attempt that met it. */
  readonly #met: Int32Array;
  #attempt = 0;

  constructor(structure: Structure) {
    this.#structure = structure;
    this.#met = new Int32Array(structure.index.nParameter);
  }

  addFromLowLevels(rng: Rng, n: number): void {
    for (;;) {
      let best = -1;
      for (let level = 1; level < this.#structure.index.nLayer; level++) {
        const candidate = this.#candidate(rng, level);
        if (candidate < 0) continue;
        if (this.op + this.#cost(candidate) > n) break;
        best = candidate;
      }
      if (best < 0) return;
      this.#take(best);
    }
  }

  addFromHighLevels(rng: Rng, n: number): void {
    let level = this.#structure.index.nLayer - 1;
    while (level >= 1) {
      const candidate = this.#candidate(rng, level);
      if (candidate >= 0 && this.op + this.#cost(candidate) <= n) {
        this.#take(candidate);
        level = this.#structure.index.nLayer - 1;
      } else level--;
    }
  }

  addInstances(rng: Rng, m: number): void {
    const free = this.#structure.edges.filter((edge) => this.#met[edge] !== -1);
    for (let left = free.length; left > 0 && this.op < m; ) {
      const at = rng.below(left--);
      this.#add(free[at]!, 1);
      free[at] = free[left]!;
    }
  }

  /** A random abstract parameter that spans `level` layers and is not in the set; −1 when there is none. */
  #candidate(rng: Rng, level: number): number {
    const { index } = this.#structure;
    const free: number[] = [];
    for (let i = 0; i + level < index.nLayer; i++) {
      for (let j = 0; j < index.widths[i]!; j++) {
        const parameter = index.abstract(i, j, i + level);
        if (this.#met[parameter] !== -1) free.push(parameter);
      }
    }
    return free.length === 0 ? -1 : free[rng.below(free.length)]!;
  }

  /** Operations of the parameter and of all it needs that is not in the set. */
  #cost(parameter: number): number {
    this.#attempt++;
    return this.#walk(parameter, false);
  }

  #take(parameter: number): void {
    this.#attempt++;
    this.#walk(parameter, true);
  }

  #walk(parameter: number, take: boolean): number {
    const met = this.#met;
    if (met[parameter] === -1 || met[parameter] === this.#attempt) return 0;
    const { index, children } = this.#structure;
    const [i, j, k] = [index.layer[parameter]!, index.item[parameter]!, index.target[parameter]!];
    const below = children[index.itemNumber(i, j)]!;
    const own = Math.max(k === i + 1 ? below.length - 1 : 2 * below.length - 1, 1);
    met[parameter] = this.#attempt;
    let cost = own;
    for (const child of below) {
      const edge = index.instance(i, j, child);
      if (met[edge] !== -1 && met[edge] !== this.#attempt) {
        cost++;
        met[edge] = this.#attempt;
        if (take) this.#add(edge, 1);
      }
      if (k > i + 1) cost += this.#walk(index.abstract(i + 1, child, k), take);
    }
    if (take) this.#add(parameter, own);
    return cost;
  }

  #add(parameter: number, op: number): void {
    this.#met[parameter] = -1;
    this.parameters.push(parameter);
    this.op += op;
  }
}
