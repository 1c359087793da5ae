// Tokens of a grammar: 0 begins a sentence, 1 … |T| are the terminals, |T|+1 ends a sentence.
import { DataError } from '@physlm/base';
import type { Tokenizer } from '../tokenizer.js';

/**
 * Terminals as tokens. A text is terminals with spaces between them, as `1 3 2`; it has no BOS and no EOS, which are tokens
 * without a text. EOS is the id that the release reserves for it; BOS is 0, which the release leaves free.
 */
export class TerminalTokenizer implements Tokenizer {
  readonly name = 'terminals';
  /** Begins every document of a grammar. */
  readonly bos = 0;
  readonly eos: number;
  readonly dVocab: number;
  readonly usedTokens: Int32Array;

  constructor(readonly nTerminal: number) {
    this.eos = nTerminal + 1;
    this.dVocab = nTerminal + 2;
    this.usedTokens = Int32Array.from({ length: this.dVocab }, (_, token) => token);
  }

  /** @throws DataError naming the first word that is not a terminal. */
  encode(text: string): Int32Array {
    const words = text.split(/\s+/).filter((word) => word !== '');
    return Int32Array.from(words, (word, i) => {
      const token = /^\d{1,9}$/.test(word) ? Number(word) : 0;
      if (token >= 1 && token <= this.nTerminal) return token;
      throw new DataError(
        `terminals.encode, word ${i + 1}`,
        `terminals 1 … ${this.nTerminal}`,
        `'${word.slice(0, 40)}'`,
      );
    });
  }

  /** BOS and EOS are left out. @throws DataError when a token lies outside the vocabulary. */
  decode(tokens: ArrayLike<number>): string {
    const words: number[] = [];
    for (let i = 0; i < tokens.length; i++) {
      const token = tokens[i]!;
      if (!(Number.isInteger(token) && token >= 0 && token < this.dVocab)) {
        throw new DataError('terminals.decode', `tokens in 0 … ${this.dVocab - 1}`, `${token}`);
      }
      if (token !== this.bos && token !== this.eos) words.push(token);
    }
    return words.join(' ');
  }

  toJSON(): { readonly kind: 'terminals'; readonly nTerminal: number } {
    return { kind: 'terminals', nTerminal: this.nTerminal };
  }
}
