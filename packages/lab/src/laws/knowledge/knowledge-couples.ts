import type { ScaleName } from '../../recipes/recipe.js';
import type { Law, LawScale } from '../law.js';
import { askedAfterwards, mean, measured, read, source } from './members.js';

/** Facts that always come right after their partner. */
const SECONDS = ['birthCity', 'major', 'workCity'] as const;

const scale = (name: ScaleName, gap: number): LawScale => ({
  members: { couple2: askedAfterwards(name, 'couple2', { probes: 'p', finetune: 'none' }) },
  expect: [
    { measure: 'gap', atLeast: gap, tests: 'the second fact of a pair is in the states once the first has been told' },
  ],
});

/** L7. @see arXiv:2309.14316, Section 5.1, Appendix E. */
export const knowledgeCouples: Law = {
  id: 'knowledge-couples',
  part: '3.1',
  claim: 'A fact that always follows another is stored with it: it is known once the other has been told.',
  source: source('Section 5.1, Appendix E'),
  paper: {
    text: 'couple data: the second fact of a pair can be read off the states only after the first',
    unit: 'first tokens of second facts read after the first fact above before it',
  },
  scales: {
    tiny: scale('tiny', 0.2),
    laptop: scale('laptop', 0.3),
    gpu: scale('gpu', 0.3),
    paper: scale('paper', 0.3),
  },
  measure({ couple2 }) {
    const told = SECONDS.map((attribute) => read(couple2, `pFirst.told.${attribute}`));
    const untold = SECONDS.map((attribute) => read(couple2, `pFirst.untold.${attribute}`));
    const gap = mean(told) - mean(untold);
    const measures = {
      gap,
      ...Object.fromEntries(SECONDS.map((attribute, i) => [`told.${attribute}`, told[i]!])),
      ...Object.fromEntries(SECONDS.map((attribute, i) => [`untold.${attribute}`, untold[i]!])),
      biography: read(couple2, 'biography.test'),
    };
    return measured(gap, measures, { low: gap, high: gap });
  },
};
