import { type Dims, defineOp } from '../op.js';
import {
  add,
  causalFill,
  concat,
  detach,
  div,
  exp,
  fillBefore,
  log,
  maskAfter,
  matmul,
  max,
  reshape,
  scale,
  setRow,
  slice,
  sub,
  sum,
  transpose,
} from '../primitives.js';
import type { Tensor } from '../tensor.js';

// Axes: B batch, T query position, S key position, H query head, G key/value head, K dHead,
// P packed columns: H query heads, then G key heads, then G value heads, each K wide; Q = H·K.

interface Heads {
  readonly nHead: number;
  readonly nKvHead: number;
  readonly dHead: number;
}

function badHeads({ P }: Dims, { nHead, nKvHead, dHead }: Heads): string | undefined {
  if (nHead % nKvHead !== 0) return `nHead ${nHead} a multiple of nKvHead ${nKvHead}`;
  return P === (nHead + 2 * nKvHead) * dHead ? undefined : `P=${(nHead + 2 * nKvHead) * dHead}`;
}

/** Query, key and value heads of packed rows as BHTK; a key/value head is repeated for each query head that reads it. */
export function unpack(qkv: Tensor, { nHead, nKvHead, dHead }: Heads): [Tensor, Tensor, Tensor] {
  const [B, T, P] = qkv.shape as [number, number, number];
  const heads = transpose(reshape(qkv, [B, T, P / dHead, dHead]), [0, 2, 1, 3]);
  const q = slice(heads, 1, 0, nHead);
  const k = slice(heads, 1, nHead, nHead + nKvHead);
  const v = slice(heads, 1, nHead + nKvHead, nHead + 2 * nKvHead);
  return [q, repeatHeads(k, nHead), repeatHeads(v, nHead)];
}

/** x[B, G, S, K] with each head repeated so that there are nHead: query head h reads head ⌊h·G/H⌋. */
function repeatHeads(x: Tensor, nHead: number): Tensor {
  const [B, G, S, K] = x.shape as [number, number, number, number];
  if (G === nHead) return x;
  const repeats = Array.from({ length: nHead / G }, () => reshape(x, [B, G, 1, S, K]));
  return reshape(concat(repeats, 2), [B, nHead, S, K]);
}

/** Softmax of scores along the last axis with its log-sum-exp. */
export function softmax(scores: Tensor): { pattern: Tensor; lse: Tensor } {
  const peak = detach(max(scores, -1));
  const weights = exp(sub(scores, peak));
  const total = sum(weights, -1);
  return { pattern: div(weights, total), lse: add(log(total), peak) };
}

/** What attention gives when `mask` hides keys from queries, by scores of −∞. */
function attend(
  qkv: Tensor,
  heads: Heads & { readonly scale: number },
  mask: (scores: Tensor) => Tensor,
): { o: Tensor; lse: Tensor } {
  const { nHead, dHead } = heads;
  const [B, T] = qkv.shape as [number, number];
  const [q, k, v] = unpack(qkv, heads);
  const { pattern, lse } = softmax(mask(scale(matmul(q, k, { transB: true }), heads.scale)));
  const o = transpose(matmul(pattern, v), [0, 2, 1, 3]);
  return { o: reshape(o, [B, T, nHead * dHead]), lse: reshape(lse, [B, nHead, T]) };
}

/**
 * Causal softmax attention over packed query, key and value heads; never materialises the T×T pattern in a kernel.
 *
 * `lse` is the row log-sum-exp of the scaled scores, in nats; backward recomputes the pattern from it.
 * @see Dao 2023, arXiv:2307.08691, Algorithms 1 and 2.
 */
