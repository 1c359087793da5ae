// What a causal reader can know: posteriors of the labels of token i given the tokens up to i, and no later one.
import { DataError } from '@physlm/base';
import type { Cfg } from './cfg.js';
import { Chart } from './chart.js';
import { PosteriorTable } from './posterior-table.js';

/** A node that may be on the path from the root to the present token: its symbol, where it begins, and how likely. */
interface Ancestor {
  readonly symbol: number;
  readonly start: number;
  p: number;
}

/**
 * Given x_0 … x_i, for each level: P(the ancestor of token i is A) and P(a node A ends with token i). Nothing after token i
 * is used, not even that the sentence ends somewhere.
 *
 * Both follow from the chart: a node A over [k, i] ends with token i with probability OUT(k, A) · IN(k, i + 1, A); and the
 * parent of a B that is open at j is one of the contributions to OUT(j, B), each in proportion, whatever lies inside the B.
 *
 * @throws DataError naming the first terminal that no sentence can have at its place.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Section 4, for the labels that these are posteriors of.
 */
export function prefixPosteriors(cfg: Cfg, terminals: ArrayLike<number>): PosteriorTable {
  const chart = new Chart(cfg);
  const table = new PosteriorTable(cfg, terminals.length);
  const { nLevel, total, base } = chart.grammar;
  for (let i = 0; i < terminals.length; i++) {
    if (!chart.push(terminals[i]!) || chart.valuesLost) {
      throw new DataError(
        `prefixPosteriors(${cfg.name}), position ${i}`,
        'a terminal with which a sentence can go on',
        `${terminals[i]}`,
      );
    }
    for (let l = 0; l < nLevel; l++) {
      const row = (i + 1) * nLevel + l;
      const sums = new Map<number, number>();
      for (let e = chart.spanFrom[row]!; e < chart.spanTo[row]!; e++) {
        const symbol = chart.spanSymbol[e]!;
        const p = chart.open[chart.spanStart[e]! * total + base[l]! + symbol]! * chart.spanValue[e]!;
        sums.set(symbol, (sums.get(symbol) ?? 0) + p);
      }
      for (const [symbol, p] of sums) table.set('end', l, i, symbol, Math.min(1, p));
    }
    let path: Ancestor[] = [{ symbol: terminals[i]! - 1, start: i, p: 1 }];
    for (let l = nLevel - 1; l >= 0; l--) {
      const sums = new Map<number, number>();
      for (const { symbol, p } of path) sums.set(symbol, (sums.get(symbol) ?? 0) + p);
      for (const [symbol, p] of sums) table.set('ancestor', l, i, symbol, Math.min(1, p));
      if (l > 0) path = parents(chart, l - 1, path);
    }
  }
  return table;
}

/** The nodes of level `l` that nodes of level l + 1 may belong to. */
function parents(chart: Chart, l: number, children: readonly Ancestor[]): Ancestor[] {
  const { grammar, open, isOpen, itemFrom, itemTo, itemStart, itemNumber, itemValue } = chart;
  const { nLevel, total, base, levels } = grammar;
  const { begin, follow, nSymbol } = levels[l]!;
  const found = new Map<number, Ancestor>();
  const add = (symbol: number, start: number, p: number): void => {
    const key = start * nSymbol + symbol;
    const known = found.get(key);
    if (known === undefined) found.set(key, { symbol, start, p });
    else known.p += p;
  };
  for (const { symbol: child, start: at, p } of children) {
    const share = p / open[at * total + base[l + 1]! + child]!;
    for (let parent = 0; parent < nSymbol; parent++) {
      const row = at * total + base[l]! + parent;
      if (isOpen[row] === 0) continue;
      for (let b = begin.start[parent]!; b < begin.start[parent + 1]!; b++) {
        if (begin.columns.child[b] === child) add(parent, at, share * begin.p[b]! * open[row]!);
      }
    }
    const items = at * nLevel + l;
    for (let q = itemFrom[items]!; q < itemTo[items]!; q++) {
      const [start, item] = [itemStart[q]!, itemNumber[q]!];
      for (let f = follow.start[item]!; f < follow.start[item + 1]!; f++) {
        const parent = follow.columns.parent[f]!;
        const row = start * total + base[l]! + parent;
        if (follow.columns.child[f] !== child || isOpen[row] === 0) continue;
        add(parent, start, share * follow.p[f]! * open[row]! * itemValue[q]!);
      }
    }
  }
  return [...found.values()];
}
