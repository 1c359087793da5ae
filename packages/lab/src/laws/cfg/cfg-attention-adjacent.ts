import type { Law } from '../law.js';
import { measured, source, withPosition } from './members.js';

const members = { relative: withPosition('relative') };
const scale = {
  members,
  expect: [
    {
      measure: 'nearest',
      atLeast: 0,
      tests: 'the end of a non-terminal attends to the nearest end before it more than distance explains',
    },
    { measure: 'nearestOverFourth', atLeast: 0, tests: 'and more than to ends further back' },
  ],
};

/** P1-13. @see arXiv:2305.13673, Result 8. */
export const cfgAttentionAdjacent: Law = {
  id: 'cfg-attention-adjacent',
  part: '1',
  claim: 'The end of a non-terminal attends to the most adjacent ends, as dynamic programming needs.',
  source: source('Section 5, Results 8 and 9'),
  paper: {
    text: 'excess attention is highest for the adjacent end and falls with each one further back',
    unit: 'excess attention to the adjacent end',
  },
  scales: { tiny: scale, laptop: scale, gpu: scale, paper: scale },
  measure({ relative }) {
    const at = (r: number): number => relative?.measures[`attention.endToEnd${r}`] ?? Number.NaN;
    const nearest = Math.max(at(0), at(1));
    return measured(nearest, {
      nearest,
      nearestOverFourth: nearest - at(4),
      r0: at(0),
      r1: at(1),
      r2: at(2),
      r4: at(4),
    });
  },
};
