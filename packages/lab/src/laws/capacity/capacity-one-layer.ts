import type { Law } from '../law.js';
import { capacityRun, measuredRatio, ratioOf, source } from './members.js';

const scale = (one: object, atLeast: number, atMost: number) => ({
  members: { two: capacityRun(), one: capacityRun({ nLayer: 1, ...one }) },
  expect: [
    {
      measure: 'oneToTwo',
      atLeast,
      atMost,
      tests: 'one layer stores a little less than two layers of about as many parameters in total',
    },
  ],
});

/** @see arXiv:2404.05405, Appendix, Figure 9. */
export const capacityOneLayer: Law = {
  id: 'capacity-one-layer',
  part: '3.3',
  claim: 'A model of one layer stores slightly less per parameter than deeper ones.',
  source: source('Appendix, Figure 9'),
  paper: { text: 'slightly below 2 bits per parameter', unit: "one layer's bits per parameter over those of two" },
  scales: {
    laptop: scale({ dModel: 40, dHead: 20 }, 0.7, 1.02),
    gpu: scale({ dModel: 256 }, 0.7, 1),
    paper: scale({ dModel: 320 }, 0.7, 1),
  },
  measure: (runs) => measuredRatio('oneToTwo', runs, ratioOf(runs.one, runs.two)),
};
