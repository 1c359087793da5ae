import { invariant } from '@physlm/base';
import type { Law } from './law.js';

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
    low: 1.93,
    high: 2.35,
    unit: 'bits per parameter',
  },
  recipe: 'capacity',
  scales: ['tiny', 'small', 'laptop', 'gpu', 'paper'],
  measure({ measures, intervals }) {
    const { perParameter: ours } = measures;
    const { perParameter: interval } = intervals;
    invariant(ours !== undefined && interval !== undefined, 'capacity results without perParameter');
    return { ours, interval };
  },
};
