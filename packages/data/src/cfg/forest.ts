// The part of a chart that some parse of the whole sentence holds, as a list of ways to make its nodes. It is found from the
// root down, level by level and from the last token to the first, so that the ways to make a node stand together, before
// those of everything it is made of. Read backwards, sums over all parses are one loop; read forwards, shares of a parse are.
import type { Chart } from './chart.js';

/** Ways to make nodes. Nodes are the chart's spans, then its items: item q is node nSpan + q. */
export class Forest {
  /** The node that a way makes. */
  target = new Int32Array(1024);
  /** The item before the last child, as a node, or −1. */
  before = new Int32Array(1024);
  /** The last child, a span. */
  child = new Int32Array(1024);
  /** ln of the rule's probability where a rule ends, 0 where it goes on. */
  logP = new Float64Array(1024);
  nWay = 0;
  /** Whether a parse holds the node. */
  readonly used: Uint8Array;
  readonly root: number;

  /** @param chart of a sentence of the language; the forest keeps it. */
  constructor(readonly chart: Chart) {
    this.used = new Uint8Array(chart.nSpan + chart.nItem);
    this.root = chart.rootSpan();
    this.used[this.root] = 1;
    const { nLevel, levels } = chart.grammar;
    for (let l = 0; l < nLevel - 1; l++) {
      const { nSymbol, nItem } = levels[l]!;
      const spanSlot = new Int32Array((chart.n + 1) * nSymbol);
      const itemSlot = new Int32Array((chart.n + 1) * nItem);
      for (let end = chart.n; end > 0; end--) this.#waysAt(l, end, spanSlot, itemSlot);
    }
  }

  /** The ways to make the used spans and items of level l that end at `end`; marks what they are made of. */
  #waysAt(l: number, end: number, spanSlot: Int32Array, itemSlot: Int32Array): void {
    const { used, chart } = this;
    const { grammar, spanStart, spanSymbol, spanFrom, spanTo, itemStart, itemNumber, itemFrom, itemTo, nSpan } = chart;
    const { nLevel } = grammar;
    const { nSymbol, nChild, nItem, first, next, complete } = grammar.levels[l]!;
    const row = end * nLevel + l;
    const [ownFrom, ownTo, beginFrom, beginTo] = [spanFrom[row]!, spanTo[row]!, itemFrom[row]!, itemTo[row]!];
    let any = false;
    for (let e = ownFrom; e < ownTo; e++) {
      if (used[e] === 0) continue;
      spanSlot[spanStart[e]! * nSymbol + spanSymbol[e]!] = e;
      any = true;
    }
    for (let q = beginFrom; q < beginTo; q++) {
      if (used[nSpan + q] === 0) continue;
      itemSlot[itemStart[q]! * nItem + itemNumber[q]!] = q;
      any = true;
    }
    if (!any) return;
    const [childFrom, childTo] = [spanFrom[row + 1]!, spanTo[row + 1]!];
    for (let e = childFrom; e < childTo; e++) {
      const middle = spanStart[e]!;
      const child = spanSymbol[e]!;
      const items = middle * nLevel + l;
      const itemsTo = itemTo[items]!;
      for (let q = itemFrom[items]! - 1; q < itemsTo; q++) {
        const nothing = q < itemFrom[items]!;
        const start = nothing ? middle : itemStart[q]!;
        const item = nothing ? -1 : itemNumber[q]!;
        const before = nothing ? -1 : nSpan + q;
        const ways = (item + 1) * nChild + child;
        for (let c = complete.start[ways]!; c < complete.start[ways + 1]!; c++) {
          const parent = complete.columns.parent[c]!;
          const slot = spanSlot[start * nSymbol + parent]!;
          if (slot < ownFrom || slot >= ownTo || used[slot] === 0) continue;
          if (spanStart[slot] === start && spanSymbol[slot] === parent)
            this.#add(slot, before, e, Math.log(complete.p[c]!));
        }
        const longer = nothing ? first[child]! : next[item * nChild + child]!;
        if (longer < 0) continue;
        const slot = itemSlot[start * nItem + longer]!;
        if (slot < beginFrom || slot >= beginTo || used[nSpan + slot] === 0) continue;
        if (itemStart[slot] === start && itemNumber[slot] === longer) this.#add(nSpan + slot, before, e, 0);
      }
    }
  }

  #add(target: number, before: number, child: number, logP: number): void {
    if (this.nWay === this.target.length) this.#grow();
    const at = this.nWay++;
    this.target[at] = target;
    this.before[at] = before;
    this.child[at] = child;
    this.logP[at] = logP;
    this.used[child] = 1;
    if (before >= 0) this.used[before] = 1;
  }

  #grow(): void {
    const larger = <T extends Int32Array | Float64Array>(array: T): T => {
      const copy = new (array.constructor as new (n: number) => T)(2 * array.length);
      copy.set(array);
      return copy;
    };
    this.target = larger(this.target);
    this.before = larger(this.before);
    this.child = larger(this.child);
    this.logP = larger(this.logP);
  }
}
