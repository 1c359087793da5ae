import { type Dims, defineOp } from '../op.js';
import {
  add,
  causalFill,
  distancesBefore,
  gather,
  maskAfter,
  matmul,
  mul,
  reshape,
  scale,
  setRow,
  slice,
  sum,
  transpose,
} from '../primitives.js';
import type { Tensor } from '../tensor.js';
import { softmax, unpack } from './attention.js';

// Axes: B batch, T query position, S key position, H head, K dHead, Q = H·K, P = 3·Q packed query, key and value heads,
// N rows of the position tables.

interface Heads {
  readonly nHead: number;
  readonly dHead: number;
}

function badHeads({ P, Q }: Dims, { nHead, dHead }: Heads): string | undefined {
  if (P !== 3 * nHead * dHead) return `P=${3 * nHead * dHead}`;
  return Q === nHead * dHead ? undefined : `Q=${nHead * dHead}`;
}

/**
 * The row of a table of N rows that stands for a distance. Causal: distances 0 … N − 1, greater ones share the last row.
 * Otherwise N is odd and the rows are distances −(N − 1)/2 … (N − 1)/2; what lies beyond shares the rows at the ends.
 */
export function rowOfDistance(distance: number, nRow: number, causal: boolean): number {
  if (causal) return Math.min(Math.max(distance, 0), nRow - 1);
  const reach = (nRow - 1) / 2;
  return reach + Math.min(Math.max(distance, -reach), reach);
}

/** y[b, h, t, s] = x[b, h, at(t, s)]·table[row(t, s), h] for x of shape BHTK. */
function alongDistances(
  x: Tensor,
  table: Tensor,
  at: (t: number, s: number) => number,
  row: (t: number, s: number) => number,
): Tensor {
  const [B, H, T, K] = x.shape as [number, number, number, number];
  const N = table.shape[0]!;
  const rows_HRK = reshape(transpose(x, [1, 0, 2, 3]), [H, B * T, K]);
  const table_HNK = transpose(reshape(table, [N, H, K]), [1, 0, 2]);
  const all_HBTN = reshape(matmul(rows_HRK, table_HNK, { transB: true }), [H, B, T, N]);
  const ids = Array.from({ length: T * T }, (_, i) => {
    const [t, s] = [Math.floor(i / T), i % T];
    return at(t, s) * N + row(t, s);
  });
  const all = reshape(transpose(all_HBTN, [2, 3, 0, 1]), [T * N, H * B]);
  const chosen = gather(all, x.device.tensor(ids, [T * T], 'i32'));
  return transpose(reshape(chosen, [T, T, H, B]), [3, 2, 0, 1]);
}

/**
 * Disentangled attention: a query sees a key's content and its distance, and a key's content sees the query's distance:
 * score(t, s) = scale·(q_t·k_s + q_t·keyPositions[t − s] + k_s·queryPositions[s − t]).
 *
 * Tables are indexed by distance: see {@link rowOfDistance}. In the causal case t − s and s − t share the row of their size,
 * since only one of the two signs occurs. `lse` is the row log-sum-exp of the scores, in nats.
 * @see He et al. 2021, arXiv:2006.03654, Eq. 2–4. Differs from the paper: one row for each distance from 0 when causal.
 */
export const relativeAttention = defineOp({
  name: 'relativeAttention',
  summary: 'o = softmax(scale·(q·kᵀ + q·keyPositions[t−s] + k·queryPositions[s−t]))·v by head',
  source: 'arXiv:2006.03654, Eq. 2-4',
  inputs: { qkv: 'BTP', keyPositions: 'NQ', queryPositions: 'NQ' },
  outputs: { o: 'BTQ', lse: 'BHT' },
  auxiliary: ['lse'],
  attrs: { nHead: 'i32', dHead: 'i32', scale: 'f64', causal: 'bool' },
  outputDims: (_, { nHead }) => ({ H: nHead }),
  invalid: (dims, attrs) =>
    badHeads(dims, attrs) ??
    (attrs.causal || dims.N! % 2 === 1 ? undefined : 'an odd N, for distances of both signs around 0,'),
  reference: ({ qkv, keyPositions, queryPositions }, { nHead, dHead, causal, ...attrs }) => {
    const [B, T] = qkv.shape as [number, number];
    const N = keyPositions.shape[0]!;
    const [q, k, v] = unpack(qkv, { nHead, nKvHead: nHead, dHead });
    const keyRow = (t: number, s: number): number => rowOfDistance(t - s, N, causal);
    const queryRow = (t: number, s: number): number => (causal ? keyRow(t, s) : keyRow(s, t));
    const positional = add(
      alongDistances(q, keyPositions, (t) => t, keyRow),
      alongDistances(k, queryPositions, (_, s) => s, queryRow),
    );
    const scores = scale(add(matmul(q, k, { transB: true }), positional), attrs.scale);
    const { pattern, lse } = softmax(causal ? causalFill(scores, Number.NEGATIVE_INFINITY) : scores);
    const o = transpose(matmul(pattern, v), [0, 2, 1, 3]);
    return { o: reshape(o, [B, T, nHead * dHead]), lse: reshape(lse, [B, nHead, T]) };
  },
  backward: { saves: ['qkv', 'keyPositions', 'queryPositions', 'o', 'lse'] },
  tolerance: { atol: 2e-5, rtol: 2e-5 },
  cost: ({ B, T, Q }) => ({
    // Four products over the lower triangle.
    flops: 4 * B! * T! * (T! + 1) * Q!,
    bytes: 16 * B! * T! * Q!,
  }),
  cases: [
    { dims: { B: 1, T: 3, P: 12, N: 2, Q: 4 }, attrs: { nHead: 2, dHead: 2, scale: 0.4, causal: true } },
    { dims: { B: 2, T: 4, P: 6, N: 3, Q: 2 }, attrs: { nHead: 1, dHead: 2, scale: 0.5, causal: false } },
    { dims: { B: 2, T: 4, P: 6, N: 6, Q: 2 }, attrs: { nHead: 2, dHead: 1, scale: 0.5, causal: true } },
    { dims: { B: 1, T: 1, P: 24, N: 5, Q: 8 }, attrs: { nHead: 1, dHead: 8, scale: 0.5, causal: false } },
    { dims: { B: 3, T: 33, P: 192, N: 40, Q: 64 }, attrs: { nHead: 4, dHead: 16, scale: 0.15, causal: true } },
    { dims: { B: 2, T: 50, P: 30, N: 9, Q: 10 }, attrs: { nHead: 2, dHead: 5, scale: 0.25, causal: false } },
    { dims: { B: 1, T: 130, P: 192, N: 65, Q: 64 }, attrs: { nHead: 2, dHead: 32, scale: 0.1, causal: true } },
    { dims: { B: 1, T: 130, P: 48, N: 259, Q: 16 }, attrs: { nHead: 1, dHead: 16, scale: 0.15, causal: false } },
    { dims: { B: 5, T: 20, P: 24, N: 20, Q: 8 }, attrs: { nHead: 1, dHead: 8, scale: 0.3, causal: true } },
  ],
  bench: {
    tiny: {
      dims: { B: 16, T: 128, P: 96, N: 128, Q: 32 },
      attrs: { nHead: 2, dHead: 16, scale: 0.144, causal: true },
    },
    '8,4,256,64': {
      dims: { B: 8, T: 256, P: 768, N: 256, Q: 256 },
      attrs: { nHead: 4, dHead: 64, scale: 0.0722, causal: true },
    },
    '4,12,512,64': {
      dims: { B: 4, T: 512, P: 2304, N: 512, Q: 768 },
      attrs: { nHead: 12, dHead: 64, scale: 0.0722, causal: true },
    },
  },
});

