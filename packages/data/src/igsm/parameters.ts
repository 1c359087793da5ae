// The parameters of a layered set of items, numbered in the released code's order `all_param`: every pair of items of
// neighbouring layers (instance), then for every item every layer below it (abstract).

/**
 * Numbers of parameters: instance (i, j, k) is how many of item k of layer i+1 one item j of layer i has; abstract (i, j, k) is how
 * many of layer k it has in all, k > i.
 */
export class ParameterIndex {
  readonly nLayer: number;
  /** Pairs of items of neighbouring layers, with an edge or without. */
  readonly nPair: number;
  readonly nParameter: number;
  readonly nItem: number;
  /** By parameter: i, j, k. */
  readonly layer: Uint8Array;
  readonly item: Uint8Array;
  readonly target: Uint8Array;
  readonly #pairBase: number[] = [];
  readonly #abstractBase: number[] = [];
  readonly #itemBase: number[] = [];

  constructor(readonly widths: readonly number[]) {
    const nLayer = widths.length;
    this.nLayer = nLayer;
    const rows: [number, number, number][] = [];
    let nItem = 0;
    for (let i = 0; i < nLayer; i++) {
      this.#itemBase.push(nItem);
      nItem += widths[i]!;
    }
    for (let i = 0; i + 1 < nLayer; i++) {
      this.#pairBase.push(rows.length);
      for (let j = 0; j < widths[i]!; j++) for (let k = 0; k < widths[i + 1]!; k++) rows.push([i, j, k]);
    }
    this.nPair = rows.length;
    for (let i = 0; i + 1 < nLayer; i++) {
      this.#abstractBase.push(rows.length);
      for (let j = 0; j < widths[i]!; j++) for (let k = i + 1; k < nLayer; k++) rows.push([i, j, k]);
    }
    this.nItem = nItem;
    this.nParameter = rows.length;
    this.layer = Uint8Array.from(rows, ([i]) => i);
    this.item = Uint8Array.from(rows, ([, j]) => j);
    this.target = Uint8Array.from(rows, ([, , k]) => k);
  }

  isAbstract(parameter: number): boolean {
    return parameter >= this.nPair;
  }

  /** Number of instance parameter (i, j, k). */
  instance(i: number, j: number, k: number): number {
    return this.#pairBase[i]! + j * this.widths[i + 1]! + k;
  }

  /** Number of abstract parameter (i, j, k), k > i. */
  abstract(i: number, j: number, k: number): number {
    return this.#abstractBase[i]! + j * (this.nLayer - 1 - i) + (k - i - 1);
  }

  /** Number of item j of layer i among all items. */
  itemNumber(i: number, j: number): number {
    return this.#itemBase[i]! + j;
  }
}

const known = new Map<string, ParameterIndex>();

/** The index of these widths; equal small widths share one. */
export function parameterIndex(widths: readonly number[]): ParameterIndex {
  const key = widths.join();
  const found = known.get(key);
  if (found !== undefined) return found;
  const made = new ParameterIndex([...widths]);
  // Generated problems have at most 117 shapes; others come from texts, and are not worth keeping.
  if (widths.every((width) => width <= 4) && widths.length <= 4) known.set(key, made);
  return made;
}