export const attention = defineOp({
  name: 'attention',
  summary: 'o = softmax(scale·q·kᵀ)·v by head, each position seeing itself and what came before',
  source: 'arXiv:2307.08691 Alg. 1-2',
  inputs: { qkv: 'BTP' },
  outputs: { o: 'BTQ', lse: 'BHT' },
  auxiliary: ['lse'],
  attrs: { nHead: 'i32', nKvHead: 'i32', dHead: 'i32', scale: 'f64', causal: 'bool' },
  outputDims: (_, { nHead, dHead }) => ({ Q: nHead * dHead, H: nHead }),
  invalid: badHeads,
  reference: ({ qkv }, attrs) =>
    attend(qkv, attrs, (scores) => (attrs.causal ? causalFill(scores, Number.NEGATIVE_INFINITY) : scores)),
  backward: { saves: ['qkv', 'o', 'lse'] },
  tolerance: { atol: 2e-5, rtol: 2e-5 },
  cost: ({ B, T }, { nHead, dHead }) => ({
    // Two products over the lower triangle.
    flops: 2 * B! * nHead * T! * (T! + 1) * dHead,
    bytes: 16 * B! * T! * nHead * dHead,
  }),
  cases: [
    { dims: { B: 1, T: 1, P: 24 }, attrs: { nHead: 1, nKvHead: 1, dHead: 8, scale: 0.5, causal: true } },
    { dims: { B: 2, T: 33, P: 128 }, attrs: { nHead: 4, nKvHead: 2, dHead: 16, scale: 0.25, causal: true } },
    { dims: { B: 1, T: 130, P: 192 }, attrs: { nHead: 2, nKvHead: 2, dHead: 32, scale: 0.177, causal: true } },
    { dims: { B: 2, T: 17, P: 30 }, attrs: { nHead: 2, nKvHead: 2, dHead: 5, scale: 0.4, causal: false } },
    { dims: { B: 1, T: 65, P: 192 }, attrs: { nHead: 1, nKvHead: 1, dHead: 64, scale: 0.125, causal: true } },
  ],
  bench: {
    tiny: { dims: { B: 16, T: 128, P: 96 }, attrs: { nHead: 2, nKvHead: 2, dHead: 16, scale: 0.25, causal: true } },
    '8,4,256,64': {
      dims: { B: 8, T: 256, P: 768 },
      attrs: { nHead: 4, nKvHead: 4, dHead: 64, scale: 0.125, causal: true },
    },
    '4,12,512,64': {
      dims: { B: 4, T: 512, P: 2304 },
      attrs: { nHead: 12, nKvHead: 12, dHead: 64, scale: 0.125, causal: true },
    },
  },
});

/**
 * Causal attention within documents: position t of sequence b sees positions starts[b, t] … t, where starts[b, t] is the
 * position at which its document begins, as `documentStarts` gives it. Results are those of each document by itself.
 *
 * @see Zhao et al. 2024, arXiv:2402.13991, "intra-document causal masking".
 */
export const documentAttention = defineOp({
  name: 'documentAttention',
  summary: 'attention within documents: position t sees starts[t] … t',
  source: 'arXiv:2307.08691 Alg. 1-2; arXiv:2402.13991',
  inputs: { qkv: 'BTP', starts: 'BT' },
  integers: ['starts'],
  outputs: { o: 'BTQ', lse: 'BHT' },
  auxiliary: ['lse'],
  attrs: { nHead: 'i32', nKvHead: 'i32', dHead: 'i32', scale: 'f64' },
  outputDims: (_, { nHead, dHead }) => ({ Q: nHead * dHead, H: nHead }),
  invalid: badHeads,
  reference: ({ qkv, starts }, attrs) =>
    attend(qkv, attrs, (scores) =>
      fillBefore(causalFill(scores, Number.NEGATIVE_INFINITY), starts, Number.NEGATIVE_INFINITY),
    ),
  backward: { saves: ['qkv', 'starts', 'o', 'lse'] },
  tolerance: { atol: 2e-5, rtol: 2e-5 },
  cost: ({ B, T }, { nHead, dHead }) => ({
    // Of one document that fills the window; less of more.
    flops: 2 * B! * nHead * T! * (T! + 1) * dHead,
    bytes: 16 * B! * T! * nHead * dHead,
  }),
  cases: [
    { dims: { B: 1, T: 1, P: 24 }, attrs: { nHead: 1, nKvHead: 1, dHead: 8, scale: 0.5 } },
    { dims: { B: 2, T: 33, P: 128 }, attrs: { nHead: 4, nKvHead: 2, dHead: 16, scale: 0.25 } },
    { dims: { B: 2, T: 9, P: 12 }, attrs: { nHead: 2, nKvHead: 1, dHead: 3, scale: 0.6 } },
    { dims: { B: 3, T: 70, P: 45 }, attrs: { nHead: 1, nKvHead: 1, dHead: 15, scale: 0.25 } },
    { dims: { B: 2, T: 200, P: 192 }, attrs: { nHead: 2, nKvHead: 2, dHead: 32, scale: 0.177 } },
    { dims: { B: 1, T: 333, P: 192 }, attrs: { nHead: 1, nKvHead: 1, dHead: 64, scale: 0.125 } },
  ],
  bench: {
    '8,4,256,64': {
      dims: { B: 8, T: 256, P: 768 },
      attrs: { nHead: 4, nKvHead: 4, dHead: 64, scale: 0.125 },
    },
  },
});

