import { type Dims, defineOp } from '../op.js';
import {
  add,
  detach,
  div,
  exp,
  gather,
  log,
  matmul,
  max,
  mul,
  reshape,
  slice,
  sub,
  sum,
  transpose,
} from '../primitives.js';
import type { Tensor } from '../tensor.js';

// Axes: B sentences, T positions, V position vectors (V ≥ T; the first T are used), H head, K width of a position vector
// in a head, C outputs of a head.

/** Far below any score, and still a number: a row without a single open position stays finite. */
const CLOSED = -1e30;

/**
 * Mixes what heads say at all positions of a sentence, with weights that know positions only:
 *
 * mixed[b, i, c] = Σ_r Σ_k w[r, i→k]·f[b, k, r, c], w = softmax over k < lengths[b] of ⟨p[i, r], p[k, r]⟩.
 *
 * `reach` ≥ 0 keeps |k − i| ≤ reach only: 0 is the diagonal mask, 1 the tridiagonal one; −1 keeps all. Rows i ≥ length are 0;
 * a length beyond T counts as T. `heads` holds the terms of the sum over r, `lse` the log-sum-exp of the scores. The native
 * kernel tells scores apart up to 120 nats above the best score of positions k ≤ i.
 */
export const positionMix = defineOp({
  name: 'positionMix',
  summary: 'mixed[b,i] = Σ_r Σ_k softmax_k⟨p[i,r], p[k,r]⟩·f[b,k,r] over k < lengths[b], |k − i| ≤ reach',
  source: 'arXiv:2305.13673, section 4, equations 4.2 and 4.3',
  inputs: { p: 'VHK', f: 'BTHC', lengths: 'B' },
  integers: ['lengths'],
  outputs: { mixed: 'BTC', heads: 'HTBC', lse: 'HTB' },
  auxiliary: ['heads', 'lse'],
  attrs: { reach: 'i32' },
  invalid: ({ V, T }, { reach }) => {
    if (V! < T!) return 'a position vector for each position, V ≥ T';
    return Number.isInteger(reach) && reach >= -1 ? undefined : 'reach ≥ 0, or −1 for all positions';
  },
  reference: ({ p, f, lengths }, { reach }) => {
    const [B, T, H, C] = f.shape as [number, number, number, number];
    const V = p.shape[0]!;
    const constant = (shape: [number, number], value: (row: number, column: number) => number): Tensor =>
      f.device.tensor(
        Array.from({ length: shape[0] * shape[1] }, (_, at) => value(Math.floor(at / shape[1]), at % shape[1])),
        shape,
        f.dtype,
      );
    const far = constant([T, T], (i, k) => (reach >= 0 && Math.abs(k - i) > reach ? CLOSED : 0));
    const behind = gather(
      constant([V + 1, T], (length, k) => (k < length ? 0 : CLOSED)),
      lengths,
    );
    const inside = gather(
      constant([V + 1, T], (length, i) => Number(i < length)),
      lengths,
    );

    const p_HTK = transpose(slice(p, 0, 0, T), [1, 0, 2]);
    const near_HTT = add(matmul(p_HTK, p_HTK, { transB: true }), far);
    const scores_BHTT = add(reshape(near_HTT, [1, H, T, T]), reshape(behind, [B, 1, 1, T]));
    const peak = detach(max(scores_BHTT, -1));
    const e = exp(sub(scores_BHTT, peak));
    const z_BHT1 = sum(e, -1);
    const said_BHTC = matmul(div(e, z_BHT1), transpose(f, [0, 2, 1, 3]));
    const heads_BHTC = mul(said_BHTC, reshape(inside, [B, 1, T, 1]));
    const lse_BHT = mul(reshape(add(log(z_BHT1), peak), [B, H, T]), reshape(inside, [B, 1, T]));
    return {
      mixed: reshape(sum(heads_BHTC, 1), [B, T, C]),
      heads: transpose(heads_BHTC, [1, 2, 0, 3]),
      lse: transpose(lse_BHT, [1, 2, 0]),
    };
  },
  backward: { saves: ['p', 'f', 'lengths', 'heads', 'lse'] },
  tolerance: { atol: 3e-5, rtol: 3e-5 },
  cost: ({ B, T, H, K, C }: Dims, { reach }) => {
    const width = reach < 0 ? T! : Math.min(T!, 2 * reach + 1);
    return {
      flops: 2 * H! * T! * width * (K! + B! * C!),
      bytes: 4 * (T! * H! * K! + 2 * B! * T! * H! * C! + B! * T! * C!),
    };
  },
  cases: [
    { dims: { B: 1, T: 1, V: 1, H: 1, K: 1, C: 1 }, attrs: { reach: -1 } },
    { dims: { B: 3, T: 5, V: 6, H: 2, K: 3, C: 2 }, attrs: { reach: -1 } },
    { dims: { B: 3, T: 5, V: 5, H: 2, K: 3, C: 2 }, attrs: { reach: 1 } },
    { dims: { B: 2, T: 4, V: 9, H: 2, K: 2, C: 3 }, attrs: { reach: 0 } },
    { dims: { B: 5, T: 37, V: 40, H: 3, K: 8, C: 17 }, attrs: { reach: -1 } },
    { dims: { B: 5, T: 37, V: 37, H: 3, K: 8, C: 17 }, attrs: { reach: 2 } },
  ],
  bench: {
    'Part 1, all': { dims: { B: 60, T: 256, V: 512, H: 16, K: 64, C: 15 }, attrs: { reach: -1 } },
    'Part 1, tridiagonal': { dims: { B: 60, T: 256, V: 512, H: 16, K: 64, C: 15 }, attrs: { reach: 1 } },
  },
});
