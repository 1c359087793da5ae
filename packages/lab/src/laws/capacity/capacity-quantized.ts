import type { Law, LawScale } from '../law.js';
import { capacityRun, measuredRatio, perParameter, ratioOf, source } from './members.js';

const scale = (int4: { readonly atLeast?: number; readonly atMost?: number; readonly tests: string }): LawScale => ({
  members: {
    float: capacityRun(),
    int8: capacityRun({ quantize: 'gptq', bits: 8 }),
    int4: capacityRun({ quantize: 'gptq', bits: 4 }),
    'int8, to nearest': capacityRun({ quantize: 'rtn', bits: 8 }),
    'int4, to nearest': capacityRun({ quantize: 'rtn', bits: 4 }),
  },
  expect: [
    { measure: 'change8', atMost: 0.03, tests: 'weights of 8 bits hold all that is stored' },
    { measure: 'int4ToFloat', ...int4 },
  ],
});
const collapse = (atMost: number): LawScale =>
  scale({ atMost, tests: 'weights of 4 bits cannot hold what a full model stores' });

/** C6. The same checkpoint with rounded weights: nothing is trained. @see arXiv:2404.05405, Result 8, Figure 6. */
export const capacityQuantized: Law = {
  id: 'capacity-quantized',
  part: '3.3',
  claim:
    'Rounding weights to 8 bits costs no knowledge, even in a full model; rounding them to 4 bits costs more than half.',
  source: source('Section 7, Result 8, Figure 6'),
  paper: {
    text: 'int8: 2 bits per parameter as before; int4: 0.7 bits per parameter at the limit (GPTQ)',
    unit: "int4's bits per parameter over those before rounding (GPTQ)",
  },
  scales: {
    tiny: scale({ atLeast: 0.5, atMost: 0.99, tests: 'a model with room to spare loses a little at 4 bits' }),
    laptop: collapse(0.8),
    gpu: collapse(0.6),
    paper: collapse(0.6),
  },
  measure(runs) {
    const before = perParameter(runs.float);
    const change = (name: string): number => Math.abs(perParameter(runs[name]) - before) / Math.abs(before);
    return measuredRatio('int4ToFloat', runs, ratioOf(runs.int4, runs.float), {
      change8: Math.max(change('int8'), change('int8, to nearest')),
      'int4ToFloat, to nearest': perParameter(runs['int4, to nearest']) / before,
    });
  },
};
