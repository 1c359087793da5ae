import type { Law } from '../law.js';
import { measured, mistake, part21, plain, read, readSome } from './members.js';

const scale = {
  members: { run: plain },
  expect: [
    { measure: 'n', atLeast: 10, tests: 'there are enough of them to say something' },
    { measure: 'below', atLeast: 0.15, tests: 'the probe is wrong on them far more often than on all parameters' },
  ],
};

/** P2.1-R6b. @see arXiv:2407.20311, Section 5, Result 6, Figure 8. */
export const igsmWrongReadiness: Law = {
  id: 'igsm-wrong-readiness',
  part: '2.1',
  claim: 'Where a solution goes wrong, the model believed that the parameter could be computed already.',
  source: part21('Section 5, Result 6, Figure 8'),
  paper: {
    text: 'on the first wrong parameter can_next says no in 57 to 76 % and nece_next in 41 to 59 %; on all parameters about 99 %',
    unit: 'accuracy of can_next on first wrong parameters',
  },
  scales: { laptop: scale, gpu: scale, paper: scale },
  measure({ run }) {
    const [ours, interval] = mistake(run, 'canNext');
    const all = read(run, 'probe.can_next');
    const measures = {
      'mistakes.canNext': ours,
      n: read(run, 'mistakes.canNext.n'),
      all,
      below: all - ours,
      ...readSome(run, ['mistakes.neceNext', 'probe.nece_next']),
    };
    return measured(ours, measures, interval);
  },
};
