// Forms of a sentence: what a non-terminal of its tree spells out at each lower level.
import type { CfgTree } from './tree.js';

/** What the first node of a symbol spells out at a lower level of a sentence's tree. */
export interface Form {
  readonly symbol: number;
  /** Level of the symbol, and the level at which it is spelt out. */
  readonly from: number;
  readonly to: number;
  /** One character for each node of level `to`, the one with its symbol as code: equal forms are equal strings. */
  readonly form: string;
}

/**
 * The forms of a sentence: S_{a→l} of each symbol a of levels 1 … L − 1 that occurs, at all levels below its own. Of several
 * nodes of a symbol the first counts, so forms of different sentences are independent draws.
 *
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Appendix B. Differs from the paper: there all nodes of a symbol count.
 */
export function formsOf(tree: CfgTree): Form[] {
  const nLevel = tree.levels.length;
  const forms: Form[] = [];
  for (let from = 1; from < nLevel; from++) {
    const { symbols, starts } = tree.levels[from - 1]!;
    const seen = new Set<number>();
    for (let node = 0; node < symbols.length; node++) {
      const symbol = symbols[node]!;
      if (seen.has(symbol)) continue;
      seen.add(symbol);
      for (let to = from + 1; to <= nLevel; to++) {
        const below = tree.levels[to - 1]!;
        const first = below.starts.indexOf(starts[node]!);
        const end = below.starts.indexOf(starts[node + 1]!, first);
        forms.push({ symbol, from, to, form: String.fromCharCode(...below.symbols.subarray(first, end)) });
      }
    }
  }
  return forms;
}
