// The models that training is timed on: GPT-2 with rotary positions on the whole head, tied embeddings.
import { gpt2 } from '@physlm/model';

/** T positions, B windows in a step. The three tiny ones have 20 to 180 thousand parameters. */
export const sizes = {
  'tiny-16': { T: 128, B: 16, config: gpt2(4, 2, { dModel: 16, dRotary: 8, dVocab: 446, nCtx: 128 }) },
  tiny: { T: 128, B: 16, config: gpt2(3, 2, { dModel: 32, dRotary: 16, dVocab: 446, nCtx: 128 }) },
  'tiny-64': { T: 128, B: 16, config: gpt2(3, 4, { dModel: 64, dRotary: 16, dVocab: 446, nCtx: 128 }) },
  small: { T: 256, B: 16, config: gpt2(4, 4, { dModel: 128, dRotary: 32, dVocab: 1000, nCtx: 256 }) },
  medium: { T: 256, B: 16, config: gpt2(6, 4, { dModel: 256, dRotary: 64, dVocab: 5000, nCtx: 256 }) },
  large: { T: 512, B: 2, config: gpt2(12, 12, { dModel: 768, dRotary: 64, dVocab: 50257, nCtx: 512 }) },
};

/** The models that are rounded with GPTQ: the vocabulary is that of biographies. */
export const gptqSizes = {
  '2M': { T: 512, config: gpt2(1, 4, { dModel: 256, dVocab: 3275, nCtx: 512 }) },
  '10M': { T: 512, config: gpt2(5, 6, { dModel: 384, dVocab: 3275, nCtx: 512 }) },
};

/** The optimiser of every contender. */
export const optimizer = { lrPeak: 3e-4, betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0.1, clipNorm: 1 };

/**
 * Tokens that any language can make again: token k of window i, the smaller of two draws from a 32-bit mixing function.
 * Small tokens are more frequent, which a model soon learns: losses show whether contenders learn it alike.
 */
export function token(window, k, dVocab) {
  let x = (window * 0x9e3779b1 + k * 0x85ebca77) >>> 0;
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) >>> 0;
  x = Math.imul(x ^ (x >>> 12), 0x297a2d39) >>> 0;
  x = (x ^ (x >>> 15)) >>> 0;
  return Math.min(x % dVocab, (x >>> 11) % dVocab);
}

export function windowsOf({ T, config }) {
  return {
    nCtx: T,
    window(index, ids, targets) {
      for (let k = 0; k < T; k++) {
        ids[k] = token(index, k, config.dVocab);
        targets[k] = token(index, k + 1, config.dVocab);
      }
    },
  };
}
