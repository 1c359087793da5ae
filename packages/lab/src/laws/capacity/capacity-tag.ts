import type { Law } from '../law.js';
import { junkRuns } from './junk.js';
import { measuredRatio, ratioOf, source } from './members.js';

const scale = (name: keyof typeof junkRuns) => ({
  members: { alone: junkRuns[name].alone, random: junkRuns[name].random, tagged: junkRuns[name].tagged },
  expect: [
    {
      measure: 'taggedToRandom',
      atLeast: 2,
      tests: 'a tag in front of every useful text brings back much of what random junk costs',
    },
  ],
});

/** C10. @see arXiv:2404.05405, Result 12, Figure 8(g) and (h). */
export const capacityTag: Law = {
  id: 'capacity-tag',
  part: '3.3',
  claim: 'A tag that tells where the useful text comes from repairs most of the damage that junk does.',
  source: source('Section 10, Result 12, Figure 8(g) and (h)'),
  paper: {
    text: '10 times the knowledge without the tag at 100 exposures (half of that without junk); no damage left at 300',
    unit: 'bits per parameter over those without the tag, random junk',
  },
  scales: { tiny: scale('tiny'), laptop: scale('laptop'), gpu: scale('gpu'), paper: scale('paper') },
  measure: (runs) =>
    measuredRatio('taggedToRandom', runs, ratioOf(runs.tagged, runs.random), {
      taggedToAlone: ratioOf(runs.tagged, runs.alone).ours,
    }),
};
