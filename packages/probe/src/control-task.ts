import type { Rng } from '@physlm/base';

/**
 * The control task: each key has one random label of each family, whatever its true ones, drawn from label frequencies. A
 * function of the stream, the family's name, the key and the frequencies.
 *
 * @see Hewitt and Liang 2019, arXiv:1909.03368, section 2.
 */
export class ControlTask {
  /** By family: cumulative label frequencies. */
  readonly #cumulative: readonly Float64Array[];
  readonly #known: readonly Map<number, number>[];
  readonly #streams: readonly Rng[];

  /** `counts`: how often each label of each family occurs; any label is as likely as any other where none does. */
  constructor(families: readonly { readonly name: string }[], counts: readonly Float64Array[], rng: Rng) {
    this.#cumulative = counts.map((list) => {
      const total = list.reduce((a, b) => a + b, 0);
      let below = 0;
      return list.map((n) => {
        below += total === 0 ? 1 / list.length : n / total;
        return below;
      });
    });
    this.#known = families.map(() => new Map());
    this.#streams = families.map(({ name }) => rng.fork(name));
  }

  /** Labels in the places of true ones: −1 stays −1. */
  labels({ labels, keys }: { readonly labels: readonly Int32Array[]; readonly keys: Int32Array }): Int32Array[] {
    return labels.map((list, g) => list.map((label, i) => (label < 0 ? -1 : this.labelOf(g, keys[i]!))));
  }

  /** The label of a key. */
  labelOf(family: number, key: number): number {
    const known = this.#known[family]!.get(key);
    if (known !== undefined) return known;
    const cumulative = this.#cumulative[family]!;
    const at = this.#streams[family]!.at(key >>> 0).uniform();
    let label = 0;
    while (label < cumulative.length - 1 && at >= cumulative[label]!) label++;
    this.#known[family]!.set(key, label);
    return label;
  }
}
