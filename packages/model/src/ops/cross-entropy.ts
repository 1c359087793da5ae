import { defineOp } from '../op.js';
import { add, detach, exp, keepTargets, log, max, pick, reshape, sub, sum } from '../primitives.js';

// Axes: R rows (batch × position), V dVocab.

/** A target with this value is no target: its loss and gradient are 0. */
export const ignoreIndex = -1;

/** −ln softmax(logits)[target] by row, in nats; 0 where the target is `ignore`. */
export const crossEntropy = defineOp({
  name: 'crossEntropy',
  summary: 'loss[r] = lse[r] − logits[r, target[r]] in nats, 0 for ignored targets',
  source: 'definition',
  inputs: { logits: 'RV', targets: 'R' },
  integers: ['targets'],
  outputs: { loss: 'R', lse: 'R' },
  auxiliary: ['lse'],
  reuses: { backward: [[0, 0]] },
  attrs: { ignore: 'i32' },
  reference: ({ logits, targets }, { ignore }) => {
    const R = logits.shape[0]!;
    const peak = detach(max(logits, 1));
    const lse = reshape(add(log(sum(exp(sub(logits, peak)), 1)), peak), [R]);
    return { loss: keepTargets(sub(lse, pick(logits, targets, ignore)), targets, ignore), lse };
  },
  backward: { saves: ['logits', 'targets', 'lse'] },
  tolerance: { atol: 1e-5, rtol: 1e-5 },
  cost: ({ R, V }) => ({ flops: 4 * R! * V!, bytes: 4 * R! * V! }),
  cases: [
    { R: 1, V: 1 },
    { R: 5, V: 17 },
    { R: 33, V: 458 },
  ].map((dims) => ({ dims, attrs: { ignore: ignoreIndex } })),
  bench: { 'medium, V=5000': { dims: { R: 4096, V: 5000 }, attrs: { ignore: ignoreIndex } } },
});
