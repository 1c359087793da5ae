import type { Law } from '../law.js';
import { measured, part22, read, readSome, solvesSome, withRetry } from './members.js';

const scale = {
  members: { run: withRetry(0.2) },
  expect: [
    {
      measure: 'retries.all',
      atMost: 0.5,
      tests: 'training has a mistake for every four sentences; correct solutions hardly any',
    },
    solvesSome('accuracy.in'),
  ],
};

/** P2.2-R4. @see arXiv:2408.16293, Section 4, Result 6, Figure 5. */
export const igsmRetrySeldom: Law = {
  id: 'igsm-retry-seldom',
  part: '2.2',
  claim: 'A model that learnt on many mistakes hardly makes them: it seldom takes anything back.',
  source: part22('Section 4, Result 6, Figure 5'),
  paper: {
    text: 'rate 0.2: 0 in range, up to 0.22 (med) and 0.25 (hard) retries for each correct solution beyond training',
    unit: 'retries for each correct solution beyond training, rate 0.2',
  },
  scales: { small: scale, laptop: scale, gpu: scale, paper: scale },
  measure({ run }) {
    const ours = read(run, 'retries.all');
    return measured(ours, {
      'retries.all': ours,
      ...readSome(run, ['accuracy.in', 'retries.in', 'retries.max', 'retries.ood', 'retries.reask']),
    });
  },
};
