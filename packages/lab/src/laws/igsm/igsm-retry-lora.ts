import type { Law } from '../law.js';
import { accuracy, differenceInterval, finetuned, measured, part22, plain } from './members.js';

const withRanks = (ranks: readonly number[]) => ({
  members: {
    clean: plain,
    full: finetuned(0.2),
    ...Object.fromEntries(ranks.map((rank) => [`rank${rank}`, finetuned(0.2, rank)])),
  },
  expect: [
    { measure: 'fullOverLow', atLeast: 0.02, tests: 'all weights learn what low ranks do not' },
    { measure: 'full', atLeast: 0.01, tests: 'and solve more than before' },
  ],
});

/** P2.2-R7. @see arXiv:2408.16293, Section 5, Results 8 and 9, Figure 7. */
export const igsmRetryLora: Law = {
  id: 'igsm-retry-lora',
  part: '2.2',
  claim:
    'Updates of low rank cannot teach a model to correct itself; finetuning all weights can, at the price of pretraining.',
  source: part22('Section 5, Results 8 and 9, Figure 7'),
  paper: {
    text: 'rate 0.2, mean of 30 tests: 91.8 % before; rank 4 85.2 %, best rank 92.1 %; all weights 96.9 %; pretrained on mistakes 96.2 %',
    unit: 'share solved at the most operations and beyond, all weights minus the best low rank',
  },
  scales: {
    small: withRanks([4, 16]),
    laptop: withRanks([4, 16]),
    gpu: withRanks([4, 16, 64, 256]),
    paper: withRanks([4, 8, 16, 32, 64, 128, 256]),
  },
  measure({ clean, full, ...others }) {
    const low = Object.entries(others).map(([name, run]) => [name, accuracy(run, 'all')] as const);
    const [, best] = low.reduce((a, b) => (b[1][0] > a[1][0] ? b : a));
    const whole = accuracy(full, 'all');
    const before = accuracy(clean, 'all')[0];
    const measures = {
      fullOverLow: whole[0] - best[0],
      full: whole[0] - before,
      low: best[0] - before,
      'accuracy.clean': before,
      'accuracy.full': whole[0],
      ...Object.fromEntries(low.map(([name, [share]]) => [`accuracy.${name}`, share])),
    };
    return measured(measures.fullOverLow, measures, differenceInterval(whole, best));
  },
};
