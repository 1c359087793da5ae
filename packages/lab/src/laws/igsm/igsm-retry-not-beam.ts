import type { Law } from '../law.js';
import { accuracy, differenceInterval, measured, part22, plain, withRetry } from './members.js';

const scale = {
  members: { clean: plain, retry: withRetry(0.5) },
  expect: [{ measure: 'difference', atLeast: 0.01, tests: 'pretraining with mistakes beats going back' }],
};

/** P2.2-R6. @see arXiv:2408.16293, Section 4, Result 7. */
export const igsmRetryNotBeam: Law = {
  id: 'igsm-retry-not-beam',
  part: '2.2',
  claim:
    'Correcting oneself is neither beam search nor drawing again: learning on mistakes gains more than going back does.',
  source: part22('Section 4, Result 7'),
  paper: {
    text: '23 operations, med_pq: +17 points by pretraining with mistakes, +2 by going back',
    unit: 'share solved beyond training, gain by pretraining with mistakes minus gain by going back',
  },
  scales: { laptop: scale, gpu: scale, paper: scale },
  measure({ clean, retry }) {
    const [greedy, back, taught] = [accuracy(clean, 'ood'), accuracy(clean, 'regret.ood'), accuracy(retry, 'ood')];
    const measures = {
      difference: taught[0] - back[0],
      byTraining: taught[0] - greedy[0],
      byGoingBack: back[0] - greedy[0],
      byBeam: accuracy(clean, 'beam.ood')[0] - greedy[0],
    };
    return measured(measures.difference, measures, differenceInterval(taught, back));
  },
};
