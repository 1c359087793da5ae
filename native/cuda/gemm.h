// C = A·B with what follows it. See gemm.cu.
#ifndef PHYSLM_CUDA_GEMM_H
#define PHYSLM_CUDA_GEMM_H

#include "kernel.h"

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

// --- between gemm.cu and gemm_sm90.cu ----------------------------------------------------------------------------------

/** Whether multiply_sm90 takes it: Hopper, bf16 operands that TMA can fetch, enough work to fill its tiles. */
bool suits_sm90(const Product& product);
/** Starts the kernels for Hopper. A status. */
int32_t multiply_sm90(const Product& product);

/** Chains that the sum over k is cut into, each `depth` long but the last, and their memory; by shape alone. */
struct Splits {
  int64_t count, depth;
  float* partial;  // [count][M][N]; null when count is 1
};
int32_t split(const Product& product, int64_t tiles, int64_t slice, Splits* out);
/** Adds the chains in order, then does what follows the product. */
void add_splits(const Product& product, const Splits& splits);

/** Adds the bias, stores c, stores gelu(c). */
DEVICE void finish(const Product& p, int64_t m, int64_t n, float value) {
  if (p.bias) value += p.bias[n];
  if (p.c.data) store_one(p.c, m * p.N + n, value);
  if (p.y.data) store_one(p.y, m * p.N + n, gelu(value));
}

/** Block `index` of tiles_m·tiles_n: eight rows of tiles at a time, so that their operands stay in L2. */
struct Tile {
  int64_t m, n;
};
DEVICE Tile tile_at(int64_t index, int64_t tiles_m, int64_t tiles_n) {
  const int64_t group = index / (8 * tiles_n), inside = index % (8 * tiles_n);
  const int64_t rows = tiles_m - 8 * group < 8 ? tiles_m - 8 * group : 8;
  return {8 * group + inside % rows, inside / rows};
}

#endif
