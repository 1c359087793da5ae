import type { Law } from '../law.js';
import { levelsOf, measured, read, source, withPosition } from './members.js';

const members = { rotary: withPosition('rotary') };
const atMost = (distance: number) => ({
  members,
  expect: [
    {
      measure: 'toCeiling',
      atMost: distance,
      tests: 'one state at the end of a non-terminal says which one it was, as well as what was read allows',
    },
    { measure: 'gap', atLeast: 0.1, tests: 'and better than in an untrained model' },
  ],
});

/** P1-8. @see arXiv:2305.13673, Result 5, Figure 7. */
export const cfgEnds: Law = {
  id: 'cfg-ends',
  part: '1',
  claim: 'A model keeps each non-terminal at the token where it ends.',
  source: source('Section 4, Result 5, Figure 7'),
  paper: {
    text: 'cfg3f, rotary: 98.1 to 100 % from that state alone, equal to the exact causal ceiling; untrained 54 to 78 %',
    unit: 'distance to the best possible, mean over levels',
  },
  scales: { tiny: atMost(0.06), laptop: atMost(0.04), gpu: atMost(0.02), paper: atMost(0.01) },
  measure({ rotary }) {
    const levels = levelsOf(rotary, 'end');
    const mean = (of: (level: string) => number): number =>
      levels.reduce((sum, level) => sum + of(level), 0) / levels.length;
    const toCeiling = mean((level) => read(rotary, `end.${level}.ceiling`) - read(rotary, `end.${level}`));
    const gap = mean((level) => read(rotary, `end.${level}`) - read(rotary, `end.${level}.random`));
    const look = mean((level) => read(rotary, `endTri.${level}`) - read(rotary, `end.${level}`));
    const byLevel = Object.fromEntries(levels.map((level) => [level, read(rotary, `end.${level}`)]));
    return measured(toCeiling, { toCeiling, gap, gainOfNeighbours: look, ...byLevel });
  },
};
