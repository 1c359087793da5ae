import type { Law } from '../law.js';
import { measured, mistake, part21, plain, read } from './members.js';

const scale = {
  members: { run: plain },
  expect: [
    { measure: 'n', atLeast: 10, tests: 'there are enough of them to say something' },
    { measure: 'below', atLeast: 0.15, tests: 'the probe is wrong on them far more often than on all parameters' },
  ],
};

/** P2.1-R6a. @see arXiv:2407.20311, Section 5, Result 6, Figure 8. */
export const igsmWrongPlans: Law = {
  id: 'igsm-wrong-plans',
  part: '2.1',
  claim: 'What the model computes without need, it took to be needed before it began.',
  source: part21('Section 5, Result 6, Figure 8'),
  paper: {
    text: 'nece on unnecessary parameters that the model computed: 31.6 to 49.2 % (med), 17.1 to 23.6 % (hard); on all: 89.6 to 95.9 %',
    unit: 'accuracy of nece on unnecessary parameters that the model computed',
  },
  scales: { laptop: scale, gpu: scale, paper: scale },
  measure({ run }) {
    const [ours, interval] = mistake(run, 'unnecessary');
    const all = read(run, 'probe.nece');
    const measures = { 'mistakes.unnecessary': ours, n: read(run, 'mistakes.unnecessary.n'), all, below: all - ours };
    return measured(ours, measures, interval);
  },
};