/**
 * One decoding step: writes this token's key and value into row `position` of the caches, then attends over rows
 * 0 … position. The caches are updated in place.
 */
export const attentionStep = defineOp({
  name: 'attentionStep',
  summary: 'one decoding step of attention over a key/value cache, which it extends in place',
  source: 'definition',
  inputs: { qkv: 'BP', kCache: 'BSGK', vCache: 'BSGK', position: '1' },
  integers: ['position'],
  outputs: { o: 'BQ', kNext: 'BSGK', vNext: 'BSGK' },
  inPlace: { kNext: 'kCache', vNext: 'vCache' },
  attrs: { nHead: 'i32', nKvHead: 'i32', dHead: 'i32', scale: 'f64' },
  outputDims: (_, { nHead, dHead }) => ({ Q: nHead * dHead }),
  invalid: badHeads,
  reference: ({ qkv, kCache, vCache, position }, attrs) => {
    const { nHead, nKvHead, dHead } = attrs;
    const [B, P] = qkv.shape as [number, number];
    const heads = reshape(qkv, [B, P / dHead, dHead]);
    const q = reshape(slice(heads, 1, 0, nHead), [B, nHead, 1, dHead]);
    const kNext = setRow(kCache, slice(heads, 1, nHead, nHead + nKvHead), position);
    const vNext = setRow(vCache, slice(heads, 1, nHead + nKvHead, nHead + 2 * nKvHead), position);
    const k = repeatHeads(transpose(kNext, [0, 2, 1, 3]), nHead);
    const v = repeatHeads(transpose(vNext, [0, 2, 1, 3]), nHead);
    const { pattern } = softmax(maskAfter(scale(matmul(q, k, { transB: true }), attrs.scale), position));
    return { o: reshape(matmul(pattern, v), [B, nHead * dHead]), kNext, vNext };
  },
  backward: 'none',
  tolerance: { atol: 2e-5, rtol: 2e-5 },
  cost: ({ B, S, K }, { nHead }) => ({ flops: 4 * B! * nHead * S! * K!, bytes: 8 * B! * S! * nHead * K! }),
  cases: [
    { dims: { B: 1, P: 24, S: 4, G: 1, K: 8 }, attrs: { nHead: 1, nKvHead: 1, dHead: 8, scale: 0.5 } },
    { dims: { B: 3, P: 128, S: 37, G: 2, K: 16 }, attrs: { nHead: 4, nKvHead: 2, dHead: 16, scale: 0.25 } },
  ],
  bench: {
    'medium, 256 tokens': {
      dims: { B: 32, P: 768, S: 256, G: 4, K: 64 },
      attrs: { nHead: 4, nKvHead: 4, dHead: 64, scale: 0.125 },
    },
  },
});
