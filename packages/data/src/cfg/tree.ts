// A derivation, level by level: the symbols of the nodes from left to right and where each one starts. Everything that a
// probe asks about a token (its ancestors, which node it lies in, whether a node ends here) is read off these lists.
import type { Span } from '../sample.js';
import type { Cfg } from './cfg.js';

/** The nodes of one level, from left to right. */
export interface TreeLevel {
  readonly symbols: Uint16Array;
  /** First token of each node, and at the end the number of tokens. */
  readonly starts: Int32Array;
}

/**
 * The tree of a sentence. Levels are numbered as in the paper: 1 is the root's, L the tokens'. Positions count the tokens
 * of the sentence from 0, without BOS.
 *
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Section 4.
 */
export class CfgTree {
  constructor(
    readonly cfg: Cfg,
    readonly levels: readonly TreeLevel[],
  ) {}

  /** Number of tokens. */
  get nToken(): number {
    return this.levels.at(-1)!.symbols.length;
  }

  /**
   * ln P(this derivation), in nats; −∞ when a node was made by no rule, as in perturbed sentences.
   */
  get logProb(): number {
    let sum = 0;
    for (let l = 0; l < this.levels.length - 1; l++) {
      const [level, below] = [this.levels[l]!, this.levels[l + 1]!];
      let child = 0;
      for (let node = 0; node < level.symbols.length; node++) {
        const first = child;
        while (child < below.symbols.length && below.starts[child]! < level.starts[node + 1]!) child++;
        sum += Math.log(this.#ruleProbability(level.symbols[node]!, below.symbols.subarray(first, child)));
      }
    }
    return sum;
  }

  #ruleProbability(symbol: number, children: Uint16Array): number {
    let [matching, all] = [0, 0];
    for (const { symbols, weight = 1 } of this.cfg.rules[symbol]!) {
      all += weight;
      if (symbols.length === children.length && symbols.every((child, c) => child === children[c])) matching += weight;
    }
    return matching / all;
  }

  /** s_l(i): the symbol of the level-l ancestor of each token. */
  ntAncestor(level: number): Uint16Array {
    const { symbols, starts } = this.levels[level - 1]!;
    const ancestors = new Uint16Array(this.nToken);
    for (let node = 0; node < symbols.length; node++) {
      ancestors.fill(symbols[node]!, starts[node]!, starts[node + 1]!);
    }
    return ancestors;
  }

  /** p_l(i): the number, from the left, of the level-l node that holds each token. */
  ntIndex(level: number): Int32Array {
    const { symbols, starts } = this.levels[level - 1]!;
    const index = new Int32Array(this.nToken);
    for (let node = 0; node < symbols.length; node++) index.fill(node, starts[node]!, starts[node + 1]!);
    return index;
  }

  /** b_l(i): 1 where a level-l node ends with this token. */
  ntBoundary(level: number): Uint8Array {
    const { symbols, starts } = this.levels[level - 1]!;
    const boundary = new Uint8Array(this.nToken);
    for (let node = 0; node < symbols.length; node++) boundary[starts[node + 1]! - 1] = 1;
    return boundary;
  }

  /** b#(i): the level nearest the root, of 2 … L − 1, of which a node ends with this token; 0 where none does. */
  deepestNtEnd(): Uint8Array {
    const deepest = new Uint8Array(this.nToken);
    for (let level = this.cfg.nLevel - 1; level >= 2; level--) {
      const { symbols, starts } = this.levels[level - 1]!;
      for (let node = 0; node < symbols.length; node++) deepest[starts[node + 1]! - 1] = level;
    }
    return deepest;
  }

  /** Every node of levels 2 … L − 1 as a span labelled `NT<level>:<symbol>`; `offset` tokens stand before the sentence. */
  spans(offset = 0): Span[] {
    const tokens = this.levels.at(-1)!.symbols;
    const textStart = new Int32Array(tokens.length + 1);
    for (let i = 0; i < tokens.length; i++) textStart[i + 1] = textStart[i]! + String(tokens[i]).length + 1;
    return this.levels.slice(1, -1).flatMap(({ symbols, starts }, l) =>
      Array.from(symbols, (symbol, node) => ({
        label: `NT${l + 2}:${symbol}`,
        start: offset + starts[node]!,
        end: offset + starts[node + 1]!,
        textStart: textStart[starts[node]!]!,
        textEnd: textStart[starts[node + 1]!]! - 1,
      })),
    );
  }
}
