import type { Law } from '../law.js';
import { measured, read, source, withPosition } from './members.js';

const members = { rotary: withPosition('rotary') };

/** P1-1. @see arXiv:2305.13673, Result 1, Figure 4. */
export const cfgGeneration: Law = {
  id: 'cfg-generation',
  part: '1',
  claim: 'A GPT learns to write sentences of deep context-free grammars.',
  source: source('Section 3, Result 1, Figure 4'),
  paper: {
    text: '97.6 to 99.9 % right (rotary or relative positions, seven grammars, from nothing)',
    unit: 'share of right sentences',
  },
  scales: {
    tiny: {
      members,
      expect: [{ measure: 'accuracyCut0', atLeast: 0.5, tests: 'after 5 million tokens most sentences are right' }],
    },
    laptop: {
      members,
      expect: [
        { measure: 'accuracyCut0', atLeast: 0.8, tests: 'after 60 million tokens nearly all sentences are right' },
      ],
    },
    gpu: { members, expect: [{ measure: 'accuracyCut0', atLeast: 0.9, tests: 'nearly all sentences are right' }] },
    paper: { members, expect: [{ measure: 'accuracyCut0', atLeast: 0.95, tests: 'nearly all sentences are right' }] },
  },
  measure({ rotary }) {
    const accuracyCut0 = read(rotary, 'accuracyCut0');
    return measured(
      accuracyCut0,
      { accuracyCut0, accuracyCut: read(rotary, 'accuracyCut') },
      rotary?.intervals.accuracyCut0,
    );
  },
};
