import { defineOp } from '../op.js';
import { gather } from '../primitives.js';

// Axes: R rows (batch × position), V dVocab, D dModel.

/** y[r] = w[ids[r]]. The backward pass adds rows in order of r: the same bits for any number of threads. */
export const embedding = defineOp({
  name: 'embedding',
  summary: 'y[r] = w[ids[r]]',
  source: 'definition',
  inputs: { ids: 'R', w: 'VD' },
  integers: ['ids'],
  outputs: { y: 'RD' },
  attrs: {},
  reference: ({ ids, w }) => ({ y: gather(w, ids) }),
  backward: { saves: ['ids'] },
  tolerance: { atol: 1e-5, rtol: 1e-5 },
  cost: ({ R, D }) => ({ flops: 0, bytes: 8 * R! * D! }),
  cases: [
    { R: 1, V: 1, D: 1 },
    { R: 33, V: 5, D: 17 },
    { R: 200, V: 50, D: 32 },
  ].map((dims) => ({ dims, attrs: {} })),
  bench: { 'medium d=256': { dims: { R: 4096, V: 5000, D: 256 }, attrs: {} } },
});
