// C = A·B with what follows it. See gemm.cu.
#ifndef PHYSLM_CUDA_GEMM_H
#define PHYSLM_CUDA_GEMM_H

#include "common.h"

/** One operand. Element (i, k) is data[i·ld + k], or data[k·ld + i] when turned; i is a row of A or a column of B. */
struct Operand {
  Floats x;
  int64_t ld;
  int turned;
};

/** c[m][n] = Σ_k A(m, k)·B(n, k) + bias[n], row-major; y = gelu(c). bias, c and y may be null (not both c and y). */
struct Product {
  int64_t M, N, K;
  Operand a, b;
  const float* bias;
  Floats c, y;
};

/** Starts the kernels. f32 throughout when both operands are f32; bf16 on tensor cores, f32 sums, when one is bf16. A status. */
int32_t multiply(const Product& product);

#endif
