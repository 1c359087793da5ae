import type { Law } from '../law.js';
import { accuracy, measured, part21, plain, read, readSome } from './members.js';

const members = { run: plain };

/** P2.1-R2. @see arXiv:2407.20311, Section 3, Result 2, Figure 3. */
export const igsmLonger: Law = {
  id: 'igsm-longer',
  part: '2.1',
  claim: 'What is learnt on short problems solves longer ones than any of training.',
  source: part21('Section 3, Result 2, Figure 3'),
  paper: {
    text: 'iGSM-med, up to 15 operations in training: 91.8, 87.9, 84.0, 76.8 % at 20 to 23; iGSM-hard, up to 21: 94.4 to 82.8 % at 28 to 32',
    unit: 'share of problems beyond training solved',
  },
  scales: {
    laptop: {
      members,
      expect: [
        {
          measure: 'accuracy.next',
          atLeast: 0.3,
          tests: 'a third of problems with more operations than any of training',
        },
        { measure: 'toMax', atLeast: 0.3, tests: 'against the most operations of training it does not break down' },
      ],
    },
    gpu: { members, expect: [{ measure: 'accuracy.ood', atLeast: 0.3, tests: 'a third of problems beyond training' }] },
    paper: { members, expect: [{ measure: 'accuracy.ood', atLeast: 0.7, tests: 'most problems beyond training' }] },
  },
  measure({ run }) {
    const [ours, interval] = accuracy(run, 'ood');
    const next = read(run, 'accuracy.next');
    const cells = Object.keys(run?.measures ?? {}).filter((name) => /^accuracy\.op\d+$/.test(name));
    const measures = {
      'accuracy.ood': ours,
      'accuracy.next': next,
      toMax: next / Math.max(1e-9, read(run, 'accuracy.max')),
      ...readSome(run, [...cells, 'accuracy.max', 'accuracy.reask']),
    };
    return measured(ours, measures, interval);
  },
};
