import type { Law } from '../law.js';
import { measured, read, source, withPosition } from './members.js';

const members = { rotary: withPosition('rotary') };
const expecting = (far: number) => ({
  members,
  expect: [
    {
      measure: 'entropyRatio',
      atLeast: 1 - far,
      atMost: 1 + far,
      tests: "the model's sentences are as diverse as the grammar's",
    },
    { measure: 'distinctShare', atLeast: 0.95, tests: 'it does not repeat itself' },
  ],
});

/** P1-4. @see arXiv:2305.13673, Section 3 (diversity), Figure 4. */
export const cfgDiversity: Law = {
  id: 'cfg-diversity',
  part: '1',
  claim: 'What a GPT writes is as diverse as the grammar: it has not learnt sentences by heart.',
  source: source('Section 3, Figure 4, Appendix B'),
  paper: {
    text: 'entropies of 0.98 to 1.03 times the truth on seven grammars',
    unit: 'entropy of its sentences over that of the grammar',
  },
  scales: { tiny: expecting(0.15), laptop: expecting(0.08), gpu: expecting(0.05), paper: expecting(0.03) },
  measure({ rotary }) {
    const truth = read(rotary, 'entropyTruthBits');
    const entropyRatio = read(rotary, 'entropyBits') / truth;
    const interval = rotary?.intervals.entropyBits;
    const measures = { entropyRatio, distinctShare: read(rotary, 'distinctShare') };
    return measured(entropyRatio, measures, interval && { low: interval.low / truth, high: interval.high / truth });
  },
};
