import type { Results } from '../../recipes/recipe.js';
import type { Law, LawScale } from '../law.js';
import { differenceInterval, share, source, taught } from './manipulation-members.js';
import { read } from './members.js';

/** Pairs of facts; in texts of one order the second of each is read before the first. */
const PAIRS = [
  ['workCity', 'employer'],
  ['employer', 'birthCity'],
  ['major', 'university'],
] as const;

const scale = (fixed: number, permuted: number): LawScale => ({
  members: {
    fixed: taught('retrieval', { augmentation: 'multi5+fullname' }),
    permuted: taught('retrieval'),
  },
  expect: [
    {
      measure: 'fixedDrop',
      atLeast: fixed,
      tests: 'read in one order, employer and its city are told in that order and not in the other',
    },
    { measure: 'permutedDrop', atMost: permuted, tests: 'read in any order, they are told in both' },
  ],
});

/** M1. @see arXiv:2309.14402, Section 3, Result 1. */
export const manipulationDualRetrieval: Law = {
  id: 'manipulation-dual-retrieval',
  part: '3.2',
  claim: 'Two facts are told together in the order in which they were read, and in the other only if both were read.',
  source: source('Section 3, Result 1'),
  paper: {
    text: 'bioS multi5+fullname, which always tells employers before their cities: nearly perfect with the employer first, far less with the city first; multi5+permute: nearly perfect in both orders',
    unit: 'whole answers about P_test, employer first above city first, multi5+fullname',
  },
  scales: { tiny: scale(0.02, 0.05), laptop: scale(0.1, 0.05), gpu: scale(0.2, 0.05), paper: scale(0.2, 0.05) },
  measure({ fixed, permuted }) {
    const exact = (of: Results | undefined, x: string, y: string) => share(of, `exact.test.${x}+${y}`);
    const drop = (of: Results | undefined): number =>
      exact(of, 'employer', 'workCity')[0] - exact(of, 'workCity', 'employer')[0];
    const measures = {
      fixedDrop: drop(fixed),
      permutedDrop: drop(permuted),
      ...Object.fromEntries(
        Object.entries({ fixed, permuted }).flatMap(([name, of]) => [
          [`biography.${name}`, read(of, 'biography.test')] as const,
          ...PAIRS.flatMap(([late, early]) => [
            [`${name}.${early}+${late}`, exact(of, early, late)[0]] as const,
            [`${name}.${late}+${early}`, exact(of, late, early)[0]] as const,
          ]),
        ]),
      ),
    };
    const interval = differenceInterval(exact(fixed, 'employer', 'workCity'), exact(fixed, 'workCity', 'employer'));
    return { ours: measures.fixedDrop, interval, measures };
  },
};
