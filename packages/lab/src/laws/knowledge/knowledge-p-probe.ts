import { ATTRIBUTES } from '@physlm/data/bio';
import type { Results } from '../../recipes/recipe.js';
import type { Law, LawScale } from '../law.js';
import { AUGMENTED, mean, measured, read, source } from './members.js';

const scale = (before: number, own: number, gap: number): LawScale => ({
  members: { single: AUGMENTED.single, augmented: AUGMENTED['multi5+permute'] },
  expect: [
    {
      measure: 'before',
      atMost: before,
      tests: 'read in one wording, a fact is not in the states before its own place',
    },
    { measure: 'own', atLeast: own, tests: 'and is there just before it comes' },
    { measure: 'gap', atLeast: gap, tests: 'read in many, facts are there before the first of them comes' },
  ],
});

/** Mean over facts and the places before their own, above the commonest label; and over facts at their own place. */
function staircase(results: Results | undefined): { readonly before: number; readonly own: number } {
  const above = (place: number, attribute: string): number =>
    read(results, `pFirst.${place}.${attribute}`) - read(results, `pFirst.${place}.${attribute}.majority`);
  return {
    before: mean(
      ATTRIBUTES.flatMap((attribute, k) => Array.from({ length: k }, (_, place) => above(place, attribute))),
    ),
    own: mean(ATTRIBUTES.map((attribute, k) => read(results, `pFirst.${k}.${attribute}`))),
  };
}

/** L5. @see arXiv:2309.14316, Section 5.1, Figures 5 and 13. */
export const knowledgePProbe: Law = {
  id: 'knowledge-p-probe',
  part: '3.1',
  claim: 'Without augmentation a fact is stored with the words before it; with it, with the name.',
  source: source('Section 5.1, Figure 5'),
  paper: {
    text: 'bioS single: the employer is read at 2 % before its place and nearly always there; multi5+permute: every first token at about 100 % already before the first fact',
    unit: 'first tokens read before the first fact, multi5+permute above single',
  },
  scales: {
    tiny: scale(0.1, 0.8, 0.1),
    laptop: scale(0.1, 0.9, 0.2),
    gpu: scale(0.1, 0.95, 0.5),
    paper: scale(0.1, 0.95, 0.7),
  },
  measure({ single, augmented }) {
    const { before, own } = staircase(single);
    // Before the first fact, single knows the birth date, which always comes first: the other five are compared.
    const others = ATTRIBUTES.slice(1);
    const first = (of: Results | undefined): number =>
      mean(others.map((attribute) => read(of, `pFirst.0.${attribute}`)));
    const gap = first(augmented) - first(single);
    const width = (of: Results | undefined): number =>
      Math.hypot(
        ...others.map((attribute) => {
          const { low, high } = of!.intervals[`pFirst.0.${attribute}`]!;
          return (high - low) / 2 / others.length;
        }),
      );
    const half = Math.hypot(width(single), width(augmented));
    const measures = { gap, before, own, 'first.single': first(single), 'first.augmented': first(augmented) };
    return measured(gap, measures, { low: gap - half, high: gap + half });
  },
};
