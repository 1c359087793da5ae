// Scores of solutions that were written by hand, and what a small run of the recipe leaves behind.
import { phraseTokenizer, templateFamily } from '@physlm/data/igsm';
import { describe, expect, test } from 'vitest';
import { scoreSolution, tally } from '../src/igsm-solving.js';
import { igsmRecipe } from '../src/recipes/igsm.js';
import { longEnough, openIgsmData } from '../src/recipes/igsm-data.js';

const { data: config } = igsmRecipe({ scale: 'laptop', seed: 3, parameters: {} });
const data = openIgsmData(config, 3);
const { tokenizer, marks } = data;
const source = data.test({ use: 'by hand', op: 4 });

/** The first problem of 4 operations with a solution of at least three sentences that adds two known values. */
const sample = (() => {
  for (let i = 0; ; i++) {
    const one = source.document(i);
    if (one.sentences.length >= 3 && / = \w \+ \w = \d \+ \d = /.test(one.solutionText)) return one;
  }
})();

/** What a model would have written: tokens behind the mark of the solution. */
function judge(solution: string, { answer = ` ${sample.answer}`, ended = true } = {}) {
  const tokens = [...tokenizer.encode(solution), marks.answer, ...tokenizer.encode(answer)];
  return scoreSolution(sample, tokens, ended, { tokenizer, marks, families: source.families });
}

describe('scoreSolution', () => {
  test('the shortest solution is right, with nothing unnecessary', () => {
    expect(judge(sample.solutionText)).toMatchObject({
      correct: true,
      failure: null,
      reason: null,
      unnecessaryParameters: 0,
      unnecessaryOperations: 0,
      retries: 0,
      answer: ` ${sample.answer}`,
    });
    expect([...sample.tokens.subarray(sample.solutionStart)]).toEqual([
      ...tokenizer.encode(sample.solutionText),
      marks.answer,
      ...tokenizer.encode(` ${sample.answer}`),
    ]);
  });

  test('operands may be commuted', () => {
    const commuted = sample.solutionText.replace(
      / = (\w) \+ (\w) = (\d) \+ (\d) = /,
      (_, a, b, x, y) => ` = ${b} + ${a} = ${y} + ${x} = `,
    );
    expect(commuted).not.toBe(sample.solutionText);
    expect(judge(commuted).correct).toBe(true);
  });

  test('a wrong sum is found in its sentence, even when the answer is right', () => {
    const wrong = sample.solutionText.replace(
      / = (\d) \+ (\d) = (\d)/,
      (_, x, y, r) => ` = ${x} + ${y} = ${(Number(r) + 1) % 5}`,
    );
    const { correct, failure, reason, step } = judge(wrong);
    expect([correct, failure]).toEqual([false, 'wrong arithmetic']);
    expect(reason).toMatch(/is \d modulo 5, not \d/);
    expect(step).toBeGreaterThan(0);
  });

  test('a missing first sentence, a wrong answer, none, and no end', () => {
    const cut = sample.solutionText.replace(/^[^.]*\./, '');
    expect(judge(cut).correct).toBe(false);
    const other = ` ${(sample.answer + 1) % 5}`;
    expect(judge(sample.solutionText, { answer: other })).toMatchObject({
      correct: false,
      failure: 'wrong final answer',
      reason: `the answer is${other}, not ${sample.answer}`,
    });
    const none = [...tokenizer.encode(sample.solutionText)];
    expect(scoreSolution(sample, none, true, { tokenizer, marks, families: source.families }).failure).toBe(
      'no answer',
    );
    const endless = tokenizer.encode(sample.solutionText.slice(0, -1));
    expect(scoreSolution(sample, endless, false, { tokenizer, marks, families: source.families })).toMatchObject({
      correct: false,
      failure: 'no end',
      answer: null,
    });
  });

  test('a sentence that is taken back counts as a retry, an unnecessary one as unnecessary', () => {
    const name = /Define (.*?) as/.exec(sample.solutionText)![1]!;
    expect(judge(` Define ${name} as BACK.${sample.solutionText}`)).toMatchObject({ correct: true, retries: 1 });
    const { correct, failure } = judge(`${sample.solutionText} Define ${name} as BACK.`);
    expect([correct, failure]).toEqual([true, null]);
  });

  test('empty and senseless outputs are judged, not thrown at', () => {
    const context = { tokenizer, marks, families: source.families };
    expect(scoreSolution(sample, [], true, context)).toMatchObject({ correct: false, failure: 'empty' });
    const noise = Array.from({ length: 40 }, (_, i) => (i * 7) % tokenizer.dVocab);
    expect(scoreSolution(sample, noise, false, context).correct).toBe(false);
  });
});

