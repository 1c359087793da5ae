import { type Dims, defineOp } from '../op.js';
import { add, matmul, reshape } from '../primitives.js';
import { geluReference } from './gelu.js';

// Axes: R rows (batch × position), I input features, O output features.

const tolerance = { atol: 2e-5, rtol: 2e-5 };
const cost = ({ R, I, O }: Dims): { flops: number; bytes: number } => ({
  flops: 2 * R! * I! * O!,
  bytes: 4 * (R! * I! + I! * O! + R! * O!),
});
const cases = [
  { R: 1, I: 1, O: 1 },
  { R: 3, I: 5, O: 17 },
  { R: 65, I: 33, O: 48 },
  { R: 130, I: 16, O: 64 },
  { R: 257, I: 96, O: 32 },
].map((dims) => ({ dims, attrs: {} }));
const bench = {
  'small qkv': { dims: { R: 4096, I: 128, O: 384 }, attrs: {} },
  'medium up': { dims: { R: 4096, I: 256, O: 1024 }, attrs: {} },
  'tiny up': { dims: { R: 2048, I: 32, O: 128 }, attrs: {} },
};

/** y = x·wᵀ: rows of x [R, I] times a weight [O, I] stored as in PyTorch. */
export const linear = defineOp({
  name: 'linear',
  summary: 'y = x·wᵀ',
  source: 'definition',
  inputs: { x: 'RI', w: 'OI' },
  outputs: { y: 'RO' },
  attrs: {},
  reference: ({ x, w }) => ({ y: matmul(x, w, { transB: true }) }),
  backward: { saves: ['x', 'w'] },
  tolerance,
  cost,
  cases,
  bench,
});

/** y = x·wᵀ + b. */
export const linearBias = defineOp({
  name: 'linearBias',
  summary: 'y = x·wᵀ + b',
  source: 'definition',
  inputs: { x: 'RI', w: 'OI', b: 'O' },
  outputs: { y: 'RO' },
  attrs: {},
  reference: ({ x, w, b }) => ({ y: add(matmul(x, w, { transB: true }), reshape(b, [1, b.size])) }),
  backward: { saves: ['x', 'w'] },
  tolerance,
  cost,
  cases,
  bench,
});

/** y = gelu(pre), pre = x·wᵀ + b; keeps `pre` for the backward pass. */
export const linearBiasGelu = defineOp({
  name: 'linearBiasGelu',
  summary: 'y = gelu(x·wᵀ + b)',
  source: 'arXiv:1606.08415, tanh form',
  inputs: { x: 'RI', w: 'OI', b: 'O' },
  outputs: { y: 'RO', pre: 'RO' },
  auxiliary: ['pre'],
  attrs: {},
  reference: ({ x, w, b }) => {
    const pre = add(matmul(x, w, { transB: true }), reshape(b, [1, b.size]));
    return { y: geluReference(pre), pre };
  },
  backward: { saves: ['x', 'w', 'pre'] },
  tolerance,
  cost,
  cases,
  bench,
});
