import type { Law } from '../law.js';
import { accuracy, differenceInterval, measured, part22, plain } from './members.js';

const scale = {
  members: { run: plain },
  expect: [
    { measure: 'perfect', atLeast: 0.02, tests: 'a perfect detector helps' },
    { measure: 'perfectOverRegret', atLeast: 0, tests: 'more than the regret probe' },
    { measure: 'regretOverBeam', atLeast: -0.01, tests: 'and that is no worse than a beam' },
  ],
};

/** P2.2-R1. @see arXiv:2408.16293, Section 3, Result 2, Figure 3. */
export const igsmGoingBack: Law = {
  id: 'igsm-going-back',
  part: '2.2',
  claim:
    'Going back where the states show regret helps more than beam search, but little unless the detector is perfect.',
  source: part22('Section 3, Result 2, Figure 3'),
  paper: {
    text: 'mean of 30 tests: 91.5 %; beam of 32 +0.1; regret probe +1.4; perfect detector with 10 retries +4.2, with 50 +5.0',
    unit: 'share solved at the most operations and beyond, going back with the regret probe minus greedy',
  },
  scales: { laptop: scale, gpu: scale, paper: scale },
  measure({ run }) {
    const [greedy, beam, regret, perfect] = ['all', 'beam.all', 'regret.all', 'perfect.all'].map((cell) =>
      accuracy(run, cell),
    ) as [
      ReturnType<typeof accuracy>,
      ReturnType<typeof accuracy>,
      ReturnType<typeof accuracy>,
      ReturnType<typeof accuracy>,
    ];
    const measures = {
      beam: beam[0] - greedy[0],
      regret: regret[0] - greedy[0],
      perfect: perfect[0] - greedy[0],
      perfectOverRegret: perfect[0] - regret[0],
      regretOverBeam: regret[0] - beam[0],
      greedy: greedy[0],
    };
    return measured(measures.regret, measures, differenceInterval(regret, greedy));
  },
};
