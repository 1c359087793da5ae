import { DataError, nearest } from '@physlm/base';
import type { Tokenizer } from './tokenizer.js';

const EOS_WORD = '<|endoftext|>';
const FULL_STOP = '.';

/**
 * A closed vocabulary of whole words. Words are what stands between spaces; a full stop at the end of a word is a token
 * of its own, a comma belongs to its word (`Austin,`). Token 0 ends a text and is written `<|endoftext|>`, token 1 is the
 * full stop, then come the words in the given order. `decode(encode(text))` gives the text back when its words are one space apart.
 */
export class WordTokenizer implements Tokenizer {
  readonly dVocab: number;
  readonly eos = 0;
  readonly usedTokens: Int32Array;
  readonly #words: readonly string[];
  readonly #tokenOf: ReadonlyMap<string, number>;

  /**
   * @param words every word that can occur; repeated words count once.
   * @throws DataError when a word is empty, has a space, or ends with a full stop.
   */
  constructor(
    readonly name: string,
    words: Iterable<string>,
  ) {
    const distinct = new Set([EOS_WORD, FULL_STOP]);
    for (const word of words) {
      if (word !== FULL_STOP && !/^\S*[^\s.]$/.test(word)) {
        throw new DataError('WordTokenizer', 'words without spaces or a final full stop', `'${word}'`);
      }
      distinct.add(word);
    }
    this.#words = [...distinct];
    this.#tokenOf = new Map(this.#words.map((word, token) => [word, token]));
    this.dVocab = this.#words.length;
    this.usedTokens = Int32Array.from(this.#words.keys());
  }

  /** @throws DataError naming the first unknown word and the known word nearest to it. */
  encode(text: string): Int32Array {
    const tokens: number[] = [];
    for (const piece of text.split(' ')) {
      if (piece === '') continue;
      const stop = piece.endsWith(FULL_STOP);
      const word = stop ? piece.slice(0, -1) : piece;
      if (word !== '') tokens.push(this.#token(word));
      if (stop) tokens.push(1);
    }
    return Int32Array.from(tokens);
  }

  decode(tokens: ArrayLike<number>): string {
    let text = '';
    for (let i = 0; i < tokens.length; i++) {
      const word = this.#words[tokens[i]!];
      if (word === undefined) {
        throw new DataError(`${this.name}.decode`, `tokens in 0 … ${this.dVocab - 1}`, `${tokens[i]}`);
      }
      text += text === '' || word === FULL_STOP ? word : ` ${word}`;
    }
    return text;
  }

  toJSON(): { readonly kind: 'word'; readonly name: string; readonly words: readonly string[] } {
    return { kind: 'word', name: this.name, words: this.#words.slice(2) };
  }

  #token(word: string): number {
    const token = this.#tokenOf.get(word);
    if (token !== undefined) return token;
    const known = nearest(word, this.#words);
    throw new DataError(`${this.name}.encode`, 'words of the vocabulary', `'${word}'`, `Did you mean '${known}'?`);
  }
}
