import type { Law } from '../law.js';
import { accuracy, differenceInterval, measured, part22, solvesSome, withRetry } from './members.js';

const scale = {
  members: { masked: withRetry(0.2, { mask: 'define' }), learnt: withRetry(0.2) },
  expect: [
    { measure: 'difference', atMost: 0.1, tests: 'leaving mistakes out of the loss gains little' },
    solvesSome('in.learnt'),
  ],
};

/** P2.2-R3. @see arXiv:2408.16293, Section 4, Result 5, Figure 4. */
export const igsmRetryMask: Law = {
  id: 'igsm-retry-mask',
  part: '2.2',
  claim: 'Mistakes need not be left out of the loss: learning to make them does no harm.',
  source: part22('Section 4, Result 5, Figure 4'),
  paper: {
    text: 'masked minus unmasked, mean of 30 tests: -0.2, -0.1, +0.1, +0.2 points at rates 0.05, 0.1, 0.2, 0.5',
    unit: 'share solved at the most operations and beyond, masked minus unmasked, rate 0.2',
  },
  scales: { small: scale, laptop: scale, gpu: scale, paper: scale },
  measure({ masked, learnt }) {
    const [a, b] = [accuracy(masked, 'all'), accuracy(learnt, 'all')];
    const measures = {
      difference: a[0] - b[0],
      masked: a[0],
      learnt: b[0],
      'in.masked': accuracy(masked, 'in')[0],
      'in.learnt': accuracy(learnt, 'in')[0],
    };
    return measured(measures.difference, measures, differenceInterval(a, b));
  },
};
