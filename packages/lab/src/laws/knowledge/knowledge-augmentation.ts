import type { Law, LawScale } from '../law.js';
import { AUGMENTED, differenceInterval, measured, read, source } from './members.js';

const scale = (gap: number): LawScale => ({
  members: AUGMENTED,
  expect: [
    {
      measure: 'gap',
      atLeast: gap,
      tests: 'five wordings in any order make facts extractable that one wording does not',
    },
    { measure: 'permuteOverMulti', atLeast: 0, tests: 'permuted sentences help beyond several wordings' },
    { measure: 'multiOverSingle', atLeast: 0, tests: 'several wordings help' },
    {
      measure: 'singleOverPermute1',
      atLeast: -0.02,
      tests: 'one permuted text is no better than one in the usual order',
    },
  ],
});

/** L2. @see arXiv:2309.14316, Section 4, Figure 3. */
export const knowledgeAugmentation: Law = {
  id: 'knowledge-augmentation',
  part: '3.1',
  claim: 'Reading the same facts in several wordings and orders makes them extractable.',
  source: source('Section 4, Figure 3'),
  paper: {
    text: 'bioS, answers about P_test: single 9.7 %, permute1 4.4 %, fullname 48.9 %, permute5 70.0 %, multi5 41 %, multi5+permute 96.6 %',
    unit: 'whole answers about P_test, multi5+permute above single',
  },
  // Every person is shown equally often, in one text or in five. Models of a processor are asked while they read, not afterwards.
  scales: {
    tiny: scale(0.3),
    laptop: scale(0.4),
    gpu: scale(0.4),
    paper: scale(0.4),
  },
  compares: {
    title: 'Answers by augmentation',
    caption:
      'Whole answers about people that the model was not asked about in training. All of them were read equally often, and every data set is known by heart.',
    label: 'right answers about P_test',
    measures: Object.fromEntries(Object.keys(AUGMENTED).map((name) => [name, `exact.${name}`])),
    paper: { single: 0.097, permute1: 0.044, fullname: 0.489, permute5: 0.7, multi5: 0.41, 'multi5+permute': 0.966 },
  },
  measure(runs) {
    const exact = (name: string): number => read(runs[name], 'exact.test');
    const gap = exact('multi5+permute') - exact('single');
    const measures = {
      gap,
      permuteOverMulti: exact('multi5+permute') - exact('multi5'),
      multiOverSingle: exact('multi5') - exact('single'),
      singleOverPermute1: exact('single') - exact('permute1'),
      ...Object.fromEntries(Object.keys(AUGMENTED).map((name) => [`exact.${name}`, exact(name)])),
      ...Object.fromEntries(
        Object.keys(AUGMENTED).map((name) => [`biography.${name}`, read(runs[name], 'biography.test')]),
      ),
    };
    return measured(gap, measures, differenceInterval(runs['multi5+permute'], runs.single, 'exact.test'));
  },
};
