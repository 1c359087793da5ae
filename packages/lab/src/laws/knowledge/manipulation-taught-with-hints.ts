import type { ScaleName } from '../../recipes/recipe.js';
import type { Law, LawScale } from '../law.js';
import { evenMonth } from './manipulation-classification.js';
import { differenceInterval, HINTED, hintedAnswers, share, source } from './manipulation-members.js';
import { read } from './members.js';

const scale = (name: ScaleName, part: number): LawScale => ({
  members: { direct: evenMonth(name, part), hinted: evenMonth(name, part, HINTED) },
  expect: [
    {
      measure: 'help',
      atMost: 0.1,
      tests: 'a model that was taught with hints and answers without one is hardly better than one that never saw any',
    },
  ],
});

/** M5. @see arXiv:2309.14402, Section 4, Result 4. */
export const manipulationTaughtWithHints: Law = {
  id: 'manipulation-taught-with-hints',
  part: '3.2',
  claim: 'Hints in training do not help answers that are given without them.',
  source: source('Section 4, Result 4'),
  paper: {
    text: 'is the birth month even? 10,000 people: 75.9 % taught without hints, 80.3 % taught with and asked without, 94.2 % asked with',
    unit: 'whole answers about P_test without a hint, taught with hints above taught without',
  },
  scales: { tiny: scale('tiny', 1), laptop: scale('laptop', 1), gpu: scale('gpu', 0.2), paper: scale('paper', 0.2) },
  measure({ direct, hinted }) {
    const answers = hintedAnswers(hinted, 'monthMod2');
    const exact = 'exact.test.monthMod2';
    const measures = { help: answers.without - read(direct, exact), direct: read(direct, exact), ...answers };
    return { ours: measures.help, interval: differenceInterval(share(hinted, exact), share(direct, exact)), measures };
  },
};
