import { createRequire } from 'node:module';
import { DataError } from '@physlm/base';
import type { Tokenizer } from './tokenizer.js';

const GPT2_VOCAB = 50257;
const GPT2_EOS = 50256;

interface Bpe {
  encode(text: string): number[];
  decode(tokens: Iterable<number>): string;
}

const EOS_TEXT = '<|endoftext|>';

let bpe: Bpe | undefined;

/** The tables take a tenth of a second to load, so the first text that needs them loads them. */
function gpt2(): Bpe {
  bpe ??= createRequire(import.meta.url)('gpt-tokenizer/encoding/r50k_base') as Bpe;
  return bpe;
}

/**
 * GPT-2's byte-pair encoding, `r50k_base`: 50,257 tokens, of which 50256 ends a text and is written `<|endoftext|>`.
 * `decode(encode(text))` is `text`.
 *
 * @see Radford et al. 2019, "Language models are unsupervised multitask learners", Section 2.2.
 */
export class Gpt2Tokenizer implements Tokenizer {
  readonly name: string;
  readonly dVocab: number;
  readonly eos: number;
  readonly usedTokens: Int32Array;
  /** The GPT-2 token of each token; undefined when they are the same. */
  readonly #gpt2Of: Int32Array | undefined;
  readonly #tokenOf: ReadonlyMap<number, number> | undefined;

  /** @param gpt2Tokens the tokens to keep, for `restrict`; all when absent. */
  constructor(gpt2Tokens?: ArrayLike<number>) {
    if (gpt2Tokens === undefined) {
      this.name = 'gpt2';
      this.dVocab = GPT2_VOCAB;
      this.eos = GPT2_EOS;
    } else {
      const kept = [...new Set([...Array.from(gpt2Tokens), GPT2_EOS])].sort((a, b) => a - b);
      const wrong = kept.find((token) => !Number.isInteger(token) || token < 0 || token >= GPT2_VOCAB);
      if (wrong !== undefined) throw new DataError('Gpt2Tokenizer.restrict', 'tokens in 0 … 50256', `${wrong}`);
      this.name = `gpt2-${kept.length}`;
      this.dVocab = kept.length;
      this.#gpt2Of = Int32Array.from(kept);
      this.#tokenOf = new Map(kept.map((gpt2Token, token) => [gpt2Token, token]));
      this.eos = kept.length - 1;
    }
    this.usedTokens = Int32Array.from({ length: this.dVocab }, (_, token) => token);
  }

  /**
   * The tokenizer that keeps only the given GPT-2 tokens and the end of text, and numbers them densely from 0 in the same
   * order. Texts split as GPT-2 splits them; only the numbers change.
   *
   * @throws DataError when a token is not one of GPT-2's.
   */
  static restrict(gpt2Tokens: ArrayLike<number>): Gpt2Tokenizer {
    return new Gpt2Tokenizer(gpt2Tokens);
  }

  /** The token that stands for a token of GPT-2; undefined when it was not kept. */
  tokenOfGpt2(gpt2Token: number): number | undefined {
    if (this.#tokenOf !== undefined) return this.#tokenOf.get(gpt2Token);
    return Number.isInteger(gpt2Token) && gpt2Token >= 0 && gpt2Token < GPT2_VOCAB ? gpt2Token : undefined;
  }

  /** @throws DataError naming the piece of text whose token was not kept. */
  encode(text: string): Int32Array {
    // gpt-tokenizer 4.0.0 sees the end of text only at the start of its input, so the text is cut there first.
    const parts = text.split(EOS_TEXT).map((part) => gpt2().encode(part));
    const tokens = Int32Array.from(parts.flatMap((part, i) => (i === 0 ? part : [GPT2_EOS, ...part])));
    if (this.#tokenOf === undefined) return tokens;
    return tokens.map((gpt2Token) => {
      const token = this.#tokenOf!.get(gpt2Token);
      if (token !== undefined) return token;
      const piece = JSON.stringify(gpt2().decode([gpt2Token]));
      throw new DataError(`${this.name}.encode`, 'text of the kept GPT-2 tokens', `${piece} (token ${gpt2Token})`);
    });
  }

  decode(tokens: ArrayLike<number>): string {
    const gpt2Tokens = Array.from(tokens, (token) => {
      if (Number.isInteger(token) && token >= 0 && token < this.dVocab) return this.#gpt2Of?.[token] ?? token;
      throw new DataError(`${this.name}.decode`, `tokens in 0 … ${this.dVocab - 1}`, `${token}`);
    });
    return gpt2().decode(gpt2Tokens);
  }

  toJSON(): { readonly kind: 'gpt2'; readonly gpt2Tokens?: readonly number[] } {
    return { kind: 'gpt2', ...(this.#gpt2Of && { gpt2Tokens: Array.from(this.#gpt2Of) }) };
  }
}
