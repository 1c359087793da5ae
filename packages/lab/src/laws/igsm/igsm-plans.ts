import type { Law } from '../law.js';
import { measured, part21, plain, read, readSome } from './members.js';

const members = { run: plain };
const above = (atLeast: number) => [
  { measure: 'aboveMajority', atLeast, tests: 'above the commonest label' },
  { measure: 'aboveRandom', atLeast, tests: 'above the same probe of an untrained model' },
];

/** P2.1-R4. @see arXiv:2407.20311, Section 4, Result 4, Figure 7. */
export const igsmPlans: Law = {
  id: 'igsm-plans',
  part: '2.1',
  claim: 'Before it writes a word of the solution, the model knows which parameters the answer needs.',
  source: part21('Section 4, Result 4, Figure 7'),
  paper: {
    text: 'nece 99.8 % in range and 94.7 % at 23 operations (majority 52 %, untrained model 49 %)',
    unit: 'accuracy of the nece probe behind the question',
  },
  scales: {
    laptop: { members, expect: above(0.1) },
    gpu: { members, expect: above(0.15) },
    paper: { members, expect: [{ measure: 'probe.nece', atLeast: 0.98, tests: 'nearly always right' }, ...above(0.2)] },
  },
  measure({ run }) {
    const nece = read(run, 'probe.nece');
    const names = [
      'probe.nece.majority',
      'probe.nece.random',
      'probe.nece.ood',
      'probe.nece.ood.majority',
      'probe.nece.0',
      'probe.nece.1',
    ];
    const measures = {
      'probe.nece': nece,
      aboveMajority: nece - read(run, 'probe.nece.majority'),
      aboveRandom: nece - read(run, 'probe.nece.random'),
      ...readSome(run, names),
    };
    return measured(nece, measures, run?.intervals['probe.nece']);
  },
};
