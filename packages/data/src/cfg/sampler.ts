// Draws sentences level by level: a list of symbols becomes the list of their children, down to the terminals. The lists are
// kept between sentences, so that a sentence costs little more than its random numbers.
import type { Rng } from '@physlm/base';
import type { Cfg } from './cfg.js';
import { CfgTree, type TreeLevel } from './tree.js';

const TWO_32 = 0x100000000;

/** What may happen to a node while it is drawn; see `perturbation.ts`. */
export interface Disturbance {
  /** Replaces terminals; non-terminals below the root when false. */
  readonly terminals: boolean;
  /** The chance of a symbol to be replaced. */
  readonly rate: number;
  /** What stands instead of symbol `place` of a level with `size` symbols; both count places in the level. */
  readonly replace: (place: number, size: number, rng: Rng) => number;
}

/** Draws derivations of one grammar; every rule of a symbol with its probability. */
export class CfgSampler {
  readonly #cfg: Cfg;
  /** Symbols of each level of the last sentence, as numbers over all symbols. */
  readonly #symbols: Uint16Array[];
  /** For each node of a level, one past its last child. */
  readonly #childEnd: Int32Array[];
  readonly #count: Int32Array;
  /** By number of rules d: the largest multiple of d below 2³², above which a word is drawn again. */
  readonly #limit: Float64Array;

  constructor(cfg: Cfg) {
    const { nLevel, nSymbol, sampling } = cfg.compiled;
    this.#cfg = cfg;
    this.#symbols = Array.from(nSymbol, () => new Uint16Array(64));
    this.#childEnd = Array.from(nSymbol, () => new Int32Array(64));
    this.#count = new Int32Array(nLevel);
    const degree = Math.max(...sampling.firstRule.subarray(1).map((end, g) => end - sampling.firstRule[g]!));
    this.#limit = Float64Array.from({ length: degree + 1 }, (_, d) => TWO_32 - (TWO_32 % d));
  }

  /**
   * Draws a sentence and returns its number of tokens; `tokens` and `tree` read it until the next draw.
   *
   * @param rng choices of rules.
   * @param disturbance what goes wrong, with random numbers of its own.
   */
  draw(rng: Rng, disturbance?: Disturbance, disturbing?: Rng): number {
    const { nLevel } = this.#cfg.compiled;
    this.#symbols[0]![0] = 0;
    this.#count[0] = 1;
    for (let l = 0; l < nLevel - 1; l++) {
      this.#expand(l, rng);
      if (disturbance?.terminals === (l === nLevel - 2)) this.#disturb(l + 1, disturbance, disturbing!);
    }
    return this.#count[nLevel - 1]!;
  }

  /** Writes the tokens of the last sentence, terminals 1 … |T|, to `into` from `offset` on. */
  tokens(into: Int32Array, offset = 0): void {
    const last = this.#cfg.nLevel - 1;
    const shift = this.#cfg.compiled.base[last]! - 1;
    const symbols = this.#symbols[last]!;
    const n = this.#count[last]!;
    for (let i = 0; i < n; i++) into[offset + i] = symbols[i]! - shift;
  }

  /** The derivation of the last sentence. */
  tree(): CfgTree {
    const { nLevel, names } = this.#cfg.compiled;
    const levels: TreeLevel[] = [];
    let below: Int32Array | undefined;
    for (let l = nLevel - 1; l >= 0; l--) {
      const n = this.#count[l]!;
      const symbols = this.#symbols[l]!.slice(0, n);
      const starts = new Int32Array(n + 1);
      const childEnd = this.#childEnd[l]!;
      for (let node = 0; node < n; node++) {
        symbols[node] = names[symbols[node]!]!;
        starts[node + 1] = below === undefined ? node + 1 : below[childEnd[node]!]!;
      }
      levels.push({ symbols, starts });
      below = starts;
    }
    return new CfgTree(this.#cfg, levels.reverse());
  }

  #expand(l: number, rng: Rng): void {
    const { firstRule, from, children, cumulated, uniform, longestRule } = this.#cfg.compiled.sampling;
    const limit = this.#limit;
    const symbols = this.#symbols[l]!;
    const n = this.#count[l]!;
    const most = n * longestRule[l]!;
    if (this.#symbols[l + 1]!.length < most) {
      this.#symbols[l + 1] = new Uint16Array(2 * most);
      this.#childEnd[l + 1] = new Int32Array(2 * most);
    }
    const below = this.#symbols[l + 1]!;
    const childEnd = this.#childEnd[l]!;
    let end = 0;
    for (let node = 0; node < n; node++) {
      const symbol = symbols[node]!;
      let rule = firstRule[symbol]!;
      const degree = firstRule[symbol + 1]! - rule;
      if (uniform[symbol] === 1) {
        let word = rng.u32();
        while (word >= limit[degree]!) word = rng.u32();
        rule += word % degree;
      } else {
        const u = rng.uniform();
        // The last bound may round to less than 1.
        const last = rule + degree - 1;
        while (rule < last && u >= cumulated[rule]!) rule++;
      }
      const stop = from[rule + 1]!;
      for (let child = from[rule]!; child < stop; child++) below[end++] = children[child]!;
      childEnd[node] = end;
    }
    this.#count[l + 1] = end;
  }

  #disturb(l: number, { rate, replace }: Disturbance, rng: Rng): void {
    const { base, nSymbol } = this.#cfg.compiled;
    const symbols = this.#symbols[l]!;
    const size = nSymbol[l]!;
    for (let node = 0; node < this.#count[l]!; node++) {
      if (rng.uniform() < rate) symbols[node] = base[l]! + replace(symbols[node]! - base[l]!, size, rng);
    }
  }
}
