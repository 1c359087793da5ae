import { complaint, PhyslmError } from '@physlm/base';
import type { Device } from './device.js';
import { matmul } from './primitives.js';

/** Columns that are solved for together, before their product is taken from all that is left of them. */
const BLOCK = 64;

/**
 * Overwrites a symmetric positive definite matrix [n, n] with the upper triangular R of H = R·Rᵀ: Cholesky's factor from
 * the last column down. Reads the upper triangle only; what is below the diagonal of the result is zero.
 *
 * f64 within a block of 64 columns. What a block takes from those before it are f32 products made on `device` and summed in
 * f64: beyond 64 columns R·Rᵀ is off by some 1e-7·√(Hᵢᵢ·Hⱼⱼ), as far as a Hessian of f32 products is itself.
 *
 * @throws PhyslmError 'data' when the matrix is not positive definite.
 */
export function factorUpper(h: Float64Array, n: number, device: Device): void {
  for (let end = n; end > 0; end -= BLOCK) {
    const begin = Math.max(0, end - BLOCK);
    for (let row = end - 1; row >= 0; row--) solveRow(h, n, row, begin, end);
    if (begin > 0) takeProduct(h, n, begin, end, device);
  }
  for (let row = 1; row < n; row++) h.fill(0, row * n, row * n + row);
}

/** Columns of one row of the factor, from the last of the block to its first; rows below are known. */
function solveRow(h: Float64Array, n: number, row: number, begin: number, end: number): void {
  for (let k = end - 1; k >= Math.max(begin, row); k--) {
    const rest = h[row * n + k]! - dot(h, row * n, k * n, k + 1, end);
    if (k > row) h[row * n + k] = rest / h[k * n + k]!;
    else if (rest > 0) h[row * n + k] = Math.sqrt(rest);
    else {
      const got = `${rest} at row ${k} of ${n}`;
      throw new PhyslmError('data', complaint('factorUpper', 'a positive definite matrix', got));
    }
  }
}

/** H[i, j] −= Σ R[i, k]·R[j, k] over the block's columns k, for i ≤ j < begin. */
function takeProduct(h: Float64Array, n: number, begin: number, end: number, device: Device): void {
  const width = end - begin;
  const panel = device.zeros([begin, width]);
  const values = panel.values();
  for (let row = 0; row < begin; row++) values.set(h.subarray(row * n + begin, row * n + end), row * width);
  using _scope = device.scope('factorUpper');
  const product = device.withoutGrad(() => matmul(panel, panel, { transB: true })).values();
  for (let i = 0; i < begin; i++) for (let j = i; j < begin; j++) h[i * n + j]! -= product[i * begin + j]!;
}

/** Σ h[a + i]·h[b + i] over i in [from, to), in four sums, so that additions need not wait for each other. */
function dot(h: Float64Array, a: number, b: number, from: number, to: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let i = from;
  for (; i + 3 < to; i += 4) {
    s0 += h[a + i]! * h[b + i]!;
    s1 += h[a + i + 1]! * h[b + i + 1]!;
    s2 += h[a + i + 2]! * h[b + i + 2]!;
    s3 += h[a + i + 3]! * h[b + i + 3]!;
  }
  for (; i < to; i++) s0 += h[a + i]! * h[b + i]!;
  return s0 + s1 + s2 + s3;
}
