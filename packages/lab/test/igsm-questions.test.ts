// Questions of V-probing against labels that are worked out again from the text, and going back with a detector that knows.
import { Rng } from '@physlm/base';
import { labelsOf, readProblem } from '@physlm/data/igsm';
import { buildModel, openDevice } from '@physlm/model';
import { describe, expect, test } from 'vitest';
import {
  depQuestions,
  distanceToQuery,
  N_NEW_TOKEN,
  neceQuestions,
  Questions,
  regretQuestions,
  stateQuestions,
} from '../src/igsm-probe-data.js';
import { type Attempt, perfectDetector, retryUponRegret } from '../src/igsm-regret.js';
import { SentenceReader } from '../src/igsm-sentences.js';
import { igsmRecipe } from '../src/recipes/igsm.js';
import { openIgsmData } from '../src/recipes/igsm-data.js';

const experiment = igsmRecipe({ scale: 'laptop', seed: 2, parameters: {} });
const data = openIgsmData(experiment.data, 2);
const { tokenizer, marks } = data;
const problems = data.test({ use: 'questions', buckets: 'train' });
const questions = new Questions(tokenizer);
const size = { nProblem: 30 };
const START = tokenizer.dVocab;
const END = tokenizer.dVocab + 2;

/** Texts around the new tokens of a question: before, name, second name. */
function parts(ids: ArrayLike<number>): { text: number[]; names: string[] } {
  const all = Array.from(ids);
  const start = all.indexOf(START);
  const names: string[] = [];
  let from = start + 1;
  for (let t = start + 1; t < all.length; t++) {
    if (all[t]! < START) continue;
    names.push(tokenizer.decode(all.slice(from, t)).trim());
    from = t + 1;
  }
  return { text: all.slice(0, start), names };
}

describe('questions', () => {
  test('nece: behind the question and before the solution, of a parameter of the problem', () => {
    const source = neceQuestions(problems, size, questions);
    const seen = new Set<number>();
    for (let i = 0; i < 60; i++) {
      const { ids, positions, labels } = source.example(i);
      const sample = problems.document(source.unit(i));
      const { text, names } = parts(ids);
      expect(text).toEqual([tokenizer.eos, ...sample.tokens.subarray(0, sample.solutionStart - 1)]);
      expect([positions, ids[ids.length - 1]]).toEqual([[ids.length - 1], END]);
      // The shortest solution computes exactly what is necessary.
      const needed = sample.solutionText.includes(`Define ${names[0]} as`);
      expect(labels).toEqual([[Number(needed)]]);
      seen.add(labels[0]![0]!);
    }
    expect(seen).toEqual(new Set([0, 1]));
  });

  test('dep: before the question, of two different parameters', () => {
    const source = depQuestions(problems, size, questions, 'pq');
    for (let i = 0; i < 60; i++) {
      const { ids, labels } = source.example(i);
      const sample = problems.document(source.unit(i));
      const { text, names } = parts(ids);
      expect(tokenizer.decode(text.slice(2))).not.toContain('How many');
      expect(names[0]).not.toBe(names[1]);
      const { problem, parameterOf } = readProblem(sample.prompt, { modulus: 5, families: data.families });
      const [a, b] = [parameterOf(names[0]!), parameterOf(names[1]!)];
      const reached = (from: number): boolean => (problem.parents[from] ?? []).some((one) => one === b || reached(one));
      expect(labels).toEqual([[Number(reached(a))]]);
    }
  });

  test('state: between two sentences, what was written decides what is known', () => {
    const source = stateQuestions(problems, size, questions, 5);
    for (let i = 0; i < 80; i++) {
      const { ids, labels } = source.example(i);
      const sample = problems.document(source.unit(i));
      const { text, names } = parts(ids);
      const written = tokenizer.decode(text.slice(1 + sample.solutionStart));
      const known = written.includes(`Define ${names[0]} as`);
      const value = known ? Number(new RegExp(`Define ${names[0]} as[^.]* = (\\d)\\.`).exec(written)![1]) : 5;
      expect(labels.slice(0, 2)).toEqual([[Number(known)], [value]]);
      if (known) expect(labels.slice(2)).toEqual([[0], [0]]);
      expect(labels[3]![0]! <= labels[2]![0]!).toBe(true);
    }
  });

  test('regret: read behind `Define name as`', () => {
    const source = regretQuestions(problems, size, questions);
    for (let i = 0; i < 20; i++) {
      const { ids, positions } = source.example(i);
      expect(tokenizer.decode(Array.from(ids).slice(-3))).toMatch(/^ Define .* as$/);
      expect(positions).toEqual([ids.length - 1]);
    }
  });

  test('no question about a problem comes twice, and they need three new tokens', () => {
    const source = neceQuestions(problems, size, questions);
    const asked = Array.from({ length: 10 }, (_, k) => parts(source.example(k).ids).names[0]);
    const { parameters } = labelsOf(problems.document(0).problem, problems.document(0).solution);
    expect(new Set(asked).size).toBe(Math.min(10, parameters.length));
    expect(N_NEW_TOKEN).toBe(END - START + 1);
  });

  test('distance: the query is 0 away, its parents 1', () => {
    for (let i = 0; i < 20; i++) {
      const sample = problems.document(i);
      const { parents, query } = sample.problem;
      expect(distanceToQuery(sample, query)).toBe(0);
      for (const parent of parents[query]!) expect(distanceToQuery(sample, parent)).toBe(1);
    }
  });
});

test('sentences of a solution are found as they were written', () => {
  const reader = new SentenceReader(tokenizer);
  const mistaken = data.test({ use: 'sentences', retry: { kind: 'retry', rate: 0.5 } });
  for (let i = 0; i < 20; i++) {
    const { tokens, solutionStart, sentences } = mistaken.document(i);
    const found = reader.sentences(tokens.subarray(solutionStart), marks.answer);
    expect(found.map(({ start, end, retry }) => [start + solutionStart, end + solutionStart, retry])).toEqual(
      sentences.map(({ start, end, retry }) => [start, end, retry]),
    );
    expect(found.map(({ as }) => as + solutionStart)).toEqual(sentences.map(({ nameEnd }) => nameEnd));
  }
});

describe('retryUponRegret', () => {
  const model = buildModel(
    openDevice('cpu'),
    { ...experiment.model, nLayer: 1, nHead: 4, dModel: 32, dMlp: 32, dRotary: 8 },
    new Rng('m'),
  );
  const source = data.test({ use: 'regret' });
  const go = (nRetry: number, detect = perfectDetector) =>
    retryUponRegret(model, source, marks, 6, { nNew: 40, nRetry, detect, seed: 1 });

  test('goes back as often as it may, and keeps what was believed', () => {
    const seen: Attempt[] = [];
    const result = go(3, (attempts) => {
      seen.push(...attempts);
      return perfectDetector(attempts);
    });
    // An untrained model is wrong in its first sentence.
    expect(result.map(({ nBack, correct }) => [nBack, correct])).toEqual(result.map(() => [3, false]));
    expect(seen).toHaveLength(6 * 4);
    for (const { nAccepted, score } of seen) expect(nAccepted).toBeLessThanOrEqual(score.step ?? 0);
    expect(go(3)).toEqual(result);
  });

  test('without retries, and with a detector that believes everything, it is greedy generation', () => {
    const greedy = go(0).map(({ solution }) => solution);
    expect(go(5, (attempts) => attempts.map(() => null)).map(({ solution }) => solution)).toEqual(greedy);
  });
});
