import { complaint, PhyslmError } from '@physlm/base';

/**
 * Overwrites a symmetric positive definite matrix [n, n] with the upper triangular R of H = R·Rᵀ: Cholesky's factor from
 * the last row up. Reads the upper triangle only; what is below the diagonal of the result is zero.
 *
 * @throws PhyslmError 'data' when the matrix is not positive definite.
 */
export function factorUpper(h: Float64Array, n: number): void {
  for (let k = n - 1; k >= 0; k--) {
    const rowK = h.subarray(k * n, (k + 1) * n);
    const square = rowK[k]! - dot(rowK, rowK, k + 1, n);
    if (!(square > 0)) {
      const got = `${square} at row ${k} of ${n}`;
      throw new PhyslmError('data', complaint('factorUpper', 'a positive definite matrix', got));
    }
    const pivot = Math.sqrt(square);
    rowK[k] = pivot;
    for (let j = 0; j < k; j++) {
      const rowJ = h.subarray(j * n, (j + 1) * n);
      rowJ[k] = (rowJ[k]! - dot(rowJ, rowK, k + 1, n)) / pivot;
    }
    rowK.fill(0, 0, k);
  }
}

/** Σ a·b over [from, to), in four sums, so that additions need not wait for each other. */
function dot(a: Float64Array, b: Float64Array, from: number, to: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let i = from;
  for (; i + 3 < to; i += 4) {
    s0 += a[i]! * b[i]!;
    s1 += a[i + 1]! * b[i + 1]!;
    s2 += a[i + 2]! * b[i + 2]!;
    s3 += a[i + 3]! * b[i + 3]!;
  }
  for (; i < to; i++) s0 += a[i]! * b[i]!;
  return s0 + s1 + s2 + s3;
}
