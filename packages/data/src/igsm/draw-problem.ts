// Draws problems: sizes, structure, necessary parameters, order, edges, until the operations and the template are wanted ones.
import { DataError, invariant, type Rng } from '@physlm/base';
import { drawNecessaryFeeds, drawOtherFeeds, type Feed } from './draw-edges.js';
import { drawNecessary } from './draw-necessary.js';
import { drawOrder } from './draw-order.js';
import { drawSizes, naturalOp } from './draw-sizes.js';
import { drawStructure, type Structure } from './draw-structure.js';
import { abstractParents, ancestors, evaluate, type Problem, type Rule } from './problem.js';
import { type Solution, solutionOf } from './solution.js';
import { type Buckets, inBuckets, LETTERS, solutionTemplate, templateBucket } from './template.js';
import type { Level, Variant } from './variant.js';

/** Structures after which a wish counts as one that cannot be met; natural problems take some tens. */
const N_STRUCTURE = 100_000;

/** Structures tried with one draw of sizes. */
const N_STRUCTURE_OF_SIZES = 1000;

/** What problems are wanted. */
export interface ProblemWish {
  readonly level: Level;
  readonly modulus: number;
  /** Operations of every problem; natural ones when absent. */
  readonly op?: number;
  /** Ask for another parameter of the finished problem, uniformly. */
  readonly reask: boolean;
  readonly buckets: Buckets;
  readonly variant: Variant;
}

/** A problem with its shortest solution. */
export interface SolvedProblem {
  readonly problem: Problem;
  readonly solution: Solution;
  /** Bucket of the solution's template, 0 … 22. */
  readonly bucket: number;
}

/**
 * A problem; only the stream decides which.
 *
 * With `reask`, `op` counts the operations before the query is drawn again; those of the result are free, up to the 52 that
 * letters allow.
 *
 * @throws DataError when no problem of the wish was found among 100,000 structures.
 * @see Ye et al. 2024, arXiv:2407.20311, Section 2.4 and Appendix D.
 */
export function drawProblem(rng: Rng, wish: ProblemWish): SolvedProblem {
  const { level, op, variant } = wish;
  const target = op ?? (variant.opDraw === 'code' ? naturalOp(rng, level.opMax) : undefined);
  const budget = { left: N_STRUCTURE };
  while (budget.left > 0) {
    const s = op ?? naturalOp(rng, level.opMax);
    // Operations never exceed s, so these would be refused at the end.
    if (target !== undefined && s < target) continue;
    const solved = attemptProblem(rng, wish, s, target ?? s, budget);
    if (solved !== undefined) return solved;
  }
  const share = wish.buckets === 'all' ? '' : ` with templates for ${wish.buckets}`;
  throw new DataError(
    'igsm',
    `problems of ${target === undefined ? `up to ${level.opMax}` : target} operations${share} to exist`,
    `none among ${N_STRUCTURE} structures with at most ${level.ipMax} instance parameters`,
    'Ask for fewer operations (op, opMax), or allow more instance parameters (ipMax).',
  );
}

function attemptProblem(
  rng: Rng,
  wish: ProblemWish,
  s: number,
  target: number,
  budget: { left: number },
): SolvedProblem | undefined {
  const { level, modulus, variant, buckets, reask } = wish;
  const sizes = drawSizes(rng, level, s);
  for (let tries = 0; tries < N_STRUCTURE_OF_SIZES && budget.left-- > 0; tries++) {
    const structure = drawStructure(rng, sizes);
    const necessary = drawNecessary(rng, structure, sizes, variant.necessary);
    const order = drawOrder(rng, structure, necessary.parameters, variant.edgeBonus);
    if (order === undefined) continue;
    const { feeds, op } = drawNecessaryFeeds(rng, structure, order, necessary.op, s, variant.randomParent);
    if (op !== target) return undefined;
    const { index, children } = structure;
    const rules: (Rule | undefined)[] = new Array(index.nPair).fill(undefined);
    for (const one of order.parameters) if (one < index.nPair) rules[one] = drawRule(rng, feeds[one]!, modulus);

    const solution = solutionOf({ index, children, rules }, order.parameters);
    invariant(solution.op === op, 'the solution has as many steps as operations');
    const bucket = templateBucket(solutionTemplate(solution, index.nPair));
    if (!reask && !inBuckets(bucket, buckets, variant.split)) return undefined;

    const others = drawOtherFeeds(rng, structure, order, feeds);
    for (const one of others) rules[one] = drawRule(rng, feeds[one]!, modulus);
    const problem = problemOf(rng, structure, rules, modulus, order.parameters.at(-1)!);
    return reask ? askAgain(rng, problem, wish) : { problem, solution, bucket };
  }
  return undefined;
}

