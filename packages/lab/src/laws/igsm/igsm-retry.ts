import type { Law } from '../law.js';
import { accuracy, differenceInterval, measured, part22, plain, withRetry } from './members.js';

const rates = {
  clean: plain,
  rate05: withRetry(0.05),
  rate1: withRetry(0.1),
  rate2: withRetry(0.2),
  rate5: withRetry(0.5),
};
const scale = {
  members: rates,
  expect: [{ measure: 'best', atLeast: 0.02, tests: 'some rate of mistakes solves more than none' }],
};

/** P2.2-R2. @see arXiv:2408.16293, Section 4, Result 4, Figure 4. */
export const igsmRetry: Law = {
  id: 'igsm-retry',
  part: '2.2',
  claim:
    'Pretraining on solutions with mistakes that are taken back solves more problems, the more mistakes the better, at equal tokens.',
  source: part22('Section 4, Result 4, Figure 4'),
  paper: {
    text: 'mean of 30 tests: 91.8 % without, 93.3, 94.9, 96.2, 97.5 % at rates 0.05, 0.1, 0.2, 0.5',
    unit: 'share solved at the most operations and beyond, rate 0.5 minus none',
  },
  scales: { small: scale, laptop: scale, gpu: scale, paper: scale },
  measure(runs) {
    const all = (name: string) => accuracy(runs[name], 'all');
    const names = Object.keys(rates);
    const shares = names.map((name) => all(name)[0]);
    const measures = {
      gain: all('rate5')[0] - all('clean')[0],
      best: Math.max(...shares.slice(1)) - shares[0]!,
      ...Object.fromEntries(names.map((name, i) => [`accuracy.${name}`, shares[i]!])),
      ...Object.fromEntries(names.map((name) => [`in.${name}`, accuracy(runs[name], 'in')[0]])),
    };
    return measured(measures.gain, measures, differenceInterval(all('rate5'), all('clean')));
  },
};
