import type { Law } from '../law.js';
import { levelsOf, measured, read, source, withPosition } from './members.js';

const members = { rotary: withPosition('rotary') };
const expecting = (gap: number, distance: number) => ({
  members,
  expect: [
    {
      measure: 'gap',
      atLeast: gap,
      tests: 'a linear probe reads ancestors off the trained model far better than off an untrained one',
    },
    { measure: 'toCeiling', atMost: distance, tests: 'and about as well as the sentence allows' },
  ],
});

/** P1-7. @see arXiv:2305.13673, Result 4, Figure 5. */
export const cfgAncestors: Law = {
  id: 'cfg-ancestors',
  part: '1',
  claim: 'Hidden states linearly encode the ancestors of every token in the tree.',
  source: source('Section 4, Result 4, Figure 5'),
  paper: {
    text: 'cfg3f, rotary: 94 to 100 % by level, untrained 45 to 71 %: 34 points on average',
    unit: 'accuracy above an untrained model, mean over levels',
  },
  scales: {
    tiny: expecting(0.15, 0.25),
    laptop: expecting(0.2, 0.15),
    gpu: expecting(0.2, 0.1),
    paper: expecting(0.25, 0.07),
  },
  measure({ rotary }) {
    const levels = levelsOf(rotary, 'ancestor');
    const mean = (of: (level: string) => number): number =>
      levels.reduce((sum, level) => sum + of(level), 0) / levels.length;
    const gap = mean((level) => read(rotary, `ancestor.${level}`) - read(rotary, `ancestor.${level}.random`));
    const toCeiling = mean((level) => read(rotary, `ancestor.${level}.ceiling`) - read(rotary, `ancestor.${level}`));
    const byLevel = Object.fromEntries(levels.map((level) => [level, read(rotary, `ancestor.${level}`)]));
    return measured(gap, { gap, toCeiling, ...byLevel });
  },
};
