// Posteriors of the two labels of a token, by level: the symbol of its ancestor, and the symbol of the node that ends with it.
import type { Cfg } from './cfg.js';

/**
 * For levels 1 … L: P(the level-l ancestor of token i is A) and P(a level-l node A ends with token i). Rows are tokens,
 * columns the symbols of the level in the grammar's order.
 */
export class PosteriorTable {
  readonly #ancestor: Float64Array[];
  readonly #end: Float64Array[];

  constructor(
    readonly cfg: Cfg,
    readonly nToken: number,
  ) {
    // One row more, where nodes that end with the last token take their share back.
    this.#ancestor = cfg.levels.map((level) => new Float64Array((nToken + 1) * level.length));
    this.#end = cfg.levels.map((level) => new Float64Array(nToken * level.length));
  }

  /** P(s_l(i) = A), nToken × |NT_l|; every row sums to 1. */
  ancestor(level: number): Float64Array {
    return this.#ancestor[level - 1]!.subarray(0, this.nToken * this.cfg.levels[level - 1]!.length);
  }

  /** P(b_l(i) = 1 and s_l(i) = A), nToken × |NT_l|; a row sums to P(b_l(i) = 1). */
  end(level: number): Float64Array {
    return this.#end[level - 1]!;
  }

  /** @internal Adds a node of 0-based level `l` over [start, end) with probability p. */
  addNode(l: number, symbol: number, start: number, end: number, p: number): void {
    const n = this.cfg.levels[l]!.length;
    this.#ancestor[l]![start * n + symbol]! += p;
    this.#ancestor[l]![end * n + symbol]! -= p;
    this.#end[l]![(end - 1) * n + symbol]! += p;
  }

  /** @internal After the last `addNode`: turns beginnings and ends of nodes into shares of tokens. */
  finishAncestors(): void {
    this.#ancestor.forEach((values, l) => {
      const n = this.cfg.levels[l]!.length;
      for (let at = n; at < values.length; at++) values[at]! += values[at - n]!;
      // Sums of shares that cancel leave rounding behind.
      for (let at = 0; at < values.length; at++) values[at] = Math.min(1, Math.max(0, values[at]!));
    });
  }

  /** @internal Sets one entry, for tables that are filled token by token. */
  set(label: 'ancestor' | 'end', l: number, token: number, symbol: number, p: number): void {
    const values = label === 'ancestor' ? this.#ancestor[l]! : this.#end[l]!;
    values[token * this.cfg.levels[l]!.length + symbol] = p;
  }
}
