import type { Law } from '../law.js';
import { accuracy, measured, part21, plain, readSome } from './members.js';

const members = { run: plain };

/** P2.1-R1, in distribution. @see arXiv:2407.20311, Section 3, Figure 3. */
export const igsmSolves: Law = {
  id: 'igsm-solves',
  part: '2.1',
  claim: 'A GPT solves problems whose solution templates it never saw, every step right.',
  source: part21('Section 3, Figure 3'),
  paper: {
    text: 'iGSM-med 99.9 % of natural problems, 99.1 % at the most operations of training; iGSM-hard 100 and 99.4 %',
    unit: 'share of problems solved',
  },
  scales: {
    tiny: {
      members,
      expect: [{ measure: 'accuracy.in', atLeast: 0.3, tests: 'many problems are solved after two minutes' }],
    },
    small: {
      members,
      expect: [{ measure: 'accuracy.in', atLeast: 0.4, tests: 'many problems are solved after a few minutes' }],
    },
    laptop: {
      members,
      expect: [{ measure: 'accuracy.in', atLeast: 0.9, tests: 'nine of ten held-out problems are solved' }],
    },
    gpu: { members, expect: [{ measure: 'accuracy.in', atLeast: 0.95, tests: 'nearly all are solved' }] },
    paper: {
      members,
      expect: [
        { measure: 'accuracy.in', atLeast: 0.99, tests: 'nearly all are solved' },
        { measure: 'accuracy.max', atLeast: 0.97, tests: 'also those of the most operations' },
      ],
    },
  },
  measure({ run }) {
    const [ours, interval] = accuracy(run, 'in');
    return measured(ours, readSome(run, ['accuracy.in', 'accuracy.seen', 'accuracy.max', 'accuracy.reask']), interval);
  },
};
