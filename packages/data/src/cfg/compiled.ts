// A grammar as flat tables. Levels and symbols are 0-based here: level 0 is the root's, a symbol is its place in its level,
// and `base[l] + symbol` numbers all symbols of the grammar. Rules that begin alike share their beginnings: an item of level
// l is a proper, non-empty beginning of a rule of level l, known by what it has read, not by whose rule it is.
import type { CfgDefinition } from './cfg.js';

/** Rows of entries of different lengths, back to back: row r is [start[r], start[r + 1]). */
class Rows<Names extends string> {
  readonly start: Int32Array;
  readonly columns: Readonly<Record<Names, Int32Array>>;
  readonly p: Float64Array;

  /** Entries with equal row and columns are joined, their probabilities added. */
  constructor(
    nRow: number,
    names: readonly Names[],
    entries: readonly { row: number; key: readonly number[]; p: number }[],
  ) {
    const joined = new Map<string, { row: number; key: readonly number[]; p: number }>();
    for (const entry of entries) {
      const name = `${entry.row} ${entry.key.join(' ')}`;
      joined.set(name, { ...entry, p: entry.p + (joined.get(name)?.p ?? 0) });
    }
    const flat = [...joined.values()].sort((a, b) => a.row - b.row);
    this.start = new Int32Array(nRow + 1);
    for (const { row } of flat) this.start[row + 1]!++;
    for (let r = 0; r < nRow; r++) this.start[r + 1]! += this.start[r]!;
    this.columns = Object.fromEntries(
      names.map((name, c) => [name, Int32Array.from(flat, ({ key }) => key[c]!)]),
    ) as Record<Names, Int32Array>;
    this.p = Float64Array.from(flat, ({ p }) => p);
  }
}

/** The rules of one level: A is a symbol of the level, B one of the next, d an item. */
export interface CompiledLevel {
  readonly nSymbol: number;
  readonly nChild: number;
  readonly nItem: number;
  /** The item that has read B, or −1; by B. */
  readonly first: Int32Array;
  /** The item that d becomes by reading B, or −1; by d · nChild + B. */
  readonly next: Int32Array;
  /** Rules that end by reading B after d: parent A and probability; by (d + 1) · nChild + B, where d = −1 has read nothing. */
  readonly complete: Rows<'parent'>;
  /** What rules let follow d: parent A, child B and probability; by d. */
  readonly follow: Rows<'parent' | 'child'>;
  /** What rules of A begin with: child B and probability; by A. */
  readonly begin: Rows<'child'>;
}

/** The rules of a grammar for sampling: rule r of symbol g is `firstRule[g] + r`, its children `children[from[rule] … from[rule + 1])`. */
export interface SamplingTables {
  readonly firstRule: Int32Array;
  readonly from: Int32Array;
  /** Children as numbers over all symbols of the grammar. */
  readonly children: Uint16Array;
  /** Cumulated probabilities by rule, for symbols whose rules are not equally likely. */
  readonly cumulated: Float64Array;
  /** Whether the rules of g are equally likely. */
  readonly uniform: Uint8Array;
  /** Longest rule of each level. */
  readonly longestRule: Int32Array;
}

/** Tables of one grammar; see `CompiledLevel`. */
export class CompiledCfg {
  readonly nLevel: number;
  readonly nSymbol: Int32Array;
  /** Number of the first symbol of each level among all symbols. */
  readonly base: Int32Array;
  readonly total: number;
  /** The name of each symbol, as the grammar's definition writes it. */
  readonly names: Uint16Array;
  /** Every level but the terminals'. */
  readonly levels: readonly CompiledLevel[];
  readonly sampling: SamplingTables;

