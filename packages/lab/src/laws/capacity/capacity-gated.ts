import type { Law, LawScale } from '../law.js';
import { often, seldomAt, seldomGpt, tinyGated } from './architectures.js';
import { bestOf, measuredRatio, ratioOf, source } from './members.js';

const members = {
  'gpt often': often('gpt'),
  'gated often': often('gated'),
  'gpt seldom': seldomGpt,
  'gated seldom, 3e-4': seldomAt('gated', 3e-4),
  'gated seldom, 5e-4': seldomAt('gated', 5e-4),
  'gated seldom, 1e-3': seldomAt('gated', 1e-3),
};
const scaleOf = (members: LawScale['members']): LawScale => ({
  members,
  expect: [
    {
      measure: 'seldomGptToGated',
      atLeast: 1.1,
      tests: 'after few exposures a model with gated MLPs holds less, even at the best of three learning rates',
    },
    {
      measure: 'oftenGptToGated',
      atLeast: 0.9,
      atMost: 1.1,
      tests: 'after many exposures the two hold the same',
    },
  ],
});

/** C4. @see arXiv:2404.05405, Results 5 to 7, Figures 3 to 5. */
export const capacityGated: Law = {
  id: 'capacity-gated',
  part: '3.3',
  claim: 'A gated MLP, as in LLaMA and Mistral, learns rarely seen knowledge more slowly than a plain one.',
  source: source('Section 6, Results 5 to 7, Figures 3, 4 and 5'),
  paper: {
    text: '1.3 times worse at 100 exposures, equal at 1000',
    unit: "GPT's bits per parameter over those of a LLaMA of equal size, few exposures",
  },
  scales: { tiny: scaleOf(tinyGated), gpu: scaleOf(members), paper: scaleOf(members) },
  measure(runs) {
    const seldom = ratioOf(runs['gpt seldom'], bestOf(runs, 'gated seldom'));
    const { ours } = ratioOf(runs['gpt often'], runs['gated often']);
    return measuredRatio('seldomGptToGated', runs, seldom, { oftenGptToGated: ours });
  },
};
