// Judges solutions against the problem's text: any valid order, commuted operands, redundant steps and mistakes that are taken
// back are right; of everything else it says which sentence is wrong, and why.

import { ancestors, evaluate, operations, type Problem } from './problem.js';
import { type ReadOptions, type ReadProblem, readingsOf } from './read-problem.js';
import { Sentence, type SolutionFault } from './read-solution.js';

/** How strictly to judge. */
export interface VerifyOptions extends ReadOptions {
  /**
   * `exact` (when absent) compares each parameter with what its statement says; `released` checks what the released code does: the
   * parents of each parameter, all arithmetic, and the answer, so that a wrong constant shows in the answer only.
   */
  readonly check?: 'exact' | 'released';
}

/** What a verifier found. */
export interface Verdict {
  readonly correct: boolean;
  /** A word for the kind of mistake; null when correct. */
  readonly fault: SolutionFault | null;
  /** A sentence about the first mistake; null when correct. */
  readonly reason: string | null;
  /** Number of the sentence with the first mistake, from 1; null when correct. */
  readonly step: number | null;
  /** Operations of the shortest solution. */
  readonly necessaryOperations: number;
  /** Operations that were written, up to the first mistake. */
  readonly operations: number;
  /** Parameters that were computed although the answer does not need them or had them, up to the first mistake. */
  readonly unnecessaryParameters: number;
  /** Sentences that were taken back, up to the first mistake. */
  readonly retries: number;
}

/**
 * Judges a solution of the problem that `prompt` states.
 *
 * @throws DataError when the prompt states no problem.
 * @see Ye et al. 2024, arXiv:2407.20311, Section 3: a solution counts only if every step is right.
 */
export function verifySolution(prompt: string, solution: string, options: VerifyOptions = {}): Verdict {
  let first: Verdict | undefined;
  for (const reading of readingsOf(prompt, options)) {
    const verdict = new SolutionVerifier(reading, options.check).verify(solution);
    if (verdict.correct) return verdict;
    first ??= verdict;
  }
  return first!;
}

/** Rounds of random values in which a definition must agree with its statement. */
const N_TRIAL = 2;

/** Judges solutions of one problem. */
export class SolutionVerifier {
  readonly necessaryOperations: number;
  readonly #read: ReadProblem;
  readonly #problem: Problem;
  readonly #exact: boolean;
  readonly #necessary: Uint8Array;
  /** By round and parameter: a value that the parameter might have had. */
  readonly #trials: readonly Int32Array[];