  constructor(levels: CfgDefinition['levels'], rules: CfgDefinition['rules']) {
    this.nLevel = levels.length;
    this.nSymbol = Int32Array.from(levels, (level) => level.length);
    this.base = new Int32Array(levels.length);
    for (let l = 1; l < levels.length; l++) this.base[l] = this.base[l - 1]! + levels[l - 1]!.length;
    this.names = Uint16Array.from(levels.flat());
    this.total = this.names.length;
    this.levels = levels.slice(0, -1).map((symbols, l) => compileLevel(symbols, levels[l + 1]!, rules));
    this.sampling = samplingTables(levels, rules, this.total);
  }
}

function probabilities(list: readonly { readonly weight?: number }[]): number[] {
  const sum = list.reduce((total, { weight = 1 }) => total + weight, 0);
  return list.map(({ weight = 1 }) => weight / sum);
}

function compileLevel(
  symbols: readonly number[],
  children: readonly number[],
  rules: CfgDefinition['rules'],
): CompiledLevel {
  const place = new Map(children.map((symbol, i) => [symbol, i]));
  const nChild = children.length;
  const items = new Map<string, number>();
  const steps: { item: number; child: number; to: number }[] = [];
  const completes: { row: number; key: readonly number[]; p: number }[] = [];
  const follows: { row: number; key: readonly number[]; p: number }[] = [];
  const begins: { row: number; key: readonly number[]; p: number }[] = [];
  symbols.forEach((symbol, parent) => {
    const list = rules[symbol]!;
    const weights = probabilities(list);
    list.forEach((rule, r) => {
      const p = weights[r]!;
      const body = rule.symbols.map((child) => place.get(child)!);
      begins.push({ row: parent, key: [body[0]!], p });
      let item = -1;
      body.forEach((child, c) => {
        if (c > 0) follows.push({ row: item, key: [parent, child], p });
        if (c === body.length - 1) completes.push({ row: (item + 1) * nChild + child, key: [parent], p });
        else {
          const read = body.slice(0, c + 1).join(' ');
          const known = items.get(read);
          const to = known ?? items.size;
          if (known === undefined) {
            items.set(read, to);
            steps.push({ item, child, to });
          }
          item = to;
        }
      });
    });
  });
  const nItem = items.size;
  const first = new Int32Array(nChild).fill(-1);
  const next = new Int32Array(nItem * nChild).fill(-1);
  for (const { item, child, to } of steps) {
    if (item < 0) first[child] = to;
    else next[item * nChild + child] = to;
  }
  return {
    nSymbol: symbols.length,
    nChild,
    nItem,
    first,
    next,
    complete: new Rows((nItem + 1) * nChild, ['parent'], completes),
    follow: new Rows(nItem, ['parent', 'child'], follows),
    begin: new Rows(symbols.length, ['child'], begins),
  };
}

function samplingTables(levels: CfgDefinition['levels'], rules: CfgDefinition['rules'], total: number): SamplingTables {
  const numberOf = new Map(levels.flat().map((symbol, g) => [symbol, g]));
  const [firstRule, from, children, cumulated] = [[0], [0], [] as number[], [] as number[]];
  const uniform = new Uint8Array(total);
  const longestRule = new Int32Array(levels.length);
  levels.forEach((level, l) => {
    for (const symbol of level) {
      const list = l === levels.length - 1 ? [] : rules[symbol]!;
      uniform[numberOf.get(symbol)!] = list.every(({ weight = 1 }) => weight === (list[0]!.weight ?? 1)) ? 1 : 0;
      let sum = 0;
      probabilities(list).forEach((p, r) => {
        const { symbols } = list[r]!;
        for (const child of symbols) children.push(numberOf.get(child)!);
        from.push(children.length);
        sum += p;
        cumulated.push(sum);
        longestRule[l] = Math.max(longestRule[l]!, symbols.length);
      });
      firstRule.push(cumulated.length);
    }
  });
  return {
    firstRule: Int32Array.from(firstRule),
    from: Int32Array.from(from),
    children: Uint16Array.from(children),
    cumulated: Float64Array.from(cumulated),
    uniform,
    longestRule,
  };
}
