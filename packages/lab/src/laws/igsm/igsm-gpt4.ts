import { PhyslmError } from '@physlm/base';
import type { Law } from '../law.js';
import { part21 } from './members.js';

/** P2.1, Figure 2. @see arXiv:2407.20311, Figure 2. */
export const igsmGpt4: Law = {
  id: 'igsm-gpt4',
  part: '2.1',
  claim: 'Frontier models of 2024 are near guessing from some ten operations on.',
  source: part21('Section 2, Figure 2'),
  paper: {
    text: 'modulo 5, five examples shown: GPT-4-turbo 96.7 % at 2 operations and 43.3 % at 20; GPT-4o 96.7 and 46.7 %; always 0 about 32 %',
    unit: 'share of right answers at 20 operations',
  },
  scales: {},
  untested: 'models behind a paid interface answer it, and they have changed since; no run of this lab can',
  measure() {
    throw new PhyslmError('bug', 'a law without scales was measured');
  },
};
