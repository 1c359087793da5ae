import type { Law } from '../law.js';
import { accuracy, differenceInterval, measured, part22, plain, withRetry } from './members.js';

const members = {
  clean: plain,
  weak: withRetry(0.1, { kind: 'retry_weak' }),
  weak5: withRetry(0.5, { kind: 'retry_weak' }),
  miss: withRetry(0.2, { kind: 'retry_miss' }),
};
const scale = {
  members,
  expect: [
    { measure: 'weak', atLeast: 0, tests: 'weak mistakes do not harm' },
    { measure: 'collapse', atLeast: 0.02, tests: 'unless they are too many' },
  ],
};

/** P2.2-R8. @see arXiv:2408.16293, Section 6, Result 10, Figure 8. */
export const igsmRetryWeak: Law = {
  id: 'igsm-retry-weak',
  part: '2.2',
  claim:
    'Mistakes that are cheap to make, later parameters put in too early, work nearly as well; parameters at random hardly.',
  source: part22('Section 6, Result 10, Figure 8'),
  paper: {
    text: 'best rates, mean of 30 tests: weak 95.5 %, missing 93.5 %, none 91.8 %, real mistakes 97.5 %; weak falls to 74.6 % at rate 0.5',
    unit: 'share solved at the most operations and beyond, weak mistakes minus none, rate 0.1',
  },
  scales: { small: scale, laptop: scale, gpu: scale, paper: scale },
  measure(runs) {
    const all = (name: string) => accuracy(runs[name], 'all');
    const measures = {
      weak: all('weak')[0] - all('clean')[0],
      miss: all('miss')[0] - all('clean')[0],
      weakOverMiss: all('weak')[0] - all('miss')[0],
      collapse: all('weak')[0] - all('weak5')[0],
      ...Object.fromEntries(Object.keys(members).map((name) => [`accuracy.${name}`, all(name)[0]])),
    };
    return measured(measures.weak, measures, differenceInterval(all('weak'), all('clean')));
  },
};
