import type { RecipeSweep } from './recipe.js';

/** Sentences are all that is scored: no probes, no attention. */
const scored = { nProbeStep: [0], nAttention: [0] } as const;
const positions = ['absolute', 'relative', 'rotary'] as const;

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
  // One point a model, a thousand times to the right of a small sweep: told in the caption.
  paper: { series: [] },
  title: 'How fast a grammar is learnt, by the scheme of positions',
  caption:
    'The paper, GPT-2 small on cfg3f after 4.9 billion tokens: 0.00455 with absolute, 0.00043 with relative and 0.0006 with rotary positions. Below scale gpu ' +
    'our grammar is a part of such a one, and our models are small.',
  sources: [
    'Allen-Zhu and Li 2023, Physics of Language Models: Part 1, Learning Hierarchical Language Structures, arXiv:2305.13673, Figure 4.',
  ],
};
