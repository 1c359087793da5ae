// All that is known about a prefix of a sentence, extended token by token (an Earley parser for levelled grammars).
//
// After the tokens x_0 … x_{n-1}, position j ≤ n holds
//   spans   (l, A, i→j): A of level l yields x_i … x_{j-1};             inside value IN(i, j, A)
//   items   (l, d, i→j): the beginning d of a rule yields x_i … x_{j-1}; the same value
//   open    (l, A, j):   a derivation of x_0 … x_{j-1} goes on with A;   OUT(j, A)
// Only spans and items that begin where their parent is open are kept, so the chart is sparse: its size grows with the
// sentence, not with the square.
//
// Numbers stay in range for any length: every token's value carries the factor 1 / P(x_t | x_0 … x_{t-1}). The open value of
// A at j is then P(the next subtree at j is an A | x_0 … x_{j-1}), and that of a terminal is the next-token law itself.
import type { Cfg } from './cfg.js';
import type { CompiledCfg } from './compiled.js';

/** Below this a factor 1 / P would overflow; such values are lost, while spans and items stay right. */
const SMALLEST = 1e-290;

/** Grows to at least `length`, keeping what it holds. */
function grown<T extends Int32Array | Float64Array | Uint8Array>(array: T, length: number): T {
  if (array.length >= length) return array;
  const larger = new (array.constructor as new (n: number) => T)(Math.max(length, 2 * array.length));
  larger.set(array);
  return larger;
}

/** Internal to this package: samplers of laws, parsers and posteriors read its tables. */
export class Chart {
  readonly grammar: CompiledCfg;
  /** Tokens read. */
  n = 0;
  /** ln P(x_0 … x_{n-1} is how a sentence begins). */
  logPrefix = 0;
  /** Whether a conditional probability was too small for a double: spans stay right, values do not. */
  valuesLost = false;
  /** Spans: entry e. Those of level l that end at j are [spanFrom, spanTo) at j · L + l. */
  spanStart = new Int32Array(1024);
  spanSymbol = new Int32Array(1024);
  spanValue = new Float64Array(1024);
  spanFrom: Int32Array;
  spanTo: Int32Array;
  nSpan = 0;
  /** Items, the same way; items of level l are beginnings of rules of level l. */
  itemStart = new Int32Array(1024);
  itemNumber = new Int32Array(1024);
  itemValue = new Float64Array(1024);
  itemFrom: Int32Array;
  itemTo: Int32Array;
  nItem = 0;
  /** OUT, and whether it is there at all; at j · total + base[l] + A. */
  open: Float64Array;
  isOpen: Uint8Array;
  /** Where the span or item of (start, symbol) stands if it is already there; checked at use, so never cleared. */
  #spanSlot: Int32Array;
  #itemSlot: Int32Array;
  readonly #widest: number;
  readonly #mostItems: number;
  #capacity = 64;

  constructor(cfg: Cfg) {
    this.grammar = cfg.compiled;
    const { nLevel, total, nSymbol, levels } = this.grammar;
    const rows = this.#capacity + 1;
    this.spanFrom = new Int32Array(rows * nLevel);
    this.spanTo = new Int32Array(rows * nLevel);
    this.itemFrom = new Int32Array(rows * nLevel);
    this.itemTo = new Int32Array(rows * nLevel);
    this.open = new Float64Array(rows * total);
    this.isOpen = new Uint8Array(rows * total);
    this.#widest = Math.max(...nSymbol);
    this.#mostItems = Math.max(...levels.map(({ nItem }) => nItem));
    this.#spanSlot = new Int32Array(rows * this.#widest);
    this.#itemSlot = new Int32Array(rows * this.#mostItems);
    this.reset();
  }

  /** Forgets the sentence; keeps its memory for the next one. */
  reset(): void {
    this.n = 0;
    this.logPrefix = 0;
    this.valuesLost = false;
    this.nSpan = 0;
    this.nItem = 0;
    const { nLevel, total } = this.grammar;
    this.spanFrom.fill(0, 0, nLevel);
    this.spanTo.fill(0, 0, nLevel);
    this.itemFrom.fill(0, 0, nLevel);
    this.itemTo.fill(0, 0, nLevel);
    this.open.fill(0, 0, total);
    this.isOpen.fill(0, 0, total);
    this.open[0] = 1;
    this.isOpen[0] = 1;
    this.#openSymbols(0);
  }

