import { PhyslmError } from '@physlm/base';
import type { Law } from '../law.js';
import { source } from './members.js';

/** P1-9. @see arXiv:2305.13673, Section 4, Figures 5 and 7 (DeBERTa). */
export const cfgEncoders: Law = {
  id: 'cfg-encoders',
  part: '1',
  claim: 'Encoders trained on masked tokens do not learn the deep levels of the tree.',
  source: source('Section 4, Figures 5 and 7'),
  paper: {
    text: 'cfg3f, at the ends of non-terminals, from the tokens up: DeBERTa 100, 99, 78, 69, 80 %; GPT_rel 100, 99, 99, 99, 98 %',
    unit: 'accuracy of a GPT above that of an encoder, highest levels',
  },
  scales: {},
  untested:
    'encoders train (causal: false, maskWindows), but states for probes are read in padded batches, which an encoder sees',
  measure() {
    throw new PhyslmError('bug', 'a law without scales was measured');
  },
};
