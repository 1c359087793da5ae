import { invariant } from './error.js';
import { philox4x32 } from './philox.js';

const TWO_32 = 0x100000000;

/** The 64-bit key and the item number that a stream is made of. */
interface StreamId {
  readonly key0: number;
  readonly key1: number;
  readonly item: number;
}

/**
 * A named stream of random numbers. Streams come from counters, not from a history: what a stream gives depends on the
 * seed and the names on its path only, never on what other streams have drawn, and any position is reached in O(1).
 *
 * `fork(name)` gives an independent stream for a part; `at(i)` gives the stream of item `i`, as for sample i of a data
 * set. Draws move the position of this stream only, and give the same numbers on every platform.
 *
 * @see Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox4x32-10).
 */
export class Rng {
  readonly #id: StreamId;
  readonly #block = new Uint32Array(4);
  #blockNumber = -1;
  #position = 0;

  /** The root stream of `seed`: a number or any text. */
  constructor(seed: number | string | StreamId) {
    this.#id = typeof seed === 'object' ? seed : { ...absorb(0, 0, String(seed)), item: 0 };
  }

  /** An independent stream named `name` below this one. */
  fork(name: string): Rng {
    const { key0, key1, item } = this.#id;
    const own = absorb(key0, key1, name);
    // A fork below an item must differ between items: the item number enters the key.
    return new Rng({ ...(item === 0 ? own : absorb(own.key0, own.key1, `#${item}`)), item: 0 });
  }

  /** The stream of item `index` (0 ≤ index < 2⁵³ − 1) of this stream; cheap enough to call once for each sample. */
  at(index: number): Rng {
    invariant(Number.isSafeInteger(index) && index >= 0, `Rng.at needs a non-negative integer, got ${index}`);
    const { key0, key1, item } = this.#id;
    // Item 0 means "no item", so that at(0) differs from the stream it was taken from.
    const base = item === 0 ? { key0, key1 } : absorb(key0, key1, `@${item}`);
    return new Rng({ ...base, item: index + 1 });
  }

  /** How many 32-bit words have been drawn. */
  get position(): number {
    return this.#position;
  }

  /** Moves to any position in O(1). */
  seek(position: number): this {
    invariant(
      Number.isSafeInteger(position) && position >= 0,
      `Rng.seek needs a non-negative integer, got ${position}`,
    );
    this.#position = position;
    return this;
  }

  /** Uniform integer in [0, 2³²). */
  u32(): number {
    const blockNumber = Math.floor(this.#position / 4);
    if (blockNumber !== this.#blockNumber) {
      const { key0, key1, item } = this.#id;
      philox4x32(blockNumber | 0, blockNumber / TWO_32, item | 0, item / TWO_32, key0, key1, this.#block);
      this.#blockNumber = blockNumber;
    }
    return this.#block[this.#position++ & 3]!;
  }

  /** Uniform number in [0, 1) with 53 random bits. */
  uniform(): number {
    const high = this.u32() >>> 5;
    const low = this.u32() >>> 6;
    return (high * 0x4000000 + low) / 0x20000000000000;
  }

  /** Uniform integer in [0, n), without bias; n in 1 … 2³². */
  below(n: number): number {
    invariant(Number.isInteger(n) && n >= 1 && n <= TWO_32, `Rng.below needs an integer in 1 … 2^32, got ${n}`);
    const limit = TWO_32 - (TWO_32 % n);
    let word = this.u32();
    while (word >= limit) word = this.u32();
    return word % n;
  }

  /** A uniformly chosen element of a non-empty list. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** Shuffles `list` in place, uniformly over all orders, and returns it. */
  shuffle<T>(list: T[]): T[] {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [list[i], list[j]] = [list[j]!, list[i]!];
    }
    return list;
  }

  /** A draw from the standard normal distribution (Marsaglia's polar method). */
  normal(): number {
    for (;;) {
      const u = 2 * this.uniform() - 1;
      const v = 2 * this.uniform() - 1;
      const s = u * u + v * v;
      if (s > 0 && s < 1) return u * Math.sqrt((-2 * portableLog(s)) / s);
    }
  }
}

/** Mixes a name into a 64-bit key, eight bytes of UTF-8 a Philox block. */
function absorb(key0: number, key1: number, name: string): { key0: number; key1: number } {
  const bytes = new TextEncoder().encode(name);
  const words = new Uint32Array(4);
  let [k0, k1] = [key0, key1];
  for (let i = 0; i <= bytes.length; i += 8) {
    const word = (at: number): number =>
      (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
    philox4x32(word(i), word(i + 4), bytes.length, ~i, k0, k1, words);
    [k0, k1] = [words[0]!, words[1]!];
  }
  return { key0: k0, key1: k1 };
}

/**
 * Natural logarithm of x in (0, 1) from +, −, ×, ÷ alone: Math.log may differ in the last bit between JavaScript engines.
 */
function portableLog(x: number): number {
  let mantissa = x;
  let exponent = 0;
  while (mantissa < 0.75) {
    mantissa *= 2;
    exponent--;
  }
  // ln m = 2 artanh((m − 1) / (m + 1)); the argument is at most 1/5 in size for m in [0.75, 1.5).
  const z = (mantissa - 1) / (mantissa + 1);
  let series = 0;
  for (let k = 23; k >= 1; k -= 2) series = series * z * z + 1 / k;
  return 2 * z * series + exponent * Math.LN2;
}