  constructor(read: ReadProblem, check: 'exact' | 'released' = 'exact') {
    const { problem } = read;
    this.#read = read;
    this.#problem = problem;
    this.#exact = check === 'exact';
    this.#necessary = ancestors(problem.parents, problem.query);
    let op = 0;
    for (let one = 0; one < this.#necessary.length; one++)
      if (this.#necessary[one] === 1) op += operations(problem, one);
    this.necessaryOperations = op;
    this.#trials = trialValues(problem);
  }

  /** Judges one solution: sentences behind one another, each `Define name as letter; …; so letter = … = number`. */
  verify(text: string): Verdict {
    const run = new Run(this.#problem, this.#trials);
    const fail = (fault: SolutionFault, reason: string): Verdict => ({
      correct: false,
      fault,
      reason,
      step: run.nSentence,
      ...run.counts(this.necessaryOperations, this.#necessary),
    });
    const solution = text.trim();
    const mayRetry = solution.includes(' BACK');
    let last = -1;
    for (let at = 0; at < solution.length; ) {
      run.nSentence++;
      const stop = solution.indexOf('. ', at);
      const ended = stop >= 0 || solution.endsWith('.');
      const end = stop >= 0 ? stop : ended ? solution.length - 1 : solution.length;
      const next = stop >= 0 ? stop + 2 : solution.length;
      if (!ended) return fail('unfinished', 'the solution does not end: its last sentence has no full stop');
      if (mayRetry && solution.slice(at, end).includes(' BACK')) {
        run.retries++;
        at = next;
        continue;
      }
      const sentence = new Sentence(solution, at, end);
      if (sentence.fault !== undefined) return fail('form', sentence.fault);
      const parameter = this.#read.parameterOf(sentence.name);
      if (parameter < 0) return fail('unknown parameter', `the problem has no '${sentence.name}'`);
      const problem = run.define(parameter, sentence, this.#exact);
      if (problem !== undefined) return fail(problem.fault, problem.reason);
      last = parameter;
      at = next;
    }
    const { query, values } = this.#problem;
    if (last < 0) return fail('empty', 'the solution defines nothing');
    if (last !== query)
      return fail('wrong question', 'the last sentence computes another parameter than the question asks for');
    if (run.valueOf(query) !== values[query]) {
      return fail('wrong answer', `the answer is ${values[query]}, not ${run.valueOf(query)}`);
    }
    if (run.nStep < this.necessaryOperations) {
      const reason = `the answer takes ${this.necessaryOperations} operations, the solution has ${run.nStep}`;
      return fail('too few operations', reason);
    }
    return {
      correct: true,
      fault: null,
      reason: null,
      step: null,
      ...run.counts(this.necessaryOperations, this.#necessary),
    };
  }
}

/** By modulus: values that parameters might have had in each round, the same in every run. */
const trials = new Map<number, readonly Int32Array[]>();

function trialValues({ index, modulus }: Problem): readonly Int32Array[] {
  const known = trials.get(modulus);
  if (known !== undefined && known[0]!.length >= index.nParameter) return known;
  const made = Array.from({ length: N_TRIAL }, (_, round) =>
    Int32Array.from(
      { length: 2 * index.nParameter },
      (_, one) => (Math.imul(one + 1, 2654435761 + 2 * round) >>> 9) % modulus,
    ),
  );
  trials.set(modulus, made);
  return made;
}

/** Letters are at most this large as characters. */
const N_SYMBOL = 128;

/** Places for the letters of one solution at a time. */
const scratch = {
  stands: new Int16Array(N_SYMBOL),
  values: new Int32Array(N_SYMBOL),
  tried: new Int32Array(N_SYMBOL * N_TRIAL),
  uses: new Array<number[] | undefined>(N_SYMBOL).fill(undefined),
};

/** The state of one solution: what each letter stands for. One at a time. */
class Run {
  nSentence = 0;
  nStep = 0;
  retries = 0;
  readonly #problem: Problem;
  readonly #trials: readonly Int32Array[];
  readonly #defined: number[] = [];
  /** By letter: 0 unknown, 1 a temporary, 2 + parameter. */
  readonly #stands = scratch.stands.fill(0);
  readonly #values = scratch.values;
  /** By letter and round: the value in that round. */
  readonly #tried = scratch.tried;
  /** By letter: for a temporary, the parameters that it is made of. */
  readonly #uses = scratch.uses;
  /** By parameter: its value as written; −1 before. */
  readonly #written: Int32Array;

  constructor(problem: Problem, trials: readonly Int32Array[]) {
    this.#problem = problem;
    this.#trials = trials;
    this.#written = new Int32Array(problem.index.nParameter).fill(-1);
  }

  valueOf(parameter: number): number {
    return this.#written[parameter]!;
  }

  counts(
    necessaryOperations: number,
    necessary: Uint8Array,
  ): Pick<Verdict, 'necessaryOperations' | 'operations' | 'unnecessaryParameters' | 'retries'> {
    const needed = new Set(this.#defined.filter((one) => necessary[one] === 1));
    const unnecessaryParameters = this.#defined.length - needed.size;
    return { necessaryOperations, operations: this.nStep, unnecessaryParameters, retries: this.retries };
  }

  /** Takes a sentence in; returns what is wrong with it, or undefined. */
  define(parameter: number, sentence: Sentence, exact: boolean): { fault: SolutionFault; reason: string } | undefined {
    const used: number[] = [];
    const { modulus } = this.#problem;
    for (const step of sentence.steps) {
      const { symbol, operator, left, right, leftNumber, rightNumber, result } = step;
      const letter = String.fromCharCode(symbol);
      if (this.#stands[symbol] !== 0)
        return { fault: 'duplicate symbol', reason: `the letter ${letter} is defined twice` };
      for (const operand of [left, right]) {
        if (operand < 0 || this.#stands[operand] !== 0) continue;
        return { fault: 'undefined symbol', reason: `the letter ${String.fromCharCode(operand)} is not defined` };
      }
      const largest = Math.max(leftNumber, rightNumber, result);
      if (largest >= modulus) {
        return { fault: 'wrong number', reason: `numbers are 0 … ${modulus - 1}, not ${largest}` };
      }
      const a = left < 0 ? leftNumber : this.#values[left]!;
      const b = right < 0 ? rightNumber : this.#values[right]!;
      if ((operator === '+' || operator === '-' || operator === '*') && (a !== leftNumber || b !== rightNumber)) {
        const [wrong, is, said] = a === leftNumber ? [right, b, rightNumber] : [left, a, leftNumber];
        return { fault: 'wrong number', reason: `${String.fromCharCode(wrong)} is ${is}, not ${said}` };
      }
      const value = combine(operator, a, b, modulus);
      if (value !== result) {
        const form = operator === 'copy' || operator === 'constant' ? `${a}` : `${a} ${operator} ${b}`;
        return { fault: 'wrong arithmetic', reason: `${form} is ${value} modulo ${modulus}, not ${result}` };
      }
      for (let round = 0; round < N_TRIAL; round++) {
        const tried = (operand: number, number: number): number =>
          operand < 0 ? number : this.#tried[operand * N_TRIAL + round]!;
        this.#tried[symbol * N_TRIAL + round] = combine(
          operator,
          tried(left, leftNumber),
          tried(right, rightNumber),
          modulus,
        );
      }
      const uses: number[] = [];
      for (const operand of [left, right]) {
        if (operand < 0) continue;
        const stands = this.#stands[operand]!;
        const parameters = stands >= 2 ? [stands - 2] : this.#uses[operand]!;
        for (const one of parameters) if (!uses.includes(one)) uses.push(one);
      }
      this.#uses[symbol] = uses;
      this.#values[symbol] = value;
      this.#stands[symbol] = 1;
      if (symbol === sentence.symbol) used.push(...uses);
    }
    const wrong = this.#compare(parameter, sentence, used, exact);
    if (wrong !== undefined) return wrong;

    this.nStep += sentence.steps.length;
    this.#stands[sentence.symbol] = 2 + parameter;
    for (let round = 0; round < N_TRIAL; round++) {
      this.#tried[sentence.symbol * N_TRIAL + round] = this.#trials[round]![parameter]!;
    }
    this.#written[parameter] = this.#values[sentence.symbol]!;
    this.#defined.push(parameter);
    return undefined;
  }

  /** Whether the sentence computes its parameter from what the problem says. */
  #compare(
    parameter: number,
    { name, symbol }: Sentence,
    used: readonly number[],
    exact: boolean,
  ): { fault: SolutionFault; reason: string } | undefined {
    const problem = this.#problem;
    if (parameter < problem.index.nPair && problem.rules[parameter] === undefined) {
      return { fault: 'unknown parameter', reason: `the problem has no '${name}'` };
    }
    const parents = problem.parents[parameter]!;
    if (used.length !== parents.length || used.some((one) => !parents.includes(one))) {
      const reason = used.every((one) => parents.includes(one))
        ? `'${name}' is computed from ${parents.length} parameters, of which ${parents.length - used.length} are not used`
        : `'${name}' is not computed from all parameters that are used`;
      return { fault: 'wrong parents', reason };
    }
    if (!exact) return undefined;
    const value = problem.values[parameter]!;
    if (this.#values[symbol] !== value) {
      const reason = `'${name}' is ${value}, not ${this.#values[symbol]}: the constant or the operation is wrong`;
      return { fault: 'wrong rule', reason };
    }
    for (let round = 0; round < N_TRIAL; round++) {
      if (this.#tried[symbol * N_TRIAL + round] === evaluate(problem, parameter, this.#trials[round]!)) continue;
      return { fault: 'wrong rule', reason: `'${name}' has the right value, but not as its statement says` };
    }
    return undefined;
  }
}

function combine(operator: string, a: number, b: number, modulus: number): number {
  if (operator === '+') return (a + b) % modulus;
  if (operator === '-') return (((a - b) % modulus) + modulus) % modulus;
  return operator === '*' ? (a * b) % modulus : a;
}