/**
 * One decoding step of causal {@link relativeAttention}: writes this token's key and value into row `position` of the
 * caches, then attends over rows 0 … position. The caches are updated in place.
 */
export const relativeAttentionStep = defineOp({
  name: 'relativeAttentionStep',
  summary: 'one decoding step of causal relativeAttention over a key/value cache, which it extends in place',
  source: 'definition',
  inputs: {
    qkv: 'BP',
    kCache: 'BSHK',
    vCache: 'BSHK',
    keyPositions: 'NQ',
    queryPositions: 'NQ',
    position: '1',
  },
  integers: ['position'],
  outputs: { o: 'BQ', kNext: 'BSHK', vNext: 'BSHK' },
  inPlace: { kNext: 'kCache', vNext: 'vCache' },
  attrs: { scale: 'f64' },
  invalid: (dims) => badHeads(dims, { nHead: dims.H!, dHead: dims.K! }),
  reference: ({ qkv, kCache, vCache, keyPositions, queryPositions, position }, attrs) => {
    const [B, S, H, K] = kCache.shape as [number, number, number, number];
    const N = keyPositions.shape[0]!;
    const heads = reshape(qkv, [B, 3 * H, K]);
    const q_BHK = slice(heads, 1, 0, H);
    const kNext = setRow(kCache, slice(heads, 1, H, 2 * H), position);
    const vNext = setRow(vCache, slice(heads, 1, 2 * H, 3 * H), position);
    const [k, v] = [kNext, vNext].map((cache) => transpose(cache, [0, 2, 1, 3])) as [Tensor, Tensor];
    const rows = distancesBefore(position, S, N - 1);
    const at = (table: Tensor): Tensor => transpose(reshape(gather(table, rows), [S, H, K]), [1, 0, 2]);
    const content = matmul(reshape(q_BHK, [B, H, 1, K]), k, { transB: true });
    const toKey_HBS = matmul(transpose(q_BHK, [1, 0, 2]), at(keyPositions), { transB: true });
    const toKey = reshape(transpose(toKey_HBS, [1, 0, 2]), [B, H, 1, S]);
    const toQuery = reshape(sum(mul(k, at(queryPositions)), -1), [B, H, 1, S]);
    const scores = scale(add(content, add(toKey, toQuery)), attrs.scale);
    const { pattern } = softmax(maskAfter(scores, position));
    return { o: reshape(matmul(pattern, v), [B, H * K]), kNext, vNext };
  },
  backward: 'none',
  tolerance: { atol: 2e-5, rtol: 2e-5 },
  cost: ({ B, S, H, K }) => ({ flops: 8 * B! * S! * H! * K!, bytes: 8 * (B! + 1) * S! * H! * K! }),
  cases: [
    { dims: { B: 1, P: 24, S: 4, H: 1, K: 8, N: 2, Q: 8 }, attrs: { scale: 0.5 } },
    { dims: { B: 3, P: 192, S: 37, H: 4, K: 16, N: 37, Q: 64 }, attrs: { scale: 0.15 } },
    { dims: { B: 2, P: 30, S: 70, H: 2, K: 5, N: 9, Q: 10 }, attrs: { scale: 0.25 } },
  ],
  bench: {
    'medium, 256 tokens': { dims: { B: 32, P: 768, S: 256, H: 4, K: 64, N: 256, Q: 256 }, attrs: { scale: 0.0722 } },
  },
});
