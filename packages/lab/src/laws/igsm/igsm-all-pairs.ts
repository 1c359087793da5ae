import type { Law } from '../law.js';
import { measured, part21, plain, read, readSome } from './members.js';

const members = { run: plain };
/** Half of them would be right by always saying the same. */
const balanced = (dep: number, canNext: number) => [
  { measure: 'dep', atLeast: dep, tests: 'whether one parameter depends on another is known before the question' },
  { measure: 'canNext', atLeast: canNext, tests: 'and whether an unnecessary one can be computed next' },
];

/** P2.1-R5. @see arXiv:2407.20311, Section 4, Result 5, Figure 7(b). */
export const igsmAllPairs: Law = {
  id: 'igsm-all-pairs',
  part: '2.1',
  claim:
    'The model knows which parameters depend on which before it is asked, also those that the answer does not need.',
  source: part21('Section 4, Result 5, Figure 7(b)'),
  paper: {
    text: 'dep and can_next of unnecessary parameters: all four of yes and no at least 97.3 %; an untrained model is at the majority',
    unit: 'accuracy of dep on unnecessary parameters, mean of yes and no',
  },
  scales: {
    laptop: { members, expect: balanced(0.6, 0.75) },
    gpu: { members, expect: balanced(0.75, 0.85) },
    paper: { members, expect: balanced(0.95, 0.95) },
  },
  measure({ run }) {
    const both = (task: string): number =>
      (read(run, `probe.${task}.unnecessary 0`) + read(run, `probe.${task}.unnecessary 1`)) / 2;
    const names = ['dep', 'can_next'].flatMap((task) => [
      `probe.${task}`,
      `probe.${task}.majority`,
      `probe.${task}.random`,
      `probe.${task}.unnecessary 0`,
      `probe.${task}.unnecessary 1`,
    ]);
    const measures = { dep: both('dep'), canNext: both('can_next'), ...readSome(run, names) };
    return measured(measures.dep, measures);
  },
};
