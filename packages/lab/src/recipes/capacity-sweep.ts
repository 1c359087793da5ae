import { CAPACITY_SOURCE } from './capacity-items.js';
import { PAPER_FIGURE } from './capacity-report.js';
import type { RecipeSweep } from './recipe.js';

/**
 * Bits against parameters, a curve for each number of people.
 *
 * Only many people press a model to its limit, and only few let it reach the ceiling of its data set: the grids hold both,
 * so that the largest models of a curve level off and the most people show the capacity.
 *
 * @see Allen-Zhu and Li 2024, arXiv:2404.05405, Figure 1(a).
 */
export const capacitySweep: RecipeSweep = {
  grid: {
    tiny: { nPeople: [300, 900, 2700], dModel: [16, 32, 48] },
    small: { nPeople: [300, 1000, 3000], dModel: [16, 32, 64] },
    laptop: { nPeople: [500, 2000, 8000], dModel: [16, 32, 64] },
    gpu: { nPeople: [20_000, 50_000, 100_000], nLayer: [2, 4], dModel: [128, 192, 256] },
    paper: { nPeople: [50_000, 100_000, 200_000], nLayer: [2, 4], dModel: [128, 192, 256, 384] },
  },
  fit: { y: 'bits', x: 'nParameter' },
  envelope: 'the capacity: the most bits that any number of people got into a model',
  paper: PAPER_FIGURE,
  title: 'How knowledge grows with parameters',
  caption:
    'The faint points are models of the paper after 1000 exposures: each series follows the 2-bit line until its data set ' +
    'has no more to give. Capacity that grows in proportion to the parameters has slope 1.',
  sources: [CAPACITY_SOURCE],
};