  /** Reads a token (terminal 1 … |T|). False, and nothing changes, when no sentence goes on so. */
  push(token: number): boolean {
    const { nLevel, total, base, nSymbol } = this.grammar;
    const last = nLevel - 1;
    if (!(token >= 1 && token <= nSymbol[last]!)) return false;
    const at = this.n * total + base[last]! + token - 1;
    if (this.isOpen[at] === 0) return false;
    const p = this.open[at]!;
    if (p < SMALLEST) this.valuesLost = true;
    this.logPrefix += Math.log(p);
    const j = this.n + 1;
    if (j > this.#capacity) this.#grow();
    this.#roomForSpans(1);
    const e = this.nSpan++;
    this.spanStart[e] = j - 1;
    this.spanSymbol[e] = token - 1;
    this.spanValue[e] = p < SMALLEST ? 1 : 1 / p;
    this.spanFrom[j * nLevel + last] = e;
    this.spanTo[j * nLevel + last] = e + 1;
    for (let l = last - 1; l >= 0; l--) this.#combine(j, l);
    this.n = j;
    this.open.fill(0, j * total, (j + 1) * total);
    this.isOpen.fill(0, j * total, (j + 1) * total);
    this.#openSymbols(j);
    return true;
  }

  /** The number of the root's span over all that was read, or −1: whether it is a sentence. */
  rootSpan(): number {
    const row = this.n * this.grammar.nLevel;
    return this.n > 0 && this.spanTo[row]! > this.spanFrom[row]! ? this.spanFrom[row]! : -1;
  }

  /** P(the sentence ends here | x_0 … x_{n-1}). */
  end(): number {
    const root = this.rootSpan();
    return root < 0 ? 0 : this.spanValue[root]!;
  }

  /** Spans and items of level l that end at j, from the spans of level l + 1 that end at j. */
  #combine(j: number, l: number): void {
    const { nLevel, total, base, levels } = this.grammar;
    const { nSymbol, nChild, nItem: nBeginning, first, next, complete, follow } = levels[l]!;
    const completeStart = complete.start;
    const completeParent = complete.columns.parent;
    const completeP = complete.p;
    const followStart = follow.start;
    const followParent = follow.columns.parent;
    const { isOpen, itemFrom, itemTo, spanFrom, spanTo } = this;
    const spanBase = this.nSpan;
    const itemBase = this.nItem;
    const openBase = base[l]!;
    const from = spanFrom[j * nLevel + l + 1]!;
    const to = spanTo[j * nLevel + l + 1]!;
    const spanSlot = this.#spanSlot;
    const itemSlot = this.#itemSlot;
    let nSpan = spanBase;
    let nItem = itemBase;
    for (let e = from; e < to; e++) {
      const middle = this.spanStart[e]!;
      const child = this.spanSymbol[e]!;
      const value = this.spanValue[e]!;
      const itemsFrom = itemFrom[middle * nLevel + l]!;
      const itemsTo = itemTo[middle * nLevel + l]!;
      // The item before the first one stands for a rule of which nothing was read yet: it begins where the child begins.
      for (let q = itemsFrom - 1; q < itemsTo; q++) {
        const nothing = q < itemsFrom;
        const start = nothing ? middle : this.itemStart[q]!;
        const item = nothing ? -1 : this.itemNumber[q]!;
        const longer = nothing ? first[child]! : next[item * nChild + child]!;
        const row = (item + 1) * nChild + child;
        const completeTo = completeStart[row + 1]!;
        let c = completeStart[row]!;
        if (longer < 0 && c === completeTo) continue;
        const both = nothing ? value : this.itemValue[q]! * value;
        const openRow = start * total + openBase;
        for (; c < completeTo; c++) {
          const parent = completeParent[c]!;
          if (isOpen[openRow + parent] === 0) continue;
          const key = start * nSymbol + parent;
          const slot = spanSlot[key]!;
          if (slot >= spanBase && slot < nSpan && this.spanStart[slot] === start && this.spanSymbol[slot] === parent) {
            this.spanValue[slot]! += completeP[c]! * both;
          } else {
            if (nSpan === this.spanStart.length) this.#roomForSpans(nSpan + 1 - this.nSpan);
            this.spanStart[nSpan] = start;
            this.spanSymbol[nSpan] = parent;
            this.spanValue[nSpan] = completeP[c]! * both;
            spanSlot[key] = nSpan++;
          }
        }
        if (longer < 0) continue;
        const key = start * nBeginning + longer;
        const slot = itemSlot[key]!;
        if (slot >= itemBase && slot < nItem && this.itemStart[slot] === start && this.itemNumber[slot] === longer) {
          this.itemValue[slot]! += both;
          continue;
        }
        let f = followStart[longer]!;
        const followTo = followStart[longer + 1]!;
        while (f < followTo && isOpen[openRow + followParent[f]!] === 0) f++;
        if (f === followTo) continue;
        if (nItem === this.itemStart.length) this.#roomForItems(nItem + 1 - this.nItem);
        this.itemStart[nItem] = start;
        this.itemNumber[nItem] = longer;
        this.itemValue[nItem] = both;
        itemSlot[key] = nItem++;
      }
    }
    this.nSpan = nSpan;
    this.nItem = nItem;
    spanFrom[j * nLevel + l] = spanBase;
    spanTo[j * nLevel + l] = nSpan;
    itemFrom[j * nLevel + l] = itemBase;
    itemTo[j * nLevel + l] = nItem;
  }

