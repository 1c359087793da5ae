import { knowledgeScales } from '../../recipes/knowledge.js';
import type { ScaleName } from '../../recipes/recipe.js';
import type { Law, LawScale } from '../law.js';
import { askedAfterwards, measured, read, source } from './members.js';

const scale = (name: ScaleName, biography: number, taught: number, above: number): LawScale => ({
  members: {
    single: askedAfterwards(name, 'single', { finetune: 'none', probes: 'none' }),
    // Updates of low rank hardly teach a small model the answers about P_train.
    taught: askedAfterwards(name, 'single', {
      probes: 'none',
      ...(knowledgeScales[name].qaShare > 0 && { finetune: 'full' }),
    }),
  },
  expect: [
    { measure: 'biography', atLeast: biography, tests: 'the model has the biographies of all people by heart' },
    {
      measure: 'taught',
      atLeast: taught,
      tests: 'it answers questions about people that it was taught to answer about',
    },
    {
      measure: 'aboveMajority',
      atMost: above,
      tests: 'of all others it answers hardly better than one who gives everyone the commonest answer',
    },
  ],
});

/** L1. @see arXiv:2309.14316, Section 4, Figure 3. */
export const knowledgeMemory: Law = {
  id: 'knowledge-memory',
  part: '3.1',
  claim: 'Facts that are read in one wording only are memorised, and cannot be asked for.',
  source: source('Section 4, Figure 3'),
  paper: {
    text: 'bioS single, GPT-2 small: facts in biographies above 99 %, answers about P_train about 99 %, about P_test 9.7 %, near the commonest answer but for birth dates',
    unit: 'whole answers about P_test above the commonest answer, without birth dates',
  },
  scales: {
    tiny: scale('tiny', 0.95, 0.8, 0.1),
    laptop: scale('laptop', 0.95, 0.9, 0.1),
    gpu: scale('gpu', 0.95, 0.9, 0.1),
    paper: scale('paper', 0.99, 0.9, 0.1),
  },
  measure({ single, taught }) {
    const exact = read(taught, 'exactNoDate.test');
    const majority = read(taught, 'majorityNoDate.test');
    const { low, high } = taught!.intervals['exactNoDate.test']!;
    const measures = {
      aboveMajority: exact - majority,
      biography: read(single, 'biography.test'),
      'biography.taught': read(taught, 'biography.test'),
      taught: read(taught, 'exact.train'),
      exact: read(taught, 'exact.test'),
      exactNoDate: exact,
      majorityNoDate: majority,
    };
    return measured(exact - majority, measures, { low: low - majority, high: high - majority });
  },
};
