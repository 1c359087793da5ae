/** Text to tokens and back. Tokens are integers in [0, dVocab). */
export interface Tokenizer {
  readonly name: string;
  readonly dVocab: number;
  /** End of text: stands before the first document and after every document. */
  readonly eos: number;
  /** @throws DataError when the text cannot be written with this vocabulary. */
  encode(text: string): Int32Array;
  /** @throws DataError when a token lies outside the vocabulary. */
  decode(tokens: ArrayLike<number>): string;
  /** Tokens that can occur, ascending: the embedding rows that count as parameters. */
  readonly usedTokens: Int32Array;
  /** All that `tokenizerFromJson` needs to build an equal tokenizer. */
  toJSON(): unknown;
}
