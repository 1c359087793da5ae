import type { Law } from '../law.js';
import { measured, mistake, part22, plain, read, readSome } from './members.js';

const scale = {
  members: { run: plain },
  expect: [
    { measure: 'aboveMajority', atLeast: 0.1, tests: 'the probe knows whether a parameter can be computed' },
    { measure: 'mistakes.regret', atLeast: 0.2, tests: 'and detects some of the first mistakes of the model itself' },
  ],
};

/** P2.2-R0. @see arXiv:2408.16293, Section 3, Result 1, Figure 3. */
export const igsmRegret: Law = {
  id: 'igsm-regret',
  part: '2.2',
  claim: 'States show regret: right behind the words “Define A as” they often tell that A cannot be computed yet.',
  source: part22('Section 3, Result 1, Figure 3'),
  paper: {
    text: '99 % on all parameters, about 60 % on the first wrong one of the model',
    unit: 'share of first wrong parameters that the probe detects',
  },
  scales: { laptop: scale, gpu: scale, paper: scale },
  measure({ run }) {
    const [ours, interval] = mistake(run, 'regret');
    const all = read(run, 'probe.regret');
    const measures = {
      'mistakes.regret': ours,
      n: read(run, 'mistakes.regret.n'),
      all,
      aboveMajority: all - read(run, 'probe.regret.majority'),
      ...readSome(run, ['probe.regret.majority', 'probe.regret.random', 'probe.regret.ood']),
    };
    return measured(ours, measures, interval);
  },
};
