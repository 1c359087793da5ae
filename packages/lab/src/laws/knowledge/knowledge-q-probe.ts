import { ATTRIBUTES } from '@physlm/data/bio';
import type { Results } from '../../recipes/recipe.js';
import type { Law, LawScale } from '../law.js';
import { AUGMENTED, mean, measured, read, source, spearman } from './members.js';

const names = Object.keys(AUGMENTED);

/** First tokens of facts that a P-probe reads before the first fact of a biography is told, mean over facts. */
const firstPlace = (results: Results | undefined): number =>
  mean(ATTRIBUTES.map((attribute) => read(results, `pFirst.0.${attribute}`)));

const scale = (correlation: number): LawScale => ({
  members: AUGMENTED,
  expect: [
    {
      measure: 'correlation',
      atLeast: correlation,
      tests:
        'the more a probe reads off the names alone, the better the model answers about people it was not asked about',
    },
  ],
});

/** L6. @see arXiv:2309.14316, Section 5.2, Figure 7. */
export const knowledgeQProbe: Law = {
  id: 'knowledge-q-probe',
  part: '3.1',
  claim: 'A model can be asked about what a linear probe reads off the name.',
  source: source('Section 5.2, Figure 7'),
  paper: {
    text: 'bioS: answers follow the Q-probe row by row; whole values 2.9 % for single and 92.6 % for multi5+permute, answers 9.7 % and 96.6 %',
    unit: 'rank correlation of Q-probe and answers over data sets',
  },
  scales: { tiny: scale(0.6), laptop: scale(0.8), gpu: scale(0.9), paper: scale(0.9) },
  measure(runs) {
    const probe = names.map((name) => read(runs[name], 'qWhole'));
    const exact = names.map((name) => read(runs[name], 'exactNoDate.test'));
    const correlation = spearman(probe, exact);
    const inBiographies = names.map((name) => firstPlace(runs[name]));
    const measures = {
      correlation,
      correlationInBiographies: spearman(inBiographies, exact),
      ...Object.fromEntries(names.map((name, i) => [`pFirst.0.${name}`, inBiographies[i]!])),
      ...Object.fromEntries(names.map((name, i) => [`qWhole.${name}`, probe[i]!])),
      ...Object.fromEntries(names.map((name, i) => [`exactNoDate.${name}`, exact[i]!])),
    };
    return measured(correlation, measures, { low: correlation, high: correlation });
  },
};
