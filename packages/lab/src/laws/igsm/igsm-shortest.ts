import type { Law } from '../law.js';
import { measured, part21, plain, read, readSome } from './members.js';

const members = { run: plain };
const within = (atMost: number) => ({
  measure: 'unnecessary.all',
  atMost,
  tests: 'hardly a parameter that the answer does not need, in and beyond training',
});

/** P2.1-R3. @see arXiv:2407.20311, Section 3, Result 3, Figure 4. */
export const igsmShortest: Law = {
  id: 'igsm-shortest',
  part: '2.1',
  claim: 'Solutions are the shortest ones: the model computes what the answer needs, not everything that it can.',
  source: part21('Section 3, Result 3, Figure 4'),
  paper: {
    text: '0.00 unnecessary parameters and operations for each correct solution; up to 0.16 (med) and 0.44 (hard) when problems are asked again',
    unit: 'unnecessary parameters for each correct solution',
  },
  scales: {
    tiny: { members, expect: [within(0.1)] },
    small: { members, expect: [within(0.05)] },
    laptop: { members, expect: [within(0.05)] },
    gpu: { members, expect: [within(0.05)] },
    paper: { members, expect: [within(0.02)] },
  },
  measure({ run }) {
    const names = ['in', 'max', 'ood', 'reask'].flatMap((cell) => [`unnecessary.${cell}`, `extraOperations.${cell}`]);
    return measured(read(run, 'unnecessary.all'), {
      'unnecessary.all': read(run, 'unnecessary.all'),
      ...readSome(run, names),
    });
  },
};
