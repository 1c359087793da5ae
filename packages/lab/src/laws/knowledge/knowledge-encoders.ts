import { PhyslmError } from '@physlm/base';
import type { Law } from '../law.js';
import { source } from './members.js';

/** L9. @see arXiv:2309.14316, Section 7, Appendix H (GBERT). */
export const knowledgeEncoders: Law = {
  id: 'knowledge-encoders',
  part: '3.1',
  claim: 'Encoders trained on hidden words can be asked only for facts whose words do not depend on each other.',
  source: source('Section 7, Appendix H'),
  paper: {
    text: 'bioS, GBERT: birth date and major can be asked for; cities, university and employer cannot, whatever the augmentation',
    unit: 'answers for birth date and major above those for other facts',
  },
  scales: {},
  untested:
    'recipe knowledge trains causal models; answers of an encoder are words hidden all at once, which it does not ask for yet',
  measure() {
    throw new PhyslmError('bug', 'a law without scales was measured');
  },
};
