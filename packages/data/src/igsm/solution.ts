// A solution without words: for each parameter of a topological order, the binary operations that compute it.
import type { Problem, Rule } from './problem.js';

/** How a symbol gets its value. */
export type Operator = 'constant' | 'copy' | '+' | '-' | '*';

/** `symbol = left operator right`. An operand is a symbol (from 0), or a number r as −1 − r. */
export interface Step {
  readonly symbol: number;
  readonly operator: Operator;
  readonly left: number;
  readonly right: number;
}

/** One sentence: its steps, of which the last defines the parameter. */
export interface Definition {
  readonly parameter: number;
  /** The symbol that stands for the parameter from here on. */
  readonly symbol: number;
  readonly steps: readonly Step[];
}

/** A solution; symbols are numbered by first appearance, and there are as many as operations. */
export interface Solution {
  readonly definitions: readonly Definition[];
  readonly op: number;
}

/** The part of a problem that fixes the form of solutions. */
export type Sketch = Pick<Problem, 'index' | 'children' | 'rules'>;

/**
 * The solution that computes the parameters in this order. Sums fold from the left; a constant comes first in its operation,
 * and its expression gets a symbol of its own.
 *
 * @see Ye et al. 2024, arXiv:2407.20311, Appendix D.3.
 */
export function solutionOf(sketch: Sketch, order: readonly number[]): Solution {
  const writer = new StepWriter(sketch);
  const definitions = order.map((parameter) => writer.define(parameter));
  return { definitions, op: writer.nSymbol };
}

/** By symbol: its value. */
export function symbolValues(solution: Solution, modulus: number): Int32Array {
  const values = new Int32Array(solution.op);
  const value = (operand: number): number => (operand < 0 ? -1 - operand : values[operand]!);
  for (const { steps } of solution.definitions) {
    for (const { symbol, operator, left, right } of steps) {
      const [a, b] = [value(left), value(right)];
      const result = operator === '+' ? a + b : operator === '-' ? a - b + modulus : operator === '*' ? a * b : a;
      values[symbol] = result % modulus;
    }
  }
  return values;
}

class StepWriter {
  nSymbol = 0;
  readonly #sketch: Sketch;
  readonly #symbolOf: Int16Array;
  #steps: Step[] = [];

  constructor(sketch: Sketch) {
    this.#sketch = sketch;
    this.#symbolOf = new Int16Array(sketch.index.nParameter).fill(-1);
  }

  define(parameter: number): Definition {
    const symbol = this.nSymbol++;
    this.#steps = [];
    if (parameter < this.#sketch.index.nPair) this.#instance(symbol, this.#sketch.rules[parameter]!);
    else this.#abstract(symbol, parameter);
    this.#symbolOf[parameter] = symbol;
    return { parameter, symbol, steps: this.#steps };
  }

  #instance(symbol: number, { constant, times, difference, operands }: Rule): void {
    const symbols = operands.map((operand) => this.#symbolOf[operand]!);
    if (symbols.length === 0) {
      this.#step(symbol, 'constant', -1 - constant);
    } else if (constant < 0) {
      this.#fold(symbol, difference ? '-' : '+', symbols);
    } else {
      const rest = symbols.length === 1 ? symbols[0]! : this.#fold(undefined, difference ? '-' : '+', symbols);
      this.#step(symbol, times ? '*' : '+', -1 - constant, rest);
    }
  }

  #abstract(symbol: number, parameter: number): void {
    const { index, children } = this.#sketch;
    const [i, j, k] = [index.layer[parameter]!, index.item[parameter]!, index.target[parameter]!];
    const below = children[index.itemNumber(i, j)]!;
    const edges = below.map((child) => this.#symbolOf[index.instance(i, j, child)]!);
    if (below.length === 0) {
      this.#step(symbol, 'constant', -1);
    } else if (k === i + 1) {
      this.#fold(symbol, '+', edges);
    } else {
      let sum = -1;
      for (let x = 0; x < below.length; x++) {
        const deeper = this.#symbolOf[index.abstract(i + 1, below[x]!, k)]!;
        const product = below.length === 1 ? symbol : this.nSymbol++;
        this.#step(product, '*', edges[x]!, deeper);
        if (x === 0) {
          sum = product;
          continue;
        }
        const next = x === below.length - 1 ? symbol : this.nSymbol++;
        this.#step(next, '+', sum, product);
        sum = next;
      }
    }
  }

  /** Folds from the left into `symbol`, or into a new symbol; returns it. */
  #fold(symbol: number | undefined, operator: Operator, symbols: readonly number[]): number {
    if (symbols.length === 1) {
      this.#step(symbol!, 'copy', symbols[0]!);
      return symbol!;
    }
    let sum = symbols[0]!;
    for (let x = 1; x < symbols.length; x++) {
      const next = x === symbols.length - 1 && symbol !== undefined ? symbol : this.nSymbol++;
      this.#step(next, operator, sum, symbols[x]!);
      sum = next;
    }
    return sum;
  }

  #step(symbol: number, operator: Operator, left: number, right = -1): void {
    this.#steps.push({ symbol, operator, left, right });
  }
}
