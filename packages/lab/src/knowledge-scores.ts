// What a model says about people: in biographies, and when it is asked.

import { invariant, Rng } from '@physlm/base';
import type { Sample } from '@physlm/data';
import { ATTRIBUTES, type Attribute } from '@physlm/data/bio';
import type { Question, Questions } from '@physlm/data/knowledge';
import { completions, greedyMatches } from '@physlm/eval';
import { type LanguageModel, max, pick, reshape, sub } from '@physlm/model';
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

/** Every task of `asked`, about its first `n` people. */
function askAll(asked: Questions, n: number): Question[] {
  const size = Math.min(n, asked.nGroup);
  return asked.tasks.flatMap(({ name }) => Array.from({ length: size }, (_, place) => asked.ask(name, place)));
}

/** Scores by task; `matches` says for each question which tokens of its answer were likeliest. */
function scoresByTask(questions: readonly Question[], matches: readonly Uint8Array[]): Record<string, TaskScore> {
  const scores: Record<string, TaskScore> = {};
  for (const task of new Set(questions.map((question) => question.task))) {
    const own = [...questions.keys()].filter((i) => questions[i]!.task === task);
    const counts = new Map<string, number>();
    for (const i of own) counts.set(questions[i]!.answer, (counts.get(questions[i]!.answer) ?? 0) + 1);
    const tally = (nRight: number): Tally => ({ nRight, n: own.length });
    scores[task] = {
      first: tally(own.filter((i) => matches[i]![0] === 1).length),
      exact: tally(own.filter((i) => matches[i]!.every((one) => one === 1)).length),
      majority: tally(Math.max(...counts.values())),
    };
  }
  return scores;
}

/**
 * The answers to every task of `asked`, about its first `n` people: one teacher-forced pass over all of them. With `hints`, the
 * model also writes hint and answer to the tasks that have one.
 */
export function questionScores(
  model: LanguageModel,
  asked: Questions,
  n: number,
  { eos, hints = false }: { readonly eos: number; readonly hints?: boolean },
): Record<string, TaskScore> {
  const all = askAll(asked, n);
  const matches: Uint8Array[] = [];
  for (let start = 0; start < all.length; start += TEXTS_AT_ONCE) {
    const part = all.slice(start, start + TEXTS_AT_ONCE);
    const sequences = part.map(({ tokens }) => Int32Array.of(...tokens, eos));
    for (const [i, right] of greedyMatches(model, sequences, { first: eos }).entries()) {
      matches.push(right.subarray(part[i]!.spans.at(-1)!.start));
    }
  }
  const scores = scoresByTask(all, matches);
  if (!hints) return scores;
  return Object.fromEntries(
    asked.tasks.map(({ name, hint }) => {
      const score = scores[name]!;
      if (hint === undefined) return [name, score];
      return [name, { ...score, hinted: hintedScore(model, asked, name, score.exact.n, eos) }];
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

/** A text with a stretch that an encoder has to fill in. */
interface HiddenText {
  readonly tokens: Int32Array;
  readonly start: number;
  readonly end: number;
}

/**
 * For each text, which of its hidden tokens the encoder finds likeliest: 1 or 0 each. Texts stand in windows as in training, one
 * after another with the end-of-text token around them, every one of them with its stretch hidden; none is cut.
 */
function filledIn(model: LanguageModel, texts: readonly HiddenText[], eos: number): Uint8Array[] {
  const { device, config } = model;
  const { nCtx, dVocab } = config;
  const mask = dVocab - 1;
  const nToken = texts.reduce((sum, { tokens }) => sum + tokens.length + 1, 1);
  const nBatch = Math.max(1, Math.min(Math.floor(4096 / nCtx), Math.ceil(nToken / nCtx)));
  const ids = device.zeros([nBatch, nCtx], 'i32');
  const targets = device.zeros([nBatch * nCtx], 'i32');
  const program = device.withoutGrad(() =>
    device.record(() => {
      const logits = reshape(model.forward(ids), [nBatch * nCtx, dVocab]);
      return { behind: sub(max(logits, 1), reshape(pick(logits, targets, -1), [nBatch * nCtx, 1])) };
    }),
  );
  const found: Uint8Array[] = [];
  let next = 0;
  while (next < texts.length) {
    const [idValues, targetValues] = [ids.values().fill(eos), targets.values().fill(0)];
    const placed: { readonly at: number; readonly text: HiddenText }[] = [];
    for (let b = 0; b < nBatch; b++) {
      let used = 1;
      for (let text = texts[next]; text !== undefined && used + text.tokens.length < nCtx; text = texts[++next]) {
        const at = b * nCtx + used;
        for (const [t, token] of text.tokens.entries()) {
          const hidden = t >= text.start && t < text.end;
          idValues[at + t] = hidden ? mask : token;
          targetValues[at + t] = token;
        }
        placed.push({ at, text });
        used += text.tokens.length + 1;
      }
    }
    invariant(placed.length > 0, 'a text that fits no window');
    program.run();
    const behind = program.results.behind.values();
    for (const { at, text } of placed) {
      found.push(
        Uint8Array.from({ length: text.end - text.start }, (_, i) => (behind[at + text.start + i] === 0 ? 1 : 0)),
      );
    }
  }
  return found;
}

/** What `biographyScores` is to a causal model: one fact of each text is hidden, each kind of fact in turn. */
export function hiddenBiographyScores(
  model: LanguageModel,
  { people, celebrities, tokenizer }: KnowledgeData,
  who: ArrayLike<number>,
  n: number,
): Record<Attribute, Tally> {
  const tallies = Object.fromEntries(ATTRIBUTES.map((attribute) => [attribute, { nRight: 0, n: 0 }]));
  const asked = firstOf(who, Math.max(n, ATTRIBUTES.length));
  const hidden = asked.map((person, i) => {
    const { tokens, spans } = (person < people.nGroup ? people : celebrities!).entry(person, 0);
    const label = ATTRIBUTES[i % ATTRIBUTES.length]!;
    const { start, end } = spans.find((span) => span.label === label)!;
    return { label, text: { tokens, start, end } };
  });
  const filled = filledIn(
    model,
    hidden.map(({ text }) => text),
    tokenizer.eos,
  );
  for (const [i, { label }] of hidden.entries()) {
    tallies[label]!.nRight += filled[i]![0]!;
    tallies[label]!.n++;
  }
  return tallies as Record<Attribute, Tally>;
}

/** What `questionScores` is to a causal model: the answer is hidden, as many tokens as it has. */
export function hiddenQuestionScores(
  model: LanguageModel,
  asked: Questions,
  n: number,
  { eos }: { readonly eos: number },
): Record<string, TaskScore> {
  const all = askAll(asked, n);
  const texts = all.map(({ tokens, spans }) => ({ tokens, start: spans.at(-1)!.start, end: spans.at(-1)!.end }));
  return scoresByTask(all, filledIn(model, texts, eos));
}
