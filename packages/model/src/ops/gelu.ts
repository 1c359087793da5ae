import { defineOp } from '../op.js';
import { add, div, exp, mul, reshape, scale, shift, slice, tanh } from '../primitives.js';
import type { Tensor } from '../tensor.js';

// Axes: N elements, R rows, P two gates side by side (2F), F mlp features.

/** GELU from primitives, for any shape: ½x(1 + tanh(√(2/π)(x + 0.044715x³))). */
export function geluReference(x: Tensor): Tensor {
  const inner = scale(add(x, scale(mul(mul(x, x), x), 0.044715)), Math.sqrt(2 / Math.PI));
  return mul(scale(x, 0.5), shift(tanh(inner), 1));
}

/** The tanh form of GELU, `gelu_new` of the GPT-2 code. */
export const gelu = defineOp({
  name: 'gelu',
  summary: 'y = ½x(1 + tanh(√(2/π)(x + 0.044715x³)))',
  source: 'arXiv:1606.08415, tanh form',
  inputs: { x: 'N' },
  outputs: { y: 'N' },
  reuses: { forward: [[0, 0]], backward: [[0, 1]] },
  attrs: {},
  reference: ({ x }) => ({ y: geluReference(x) }),
  backward: { saves: ['x'] },
  tolerance: { atol: 2e-6, rtol: 5e-6 },
  cost: ({ N }) => ({ flops: 12 * N!, bytes: 8 * N! }),
  cases: [1, 7, 64, 1000].map((N) => ({ dims: { N }, attrs: {} })),
  bench: { 'one million': { dims: { N: 1 << 20 }, attrs: {} } },
});

/** y = silu(a)·b for x = [a | b]: the gate of LLaMA's MLP. */
export const siluGate = defineOp({
  name: 'siluGate',
  summary: 'y = silu(a)·b with [a | b] = x, silu(a) = a/(1 + e⁻ᵃ)',
  source: 'arXiv:2002.05202, SwiGLU',
  inputs: { x: 'RP' },
  outputs: { y: 'RF' },
  attrs: {},
  outputDims: ({ P }) => ({ F: P! / 2 }),
  invalid: ({ P }) => (P! % 2 === 0 ? undefined : 'an even width P'),
  reference: ({ x }) => {
    const [R, P] = x.shape as [number, number];
    const [a, b] = [slice(x, 1, 0, P / 2), slice(x, 1, P / 2, P)];
    return { y: reshape(mul(div(a, shift(exp(scale(a, -1)), 1)), b), [R, P / 2]) };
  },
  backward: { saves: ['x'] },
  tolerance: { atol: 2e-6, rtol: 5e-6 },
  cost: ({ R, P }) => ({ flops: 5 * R! * P!, bytes: 6 * R! * P! }),
  cases: [
    { R: 1, P: 2 },
    { R: 3, P: 34 },
    { R: 17, P: 128 },
  ].map((dims) => ({ dims, attrs: {} })),
  bench: { 'd=256': { dims: { R: 4096, P: 1366 }, attrs: {} } },
});
