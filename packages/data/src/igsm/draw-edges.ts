// How many parents each instance parameter has and which: for the necessary ones so that operations come out, for the rest freely.
import type { Rng } from '@physlm/base';
import type { Order } from './draw-order.js';
import type { Structure } from './draw-structure.js';
import { abstractParents } from './problem.js';
import type { Choice } from './variant.js';

/** Most parents of an instance parameter, the random number included. */
const N_PARENT_MAX = 4;

/** Parents of an instance parameter: other parameters in the order of its sentence, and whether a random number. */
export interface Feed {
  readonly operands: number[];
  random: boolean;
}

/** What instance parameters are computed from, and how many operations the query takes. */
export interface NecessaryFeeds {
  /** By instance parameter. */
  readonly feeds: (Feed | undefined)[];
  readonly op: number;
}

/**
 * Spreads the operations that the order lacks over its instance parameters, and draws their parents.
 *
 * @param op0 operations of the order before.
 * @param s operations aimed at; less comes out where the order cannot take them.
 * @see Ye et al. 2024, arXiv:2407.20311, Algorithm 4.
 */
export function drawNecessaryFeeds(
  rng: Rng,
  structure: Structure,
  order: Order,
  op0: number,
  s: number,
  choice: Choice,
): NecessaryFeeds {
  const { nPair } = structure.index;
  const { parameters, parent } = order;
  const spare = new Uint8Array(parameters.length);
  const extra = new Uint8Array(parameters.length);
  const open: number[] = [];
  for (let i = 0; i < parameters.length; i++) {
    spare[i] = parameters[i]! < nPair ? Math.max(Math.min(i + 1, N_PARENT_MAX) - 2, 0) : 0;
    if (spare[i]! > 0) open.push(i);
  }
  let op = op0;
  for (; op < s && open.length > 0; op++) {
    const at = rng.below(open.length);
    const i = open[at]!;
    extra[i]!++;
    if (--spare[i]! > 0) continue;
    open[at] = open[open.length - 1]!;
    open.pop();
  }

  const feeds: (Feed | undefined)[] = new Array(nPair).fill(undefined);
  for (let i = 0; i < parameters.length; i++) {
    const parameter = parameters[i]!;
    if (parameter >= nPair) continue;
    const wanted = extra[i] === 0 ? 1 + rng.below(2) : extra[i]! + 2;
    const first = parent[parameter]!;
    feeds[parameter] = drawFeed(rng, Math.min(wanted, i + 1, N_PARENT_MAX), first, parameters, i, choice === 'code');
  }
  return { feeds, op };
}

/**
 * Parents of one parameter: `first` if it is one, and others of pool[0 … nPool) or the random number.
 *
 * @param again whether the random number may be drawn from the pool after the coin refused it.
 */
function drawFeed(
  rng: Rng,
  nParent: number,
  first: number,
  pool: readonly number[],
  nPool: number,
  again: boolean,
): Feed {
  const feed: Feed = { operands: [], random: false };
  let left = nParent;
  if (first >= 0) {
    feed.operands.push(first);
    left--;
  }
  const whole = nParent === nPool + 1;
  if (left > 0 && (whole || rng.below(2) === 0)) {
    feed.random = true;
    left--;
  }
  if (left === 0) return feed;
  const free: number[] = [];
  for (let x = 0; x < nPool; x++) if (pool[x] !== first) free.push(pool[x]!);
  if (again && !feed.random) free.push(-1);
  while (left-- > 0) {
    const at = rng.below(free.length);
    const one = free[at]!;
    free[at] = free[free.length - 1]!;
    free.pop();
    if (one < 0) feed.random = true;
    else feed.operands.push(one);
  }
  return feed;
}

/**
 * Draws the parents of the edges that the answer does not need, in a random order that is returned.
 *
 * @see Ye et al. 2024, arXiv:2407.20311, Algorithm 5.
 */
export function drawOtherFeeds(rng: Rng, structure: Structure, order: Order, feeds: (Feed | undefined)[]): number[] {
  const known = new KnownParameters(structure);
  for (const parameter of order.parameters) if (parameter < structure.index.nPair) known.add(parameter);
  const rest = rng.shuffle(structure.edges.filter((edge) => feeds[edge] === undefined));
  const independent: number[] = [];
  for (const edge of rest) {
    const alone = rng.below(2) === 0;
    const pool = alone ? independent : known.parameters;
    const most = Math.min(N_PARENT_MAX, pool.length + 1);
    let nParent = 1;
    while (nParent < most && rng.below(2) === 0) nParent++;
    feeds[edge] = drawFeed(rng, nParent, -1, pool, pool.length, false);
    known.add(edge);
    if (alone) independent.push(edge);
  }
  return rest;
}

/** Instance parameters that were added, and abstract ones that can be computed from them. */
class KnownParameters {
  readonly parameters: number[] = [];
  readonly #structure: Structure;
  /** By abstract parameter: parents that are not known yet. */
  readonly #missing: Int16Array;
  readonly #users: number[][];

  constructor(structure: Structure) {
    this.#structure = structure;
    const { index, children } = structure;
    this.#missing = new Int16Array(index.nParameter);
    this.#users = Array.from({ length: index.nParameter }, () => []);
    const ready: number[] = [];
    for (let parameter = index.nPair; parameter < index.nParameter; parameter++) {
      const parents = abstractParents(index, children, parameter);
      this.#missing[parameter] = parents.length;
      for (const parent of parents) this.#users[parent]!.push(parameter);
      if (parents.length === 0) ready.push(parameter);
    }
    for (const parameter of ready) this.add(parameter);
  }

  add(parameter: number): void {
    this.parameters.push(parameter);
    for (const user of this.#users[parameter]!) {
      // Abstract parameters are announced by their last parent.
      if (--this.#missing[user]! === 0 && user >= this.#structure.index.nPair) this.add(user);
    }
  }
}
