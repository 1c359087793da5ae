import type { ScaleName } from '../../recipes/recipe.js';
import type { Law, LawScale } from '../law.js';
import {
  asking,
  differenceInterval,
  forFunctions,
  HINTED,
  hintedAnswers,
  share,
  source,
  taught,
} from './manipulation-members.js';
import { read } from './members.js';

const TASK = 'monthMod2';

/** Is the birth month even? Asked about this share of P_train. */
export const evenMonth = (scale: ScaleName, part: number, rest: Readonly<Record<string, unknown>> = {}) =>
  taught(TASK, { ...forFunctions(scale), ...asking(scale, part), ...rest });

const scale = (name: ScaleName, part: number, gap: number): LawScale => ({
  members: {
    fewer: evenMonth(name, part / 4),
    direct: evenMonth(name, part),
    hinted: evenMonth(name, part, HINTED),
    ...(part < 1 && { more: evenMonth(name, 1) }),
  },
  expect: [
    { measure: 'direct', atMost: 0.8, tests: 'without a hint it answers wrongly about one person in five at least' },
    { measure: 'gap', atLeast: gap, tests: 'it answers better when it states the month first' },
    {
      measure: 'abovePredicted',
      atLeast: -0.05,
      tests: 'and then as well as its hints are right',
    },
    ...(part < 1 ? [{ measure: 'rise', atLeast: 0.1, tests: 'without, it takes far more people to learn from' }] : []),
  ],
});

/** M3. @see arXiv:2309.14402, Section 4, Results 3 and 4. */
export const manipulationClassification: Law = {
  id: 'manipulation-classification',
  part: '3.2',
  claim:
    'A model that tells a fact cannot classify by it unless it states the fact first, or is taught with very many people.',
  source: source('Section 4, Results 3 and 4'),
  paper: {
    text: 'is the birth month even? bioS multi5+permute, GPT-2, without a hint: 60.4, 75.9 and 95.3 % after 2,500, 10,000 and 50,000 people; with a hint 94.2 % after 10,000 at 91.0 % right hints',
    unit: 'whole answers about P_test, with a hint above without',
  },
  scales: {
    tiny: scale('tiny', 1, 0.02),
    laptop: scale('laptop', 1, 0.05),
    gpu: scale('gpu', 0.2, 0.1),
    paper: scale('paper', 0.2, 0.1),
  },
  compares: {
    title: 'The gap between answers with and without a hint',
    caption:
      'Is the birth month even? Whole answers about P_test; with a hint the model states the month before it answers. Expected: right hints give right answers, wrong ones the commonest.',
    label: 'right answers about P_test',
    measures: {
      'commonest answer': 'chance',
      'without a hint, taught with fewer people': 'direct.fewer',
      'without a hint': 'direct',
      'without a hint, taught with more people': 'direct.more',
      'with a hint': 'withHint',
      'expected with these hints': 'predicted',
    },
  },
  measure({ fewer, direct, hinted, more }) {
    const { withHint, hint, predicted, chance } = hintedAnswers(hinted, TASK);
    const exact = `exact.test.${TASK}`;
    const measures = {
      gap: withHint - read(direct, exact),
      abovePredicted: withHint - predicted,
      withHint,
      predicted,
      hint,
      chance,
      direct: read(direct, exact),
      'direct.fewer': read(fewer, exact),
      'direct.taught': read(direct, `exact.train.${TASK}`),
      ...(more !== undefined && { 'direct.more': read(more, exact), rise: read(more, exact) - read(fewer, exact) }),
    };
    const interval = differenceInterval(share(hinted, `hinted.test.${TASK}`), share(direct, exact));
    return { ours: measures.gap, interval, measures };
  },
};