  /** OUT at j, from the root's level down. */
  #openSymbols(j: number): void {
    const { nLevel, total, base, levels } = this.grammar;
    const { open, isOpen, itemStart, itemNumber, itemValue } = this;
    for (let l = 0; l < nLevel - 1; l++) {
      const { nSymbol, follow, begin } = levels[l]!;
      const { parent: followParent, child: followChild } = follow.columns;
      const beginChild = begin.columns.child;
      const own = j * total + base[l]!;
      const below = j * total + base[l + 1]!;
      const to = this.itemTo[j * nLevel + l]!;
      for (let q = this.itemFrom[j * nLevel + l]!; q < to; q++) {
        const item = itemNumber[q]!;
        const value = itemValue[q]!;
        const parents = itemStart[q]! * total + base[l]!;
        const followTo = follow.start[item + 1]!;
        for (let f = follow.start[item]!; f < followTo; f++) {
          const parent = parents + followParent[f]!;
          if (isOpen[parent] === 0) continue;
          const child = below + followChild[f]!;
          open[child]! += follow.p[f]! * open[parent]! * value;
          isOpen[child] = 1;
        }
      }
      for (let symbol = 0; symbol < nSymbol; symbol++) {
        if (isOpen[own + symbol] === 0) continue;
        const value = open[own + symbol]!;
        const beginTo = begin.start[symbol + 1]!;
        for (let b = begin.start[symbol]!; b < beginTo; b++) {
          const child = below + beginChild[b]!;
          open[child]! += begin.p[b]! * value;
          isOpen[child] = 1;
        }
      }
    }
  }

  #roomForSpans(more: number): void {
    this.spanStart = grown(this.spanStart, this.nSpan + more);
    this.spanSymbol = grown(this.spanSymbol, this.nSpan + more);
    this.spanValue = grown(this.spanValue, this.nSpan + more);
  }

  #roomForItems(more: number): void {
    this.itemStart = grown(this.itemStart, this.nItem + more);
    this.itemNumber = grown(this.itemNumber, this.nItem + more);
    this.itemValue = grown(this.itemValue, this.nItem + more);
  }

  #grow(): void {
    this.#capacity *= 2;
    const { nLevel, total } = this.grammar;
    const rows = this.#capacity + 1;
    this.spanFrom = grown(this.spanFrom, rows * nLevel);
    this.spanTo = grown(this.spanTo, rows * nLevel);
    this.itemFrom = grown(this.itemFrom, rows * nLevel);
    this.itemTo = grown(this.itemTo, rows * nLevel);
    this.open = grown(this.open, rows * total);
    this.isOpen = grown(this.isOpen, rows * total);
    this.#spanSlot = grown(this.#spanSlot, rows * this.#widest);
    this.#itemSlot = grown(this.#itemSlot, rows * this.#mostItems);
  }
}
