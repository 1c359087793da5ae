import { invariant } from '@physlm/base';
import type { Expectation } from '../../recipes/recipe.js';
import type { Law } from '../law.js';

const storesWhatItIsShown: Expectation = {
  measure: 'shareOfCeiling',
  atLeast: 0.9,
  tests:
    'a model with room to spare stores the bits it is shown; the limit of 2 bits per parameter is out of its reach',
};

const atItsLimit = (atLeast: number, tests: string): Expectation => ({
  measure: 'perParameter',
  atLeast,
  atMost: 2.5,
  tests,
});

const members = { model: { recipe: 'capacity' } };

/**
 * A transformer stores about two bits of knowledge per parameter.
 *
 * The limit shows only in a model that is shown more than two bits per parameter, at a million parameters and up; small
 * models pay for grammar and layers first. The scales `tiny` and `small` therefore test the law's other half: below the
 * limit, a model stores everything it is shown.
 *
 * @see Allen-Zhu and Li 2024, arXiv:2404.05405, Result 1 and Figure 1(a).
 */
export const capacityTwoBits: Law = {
  id: 'capacity-two-bits',
  part: '3.3',
  claim: 'A transformer stores about 2 bits of knowledge per parameter, and everything it is shown below that limit.',
  source: { paper: 'arXiv:2404.05405', section: 'Section 4, Result 1, Figure 1(a)' },
  paper: {
    text: '2 bits per parameter at 1000 exposures (peaks of 1.93 to 2.35 for 50,000 to 200,000 people)',
    unit: 'bits per parameter',
  },
  scales: {
    tiny: { members, expect: [storesWhatItIsShown] },
    small: { members, expect: [storesWhatItIsShown] },
    laptop: {
      members,
      expect: [
        atItsLimit(
          1.3,
          'a model that is shown 2 bits per parameter stores most of them; one this small pays for grammar and layers first',
        ),
      ],
    },
    gpu: {
      members,
      expect: [atItsLimit(1.5, 'a model that is shown about 2 bits per parameter stores about 2 bits per parameter')],
    },
    paper: {
      members,
      expect: [
        {
          ...atItsLimit(1.7, 'a model that is shown more than 2 bits per parameter stores about 2 bits per parameter'),
          atMost: 2.3,
        },
      ],
    },
  },
  measure({ model }) {
    const ours = model?.measures.perParameter;
    const interval = model?.intervals.perParameter;
    invariant(
      model !== undefined && ours !== undefined && interval !== undefined,
      'capacity results without perParameter',
    );
    return { ours, interval, measures: model.measures };
  },
};
