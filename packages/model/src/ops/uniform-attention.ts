import { defineOp } from '../op.js';
import { setRow } from '../primitives.js';
import type { Tensor } from '../tensor.js';
import { distancePattern, mixByPattern, stepByDistance } from './position-attention.js';

// Axes: B batch, T position, S cached position, H head, K dHead, Q = H·K.

/** Tokens that head h = 0 … averages over: 2^(h+1) − 1. */
export function uniformWidth(head: number): number {
  return 2 ** (head + 1) - 1;
}

/** Scores by head and distance whose softmax is uniform over the head's window: 0 inside, −∞ outside. */
function windows(like: Tensor, nHead: number, nDistance: number): Tensor {
  const scores = Array.from({ length: nHead * nDistance }, (_, i) =>
    i % nDistance < uniformWidth(Math.floor(i / nDistance)) ? 0 : Number.NEGATIVE_INFINITY,
  );
  return like.device.tensor(scores, [nHead, nDistance], like.dtype);
}

/**
 * Fixed attention: head h = 1 … H averages the values of the last 2^h − 1 tokens, or of all there are.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, GPT_uni (GPT_gau in versions 1 to 3).
 */
export const uniformAttention = defineOp({
  name: 'uniformAttention',
  summary: 'o[t, h] = mean of v[s, h] over the last 2^h − 1 positions s ≤ t, h = 1 … nHead',
  source: 'arXiv:2305.13673, GPT_uni',
  inputs: { v: 'BTQ' },
  outputs: { o: 'BTQ' },
  attrs: { nHead: 'i32' },
  invalid: ({ Q }, { nHead }) => (Q! % nHead === 0 ? undefined : `Q a multiple of nHead ${nHead}`),
  reference: ({ v }, { nHead }) => {
    const T = v.shape[1]!;
    return { o: mixByPattern(distancePattern(windows(v, nHead, T), T).pattern, v) };
  },
  backward: { saves: [] },
  tolerance: { atol: 1e-5, rtol: 1e-5 },
  cost: ({ B, T, Q }) => ({ flops: 3 * B! * T! * Q!, bytes: 8 * B! * T! * Q! }),
  cases: [
    { dims: { B: 1, T: 1, Q: 4 }, attrs: { nHead: 2 } },
    { dims: { B: 2, T: 5, Q: 6 }, attrs: { nHead: 3 } },
    { dims: { B: 1, T: 3, Q: 3 }, attrs: { nHead: 1 } },
    { dims: { B: 2, T: 130, Q: 136 }, attrs: { nHead: 8 } },
    { dims: { B: 3, T: 33, Q: 50 }, attrs: { nHead: 10 } },
  ],
  bench: {
    tiny: { dims: { B: 16, T: 128, Q: 32 }, attrs: { nHead: 2 } },
    '8,4,256,64': { dims: { B: 8, T: 256, Q: 256 }, attrs: { nHead: 4 } },
    '4,12,512,64': { dims: { B: 4, T: 512, Q: 768 }, attrs: { nHead: 12 } },
  },
});

/** One decoding step of {@link uniformAttention}; writes this token's value into row `position` of the cache, in place. */
export const uniformAttentionStep = defineOp({
  name: 'uniformAttentionStep',
  summary: 'one decoding step of uniformAttention over a cache of values, which it extends in place',
  source: 'definition',
  inputs: { v: 'BQ', vCache: 'BSHK', position: '1' },
  integers: ['position'],
  outputs: { o: 'BQ', vNext: 'BSHK' },
  inPlace: { vNext: 'vCache' },
  attrs: {},
  invalid: ({ Q, H, K }) => (Q === H! * K! ? undefined : `Q=${H! * K!}`),
  reference: ({ v, vCache, position }) => {
    const [, S, H] = vCache.shape as [number, number, number];
    const vNext = setRow(vCache, v, position);
    return { o: stepByDistance(windows(v, H, S), vNext, position), vNext };
  },
  backward: 'none',
  tolerance: { atol: 1e-5, rtol: 1e-5 },
  cost: ({ B, S, Q }) => ({ flops: B! * S! * Q!, bytes: 4 * B! * S! * Q! }),
  cases: [
    { B: 1, Q: 8, S: 4, H: 1, K: 8 },
    { B: 3, Q: 64, S: 37, H: 4, K: 16 },
    { B: 2, Q: 40, S: 300, H: 8, K: 5 },
  ].map((dims) => ({ dims, attrs: {} })),
  bench: { 'medium, 256 tokens': { dims: { B: 32, Q: 256, S: 256, H: 4, K: 64 }, attrs: {} } },
});
