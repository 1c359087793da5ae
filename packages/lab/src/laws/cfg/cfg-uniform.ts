import type { Law } from '../law.js';
import { measured, ratioInterval, read, source, withPosition } from './members.js';

const members = { absolute: withPosition('absolute'), uniform: withPosition('uniform') };
const scale = {
  members,
  expect: [
    {
      measure: 'absoluteToUniform',
      atLeast: 1.2,
      tests:
        'attention that is fixed to averages of the last 1, 3, 7, … tokens comes closer to the law than learnt attention with absolute positions',
    },
  ],
};

/** P1-3. @see arXiv:2305.13673, Result 3, Figure 4. */
export const cfgUniform: Law = {
  id: 'cfg-uniform',
  part: '1',
  claim:
    'Attention that is fixed, uniform and multi-scale learns grammars better than learnt attention with absolute positions.',
  source: source('Section 3, Result 3, Figure 4'),
  paper: {
    text: 'cfg3f: divergence 0.00455 with absolute positions, 0.00112 with uniform attention, 4.1 to 1; accuracy 57 % against 93 %',
    unit: 'times the divergence of uniform attention',
  },
  scales: { tiny: scale, laptop: scale, gpu: scale, paper: scale },
  measure({ absolute, uniform }) {
    const [a, u] = [read(absolute, 'kl'), read(uniform, 'kl')];
    const measures = {
      absoluteToUniform: a / u,
      'kl.absolute': a,
      'kl.uniform': u,
      'accuracy.absolute': read(absolute, 'accuracyCut0'),
      'accuracy.uniform': read(uniform, 'accuracyCut0'),
    };
    return measured(a / u, measures, ratioInterval([a, absolute?.intervals.kl], [u, uniform?.intervals.kl]));
  },
};
