import { defineOp } from '../op.js';
import {
  add,
  clipScale,
  concat,
  div,
  mul,
  reshape,
  scale,
  shift,
  slice,
  sqrt,
  sub,
  sum,
  sumTo,
} from '../primitives.js';

// Axes: N parameters, in one flat arena; S slices of a batch; C = 8 hyper-parameters.

/** total = Σ g over the slices of a batch, added in order: the same bits whichever threads computed them. */
export const sumSlices = defineOp({
  name: 'sumSlices',
  summary: 'total[n] = Σ_s g[s, n], in order of s',
  source: 'definition',
  inputs: { g: 'SN' },
  outputs: { total: 'N' },
  attrs: {},
  reference: ({ g }) => ({ total: reshape(sum(g, 0), [g.shape[1]!]) }),
  backward: 'none',
  tolerance: { atol: 1e-6, rtol: 1e-6 },
  cost: ({ S, N }) => ({ flops: S! * N!, bytes: 4 * (S! + 1) * N! }),
  cases: [
    { S: 1, N: 1 },
    { S: 3, N: 37 },
    { S: 8, N: 5000 },
  ].map((dims) => ({ dims, attrs: {} })),
  bench: { '8 × 1M': { dims: { S: 8, N: 1_000_000 }, attrs: {} } },
});

/** norm = √Σg², accumulated in double precision over chunks that do not depend on the number of threads. */
export const gradNorm = defineOp({
  name: 'gradNorm',
  summary: 'norm = √Σg²',
  source: 'arXiv:1211.5063, section 3.2',
  inputs: { g: 'N' },
  outputs: { norm: '1' },
  attrs: {},
  reference: ({ g }) => ({ norm: sqrt(sumTo(mul(g, g), [1])) }),
  backward: 'none',
  tolerance: { atol: 1e-6, rtol: 1e-6 },
  cost: ({ N }) => ({ flops: 2 * N!, bytes: 4 * N! }),
  cases: [1, 17, 5000].map((N) => ({ dims: { N }, attrs: {} })),
  bench: { '6M': { dims: { N: 6_000_000 }, attrs: {} } },
});

/**
 * One step of AdamW over a flat arena, after clipping the gradient to a global norm; w, m and v change in place.
 *
 * `hyper` holds lr, beta1, beta2, eps, weightDecay, 1 − beta1ᵗ, 1 − beta2ᵗ and maxNorm (0: no clipping). The first
 * `nDecay` parameters decay by lr·weightDecay; the rest (biases, gains) do not.
 * @see Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2.
 */
export const adamW = defineOp({
  name: 'adamW',
  summary: 'clips g, updates m and v, w ← w − lr·(m̂/(√v̂ + eps) + decay·w)',
  source: 'arXiv:1711.05101, Alg. 2',
  inputs: { w: 'N', g: 'N', m: 'N', v: 'N', norm: '1', hyper: 'C' },
  outputs: { wNext: 'N', mNext: 'N', vNext: 'N' },
  inPlace: { wNext: 'w', mNext: 'm', vNext: 'v' },
  attrs: { nDecay: 'i32' },
  invalid: ({ N, C }, { nDecay }) => {
    if (C !== 8) return 'C=8';
    return nDecay >= 0 && nDecay <= N! ? undefined : `nDecay ≤ N, not ${nDecay},`;
  },
  reference: ({ w, g, m, v, norm, hyper }, { nDecay }) => {
    const N = w.size;
    const at = (i: number) => slice(hyper, 0, i, i + 1);
    const mix = (old: typeof w, fresh: typeof w, beta: typeof w) =>
      add(mul(old, beta), mul(fresh, shift(scale(beta, -1), 1)));
    const clipped = mul(g, clipScale(norm, at(7)));
    const mNext = mix(m, clipped, at(1));
    const vNext = mix(v, mul(clipped, clipped), at(2));
    const update = div(div(mNext, at(5)), add(sqrt(div(vNext, at(6))), at(3)));
    const decay = mul(slice(w, 0, 0, nDecay), at(4));
    const decayAll = nDecay === N ? decay : concat([decay, scale(slice(w, 0, nDecay, N), 0)], 0);
    return { wNext: sub(w, mul(add(update, reshape(decayAll, [N])), at(0))), mNext, vNext };
  },
  backward: 'none',
  tolerance: { atol: 2e-6, rtol: 2e-6 },
  cost: ({ N }) => ({ flops: 14 * N!, bytes: 28 * N! }),
  cases: [
    { dims: { N: 1, C: 8 }, attrs: { nDecay: 1 } },
    { dims: { N: 37, C: 8 }, attrs: { nDecay: 20 } },
    { dims: { N: 5000, C: 8 }, attrs: { nDecay: 0 } },
  ],
  bench: { '6M': { dims: { N: 6_000_000, C: 8 }, attrs: { nDecay: 6_000_000 } } },
});
