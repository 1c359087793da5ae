import { ATTRIBUTES } from '@physlm/data/bio';
import { describe, expect, test } from 'vitest';
import { criterion, lawNamed, laws, lawsOfPart, type Results } from '../src/index.js';
import { spearman } from '../src/laws/knowledge/members.js';

const interval = { low: 0.4, high: 0.6 };
const run = (measures: Readonly<Record<string, number>>, more: object = {}): Results => ({
  recipe: 'knowledge',
  measures,
  intervals: Object.fromEntries(Object.keys(measures).map((name) => [name, interval])),
  ...more,
});

describe('laws of Part 3.1', () => {
  test('there are nine, in the order of the paper, and all can be tried', () => {
    expect(lawsOfPart('3.1').map(({ id }) => id)).toEqual([
      'knowledge-memory',
      'knowledge-augmentation',
      'knowledge-mixed',
      'knowledge-low-rank',
      'knowledge-p-probe',
      'knowledge-q-probe',
      'knowledge-couples',
      'knowledge-celebrities',
      'knowledge-encoders',
    ]);
    expect(laws.filter(({ part, untested }) => part === '3.1' && untested === undefined).length).toBe(9);
  });

  test('memory: answers are compared with the commonest answer, birth dates left out', () => {
    const law = lawNamed('knowledge-memory');
    const single = run({
      'exactNoDate.test': 0.12,
      'majorityNoDate.test': 0.09,
      'exact.test': 0.3,
      'exact.train': 0.99,
      'biography.test': 0.99,
    });
    const { ours, measures } = law.measure({ single, taught: single });
    expect(ours).toBeCloseTo(0.03, 12);
    expect(criterion(measures, law.scales.paper!.expect)).toBe('holds');
    const extracted = { ...single, measures: { ...single.measures, 'exactNoDate.test': 0.5 } };
    expect(criterion(law.measure({ single, taught: extracted }).measures, law.scales.paper!.expect)).toBe('fails');
  });

  test('augmentation: the order of the data sets decides', () => {
    const law = lawNamed('knowledge-augmentation');
    const with_ = (exact: Readonly<Record<string, number>>): Record<string, Results> =>
      Object.fromEntries(
        Object.entries(exact).map(([name, x]) => [name, run({ 'exact.test': x, 'biography.test': 1 })]),
      );
    const paper = {
      single: 0.097,
      permute1: 0.044,
      fullname: 0.489,
      permute5: 0.7,
      multi5: 0.41,
      'multi5+permute': 0.966,
    };
    const { ours, measures } = law.measure(with_(paper));
    expect(ours).toBeCloseTo(0.869, 12);
    expect(criterion(measures, law.scales.paper!.expect)).toBe('holds');
    const swapped = law.measure(with_({ ...paper, multi5: 0.05 })).measures;
    expect(criterion(swapped, law.scales.paper!.expect)).toBe('fails');
  });

  test('mixed training: halfway points lie on straight lines between points of the curve', () => {
    const law = lawNamed('knowledge-mixed');
    const point = (step: number, firstTrain: number, biographyTest: number, firstTest: number) => ({
      step,
      firstTrain,
      biographyTest,
      firstTest,
      biographyTrain: 0,
      exactTrain: 0,
      exactTest: 0,
    });
    // Halves of 1, 0.8 and 0.4: at 100, at 250 and at 350.
    const curve = [
      point(0, 0, 0, 0),
      point(200, 1, 0.2, 0),
      point(300, 1, 0.6, 0.1),
      point(400, 1, 0.8, 0.3),
      point(500, 1, 0.8, 0.4),
    ];
    const members = {
      afterwards: run({ 'exact.test': 0.1 }),
      few: run({ 'exact.test': 0.3 }),
      half: run({ 'exact.test': 0.5 }),
    };
    const { measures } = law.measure({ ...members, many: run({ 'exact.test': 0.9 }, { curve }) });
    expect(measures['halfway.answersTrain']).toBeCloseTo(100, 9);
    expect(measures['halfway.biographyTest']).toBeCloseTo(250, 9);
    expect(measures['halfway.answersTest']).toBeCloseTo(350, 9);
    expect(measures.gap).toBeCloseTo(0.8, 12);
    expect(criterion(measures, law.scales.paper!.expect)).toBe('holds');
  });

  test('P-probe: a staircase is told from facts that are known at once', () => {
    const law = lawNamed('knowledge-p-probe');
    const probes = (accuracy: (place: number, fact: number) => number): Results =>
      run(
        Object.fromEntries(
          ATTRIBUTES.flatMap((attribute, fact) =>
            ATTRIBUTES.flatMap((_, place) => [
              [`pFirst.${place}.${attribute}`, accuracy(place, fact)],
              [`pFirst.${place}.${attribute}.majority`, 0.05],
            ]),
          ),
        ),
      );
    const single = probes((place, fact) => (place < fact ? 0.08 : 1));
    const augmented = probes(() => 0.9);
    const { ours, measures } = law.measure({ single, augmented });
    expect(measures.before).toBeCloseTo(0.03, 12);
    expect(measures.own).toBe(1);
    expect(ours).toBeCloseTo(0.82, 12);
    expect(criterion(measures, law.scales.paper!.expect)).toBe('holds');
    expect(criterion(law.measure({ single: augmented, augmented }).measures, law.scales.paper!.expect)).toBe('fails');
  });

  test('rank correlation is 1 for what rises together, −1 for what falls, and shares the ranks of ties', () => {
    expect(spearman([1, 2, 3, 10], [0.1, 0.2, 0.3, 0.4])).toBeCloseTo(1, 12);
    expect(spearman([1, 2, 3], [9, 5, 1])).toBeCloseTo(-1, 12);
    // Ranks 0, 1.5, 1.5, 3 and 0, 1, 2, 3: covariance 4.5, norms √4.5 and √5.
    expect(spearman([1, 2, 2, 3], [1, 2, 3, 4])).toBeCloseTo(4.5 / Math.sqrt(4.5 * 5), 12);
  });
});
