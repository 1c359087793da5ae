import type { Law } from '../law.js';
import { capacityRun, measuredRatio, ratioOf, source } from './members.js';

const costs = (atMost: number, tests: string) => [{ measure: 'denseToExperts', atMost, tests }];

/** C7. @see arXiv:2404.05405, Result 9, Figure 7. */
export const capacityExperts: Law = {
  id: 'capacity-experts',
  part: '3.3',
  claim:
    'A mixture of 32 experts stores almost as much per parameter as a dense model, though a token uses 9 % of them.',
  source: source('Section 8, Result 9, Figure 7'),
  paper: {
    text: '1.3 times less at 1000 exposures, 1.5 times at 100, using 8.8 % of the parameters for each token',
    unit: "a dense model's bits per parameter over those of 32 experts, parameters in total about equal",
  },
  scales: {
    gpu: {
      members: { dense: capacityRun(), experts: capacityRun({ nExpert: 32, dModel: 96, dHead: 48, lrPeak: 2e-3 }) },
      expect: costs(1.8, 'for its size a mixture of experts stores little less than a dense model'),
    },
    paper: {
      members: { dense: capacityRun(), experts: capacityRun({ nExpert: 32, dModel: 128, lrPeak: 2e-3 }) },
      expect: costs(1.6, 'for its size a mixture of experts stores little less than a dense model'),
    },
  },
  measure: (runs) => measuredRatio('denseToExperts', runs, ratioOf(runs.dense, runs.experts)),
};
