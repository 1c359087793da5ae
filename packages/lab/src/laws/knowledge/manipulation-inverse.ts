import type { Law, LawMember, LawScale } from '../law.js';
import { share, source, taught } from './manipulation-members.js';
import { read } from './members.js';

const FACTS = ['bdate', 'birth', 'three', 'four', 'all'] as const;

/** Asked among the texts, in both directions of the texts. */
const mixed = (augmentation: string): LawMember => taught('inverse', { augmentation, qaShare: 0.6, finetune: 'none' });

const scale = (forward: number, reversed: number, small: boolean): LawScale => ({
  members: {
    forward: taught('inverse'),
    forwardMixed: mixed('multi5+permute'),
    // Small models learn little more by finetuning than whom they are taught about.
    reversed: small ? mixed('multi5+reverse6') : taught('inverse', { augmentation: 'multi5+reverse6' }),
  },
  expect: [
    {
      measure: 'forward',
      atMost: forward,
      tests: 'from all of their facts it does not tell who someone is, not even the first name',
    },
    { measure: 'reversed', atLeast: reversed, tests: 'unless it has read the facts before the name' },
    { measure: 'forwardMixed', atMost: forward, tests: 'nor does it when asked while it reads the biographies' },
  ],
});

/** M6. @see arXiv:2309.14402, Section 5, Results 7 to 9. */
export const manipulationInverse: Law = {
  id: 'manipulation-inverse',
  part: '3.2',
  claim: 'Knowledge is not searched backwards: no set of facts gives the name, unless texts put the facts before it.',
  source: source('Section 5, Results 7 to 9'),
  paper: {
    text: 'about 0 % for all sets of facts, all sixteen augmentations, finetuned or mixed; other figures only where texts put the name last (reverse)',
    unit: 'first names told from all six facts about P_test, above the commonest one',
  },
  scales: {
    tiny: scale(0.05, 0.1, true),
    laptop: scale(0.03, 0.3, true),
    gpu: scale(0.01, 0.3, false),
    paper: scale(0.01, 0.3, false),
  },
  compares: {
    title: 'From facts back to names',
    caption: 'First names told from all six facts about P_test, above the commonest first name.',
    label: 'right answers above the commonest',
    measures: {
      'names before facts': 'forward',
      'names before facts, mixed training': 'forwardMixed',
      'names after facts': 'reversed',
    },
  },
  measure(runs) {
    const first = 'all_to_first';
    const chance = share(runs.forward, `majority.test.${first}`);
    const forward = share(runs.forward, `exact.test.${first}`);
    const above = (name: string): number =>
      read(runs[name], `exact.test.${first}`) - read(runs[name], `majority.test.${first}`);
    const measures = {
      ...Object.fromEntries(Object.keys(runs).map((name) => [name, above(name)])),
      chance: chance[0],
      ...Object.fromEntries(
        Object.entries(runs).flatMap(([name, of]) => [
          ...FACTS.flatMap((facts) =>
            ['first', 'full'].map((what) => [
              `${name}.${facts}_to_${what}`,
              read(of, `exact.test.${facts}_to_${what}`),
            ]),
          ),
          [`${name}.taught.${first}`, read(of, `exact.train.${first}`)],
        ]),
      ),
    };
    const { low, high } = forward[1];
    return { ours: above('forward'), interval: { low: low - chance[0], high: high - chance[0] }, measures };
  },
};
