// What a model says about people: in biographies, and when it is asked.

import { Rng } from '@physlm/base';
import type { Sample } from '@physlm/data';
import { ATTRIBUTES, type Attribute } from '@physlm/data/bio';
import type { Question, Questions } from '@physlm/data/knowledge';
import { completions, greedyMatches } from '@physlm/eval';
import type { LanguageModel } from '@physlm/model';
import type { KnowledgeData } from './recipes/knowledge-data.js';

/** How often something was right. */
export interface Tally {
  readonly nRight: number;
  readonly n: number;
}

/** What a model answers to the questions of one task. */
export interface TaskScore {
  /** First token of the answer, after the true tokens before it. */
  readonly first: Tally;
  /** The whole answer with the end of the text, as greedy decoding writes it. */
  readonly exact: Tally;
  /** Right when the commonest answer is given to every question. */
  readonly majority: Tally;
  /** Asked for a hint: the final answer, whatever the hint, and the hint itself. */
  readonly hinted?: { readonly answer: Tally; readonly hint: Tally };
}

/** Texts in memory at once. */
const TEXTS_AT_ONCE = 4096;

/** The first `n` of a list that is in random order. */
const firstOf = (people: ArrayLike<number>, n: number): number[] => Array.from(people).slice(0, n);

/** First-token accuracy of the facts in biographies, entry 0 of each person, by attribute. */
export function biographyScores(
  model: LanguageModel,
  { people, celebrities, tokenizer }: KnowledgeData,
  who: ArrayLike<number>,
  n: number,
): Record<Attribute, Tally> {
  const right = Object.fromEntries(ATTRIBUTES.map((attribute) => [attribute, 0]));
  const asked = firstOf(who, n);
  for (let start = 0; start < asked.length; start += TEXTS_AT_ONCE) {
    const documents = asked
      .slice(start, start + TEXTS_AT_ONCE)
      .map((person): Sample => (person < people.nGroup ? people : celebrities!).entry(person, 0));
    const matches = greedyMatches(
      model,
      documents.map(({ tokens }) => tokens),
      { first: tokenizer.eos },
    );
    for (const [i, { spans }] of documents.entries()) {
      for (const { label, start: place } of spans) if (label in right) right[label]! += matches[i]![place]!;
    }
  }
  return Object.fromEntries(
    ATTRIBUTES.map((attribute) => [attribute, { nRight: right[attribute]!, n: asked.length }]),
  ) as Record<Attribute, Tally>;
}

/** How long a hint with its answer can be, in tokens. */
const MOST_HINTED = 24;

/** The answers to every task of `asked`, about its first `n` people. One teacher-forced pass over the questions. */
export function questionScores(
  model: LanguageModel,
  asked: Questions,
  n: number,
  { eos, hints = false }: { readonly eos: number; readonly hints?: boolean },
): Record<string, TaskScore> {
  const size = Math.min(n, asked.nGroup);
  return Object.fromEntries(
    asked.tasks.map(({ name, hint }) => {
      const all = Array.from({ length: size }, (_, place) => asked.ask(name, place));
      let [first, exact] = [0, 0];
      for (let start = 0; start < size; start += TEXTS_AT_ONCE) {
        const part = all.slice(start, start + TEXTS_AT_ONCE);
        const sequences = part.map(({ tokens }) => Int32Array.of(...tokens, eos));
        for (const [i, matches] of greedyMatches(model, sequences, { first: eos }).entries()) {
          const { start: place } = part[i]!.spans.at(-1)!;
          first += matches[place]!;
          if (matches.subarray(place).every((one) => one === 1)) exact++;
        }
      }
      const tally = (nRight: number): Tally => ({ nRight, n: size });
      const counts = new Map<string, number>();
      for (const { answer } of all) counts.set(answer, (counts.get(answer) ?? 0) + 1);
      const score = { first: tally(first), exact: tally(exact), majority: tally(Math.max(...counts.values())) };
      return [
        name,
        hints && hint !== undefined ? { ...score, hinted: hintedScore(model, asked, name, size, eos) } : score,
      ];
    }),
  );
}

/** Lets the model write hint and answer, and reads the answer off the end. */
function hintedScore(
  model: LanguageModel,
  asked: Questions,
  task: string,
  n: number,
  eos: number,
): NonNullable<TaskScore['hinted']> {
  const questions = Array.from({ length: n }, (_, place): Question => asked.ask(task, place, { said: 'hint' }));
  const prompt = (i: number): Int32Array => {
    const { tokens, spans } = questions[i]!;
    const { start } = spans.find(({ label }) => label === 'hint')!;
    return Int32Array.of(eos, ...tokens.subarray(0, start));
  };
  let [answer, hint] = [0, 0];
  const options = { eos, nNew: MOST_HINTED, temperature: 0, rng: new Rng('greedy') };
  for (const { index, tokens, ended } of completions(model, n, prompt, options)) {
    const { tokens: right, spans } = questions[index]!;
    const said = spans.find(({ label }) => label === 'hint')!;
    const rest = right.subarray(said.end);
    if (ended && tokens.length >= rest.length && endsWith(tokens, rest)) answer++;
    if (endsWith(tokens.subarray(0, said.end - said.start), right.subarray(said.start, said.end))) hint++;
  }
  return { answer: { nRight: answer, n }, hint: { nRight: hint, n } };
}

function endsWith(tokens: Int32Array, end: Int32Array): boolean {
  const skip = tokens.length - end.length;
  return skip >= 0 && end.every((token, i) => tokens[skip + i] === token);
}
