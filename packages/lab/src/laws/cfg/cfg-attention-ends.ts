import type { Law } from '../law.js';
import { measured, read, source, withPosition } from './members.js';

const members = { relative: withPosition('relative') };
const scale = {
  members,
  expect: [
    {
      measure: 'atEnd',
      atLeast: 0,
      tests: 'more attention goes to ends of non-terminals than their distance explains',
    },
    { measure: 'overNeighbours', atLeast: 0, tests: 'and more than to the tokens beside them' },
    { measure: 'endsToEnds', atLeast: 0, tests: 'most of all from ends to ends' },
  ],
};

/** P1-12. @see arXiv:2305.13673, Result 7. */
export const cfgAttentionEnds: Law = {
  id: 'cfg-attention-ends',
  part: '1',
  claim: 'What attention does beyond distance prefers the ends of non-terminals.',
  source: source('Section 5, Result 7'),
  paper: {
    text: 'largest exactly at ends, falling off one token beside them',
    unit: 'excess attention at ends over that beside them',
  },
  scales: { tiny: scale, laptop: scale, gpu: scale, paper: scale },
  measure({ relative }) {
    const offset = (d: number): number => read(relative, `attention.endOffset${d}`);
    const beside = Math.max(...[-2, -1, 1, 2].map(offset));
    const boundary = (d1: number, d2: number): number => read(relative, `attention.boundary${d1},${d2}`);
    const others = [-1, 0, 1]
      .flatMap((a) => [-1, 0, 1].map((b) => [a, b] as const))
      .filter(([a, b]) => a !== 0 || b !== 0);
    const measures = {
      atEnd: offset(0),
      overNeighbours: offset(0) - beside,
      endsToEnds: boundary(0, 0) - Math.max(...others.map(([a, b]) => boundary(a, b))),
    };
    return measured(measures.overNeighbours, measures);
  },
};
