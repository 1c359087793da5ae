import type { RecipeSweep } from './recipe.js';

/** Sentences are all that is scored: no probes, no attention. */
const scored = { nProbeStep: [0], nAttention: [0] } as const;
const positions = ['absolute', 'relative', 'rotary'] as const;
/** Training tokens of the paper: 100,000 steps of 96 windows of 512 tokens. */
const PAPER_TOKENS = 100_000 * 96 * 512;

/**
 * Divergence from the exact law against training tokens, a curve for each scheme of positions: how much sooner a model that
 * knows distances learns a grammar. Each run is trained to its end, with its own decay of the learning rate.
 *
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Figure 4.
 */
export const cfgSweep: RecipeSweep = {
  grid: {
    tiny: { position: positions, nStep: [400, 800, 1600], ...scored },
    small: { position: positions, nStep: [1500, 3000, 6000], ...scored },
    laptop: { position: [...positions, 'uniform'], nStep: [2500, 5000, 10_000, 20_000], ...scored },
    gpu: { position: [...positions, 'uniform'], nStep: [5000, 10_000, 20_000], ...scored },
    paper: { position: [...positions, 'position', 'uniform'], nStep: [25_000, 50_000, 100_000], ...scored },
  },
  fit: { y: 'kl', x: 'tokens' },
  paper: {
    series: [
      { name: 'paper, absolute', points: [[PAPER_TOKENS, 0.00455]] },
      { name: 'paper, relative', points: [[PAPER_TOKENS, 0.00043]] },
      { name: 'paper, rotary', points: [[PAPER_TOKENS, 0.0006]] },
    ],
  },
  title: 'How fast a grammar is learnt, by the scheme of positions',
  caption:
    'The faint points are GPT-2 small on cfg3f after 4.9 billion tokens, as in the paper; below scale gpu our grammar is a part of it, ' +
    'and our models are small.',
  sources: [
    'Allen-Zhu and Li 2023, Physics of Language Models: Part 1, Learning Hierarchical Language Structures, arXiv:2305.13673, Figure 4.',
  ],
};
