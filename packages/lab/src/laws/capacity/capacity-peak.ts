import type { Law } from '../law.js';
import { allPerParameter, perParameter, read, source } from './members.js';
import { modelsOfSizes } from './sizes.js';

const peak = (atLeast: number, atMost: number, tests: string) => ({ measure: 'peak', atLeast, atMost, tests });
const roomy = (atLeast: number) => ({
  measure: 'shareWithRoom',
  atLeast,
  tests: 'a model that is shown less than 1 bit per parameter stores what it is shown',
});

/** C1. @see arXiv:2404.05405, Result 1, Figure 1(a). */
export const capacityPeak: Law = {
  id: 'capacity-peak',
  part: '3.3',
  claim:
    'Over models of all sizes the most bits per parameter are about 2; a model below that limit stores everything.',
  source: source('Section 4, Result 1, Figure 1(a)'),
  paper: {
    text: '2 bits per parameter or a little more at the peak (1.93 to 2.35 for 50,000 to 200,000 people), never above 2.3',
    unit: 'bits per parameter at the peak',
  },
  scales: {
    tiny: {
      members: modelsOfSizes.tiny,
      expect: [
        peak(0.4, 2.3, 'models this small and this briefly trained stay far below the limit of 2 bits'),
        roomy(0.9),
      ],
    },
    laptop: {
      members: modelsOfSizes.laptop,
      expect: [peak(1.3, 2.3, 'models this small come near the limit and stay below it'), roomy(0.95)],
    },
    gpu: {
      members: modelsOfSizes.gpu,
      expect: [peak(1.5, 2.5, 'the most that any model stores is about 2 bits per parameter'), roomy(0.95)],
    },
    paper: {
      members: modelsOfSizes.paper,
      expect: [peak(1.7, 2.4, 'the most that any model stores is about 2 bits per parameter'), roomy(0.95)],
    },
  },
  measure(runs) {
    const all = Object.values(runs);
    const best = all.reduce((best, one) => (perParameter(one) > perParameter(best) ? one : best));
    const withRoom = all.filter((one) => read(one, 'maxPerParameter') <= 1);
    const shareWithRoom = Math.min(...withRoom.map((one) => read(one, 'shareOfCeiling')));
    const ours = perParameter(best);
    const interval = best.intervals.perParameter ?? { low: ours, high: ours };
    return { ours, interval, measures: { peak: ours, shareWithRoom, ...allPerParameter(runs) } };
  },
};
