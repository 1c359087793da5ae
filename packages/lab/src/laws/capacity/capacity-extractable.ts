import { invariant } from '@physlm/base';
import type { Law } from '../law.js';
import { source } from './members.js';

/** @see arXiv:2404.05405, Appendix A.2. */
export const capacityExtractable: Law = {
  id: 'capacity-extractable',
  part: '3.3',
  claim: 'Almost all that is stored can be asked for: knowledge that questions bring out obeys the same law.',
  source: source('Appendix A.2'),
  paper: {
    text: 'extractable and memorised knowledge agree, but for a factor of 1.2 in accuracy exactly at the limit',
    unit: 'extractable over memorised knowledge',
  },
  scales: {},
  untested: 'a capacity run asks no questions yet: this needs a finetune on questions about half of its people',
  measure() {
    invariant(false, 'a law without scales is not measured');
  },
};
