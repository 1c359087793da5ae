import type { Results, ScaleName } from '../../recipes/recipe.js';
import type { KnowledgePoint, KnowledgeResults } from '../../run-knowledge.js';
import type { Law, LawScale } from '../law.js';
import { AUGMENTED, asked, askedAfterwards, differenceInterval, measured, read, source } from './members.js';

type Members = LawScale['members'];

/** The paper's: one text about each person. */
const single = (name: ScaleName): Members => ({
  afterwards: askedAfterwards(name, 'single'),
  few: asked('single', { qaShare: 0.2, probes: 'none' }),
  half: asked('single', { qaShare: 0.5, probes: 'none' }),
  many: asked('single', { qaShare: 0.8, probes: 'none' }),
});

/** For few people and small models: five texts each, for one text is hardly enough to be asked for in any way. */
const several = (name: ScaleName): Members => ({
  afterwards: askedAfterwards(name, 'multi5+permute', { probes: 'none' }),
  few: asked('multi5+permute', { qaShare: 0.2, probes: 'none' }),
  many: AUGMENTED['multi5+permute'],
  singleAfterwards: askedAfterwards(name, 'single', { probes: 'none' }),
  singleMany: AUGMENTED.single,
});

const scale = (gap: number, members: Members): LawScale => ({
  members,
  expect: [
    {
      measure: 'gap',
      atLeast: gap,
      tests: 'asking while it reads makes facts extractable that asking afterwards does not',
    },
    { measure: 'rise', atLeast: 0, tests: 'with more questions it answers better than with one in five' },
    {
      measure: 'studiesFirst',
      atLeast: 1,
      tests: 'it learns the answers about P_train before the biographies of P_test',
    },
    { measure: 'answersLast', atLeast: 1, tests: 'and the biographies of P_test before the answers about P_test' },
  ],
});

/** First step at which a curve is halfway to its own end, on a straight line between points. */
function halfway(curve: readonly KnowledgePoint[], of: keyof KnowledgePoint): number {
  const points = curve.map((point) => ({ step: point.step, value: point[of] ?? 0 }));
  const half = (points.at(-1)?.value ?? 0) / 2;
  const i = points.findIndex(({ value }) => value >= half);
  if (i <= 0) return points[0]?.step ?? 0;
  const [a, b] = [points[i - 1]!, points[i]!];
  return a.step + ((b.step - a.step) * (half - a.value)) / (b.value - a.value);
}

/**
 * L3. At `tiny` and `laptop` on five texts for each person; what one text gives there is measured beside it.
 *
 * @see arXiv:2309.14316, Section 3, Figure 1.
 */
export const knowledgeMixed: Law = {
  id: 'knowledge-mixed',
  part: '3.1',
  claim: 'Questions among the biographies make facts of other people extractable, which questions after them do not.',
  source: source('Section 3, Figure 1'),
  paper: {
    text: 'bioS single: 86.6 % with four questions in five, 24.5 % with one in ten, 9.7 % when asked afterwards; answers about P_train are learnt first, those about P_test last',
    unit: 'whole answers about P_test, mixed training above finetuning',
  },
  scales: {
    tiny: scale(0.2, several('tiny')),
    laptop: scale(0.3, several('laptop')),
    gpu: scale(0.3, single('gpu')),
    paper: scale(0.3, single('paper')),
  },
  compares: {
    title: 'Questions among biographies, or after them',
    caption: 'Whole answers about P_test of models that read the same texts.',
    label: 'right answers about P_test',
    measures: {
      'asked afterwards': 'exact.afterwards',
      'one window in five asks': 'exact.few',
      'one in two': 'exact.half',
      'most windows ask': 'exact.many',
      'one text each, asked afterwards': 'exact.singleAfterwards',
      'one text each, most windows ask': 'exact.singleMany',
    },
  },
  measure(runs) {
    const exact = (of: Results | undefined): number => read(of, 'exact.test');
    const { curve } = runs.many as KnowledgeResults;
    const steps = {
      answersTrain: halfway(curve, 'firstTrain'),
      biographyTest: halfway(curve, 'biographyTest'),
      answersTest: halfway(curve, 'firstTest'),
    };
    const gap = exact(runs.many) - exact(runs.afterwards);
    const measures = {
      gap,
      rise: exact(runs.many) - exact(runs.few),
      studiesFirst: steps.biographyTest / Math.max(1, steps.answersTrain),
      answersLast: steps.answersTest / Math.max(1, steps.biographyTest),
      ...Object.fromEntries(Object.entries(runs).map(([name, of]) => [`exact.${name}`, exact(of)])),
      ...Object.fromEntries(Object.entries(steps).map(([name, step]) => [`halfway.${name}`, step])),
    };
    return measured(gap, measures, differenceInterval(runs.many, runs.afterwards, 'exact.test'));
  },
};
