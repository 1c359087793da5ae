import { Gpt2Tokenizer } from '../gpt2-tokenizer.js';
import { WordTokenizer } from '../word-tokenizer.js';
import { ATTRIBUTES, type BioForm, PRONOUNS } from './form.js';
import { formOf, type Population, type PopulationName } from './population.js';

/**
 * The word tokenizer of a kind of population. Its vocabulary does not depend on the number of people or on a seed. `more`:
 * words that stand behind those of the population.
 */
export function wordTokenizerFor(population: Population | PopulationName, more: readonly string[] = []): WordTokenizer {
  const name = typeof population === 'string' ? population : population.name;
  const words = [...formTexts(formOf(name)), ...more].flatMap((text) => text.split(' '));
  return new WordTokenizer(
    `${name}-words`,
    words.filter((word) => word !== '').map((word) => (word.length > 1 ? word.replace(/\.$/, '') : word)),
  );
}

/** Every piece of text that a biography of this form can be put together from, pieces that open a text without a space. */
export function formTexts(form: BioForm): string[] {
  const inside = [
    ...form.middle,
    ...form.last,
    ...PRONOUNS,
    ...form.months,
    ...form.days,
    ...form.years,
    ...form.birthCities,
    ...form.universities,
    ...form.majors,
    ...form.employers,
    ...form.seats,
  ].map((text) => ` ${text}`);
  const sentences = ATTRIBUTES.flatMap((a) => form.templates[a]).flatMap(({ before, after }) => [before, after]);
  return [...form.first, ...inside, ...sentences];
}

let bioSTokens: Int32Array | undefined;

/** The GPT-2 tokens that a bioS biography or the end of text can contain, ascending. */
export function bioSUsedGpt2Tokens(): Int32Array {
  if (bioSTokens === undefined) {
    const gpt2 = new Gpt2Tokenizer();
    const used = new Set([gpt2.eos]);
    for (const text of formTexts(formOf('bioS'))) for (const token of gpt2.encode(text)) used.add(token);
    bioSTokens = Int32Array.from(used).sort();
  }
  return bioSTokens.slice();
}

/**
 * GPT-2's tokenizer with the tokens of bioS only, numbered from 0: a small embedding with every row in use. `more`: texts
 * whose tokens are kept too.
 */
export function gpt2TokenizerForBioS(more: readonly string[] = []): Gpt2Tokenizer {
  if (more.length === 0) return Gpt2Tokenizer.restrict(bioSUsedGpt2Tokens());
  const gpt2 = new Gpt2Tokenizer();
  const used = new Set(bioSUsedGpt2Tokens());
  for (const text of more) for (const token of gpt2.encode(text)) used.add(token);
  return Gpt2Tokenizer.restrict(Int32Array.from(used).sort());
}
