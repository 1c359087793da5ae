import type { Law, LawScale } from '../law.js';
import { capacityRun, measuredRatio, ratioOf, source } from './members.js';

const scale = (often: object, seldom: object, atLeast: number, atMost: number, tests: string): LawScale => ({
  members: { often: capacityRun({ ...often }), seldom: capacityRun({ ...seldom }) },
  expect: [{ measure: 'oftenToSeldom', atLeast, atMost, tests }],
});

/** C3. @see arXiv:2404.05405, Result 4, Figure 1(b). */
export const capacityExposures: Law = {
  id: 'capacity-exposures',
  part: '3.3',
  claim: 'Shown a tenth as often, 100 times instead of 1000, people leave about half as much knowledge in a model.',
  source: source('Section 5, Result 4, Figure 1(b)'),
  paper: {
    text: '2 bits per parameter at 1000 exposures, 1 bit at 100',
    unit: 'times the bits per parameter of a model that saw everybody a tenth as often (a third at scale tiny)',
  },
  scales: {
    tiny: scale(
      {},
      { exposures: 100, batchSize: 4, lrPeak: 5e-3 },
      1.1,
      20,
      'what is seen more often is stored better; the first exposures of a small model teach it grammar only',
    ),
    laptop: scale(
      {},
      { exposures: 150 },
      1.3,
      60,
      'what is seen more often is stored better; the first exposures of a small model teach it grammar only',
    ),
    gpu: scale(
      {},
      { exposures: 100, batchSize: 12, weightDecay: 0.01 },
      1.3,
      2.5,
      'a tenth of the exposures leaves about half of the knowledge',
    ),
    paper: scale(
      {},
      { exposures: 100, batchSize: 24, weightDecay: 0.01 },
      1.3,
      2.5,
      'a tenth of the exposures leaves about half of the knowledge',
    ),
  },
  measure: (runs) => measuredRatio('oftenToSeldom', runs, ratioOf(runs.often, runs.seldom)),
};
