import { type Dims, defineOp } from '../op.js';
import { add, div, mul, reshape, scale, shift, sqrt, sub, sum } from '../primitives.js';

// Axes: R rows (batch × position), D dModel.

const cases = [
  { R: 1, D: 1 },
  { R: 3, D: 17 },
  { R: 65, D: 32 },
  { R: 130, D: 48 },
  { R: 300, D: 64 },
].map((dims) => ({ dims, attrs: { eps: 1e-5 } }));
const bench = {
  'tiny d=32': { dims: { R: 2048, D: 32 }, attrs: { eps: 1e-5 } },
  'medium d=256': { dims: { R: 4096, D: 256 }, attrs: { eps: 1e-5 } },
};
const cost = ({ R, D }: Dims): { flops: number; bytes: number } => ({ flops: 8 * R! * D!, bytes: 8 * R! * D! });
const tolerance = { atol: 2e-5, rtol: 2e-5 };

/** y = (x − mean)·rstd·g + b over each row; mean and rstd = 1/√(variance + eps) are kept. */
export const layerNorm = defineOp({
  name: 'layerNorm',
  summary: 'y = (x − mean)/√(var + eps)·g + b, by row',
  source: 'arXiv:1607.06450, Eq. 4',
  inputs: { x: 'RD', g: 'D', b: 'D' },
  outputs: { y: 'RD', mean: 'R', rstd: 'R' },
  auxiliary: ['mean', 'rstd'],
  attrs: { eps: 'f64' },
  reference: ({ x, g, b }, { eps }) => {
    const [R, D] = x.shape as [number, number];
    const mean = scale(sum(x, 1), 1 / D);
    const centred = sub(x, mean);
    const deviation = sqrt(shift(scale(sum(mul(centred, centred), 1), 1 / D), eps));
    const y = add(mul(div(centred, deviation), reshape(g, [1, D])), reshape(b, [1, D]));
    const rstd = div(deviation, mul(deviation, deviation));
    return { y, mean: reshape(mean, [R]), rstd: reshape(rstd, [R]) };
  },
  backward: { saves: ['x', 'g', 'mean', 'rstd'] },
  tolerance,
  cost,
  cases,
  bench,
});

/** y = x·rstd·g with rstd = 1/√(mean(x²) + eps) over each row. */
export const rmsNorm = defineOp({
  name: 'rmsNorm',
  summary: 'y = x/√(mean(x²) + eps)·g, by row',
  source: 'arXiv:1910.07467, Eq. 4',
  inputs: { x: 'RD', g: 'D' },
  outputs: { y: 'RD', rstd: 'R' },
  auxiliary: ['rstd'],
  attrs: { eps: 'f64' },
  reference: ({ x, g }, { eps }) => {
    const [R, D] = x.shape as [number, number];
    const deviation = sqrt(shift(scale(sum(mul(x, x), 1), 1 / D), eps));
    const rstd = div(deviation, mul(deviation, deviation));
    return { y: mul(div(x, deviation), reshape(g, [1, D])), rstd: reshape(rstd, [R]) };
  },
  backward: { saves: ['x', 'g', 'rstd'] },
  tolerance,
  cost,
  cases,
  bench,
});
