import { formOf, type PopulationName } from '../bio/population.js';
import { formTexts } from '../bio/vocabulary.js';
import { Gpt2Tokenizer } from '../gpt2-tokenizer.js';
import { WordTokenizer } from '../word-tokenizer.js';
import { CLOSING, FILLERS, MERGED, NOBODY } from './noisy-form.js';
import { literals } from './phrases.js';
import { ANSWER, MARKS } from './questions.js';
import { TASKS } from './tasks.js';

/** Every piece of text that entries and questions add to biographies of a kind of population. */
function texts(name: PopulationName): string[] {
  const form = formOf(name);
  return [
    ...formTexts(form),
    ...form.first.map((first) => ` ${first}`),
    NOBODY,
    CLOSING,
    ...MERGED.flat().flatMap(literals),
    ...FILLERS,
    ...Object.values(MARKS),
    ANSWER,
    ...TASKS.flatMap(({ question, hint = '', answer, words }) => [
      ...literals(question),
      ...literals(hint),
      ...(typeof answer === 'string' ? literals(answer) : []),
      ...(words?.(form) ?? []).map((word) => ` ${word}`),
    ]),
  ];
}

/**
 * The word tokenizer of everything that can be said and asked about a kind of population: texts in every augmentation and
 * questions of every task. One vocabulary, so that any finetuning fits any checkpoint.
 */
export function knowledgeWords(name: PopulationName): WordTokenizer {
  const words = texts(name).flatMap((text) => text.split(' '));
  return new WordTokenizer(
    `${name}-knowledge-words`,
    words.map((word) => (word.length > 1 ? word.replace(/\.$/, '') : word)).filter((word) => word !== ''),
  );
}

let kept: Int32Array | undefined;

/** GPT-2's tokenizer with the tokens of the same texts about bioS only, numbered from 0. */
export function knowledgeGpt2(): Gpt2Tokenizer {
  if (kept === undefined) {
    const gpt2 = new Gpt2Tokenizer();
    const used = new Set([gpt2.eos]);
    for (const text of texts('bioS')) for (const token of gpt2.encode(text)) used.add(token);
    kept = Int32Array.from(used).sort();
  }
  return Gpt2Tokenizer.restrict(kept);
}
