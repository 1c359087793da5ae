// The exact next-token law of a grammar, for a prefix that grows token by token or for all positions of a sentence at once.
import { DataError } from '@physlm/base';
import type { Cfg } from './cfg.js';
import { Chart } from './chart.js';

/**
 * P(next token | prefix), exactly. Rows have |T| + 2 columns, one for each token of `TerminalTokenizer`: BOS (always 0), the
 * terminals, EOS. Numbers stay in range for sentences of any length; a row sums to 1 up to rounding (about 1e-13).
 *
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673: the two-step dynamic programme by which models are scored.
 */
export class ExactLaw {
  readonly dVocab: number;
  readonly #cfg: Cfg;
  readonly #chart: Chart;

  constructor(cfg: Cfg) {
    this.#cfg = cfg;
    this.#chart = new Chart(cfg);
    this.dVocab = cfg.nTerminal + 2;
  }

  /** Terminals read. */
  get nToken(): number {
    return this.#chart.n;
  }

  /** ln P(a sentence begins with what was read), in nats. */
  get logPrefix(): number {
    return this.#chart.logPrefix;
  }

  /** ln P(what was read is the whole sentence), in nats; −∞ when it is none. */
  get logSentence(): number {
    return this.#chart.logPrefix + Math.log(this.#chart.end());
  }

  /** Begins a new sentence. */
  reset(): void {
    this.#chart.reset();
  }

  /**
   * Reads a terminal. False, and nothing changes, when no sentence of the grammar goes on so.
   *
   * @throws DataError when the terminal's probability is below 1e-290, where doubles end.
   */
  push(terminal: number): boolean {
    const possible = this.#chart.push(terminal);
    if (this.#chart.valuesLost) {
      const where = `ExactLaw.push(${this.#cfg.name}), position ${this.nToken - 1}`;
      throw new DataError(where, 'a terminal of probability 1e-290 or more', `${terminal}, less likely than that`);
    }
    return possible;
  }

  /** Writes the law of the next token to `into` at `offset`, `dVocab` numbers. */
  next(into: Float64Array, offset = 0): void {
    const { n, open, grammar } = this.#chart;
    const { total, base, nLevel } = grammar;
    const from = n * total + base[nLevel - 1]!;
    into[offset] = 0;
    for (let t = 0; t < this.#cfg.nTerminal; t++) into[offset + 1 + t] = open[from + t]!;
    into[offset + this.dVocab - 1] = this.#chart.end();
  }

  /**
   * The laws at all n + 1 positions of a sentence, row by row: row i is the law of token i given those before it, row n that
   * of what follows the whole. The last one needs no EOS: any beginning of a sentence will do.
   *
   * @throws DataError naming the first terminal that no sentence can have at its place.
   */
  ofSentence(terminals: ArrayLike<number>): Float64Array {
    const laws = new Float64Array((terminals.length + 1) * this.dVocab);
    this.reset();
    this.next(laws);
    for (let i = 0; i < terminals.length; i++) {
      if (!this.push(terminals[i]!)) {
        throw new DataError(
          `ExactLaw.ofSentence(${this.#cfg.name}), position ${i}`,
          'a terminal with which a sentence can go on',
          `${terminals[i]}`,
        );
      }
      this.next(laws, (i + 1) * this.dVocab);
    }
    return laws;
  }
}
