import type { Law } from '../law.js';
import { junkRuns } from './junk.js';
import { measuredRatio, ratioOf, source } from './members.js';

const scale = (name: keyof typeof junkRuns) => ({
  members: { alone: junkRuns[name].alone, repetitive: junkRuns[name].repetitive },
  expect: [
    {
      measure: 'repetitiveToAlone',
      atLeast: 0.85,
      tests: 'as much junk about few people, who come back over and over, costs little or nothing',
    },
  ],
});

/** C9. @see arXiv:2404.05405, Result 11, Figure 8(f). */
export const capacityJunkRepetitive: Law = {
  id: 'capacity-junk-repetitive',
  part: '3.3',
  claim: 'Repetitive junk is harmless: a model learns it by heart and goes on with the useful text.',
  source: source('Section 10, Result 11, Figure 8(f)'),
  paper: {
    text: 'no loss, with junk about 1,000 people',
    unit: 'bits per parameter over those without junk, equal exposures of the useful text',
  },
  scales: { tiny: scale('tiny'), laptop: scale('laptop'), gpu: scale('gpu'), paper: scale('paper') },
  measure: (runs) => measuredRatio('repetitiveToAlone', runs, ratioOf(runs.repetitive, runs.alone)),
};
