import { defineOp } from '../op.js';
import { causalFill, distancesBefore, gather, maskAfter, matmul, reshape, setRow, transpose } from '../primitives.js';
import type { Tensor } from '../tensor.js';
import { softmax } from './attention.js';

// Axes: B batch, T query position, S key position, H head, K dHead, Q = H·K, N distances.

/** Pattern HTT, and its log-sum-exp HT, of scores that depend on the distance alone: table[h, min(t − s, N − 1)], s ≤ t. */
export function distancePattern(table: Tensor, T: number): { pattern: Tensor; lse: Tensor } {
  const [H, N] = table.shape as [number, number];
  const distances = Array.from({ length: T * T }, (_, i) => Math.min(N - 1, Math.max(0, Math.floor(i / T) - (i % T))));
  const ids = table.device.tensor(distances, [T * T], 'i32');
  const scores_TTH = reshape(gather(transpose(table, [1, 0]), ids), [T, T, H]);
  const { pattern, lse } = softmax(causalFill(transpose(scores_TTH, [2, 0, 1]), Number.NEGATIVE_INFINITY));
  return { pattern, lse: reshape(lse, [H, T]) };
}

/** o[b, t, h] = Σ_s pattern[h, t, s]·v[b, s, h] for v of shape BTQ. */
export function mixByPattern(pattern: Tensor, v: Tensor): Tensor {
  const H = pattern.shape[0]!;
  const [B, T, Q] = v.shape as [number, number, number];
  const K = Q / H;
  const v_HTBK = transpose(reshape(v, [B, T, H, K]), [2, 1, 0, 3]);
  const o_HTBK = reshape(matmul(pattern, reshape(v_HTBK, [H, T, B * K])), [H, T, B, K]);
  return reshape(transpose(o_HTBK, [2, 1, 0, 3]), [B, T, Q]);
}

/** One query at `position` over a cache BSHK with the scores of {@link distancePattern}: BQ. */
export function stepByDistance(table: Tensor, vCache: Tensor, position: Tensor): Tensor {
  const [B, S, H, K] = vCache.shape as [number, number, number, number];
  const rows = distancesBefore(position, S, table.shape[1]! - 1);
  const scores_HS = transpose(gather(transpose(table, [1, 0]), rows), [1, 0]);
  const pattern = reshape(softmax(maskAfter(scores_HS, position)).pattern, [H, 1, S]);
  const v_HSBK = reshape(transpose(vCache, [2, 1, 0, 3]), [H, S, B * K]);
  return reshape(transpose(reshape(matmul(pattern, v_HSBK), [H, B, K]), [1, 0, 2]), [B, H * K]);
}

/**
 * Causal attention by position alone: o_t = Σ_{s ≤ t} softmax_s(table[h, min(t − s, N − 1)])·v_s. No content enters the
 * pattern, which is the same for every sequence. `lse` is the row log-sum-exp of the scores, in nats.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, GPT_pos.
 */
export const positionAttention = defineOp({
  name: 'positionAttention',
  summary: 'o = softmax(table[h, t−s])·v by head over s ≤ t; distances from N − 1 on share the last entry',
  source: 'arXiv:2305.13673, GPT_pos',
  inputs: { v: 'BTQ', table: 'HN' },
  outputs: { o: 'BTQ', lse: 'HT' },
  auxiliary: ['lse'],
  attrs: {},
  invalid: ({ Q, H }) => (Q! % H! === 0 ? undefined : 'Q a multiple of H'),
  reference: ({ v, table }) => {
    const { pattern, lse } = distancePattern(table, v.shape[1]!);
    return { o: mixByPattern(pattern, v), lse };
  },
  backward: { saves: ['v', 'table', 'o', 'lse'] },
  tolerance: { atol: 2e-5, rtol: 2e-5 },
  cost: ({ B, T, Q }) => ({ flops: B! * T! * (T! + 1) * Q!, bytes: 8 * B! * T! * Q! }),
  cases: [
    { B: 1, T: 1, Q: 4, H: 2, N: 1 },
    { B: 2, T: 4, Q: 4, H: 2, N: 3 },
    { B: 1, T: 3, Q: 3, H: 1, N: 5 },
    { B: 3, T: 33, Q: 64, H: 4, N: 33 },
    { B: 2, T: 130, Q: 66, H: 2, N: 50 },
    { B: 9, T: 65, Q: 16, H: 1, N: 70 },
  ].map((dims) => ({ dims, attrs: {} })),
  bench: {
    tiny: { dims: { B: 16, T: 128, Q: 32, H: 2, N: 128 }, attrs: {} },
    '8,4,256,64': { dims: { B: 8, T: 256, Q: 256, H: 4, N: 256 }, attrs: {} },
    '4,12,512,64': { dims: { B: 4, T: 512, Q: 768, H: 12, N: 512 }, attrs: {} },
  },
});

/** One decoding step of {@link positionAttention}; writes this token's value into row `position` of the cache, in place. */
export const positionAttentionStep = defineOp({
  name: 'positionAttentionStep',
  summary: 'one decoding step of positionAttention over a cache of values, which it extends in place',
  source: 'definition',
  inputs: { v: 'BQ', table: 'HN', vCache: 'BSHK', position: '1' },
  integers: ['position'],
  outputs: { o: 'BQ', vNext: 'BSHK' },
  inPlace: { vNext: 'vCache' },
  attrs: {},
  invalid: ({ Q, H, K }) => (Q === H! * K! ? undefined : `Q=${H! * K!}`),
  reference: ({ v, table, vCache, position }) => {
    const vNext = setRow(vCache, v, position);
    return { o: stepByDistance(table, vNext, position), vNext };
  },
  backward: 'none',
  tolerance: { atol: 2e-5, rtol: 2e-5 },
  cost: ({ B, S, Q }) => ({ flops: 2 * B! * S! * Q!, bytes: 4 * B! * S! * Q! }),
  cases: [
    { B: 1, Q: 8, H: 1, N: 2, S: 4, K: 8 },
    { B: 3, Q: 64, H: 4, N: 37, S: 37, K: 16 },
    { B: 2, Q: 10, H: 2, N: 9, S: 70, K: 5 },
  ].map((dims) => ({ dims, attrs: {} })),
  bench: { 'medium, 256 tokens': { dims: { B: 32, Q: 256, H: 4, N: 256, S: 256, K: 64 }, attrs: {} } },
});
