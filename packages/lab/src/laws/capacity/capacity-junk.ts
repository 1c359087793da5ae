import type { Law } from '../law.js';
import { junkRuns, moreExposures } from './junk.js';
import { measuredRatio, ratioOf, source } from './members.js';

const hurts = (atMost: number) => ({
  measure: 'randomToAlone',
  atMost,
  tests: 'with seven eighths of junk about ever other people, equal exposures leave a fraction of the knowledge',
});
const small = (scale: 'tiny' | 'laptop') => ({
  members: { alone: junkRuns[scale].alone, random: junkRuns[scale].random },
  expect: [hurts(0.3)],
});
const large = (scale: 'gpu' | 'paper') => ({
  members: {
    alone: junkRuns[scale].alone,
    random: junkRuns[scale].random,
    'alone, 3 times as often': moreExposures[scale].alone,
    'random, 3 times as often': moreExposures[scale].random,
  },
  expect: [hurts(0.3), { measure: 'rise', atLeast: 1.2, tests: 'with three times the exposures junk hurts less' }],
});

/** C8. @see arXiv:2404.05405, Result 10, Figure 8. */
export const capacityJunk: Law = {
  id: 'capacity-junk',
  part: '3.3',
  claim: 'Junk beside the useful text costs knowledge about the useful text, though that is seen as often as before.',
  source: source('Section 10, Result 10, Figure 8(b) to (e)'),
  paper: {
    text: '20 times worse at 100 exposures; 3, 1.5 and 1.3 times at 300, 600 and 1000',
    unit: 'bits per parameter over those without junk, equal exposures of the useful text',
  },
  scales: { tiny: small('tiny'), laptop: small('laptop'), gpu: large('gpu'), paper: large('paper') },
  measure(runs) {
    const ratio = ratioOf(runs.random, runs.alone);
    const [alone, random] = [runs['alone, 3 times as often'], runs['random, 3 times as often']];
    const rise = alone && random ? { rise: ratioOf(random, alone).ours / ratio.ours } : {};
    return measuredRatio('randomToAlone', runs, ratio, rise);
  },
};
