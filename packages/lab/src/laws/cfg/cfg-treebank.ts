import { PhyslmError } from '@physlm/base';
import type { Law } from '../law.js';
import { source } from './members.js';

/** P1-17. @see arXiv:2305.13673, Appendix G. */
export const cfgTreebank: Law = {
  id: 'cfg-treebank',
  part: '1',
  claim: 'Very small models suffice for a grammar extracted from English.',
  source: source('Appendix G'),
  paper: {
    text: '135 thousand parameters: about 95 % right; 1.3 million: about 99 %',
    unit: 'share of right sentences',
  },
  scales: {},
  untested:
    'the grammar was drawn from the Penn Treebank, which is not free, and has not been released; its rules skip levels',
  measure() {
    throw new PhyslmError('bug', 'a law without scales was measured');
  },
};
