import type { Law } from '../law.js';
import { often, seldomAt, seldomGpt } from './architectures.js';
import { bestOf, measuredRatio, ratioOf, source } from './members.js';

const members = {
  'gpt often': often('gpt'),
  'quarter often': often('quarter'),
  'without often': often('without'),
  'gpt seldom': seldomGpt,
  'quarter seldom, 1e-3': seldomAt('quarter', 1e-3),
  'without seldom, 5e-4': seldomAt('without', 5e-4),
  'without seldom, 1e-3': seldomAt('without', 1e-3),
};
const about = (measure: string, atLeast: number, atMost: number, tests: string) => ({
  measure,
  atLeast,
  atMost,
  tests,
});
const scale = {
  members,
  expect: [
    about('oftenGptToQuarter', 0.9, 1.1, 'a quarter of the MLP costs nothing when everybody is seen 1000 times'),
    about('seldomGptToQuarter', 0.9, 1.1, 'nor when everybody is seen 100 times'),
    about('oftenGptToWithout', 0.85, 1.1, 'no MLP costs nothing when everybody is seen 1000 times'),
    { measure: 'seldomGptToWithout', atLeast: 1.3, tests: 'but much when everybody is seen 100 times' },
  ],
};

/** C5. @see arXiv:2404.05405, Results 5 and 6, Figures 3 and 4. */
export const capacityMlp: Law = {
  id: 'capacity-mlp',
  part: '3.3',
  claim: 'At equal parameters MLPs may be a quarter as wide, or absent; only rarely seen knowledge needs them.',
  source: source('Section 6, Results 5 and 6, Figures 3 and 4'),
  paper: {
    text: 'no change with a quarter; without MLPs equal at 1000 exposures and more than 1.5 times worse at 100',
    unit: "GPT's bits per parameter over those of a model without MLPs of equal size, 100 exposures",
  },
  scales: { gpu: scale, paper: scale },
  measure(runs) {
    const ratio = (above: string, below: string): number => ratioOf(runs[above], runs[below]).ours;
    return measuredRatio('seldomGptToWithout', runs, ratioOf(runs['gpt seldom'], bestOf(runs, 'without seldom')), {
      oftenGptToQuarter: ratio('gpt often', 'quarter often'),
      seldomGptToQuarter: ratio('gpt seldom', 'quarter seldom, 1e-3'),
      oftenGptToWithout: ratio('gpt often', 'without often'),
    });
  },
};
