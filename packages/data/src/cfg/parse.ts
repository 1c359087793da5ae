// All parses of a sentence at once: its probability and number of parses, the best one, and posteriors of its labels.
import type { Cfg } from './cfg.js';
import { Chart } from './chart.js';
import { Forest } from './forest.js';
import { PosteriorTable } from './posterior-table.js';
import { CfgTree } from './tree.js';

/** Reads sentences of one grammar; keeps its memory between strings that are none. */
export class CfgParser {
  #chart: Chart;

  constructor(readonly cfg: Cfg) {
    this.#chart = new Chart(cfg);
  }

  /** Whether the language holds a string of terminals. */
  accepts(terminals: ArrayLike<number>): boolean {
    const chart = this.#chart;
    chart.reset();
    for (let i = 0; i < terminals.length; i++) if (!chart.push(terminals[i]!)) return false;
    return chart.rootSpan() >= 0;
  }

  /** All parses of a string of terminals, or undefined when the language does not hold it. */
  parse(terminals: ArrayLike<number>): Parses | undefined {
    if (!this.accepts(terminals)) return undefined;
    const chart = this.#chart;
    this.#chart = new Chart(this.cfg);
    return new Parses(this.cfg, new Forest(chart));
  }
}

/** The parses of one sentence. Right for any length: probabilities are summed as logarithms, counts as big integers. */
export class Parses {
  readonly #forest: Forest;
  /** ln of the inside value by node. */
  readonly #inside: Float64Array;

  /** @internal */
  constructor(
    readonly cfg: Cfg,
    forest: Forest,
  ) {
    this.#forest = forest;
    this.#inside = new Float64Array(forest.used.length).fill(Number.NEGATIVE_INFINITY);
    for (const terminal of this.#terminals()) this.#inside[terminal] = 0;
    for (let way = forest.nWay - 1; way >= 0; way--) {
      const target = forest.target[way]!;
      this.#inside[target] = logAdd(this.#inside[target]!, this.#wayValue(this.#inside, way));
    }
  }

  /** ln P(sentence), summed over its parses, in nats. */
  get logProb(): number {
    return this.#inside[this.#forest.root]!;
  }

  /** The number of parses. */
  get count(): bigint {
    const { target, before, child, nWay, root, used } = this.#forest;
    const counts = new Array<bigint>(used.length).fill(0n);
    for (const terminal of this.#terminals()) counts[terminal] = 1n;
    for (let way = nWay - 1; way >= 0; way--) {
      const last = counts[child[way]!]!;
      const item = before[way]!;
      counts[target[way]!]! += item < 0 ? last : last * counts[item]!;
    }
    return counts[root]!;
  }

  /** The most probable parse; of equally probable ones, always the same. */
  best(): CfgTree {
    const { target, before, child, nWay, root, used, chart } = this.#forest;
    const best = new Float64Array(used.length).fill(Number.NEGATIVE_INFINITY);
    const chosen = new Int32Array(used.length).fill(-1);
    for (const terminal of this.#terminals()) best[terminal] = 0;
    for (let way = nWay - 1; way >= 0; way--) {
      const value = this.#wayValue(best, way);
      if (value <= best[target[way]!]!) continue;
      best[target[way]!] = value;
      chosen[target[way]!] = way;
    }
    const levels = this.cfg.levels.map(() => ({ symbols: [] as number[], starts: [] as number[] }));
    const visitChildren = (node: number, l: number): void => {
      const way = chosen[node]!;
      if (way < 0) return;
      if (before[way]! >= 0) visitChildren(before[way]!, l);
      visit(child[way]!, l + 1);
    };
    const visit = (span: number, l: number): void => {
      levels[l]!.symbols.push(this.cfg.levels[l]![chart.spanSymbol[span]!]!);
      levels[l]!.starts.push(chart.spanStart[span]!);
      visitChildren(span, l);
    };
    visit(root, 0);
    return new CfgTree(
      this.cfg,
      levels.map(({ symbols, starts }) => ({
        symbols: Uint16Array.from(symbols),
        starts: Int32Array.from([...starts, chart.n]),
      })),
    );
  }

  /**
   * Given the whole sentence, for each level: P(the ancestor of token i is A) and P(a node A ends with token i).
   *
   * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Section 4, for the labels that these are posteriors of.
   */
  posteriors(): PosteriorTable {
    const { target, before, child, nWay, root, used, chart } = this.#forest;
    const inside = this.#inside;
    const share = new Float64Array(used.length);
    share[root] = 1;
    for (let way = 0; way < nWay; way++) {
      const node = target[way]!;
      const part = share[node]! * Math.exp(this.#wayValue(inside, way) - inside[node]!);
      share[child[way]!]! += part;
      if (before[way]! >= 0) share[before[way]!]! += part;
    }
    const table = new PosteriorTable(this.cfg, chart.n);
    const { nLevel } = chart.grammar;
    for (let end = 1; end <= chart.n; end++) {
      for (let l = 0; l < nLevel; l++) {
        const row = end * nLevel + l;
        for (let span = chart.spanFrom[row]!; span < chart.spanTo[row]!; span++) {
          if (used[span] === 1) table.addNode(l, chart.spanSymbol[span]!, chart.spanStart[span]!, end, share[span]!);
        }
      }
    }
    table.finishAncestors();
    return table;
  }

  /** ln of the product over a way's rule and parts. */
  #wayValue(values: Float64Array, way: number): number {
    const { before, child, logP } = this.#forest;
    const item = before[way]!;
    return logP[way]! + values[child[way]!]! + (item < 0 ? 0 : values[item]!);
  }

  /** The spans of the tokens. */
  *#terminals(): Iterable<number> {
    const { n, grammar, spanFrom } = this.#forest.chart;
    for (let end = 1; end <= n; end++) yield spanFrom[end * grammar.nLevel + grammar.nLevel - 1]!;
  }
}

/** ln(eᵃ + eᵇ); b is finite. */
function logAdd(a: number, b: number): number {
  if (a === Number.NEGATIVE_INFINITY) return b;
  return a > b ? a + Math.log1p(Math.exp(b - a)) : b + Math.log1p(Math.exp(a - b));
}
