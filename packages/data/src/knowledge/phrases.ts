// Sentences with places for facts: `was born in {birthCity} on {birthDate}`.
import { invariant } from '@physlm/base';
import { type Piece, pieceOf } from '../bio/piece-writer.js';
import type { Tokenizer } from '../tokenizer.js';

/** A phrase as its literal pieces and the names of its places, in the order of the text. */
export type Phrase = readonly (Piece | string)[];

const PLACE = /\{([\w.]+)\}/;

/** Splits at `{place}`. Facts bring their own space, so a space before a place is dropped from the literal. */
export function phrase(text: string, tokenizer: Tokenizer): Phrase {
  return text.split(PLACE).flatMap((part, i): (Piece | string)[] => {
    if (i % 2 === 1) return [part];
    const literal = part.replace(/ $/, '');
    return literal === '' ? [] : [pieceOf(literal, tokenizer)];
  });
}

/** The literal parts of a phrase, for vocabularies. */
export function literals(text: string): string[] {
  const parts = text.split(PLACE).filter((_, i) => i % 2 === 0);
  invariant(parts.length > 0, `a phrase without parts: '${text}'`);
  return parts.map((part) => part.replace(/ $/, '')).filter((part) => part !== '');
}