function drawRule(rng: Rng, { operands, random }: Feed, modulus: number): Rule {
  const difference = operands.length === 2 && rng.below(2) === 0;
  if (!random) return { constant: -1, times: false, difference, operands };
  if (operands.length === 0) return { constant: rng.below(modulus), times: false, difference, operands };
  const times = rng.below(2) === 0;
  return { constant: times ? 1 + rng.below(modulus - 1) : rng.below(modulus), times, difference, operands };
}

function problemOf(
  rng: Rng,
  { index, children, edges }: Structure,
  rules: (Rule | undefined)[],
  modulus: number,
  query: number,
): Problem {
  const statements = rng.shuffle(edges.slice());
  return finishProblem({ modulus, index, rules, children, statements, query })!;
}

/** Adds parents and values; undefined when parameters are computed from each other in a circle. */
export function finishProblem(given: Omit<Problem, 'parents' | 'values'>): Problem | undefined {
  const { index, rules, children } = given;
  const parents: (readonly number[])[] = [];
  for (let one = 0; one < index.nParameter; one++) {
    parents.push(one < index.nPair ? (rules[one]?.operands ?? []) : abstractParents(index, children, one));
  }
  const values = new Int32Array(index.nParameter).fill(-1);
  const problem = { ...given, parents, values };
  /** 1 while a parameter's parents are being computed, 2 when it is done. */
  const state = new Uint8Array(index.nParameter);
  const compute = (parameter: number): boolean => {
    if (state[parameter] !== 0) return state[parameter] === 2;
    state[parameter] = 1;
    const list = parents[parameter]!;
    for (let x = 0; x < list.length; x++) if (!compute(list[x]!)) return false;
    values[parameter] = evaluate(problem, parameter, values);
    state[parameter] = 2;
    return true;
  };
  for (let one = 0; one < index.nParameter; one++) {
    if ((one >= index.nPair || rules[one] !== undefined) && !compute(one)) return undefined;
  }
  return problem;
}

function askAgain(rng: Rng, asked: Problem, { buckets, variant }: ProblemWish): SolvedProblem | undefined {
  const { index, statements } = asked;
  const which = rng.below(statements.length + index.nParameter - index.nPair);
  const query = which < statements.length ? statements[which]! : index.nPair + which - statements.length;
  const problem = { ...asked, query };
  const solution = solutionOf(problem, drawShortestOrder(rng, problem));
  if (solution.op > LETTERS.length) return undefined;
  const bucket = templateBucket(solutionTemplate(solution, index.nPair));
  return inBuckets(bucket, buckets, variant.split) ? { problem, solution, bucket } : undefined;
}

/** A random order, drawn from the back, of all that the query needs. */
export function drawShortestOrder(rng: Rng, { parents, query }: Problem): number[] {
  const necessary = ancestors(parents, query);
  const waiting = new Int16Array(parents.length);
  for (let one = 0; one < parents.length; one++) {
    if (necessary[one] === 1) for (const parent of parents[one]!) waiting[parent]!++;
  }
  const free = [query];
  const order: number[] = [];
  while (free.length > 0) {
    const at = rng.below(free.length);
    const placed = free[at]!;
    free[at] = free[free.length - 1]!;
    free.pop();
    order.push(placed);
    for (const parent of parents[placed]!) if (--waiting[parent]! === 0) free.push(parent);
  }
  return order.reverse();
}
