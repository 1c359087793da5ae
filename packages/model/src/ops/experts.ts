import { type Dims, defineOp } from '../op.js';
import { add, detach, div, exp, matmul, max, mul, reshape, scale, sub, sum, topOne, transpose } from '../primitives.js';
import type { Tensor } from '../tensor.js';
import { geluReference } from './gelu.js';

// Axes: R rows (batch × position), G groups of rows, E experts, D dModel, F hidden width of an expert.

const softmax = (logits: Tensor): Tensor => {
  const e = exp(sub(logits, detach(max(logits, -1))));
  return div(e, sum(e, -1));
};

/** Why rows do not fall into groups, or undefined. */
function groupComplaint({ R }: Dims, group: number): string | undefined {
  const fits = Number.isInteger(group) && group >= 1 && R! % group === 0;
  return fits ? undefined : 'groups of equal size: R a multiple of group';
}

/**
 * Each row goes through one expert, a two-layer MLP, and comes out scaled by how sure the router was:
 *
 * y[r] = p[r, e]·(gelu(x[r]·up[e]ᵀ + upBias[e])·down[e]ᵀ + downBias[e]), e = argmax logits[r] (the first of equals),
 * p = softmax(logits).
 *
 * Of the rows of one group, an expert takes the first `capacity` that choose it; y is 0 for the others, which the residual
 * stream carries past. Rows are grouped as they lie, `group` at a time. `pre` is upBias + x·upᵀ of the expert taken, 0 where
 * none is. The choice has no gradient.
 */
export const expertMlp = defineOp({
  name: 'expertMlp',
  summary: 'y[r] = p[r,e]·mlp_e(x[r]), e = argmax logits[r], for the first `capacity` rows of a group that choose e',
  source: 'arXiv:2101.03961, section 2 (Switch), equations 1 and 2',
  inputs: { x: 'RD', logits: 'RE', up: 'EFD', upBias: 'EF', down: 'EDF', downBias: 'ED' },
  outputs: { y: 'RD', pre: 'RF' },
  auxiliary: ['pre'],
  attrs: { group: 'i32', capacity: 'i32' },
  invalid: (dims, { group, capacity }) =>
    groupComplaint(dims, group) ?? (Number.isInteger(capacity) && capacity >= 1 ? undefined : 'capacity ≥ 1'),
  reference: ({ x, logits, up, upBias, down, downBias }, { group, capacity }) => {
    const [R, D] = x.shape as [number, number];
    const [E, F] = upBias.shape as [number, number];
    const chosen_RE = topOne(logits, group, capacity);
    const gate_RE = mul(softmax(logits), chosen_RE);
    const all_RX = matmul(x, reshape(up, [E * F, D]), { transB: true });
    const pre_REF = reshape(add(all_RX, reshape(upBias, [1, E * F])), [R, E, F]);
    const said_REF = mul(geluReference(pre_REF), reshape(gate_RE, [R, E, 1]));
    const down_XD = reshape(transpose(down, [0, 2, 1]), [E * F, D]);
    return {
      y: add(matmul(reshape(said_REF, [R, E * F]), down_XD), matmul(gate_RE, downBias)),
      pre: reshape(sum(mul(pre_REF, reshape(chosen_RE, [R, E, 1])), 1), [R, F]),
    };
  },
  backward: { saves: ['x', 'logits', 'up', 'down', 'downBias', 'pre'] },
  tolerance: { atol: 3e-5, rtol: 3e-5 },
  cost: ({ R, E, D, F }) => ({
    flops: 4 * R! * D! * F!,
    bytes: 4 * (2 * R! * D! + R! * (E! + F!) + 2 * E! * D! * F!),
  }),
  cases: [
    { dims: { R: 1, E: 1, D: 1, F: 1 }, attrs: { group: 1, capacity: 1 } },
    { dims: { R: 6, E: 3, D: 5, F: 4 }, attrs: { group: 3, capacity: 1 } },
    { dims: { R: 40, E: 4, D: 7, F: 9 }, attrs: { group: 20, capacity: 4 } },
    { dims: { R: 40, E: 8, D: 16, F: 16 }, attrs: { group: 40, capacity: 40 } },
    { dims: { R: 260, E: 5, D: 33, F: 18 }, attrs: { group: 130, capacity: 30 } },
  ],
  bench: {
    'tiny, 32 experts': { dims: { R: 2048, E: 32, D: 32, F: 32 }, attrs: { group: 128, capacity: 8 } },
    'medium, 32 experts': { dims: { R: 4096, E: 32, D: 256, F: 256 }, attrs: { group: 512, capacity: 32 } },
  },
});

/**
 * What uneven use of experts costs each row: penalty[r] = weight·E·Σ_e f[e]·p[r, e], f the shares in which the rows of its
 * group choose the experts (before any capacity), p = softmax(logits). Its mean over a group is `weight` when all experts
 * are used alike, and Switch's auxiliary loss in general. The shares have no gradient.
 */
export const balancePenalty = defineOp({
  name: 'balancePenalty',
  summary: 'penalty[r] = weight·E·Σ_e f[e]·softmax(logits[r])[e], f the shares of experts in the group',
  source: 'arXiv:2101.03961, section 2.2, equations 4 to 6',
  inputs: { logits: 'RE' },
  outputs: { penalty: 'R' },
  attrs: { group: 'i32', weight: 'f64' },
  invalid: (dims, { group }) => groupComplaint(dims, group),
  reference: ({ logits }, { group, weight }) => {
    const [R, E] = logits.shape as [number, number];
    const chosen_GTE = reshape(topOne(logits, group, group), [R / group, group, E]);
    const share_G1E = scale(sum(chosen_GTE, 1), 1 / group);
    const p_GTE = reshape(softmax(logits), [R / group, group, E]);
    return { penalty: reshape(scale(sum(mul(p_GTE, share_G1E), -1), weight * E), [R]) };
  },
  backward: { saves: ['logits'] },
  tolerance: { atol: 1e-5, rtol: 1e-5 },
  cost: ({ R, E }) => ({ flops: 12 * R! * E!, bytes: 4 * R! * (E! + 1) }),
  cases: [
    { dims: { R: 1, E: 1 }, attrs: { group: 1, weight: 1 } },
    { dims: { R: 6, E: 3 }, attrs: { group: 3, weight: 0.01 } },
    { dims: { R: 260, E: 33 }, attrs: { group: 130, weight: 2 } },
  ],
  bench: { 'tiny, 32 experts': { dims: { R: 2048, E: 32 }, attrs: { group: 128, weight: 0.01 } } },
});
