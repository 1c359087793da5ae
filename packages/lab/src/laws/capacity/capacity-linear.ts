import { invariant } from '@physlm/base';
import { powerFit } from '../../sweep/fit.js';
import type { Law } from '../law.js';
import { allPerParameter, read, source } from './members.js';
import { modelsOfSizes } from './sizes.js';

const growth = (atLeast: number, atMost: number, tests: string) => ({ measure: 'slope', atLeast, atMost, tests });

/** Models that are shown at least this many bits per parameter are limited by their size, not by their data. */
const LIMITED = 2.5;

/** C2: the exponent among models that are shown more than they can store. @see arXiv:2404.05405, Result 1, Figure 1(a). */
export const capacityLinear: Law = {
  id: 'capacity-linear',
  part: '3.3',
  claim: 'What a model can store grows in proportion to its parameters.',
  source: source('Section 4, Result 1, Figure 1(a)'),
  paper: {
    text: '1.0: points of models at their limit lie along the line of 2 bits per parameter, from 1 million to half a billion',
    unit: 'exponent of bits against parameters at the limit',
  },
  scales: {
    tiny: {
      members: modelsOfSizes.tiny,
      expect: [growth(0.75, 1.5, 'larger models store more, about in proportion; the smallest pay for grammar first')],
    },
    laptop: {
      members: modelsOfSizes.laptop,
      expect: [growth(0.75, 1.4, 'larger models store more, about in proportion; the smallest pay for grammar first')],
    },
    gpu: {
      members: modelsOfSizes.gpu,
      expect: [growth(0.85, 1.15, 'models at their limit store bits in proportion to their parameters')],
    },
    paper: {
      members: modelsOfSizes.paper,
      expect: [growth(0.85, 1.15, 'models at their limit store bits in proportion to their parameters')],
    },
  },
  measure(runs) {
    const limited = Object.values(runs).filter((one) => read(one, 'maxPerParameter') >= LIMITED);
    invariant(limited.length >= 2, 'at least two models that are shown more than they can store');
    const fit = powerFit(limited.map((one) => [read(one, 'nParameter'), read(one, 'bits')]));
    const slope = fit?.slope ?? Number.NaN;
    return {
      ours: slope,
      interval: fit?.interval ?? { low: slope, high: slope },
      measures: { slope, nLimited: limited.length, ...allPerParameter(runs) },
    };
  },
};
