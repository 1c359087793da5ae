import type { RecipeSweep } from './recipe.js';

const augmentation = ['single', 'single+permute1', 'single+fullname', 'single+permute5', 'multi5', 'multi5+permute'];
const grid = { augmentation } as const;

/**
 * Answers about people that the model was not asked about in training, against what a probe reads before the first fact of a
 * biography, over data sets that differ in how much they vary their texts.
 *
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Figures 3 and 5.
 */
export const knowledgeSweep: RecipeSweep = {
  grid: { tiny: grid, small: grid, laptop: grid, gpu: grid, paper: grid },
  fit: { y: 'exact.test', x: 'pFirst.0' },
  paper: { series: [] },
  title: 'What is stored with the name can be asked for',
  caption:
    'Each point is one data set: the more ways its texts say the same facts, the more of them a linear probe reads before the first is told, ' +
    'and the better the model answers about people that it was never asked about. In the paper every first token is read there after multi5+permute.',
  sources: [
    'Allen-Zhu and Li 2023, Physics of Language Models: Part 3.1, Knowledge Storage and Extraction, arXiv:2309.14316, Figures 3 and 5.',
  ],
};