test('a tally counts failures and takes means over correct solutions', () => {
  const right = { ...judge(sample.solutionText), unnecessaryParameters: 2, retries: 1 };
  const wrong = judge(sample.solutionText, { answer: ` ${(sample.answer + 1) % 5}` });
  const seen = tally([right, judge(sample.solutionText), wrong, { ...wrong, retries: 3 }]);
  expect(seen).toEqual({
    n: 4,
    nRight: 2,
    failures: { 'wrong final answer': 2 },
    unnecessaryParameters: 1,
    unnecessaryOperations: 0,
    retries: 0.5,
    retriesWrong: 1.5,
  });
});

test('the vocabulary of phrases writes the same text in fewer tokens', () => {
  const family = templateFamily('numbers');
  const phrases = phraseTokenizer([family], 5);
  expect(phrases.decode(phrases.encode(sample.text))).toBe(sample.text);
});

describe('parameters of igsm', () => {
  const bad = (parameters: object) => () => igsmRecipe({ scale: 'tiny', seed: 1, parameters: { ...parameters } });
  test.each([
    [{ families: 'numbrs' }, '[families] expected template families joined with +', "'numbers'"],
    [{ modulus: 1 }, '[modulus]', 'at least 2'],
    [{ opTest: '2+9' }, '[opTest] expected integers beyond opMax 5, up to 52, as 6+7+8', 'got 2'],
    [{ retryRate: 0.2 }, '[retry] expected a kind of mistakes', 'retryRate without one'],
    [{ unseen: 'numbers' }, '[unseen] expected families that are not trained on', "'numbers' in both"],
    [{ dModel: 66, nHead: 4 }, '[dModel] expected a multiple of nHead 4', '66'],
    [{ opmax: 3 }, "[opmax] expected a parameter of igsm, got 'opmax'", "'opMax'"],
  ])('%o', (parameters, message, more) => {
    expect(bad(parameters)).toThrow(message);
    expect(bad(parameters)).toThrow(more);
  });

  test('more operations than the sentences allow: no such problem exists', () => {
    const { data: impossible } = igsmRecipe({ scale: 'tiny', seed: 1, parameters: { opMax: 40, ipMax: 2 } });
    expect(() => openIgsmData(impossible, 1)).toThrow(/problems of .*40.* operations.* to exist/);
  });

  test('training and tests share no solution template', () => {
    const train = data.source;
    for (let i = 0; i < 40; i++) {
      expect(train.document(i).bucket).toBeLessThan(16);
      expect(source.document(i).bucket).toBeGreaterThanOrEqual(16);
      expect(train.document(i).op).toBeLessThanOrEqual(config.opMax);
      expect(source.document(i).op).toBe(4);
    }
  });
});

test('problems of at least so many operations, in their order', () => {
  const natural = data.test({ use: 'natural' });
  const long = longEnough(natural, 3);
  const wanted = Array.from({ length: 80 }, (_, i) => natural.document(i)).filter(({ op }) => op >= 3);
  expect(wanted.length).toBeGreaterThan(10);
  for (const [i, { prompt }] of wanted.entries()) expect(long.document(i)).toMatchObject({ index: i, prompt });
  expect(longEnough(natural, 1)).toBe(natural);
});
