import { defineOp } from '../op.js';
import { add, concat, mul, reshape, rotaryTable, slice, sub } from '../primitives.js';

// Axes: B batch, T position, P packed query, key and value heads.

const attrs = { nHead: 3, dHead: 16, dRotary: 4, base: 10_000 };

/**
 * Rotary positions: in each of the first `nHead` heads of a packed row, the pairs (i, i + dRotary/2) of the first
 * `dRotary` dimensions turn by position · base^(−2i/dRotary) radians. Everything else passes through.
 */
export const rotary = defineOp({
  name: 'rotary',
  summary: 'turns pairs (i, i + dRotary/2) of each head by position·base^(−2i/dRotary)',
  source: 'arXiv:2104.09864, Eq. 34; half-split pairs on a part of the head as in GPT-NeoX (arXiv:2204.06745)',
  inputs: { x: 'BTP', positions: 'T' },
  integers: ['positions'],
  outputs: { y: 'BTP' },
  reuses: { forward: [[0, 0]], backward: [[0, 1]] },
  attrs: { nHead: 'i32', dHead: 'i32', dRotary: 'i32', base: 'f64' },
  invalid: ({ P }, { nHead, dHead, dRotary }) => {
    if (P! % dHead !== 0 || nHead * dHead > P!) return `at least ${nHead} heads of ${dHead} in P`;
    return dRotary % 2 === 0 && dRotary <= dHead ? undefined : `an even dRotary up to ${dHead}, not ${dRotary}, for P`;
  },
  reference: ({ x, positions }, { nHead, dHead, dRotary, base }) => {
    if (dRotary === 0) return { y: reshape(x, x.shape) };
    const [B, T, P] = x.shape as [number, number, number];
    const half = dRotary / 2;
    const table = rotaryTable(positions, dRotary, base, x.dtype);
    const cos = reshape(slice(table, 1, 0, half), [T, 1, half]);
    const sin = reshape(slice(table, 1, half, dRotary), [T, 1, half]);
    const heads = reshape(x, [B, T, P / dHead, dHead]);
    const turned = slice(heads, 2, 0, nHead);
    const [a, b] = [slice(turned, 3, 0, half), slice(turned, 3, half, dRotary)];
    const parts = [sub(mul(a, cos), mul(b, sin)), add(mul(b, cos), mul(a, sin)), slice(turned, 3, dRotary, dHead)];
    const y = concat([concat(parts, 3), slice(heads, 2, nHead, P / dHead)], 2);
    return { y: reshape(y, [B, T, P]) };
  },
  backward: { saves: ['positions'] },
  tolerance: { atol: 2e-6, rtol: 2e-6 },
  cost: ({ B, T, P }) => ({ flops: 3 * B! * T! * P!, bytes: 8 * B! * T! * P! }),
  cases: [
    { dims: { B: 1, T: 1, P: 64 }, attrs },
    { dims: { B: 2, T: 9, P: 80 }, attrs: { ...attrs, dRotary: 16 } },
    { dims: { B: 1, T: 5, P: 30 }, attrs: { nHead: 2, dHead: 10, dRotary: 6, base: 500 } },
    { dims: { B: 1, T: 3, P: 12 }, attrs: { nHead: 1, dHead: 4, dRotary: 0, base: 500 } },
  ],
  bench: {
    'medium d=256': { dims: { B: 16, T: 256, P: 768 }, attrs: { nHead: 8, dHead: 64, dRotary: 16, base: 10_000 } },
  },
});
