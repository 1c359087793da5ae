import type { Law } from '../law.js';
import { measured, read, source, withPosition } from './members.js';

const members = { rotary: withPosition('rotary') };
const scale = {
  members,
  expect: [
    {
      measure: 'scales',
      atLeast: 3,
      tests: 'the head that looks furthest back looks several times further than the one that looks least far',
    },
  ],
};

/** P1-11. @see arXiv:2305.13673, Result 6. */
export const cfgAttentionDistance: Law = {
  id: 'cfg-attention-distance',
  part: '1',
  claim: 'Attention depends strongly on distance, at several scales: some heads look near, some far.',
  source: source('Section 5, Result 6'),
  paper: {
    text: 'heads from the last few to hundreds of tokens',
    unit: 'distance that holds half of the attention, longest over shortest',
  },
  scales: { tiny: scale, laptop: scale, gpu: scale, paper: scale },
  measure({ rotary }) {
    const [shortest, longest] = [read(rotary, 'attention.shortestHalf'), read(rotary, 'attention.longestHalf')];
    return measured(longest / shortest, { scales: longest / shortest, shortestHalf: shortest, longestHalf: longest });
  },
};
