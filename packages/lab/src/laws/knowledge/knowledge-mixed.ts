import type { Results } from '../../recipes/recipe.js';
import type { KnowledgePoint, KnowledgeResults } from '../../run-knowledge.js';
import type { Law, LawScale } from '../law.js';
import { AUGMENTED, asked, differenceInterval, measured, read, source } from './members.js';

/** As many exposures as finetuning's pretraining, or fewer at a scale whose questions would take too long. */
const scale = (gap: number, rest: Readonly<Record<string, unknown>> = {}): LawScale => ({
  members: {
    finetuned: AUGMENTED.single,
    mixed20: asked('single', { qaShare: 0.2, probes: 'none', ...rest }),
    mixed50: asked('single', { qaShare: 0.5, probes: 'none', ...rest }),
    mixed80: asked('single', { qaShare: 0.8, probes: 'none', ...rest }),
  },
  expect: [
    {
      measure: 'gap',
      atLeast: gap,
      tests: 'asking while it reads makes facts extractable that asking afterwards does not',
    },
    { measure: 'rise', atLeast: 0, tests: 'with four questions in five it answers better than with one in five' },
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

/** L3. @see arXiv:2309.14316, Section 3, Figure 1. */
export const knowledgeMixed: Law = {
  id: 'knowledge-mixed',
  part: '3.1',
  claim: 'Questions among the biographies make facts of other people extractable, without any augmentation.',
  source: source('Section 3, Figure 1'),
  paper: {
    text: 'bioS single: 86.6 % with four questions in five, 24.5 % with one in ten, 9.7 % when asked afterwards; answers about P_train are learnt first, those about P_test last',
    unit: 'whole answers about P_test, mixed training above finetuning',
  },
  scales: {
    tiny: scale(0.08, { exposures: 60 }),
    laptop: scale(0.15, { exposures: 100 }),
    gpu: scale(0.3),
    paper: scale(0.3),
  },
  measure(runs) {
    const exact = (of: Results | undefined): number => read(of, 'exact.test');
    const { curve } = runs.mixed80 as KnowledgeResults;
    const steps = {
      answersTrain: halfway(curve, 'firstTrain'),
      biographyTest: halfway(curve, 'biographyTest'),
      answersTest: halfway(curve, 'firstTest'),
    };
    const gap = exact(runs.mixed80) - exact(runs.finetuned);
    const measures = {
      gap,
      rise: exact(runs.mixed80) - exact(runs.mixed20),
      studiesFirst: steps.biographyTest / Math.max(1, steps.answersTrain),
      answersLast: steps.answersTest / Math.max(1, steps.biographyTest),
      ...Object.fromEntries(Object.entries(runs).map(([name, of]) => [`exact.${name}`, exact(of)])),
      ...Object.fromEntries(Object.entries(steps).map(([name, step]) => [`halfway.${name}`, step])),
    };
    return measured(gap, measures, differenceInterval(runs.mixed80, runs.finetuned, 'exact.test'));
  },
};
