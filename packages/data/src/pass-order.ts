import { DataError, type Rng } from '@physlm/base';

/** How many passes stay in memory: a reader at the end of one needs the next one too. 4 bytes an element each. */
const N_CACHED = 2;

/**
 * Endless passes over 0 … n − 1. Every pass visits each once, in an order shuffled anew; the order of pass e is a pure
 * function of (stream, e). Two visits of one element are at least `gap` = ⌊n/3⌋ + 1 places apart, also across passes.
 *
 * Pass e starts from its own shuffle. Elements that stand both in its first third and in the last third of pass e − 1
 * trade places with elements of its second third that do not. Only the first two thirds change, so the last third, which
 * pass e + 1 looks at, is the plain shuffle: no pass depends on more than one other.
 */
export class PassOrder {
  readonly gap: number;
  readonly #rng: Rng;
  readonly #shuffled = new Map<number, Uint32Array>();
  readonly #passes = new Map<number, Uint32Array>();

  /** @throws DataError when n is not in 1 … 2³² − 1. */
  constructor(
    readonly n: number,
    rng: Rng,
  ) {
    if (!Number.isInteger(n) || n < 1 || n >= 2 ** 32) throw new DataError('PassOrder', 'n in 1 … 2^32 - 1', `${n}`);
    this.gap = Math.floor(n / 3) + 1;
    this.#rng = rng;
  }

  /** The smallest n whose passes keep visits `gap` places apart. */
  static sizeForGap(gap: number): number {
    return Math.max(1, 3 * (gap - 1));
  }

  /** The element visited at place `index` of the endless series. */
  at(index: number): number {
    return this.#pass(Math.floor(index / this.n))[index % this.n]!;
  }

  #pass(pass: number): Uint32Array {
    return cached(this.#passes, pass, () => {
      const order = this.#shuffle(pass).slice();
      if (pass > 0) this.#separate(order, this.#shuffle(pass - 1));
      return order;
    });
  }

  #shuffle(pass: number): Uint32Array {
    return cached(this.#shuffled, pass, () => {
      const rng = this.#rng.at(pass);
      const order = Uint32Array.from({ length: this.n }, (_, i) => i);
      for (let i = this.n - 1; i > 0; i--) {
        const j = rng.below(i + 1);
        const other = order[j]!;
        order[j] = order[i]!;
        order[i] = other;
      }
      return order;
    });
  }

  #separate(order: Uint32Array, before: Uint32Array): void {
    const third = this.gap - 1;
    const recent = new Uint8Array(this.n);
    for (let i = this.n - third; i < this.n; i++) recent[before[i]!] = 1;
    // The first two thirds hold 2·third elements, at most `third` of them recent: a free place is always found.
    let free = third;
    for (let i = 0; i < third; i++) {
      const element = order[i]!;
      if (recent[element] === 0) continue;
      while (recent[order[free]!] === 1) free++;
      order[i] = order[free]!;
      order[free++] = element;
    }
  }
}

function cached(map: Map<number, Uint32Array>, key: number, make: () => Uint32Array): Uint32Array {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  // A Map keeps insertion order: the first key is the oldest.
  if (map.size > N_CACHED) map.delete(map.keys().next().value!);
  return made;
}
