import type { Law } from '../law.js';
import { measured, part22, read, readSome, solvesSome, withRetry } from './members.js';

const scale = {
  members: { run: withRetry(0.2) },
  expect: [
    { measure: 'unnecessary.all', atMost: 0.05, tests: 'hardly a parameter that the answer does not need' },
    solvesSome('accuracy.in'),
  ],
};

/** P2.2-R5. @see arXiv:2408.16293, Section 4, Result 6, Figure 5. */
export const igsmRetryShortest: Law = {
  id: 'igsm-retry-shortest',
  part: '2.2',
  claim: 'Solutions stay the shortest ones after training on mistakes.',
  source: part22('Section 4, Result 6, Figure 5'),
  paper: {
    text: '0.00 to 0.01 unnecessary parameters for each correct solution, except when problems are asked again',
    unit: 'unnecessary parameters for each correct solution, rate 0.2',
  },
  scales: { small: scale, laptop: scale, gpu: scale, paper: scale },
  measure({ run }) {
    const ours = read(run, 'unnecessary.all');
    return measured(ours, {
      'unnecessary.all': ours,
      ...readSome(run, ['accuracy.in', 'unnecessary.in', 'unnecessary.ood', 'unnecessary.reask']),
    });
  },
};
