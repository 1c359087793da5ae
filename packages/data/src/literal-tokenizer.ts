// A closed vocabulary of literal strings, spaces included, so that a name of several words can be one token.
import { DataError } from '@physlm/base';
import type { Tokenizer } from './tokenizer.js';

const EOS_LITERAL = '<|endoftext|>';

interface Node {
  token: number;
  readonly next: Map<number, Node>;
}

/**
 * Splits text into the longest literals of a closed vocabulary, from left to right; a literal that ends in a letter or digit does
 * not match in front of another one. Token 0 ends a text. `decode(encode(text))` is `text`.
 */
export class LiteralTokenizer implements Tokenizer {
  readonly dVocab: number;
  readonly eos = 0;
  readonly usedTokens: Int32Array;
  readonly #literals: readonly string[];
  readonly #tokenOf: ReadonlyMap<string, number>;
  readonly #root: Node = { token: -1, next: new Map() };

  /**
   * @param literals every literal that can occur; repeated ones count once.
   * @throws DataError when one is empty.
   */
  constructor(
    readonly name: string,
    literals: Iterable<string>,
  ) {
    this.#literals = [...new Set([EOS_LITERAL, ...literals])];
    this.#tokenOf = new Map(this.#literals.map((literal, token) => [literal, token]));
    if (this.#tokenOf.has('')) throw new DataError('LiteralTokenizer', 'literals of at least one character', "''");
    for (const [literal, token] of this.#tokenOf) {
      let node = this.#root;
      for (let x = 0; x < literal.length; x++) {
        const code = literal.charCodeAt(x);
        const next = node.next.get(code) ?? { token: -1, next: new Map() };
        node.next.set(code, next);
        node = next;
      }
      node.token = token;
    }
    this.dVocab = this.#literals.length;
    this.usedTokens = Int32Array.from({ length: this.dVocab }, (_, token) => token);
  }

  /** The token of a literal; undefined when it is not one. */
  tokenOf(literal: string): number | undefined {
    return this.#tokenOf.get(literal);
  }

  /** @throws DataError naming the text behind which no literal fits. */
  encode(text: string): Int32Array {
    const tokens: number[] = [];
    for (let at = 0; at < text.length; ) {
      let node: Node | undefined = this.#root;
      let [token, end] = [-1, at];
      for (let x = at; node !== undefined; x++) {
        if (node.token >= 0 && isBoundary(text, x)) [token, end] = [node.token, x];
        node = x < text.length ? node.next.get(text.charCodeAt(x)) : undefined;
      }
      if (token < 0) {
        const got = JSON.stringify(text.slice(at, at + 40));
        throw new DataError(`${this.name}.encode, character ${at}`, 'words of the vocabulary', got);
      }
      tokens.push(token);
      at = end;
    }
    return Int32Array.from(tokens);
  }

  decode(tokens: ArrayLike<number>): string {
    let text = '';
    for (let i = 0; i < tokens.length; i++) {
      const literal = this.#literals[tokens[i]!];
      if (literal === undefined) {
        throw new DataError(`${this.name}.decode`, `tokens in 0 … ${this.dVocab - 1}`, `${tokens[i]}`);
      }
      text += literal;
    }
    return text;
  }

  toJSON(): { readonly kind: 'literal'; readonly name: string; readonly literals: readonly string[] } {
    return { kind: 'literal', name: this.name, literals: this.#literals.slice(1) };
  }
}

/** Whether no word goes on across place `x`. */
function isBoundary(text: string, x: number): boolean {
  return !(isWord(text.charCodeAt(x)) && isWord(text.charCodeAt(x - 1)));
}

function isWord(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || (code >= 48 && code <= 57);
}
