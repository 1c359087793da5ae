import type { RecipeSweep } from './recipe.js';

const augmentation = ['single', 'single+permute1', 'single+fullname', 'single+permute5', 'multi5', 'multi5+permute'];
/** Every data set is read equally often by person, and Q-probes alone are trained. */
const grid = { augmentation, probes: ['q'] } as const;

/**
 * Answers about people that the model was not asked about in training, against what a probe reads off their names, over data
 * sets that differ in how much they vary their texts.
 *
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Figures 3 and 7.
 */
export const knowledgeSweep: RecipeSweep = {
  grid: { tiny: grid, small: grid, laptop: grid, gpu: grid, paper: grid },
  fit: { y: 'exact.test', x: 'qWhole' },
  paper: {
    series: [
      {
        name: 'paper, single and multi5+permute',
        // Macro averages of its Q-probe of whole values, and its answers.
        points: [
          [0.029, 0.097],
          [0.9258, 0.966],
        ],
        scatter: true,
        quiet: true,
      },
    ],
  },
  title: 'What can be read off the name can be asked for',
  caption:
    'Each point is one data set: the more ways its texts say the same facts, the better a linear probe reads whole values off the names, ' +
    'and the better the model answers about people that it was never asked about.',
  sources: [
    'Allen-Zhu and Li 2023, Physics of Language Models: Part 3.1, Knowledge Storage and Extraction, arXiv:2309.14316, Figures 3 and 7.',
  ],
};
