import { DataError, philox4x32, type Rng } from '@physlm/base';

const N_ROUND = 4;

/**
 * A random-looking bijection of 0 … nLeft·nRight − 1, fixed by its stream, each value in O(1) time and memory.
 *
 * A Feistel network over the mixed radix (nLeft, nRight): each round adds a keyed function of one half to the other half
 * modulo its own size, which can be undone, so no two numbers meet.
 *
 * @see Black and Rogaway 2002, "Ciphers with arbitrary finite domains", method 3 (generalised Feistel).
 */
export class Permutation {
  readonly size: number;
  readonly #key0: number;
  readonly #key1: number;
  readonly #words = new Uint32Array(4);

  /** @throws DataError when a side is not in 1 … 2³² or the product is not exact. */
  constructor(
    readonly nLeft: number,
    readonly nRight: number,
    rng: Rng,
  ) {
    for (const n of [nLeft, nRight]) {
      if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
        throw new DataError('Permutation', 'sides in 1 … 2^32', `${n}`);
      }
    }
    this.size = nLeft * nRight;
    if (!Number.isSafeInteger(this.size)) throw new DataError('Permutation', 'a size below 2^53', `${this.size}`);
    this.#key0 = rng.u32();
    this.#key1 = rng.u32();
  }

  /** Where `index` goes; `index` in 0 … size − 1. */
  at(index: number): number {
    let left = Math.floor(index / this.nRight);
    let right = index % this.nRight;
    for (let round = 0; round < N_ROUND; round += 2) {
      left = (left + this.#mix(right, round)) % this.nLeft;
      right = (right + this.#mix(left, round + 1)) % this.nRight;
    }
    return left * this.nRight + right;
  }

  #mix(half: number, round: number): number {
    philox4x32(half, round, 0, 0, this.#key0, this.#key1, this.#words);
    return this.#words[0]!;
  }
}
