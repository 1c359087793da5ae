// Tokenizers for iGSM: GPT-2 with the released marks, GPT-2 cut to what can occur, and a compact one with a token for each name.
import { DataError } from '@physlm/base';
import { Gpt2Tokenizer } from '../gpt2-tokenizer.js';
import { LiteralTokenizer } from '../literal-tokenizer.js';
import type { Tokenizer } from '../tokenizer.js';
import type { TemplateFamily } from './family.js';
import { joinName, parameterPattern } from './naming.js';
import { pattern } from './pattern.js';
import { LETTERS } from './template.js';
import type { Marks } from './writer.js';

/** Bytes that no text of ours has, used by the release as marks. */
const GPT2_MARKS: Marks = { problem: 222, solution: 223, answer: 224 };

const LITERAL_MARKS = ['<|problem|>', '<|solution|>', '<|answer|>'] as const;

/** Words of every solution. */
const SOLUTION_WORDS = [' Define', ' as', ' so', ' BACK', ' =', ' +', ' -', ' *', '.', ';', ',', ' and'];

/**
 * Every name, number, letter and word of these families as one token: a med problem takes seven tenths of GPT-2's tokens.
 *
 * @param modulus numbers go up to it.
 */
export function compactTokenizer(families: readonly TemplateFamily[], modulus = 23): LiteralTokenizer {
  const name = `igsm-${families.map((family) => family.name).join('-')}-${modulus}`;
  return new LiteralTokenizer(name, [...LITERAL_MARKS, ...literalsOf(families, modulus)]);
}

/**
 * As `compactTokenizer`, with every phrase that sentences are made of as one token (` The number of each`, ` times as much as`):
 * the shortest text for a small model. Another family's phrases are tokens that no model of this one has seen.
 */
export function phraseTokenizer(families: readonly TemplateFamily[], modulus = 23): LiteralTokenizer {
  const name = `igsm-phrases-${families.map((family) => family.name).join('-')}-${modulus}`;
  return new LiteralTokenizer(name, [...LITERAL_MARKS, ...phrasesOf(families), ...literalsOf(families, modulus)]);
}

/**
 * As `phraseTokenizer`, with every name of a parameter (` Left Rib's Calm Fox`) as one token, for worlds of a few items: finding a
 * name in a text is then finding one token.
 */
export function nameTokenizer(families: readonly TemplateFamily[], modulus = 23): LiteralTokenizer {
  const name = `igsm-names-${families.map((family) => family.name).join('-')}-${modulus}`;
  const literals = [...LITERAL_MARKS, ...phrasesOf(families), ...literalsOf(families, modulus), ...namesOf(families)];
  return new LiteralTokenizer(name, literals);
}

/** GPT-2 cut to the tokens that problems of these families can have, with the released marks. */
export function gpt2TokenizerForIgsm(families: readonly TemplateFamily[], modulus = 23): Gpt2Tokenizer {
  const whole = new Gpt2Tokenizer();
  const used = new Set<number>(Object.values(GPT2_MARKS));
  for (const literal of literalsOf(families, modulus)) for (const token of whole.encode(literal)) used.add(token);
  return Gpt2Tokenizer.restrict([...used]);
}

/**
 * The marks around problem, solution and answer in this vocabulary: 222, 223 and 224 of GPT-2 as released, or tokens of their own.
 *
 * @throws DataError when the vocabulary has none.
 */
export function marksOf(tokenizer: Tokenizer): Marks {
  // By what they can do and not by their class: each entry of the package brings classes of its own.
  const { tokenOfGpt2, tokenOf } = tokenizer as Partial<Gpt2Tokenizer & LiteralTokenizer>;
  const [problem, solution, answer] =
    tokenOfGpt2 !== undefined
      ? Object.values(GPT2_MARKS).map((token) => tokenOfGpt2.call(tokenizer as Gpt2Tokenizer, token))
      : LITERAL_MARKS.map((literal) => tokenOf?.call(tokenizer as LiteralTokenizer, literal));
  if (problem === undefined || solution === undefined || answer === undefined) {
    throw new DataError(
      'igsm.tokenizer',
      'a vocabulary with marks for problem, solution and answer',
      `'${tokenizer.name}'`,
      'Use compactTokenizer, gpt2TokenizerForIgsm or Gpt2Tokenizer.',
    );
  }
  return { problem, solution, answer };
}

function literalsOf(families: readonly TemplateFamily[], modulus: number): string[] {
  const literals = [...SOLUTION_WORDS];
  for (let number = 0; number < modulus; number++) literals.push(` ${number}`);
  for (const letter of LETTERS) literals.push(` ${letter}`);
  for (const { patterns, worlds } of families) {
    for (const text of Object.values(patterns)) {
      for (const words of pattern(text).literals) literals.push(...wordsOf(words));
    }
    for (const { layers } of worlds) {
      for (const { name, subCategories } of layers) {
        literals.push(` ${name}`, ...subCategories.flat().map((item) => ` ${item}`));
      }
    }
  }
  return literals;
}

/** Every name that a parameter can have. */
function namesOf(families: readonly TemplateFamily[]): string[] {
  return families.flatMap((family) => {
    const form = parameterPattern(family);
    return family.worlds.flatMap(({ layers }) =>
      layers.flatMap(({ subCategories }, i) => {
        const below = [...(layers[i + 1]?.subCategories.flat() ?? []), ...layers.slice(i + 1).map(({ name }) => name)];
        return subCategories.flat().flatMap((owner) => below.map((owned) => ` ${joinName(form, owner, owned)}`));
      }),
    );
  });
}

/** What stands between the slots of patterns, as the writer puts it: with the space in front. */
function phrasesOf(families: readonly TemplateFamily[]): string[] {
  return families.flatMap(({ patterns }) =>
    Object.values(patterns).flatMap((text) =>
      pattern(text).literals.flatMap((literal, x) => {
        const words = literal.trim();
        if (words === '') return [];
        return x === 0 || literal.startsWith(' ') ? ` ${words}` : words;
      }),
    ),
  );
}

/** Words with the space in front, and marks of punctuation. */
function wordsOf(text: string): string[] {
  return (text.match(/'s|[^\s.,;?']+|[.,;?]/g) ?? []).map((word) => (/^[\w]/.test(word) ? ` ${word}` : word));
}
