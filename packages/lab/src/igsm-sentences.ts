// What a model wrote, sentence by sentence, as tokens.
import type { Tokenizer } from '@physlm/data';

/** A sentence of a solution that a model wrote. */
export interface WrittenSentence {
  /** Tokens [start, end) behind the prompt, with the full stop if there is one. */
  readonly start: number;
  readonly end: number;
  /** Place of the `as` behind the parameter's name; −1 when there is none. */
  readonly as: number;
  /** Name of the parameter that it says to define; '' when there is none. */
  readonly name: string;
  /** Whether it is taken back. */
  readonly retry: boolean;
}

/** The words that divide solutions, in one vocabulary. */
export class SentenceReader {
  readonly #tokenizer: Tokenizer;
  readonly #stop: number;
  readonly #as: number;
  readonly #back: number;
  readonly #define: readonly number[];

  constructor(tokenizer: Tokenizer) {
    const last = (text: string): number => tokenizer.encode(text).at(-1)!;
    this.#tokenizer = tokenizer;
    this.#stop = last('.');
    this.#as = last(' as');
    this.#back = last(' BACK');
    this.#define = [...tokenizer.encode(' Define')];
  }

  /** The sentences of a solution, up to the mark of the answer. */
  sentences(written: ArrayLike<number>, answerMark: number): WrittenSentence[] {
    const tokens = Array.from(written);
    const mark = tokens.indexOf(answerMark);
    const n = mark < 0 ? tokens.length : mark;
    const found: WrittenSentence[] = [];
    for (let start = 0; start < n; ) {
      const stop = tokens.indexOf(this.#stop, start);
      const end = stop < 0 || stop >= n ? n : stop + 1;
      const as = tokens.indexOf(this.#as, start);
      const inside = as >= 0 && as < end;
      const name = inside ? this.#tokenizer.decode(tokens.slice(start + this.#define.length, as)).trim() : '';
      found.push({ start, end, as: inside ? as : -1, name, retry: tokens.slice(start, end).includes(this.#back) });
      start = end;
    }
    return found;
  }

  /** `Define name as`: what a solution's next sentence would begin with. */
  beginning(name: readonly number[]): number[] {
    return [...this.#define, ...name, this.#as];
  }
}
