// C = A·B with what follows it. See gemm.cu.
#ifndef PHYSLM_CUDA_GEMM_H
#define PHYSLM_CUDA_GEMM_H

#include "kernel.h"
#include "tile_maps.h"

/** One operand. Element (i, k) is data[i·ld + k], or data[k·ld + i] when turned; i is a row of A or a column of B. */
struct Operand {
  Floats x;
  int64_t ld;
  int turned;
};

/** What a product does with p = Σ_k A(m, k)·B(n, k) + bias[n] before it stores c. */
enum Tail {
  kPlain,      // c = p
  kAdd,        // c = p + beside[m][n]
  kSlope,      // c = p·gelu'(beside[m][n])
  kGate,       // B has rows [a | b]: c = p, y[m][n] = silu(p[m][n])·p[m][N/2 + n], N/2 columns; only where suits_sm90
  kTurn,       // c = p with rotary positions; only where suits_sm90
  kGateSlope,  // beside has rows [a | b], 2N wide, and so has c: the gradient of silu(a)·b where p is that of the gated value
};

/** Rotary positions of rows: row m is at position m % T of `table` [T][half][2]; the first `heads` heads of `width` columns turn. */
struct Turn {
  const float* table;
  int T, heads, width, half;
};

/** c[m][n], row-major, and y = gelu(c) where there is no tail. bias, c and y may be null (not both c and y). */
struct Product {
  int64_t M, N, K;
  Operand a, b;
  const float* bias;
  Floats c, y;
  Tail tail = kPlain;
  Floats beside = {};
  float* sums = nullptr;  // Σ_m c[m][n] where wanted; only with kSlope
  Turn turn = {};
};

/** Products that do not depend on each other, where it can be in one launch. A status. */
int32_t multiply_all(const Product* products, int n);
/** Starts the kernels. f32 throughout when both operands are f32; bf16 on tensor cores, f32 sums, when one is bf16. A status. */
int32_t multiply(const Product& product);

// --- between gemm.cu and gemm_sm90.cu ----------------------------------------------------------------------------------

/** Whether multiply_sm90 takes it: Hopper, bf16 operands that TMA can fetch, enough work to fill its tiles. */
bool suits_sm90(const Product& product);
/** Starts the kernels for Hopper. A status. */
int32_t multiply_sm90(const Product& product);
/** Whether multiply_sm90_all takes it: what multiply_sm90 takes, both operands turned, f32 results without a tail. */
bool suits_group_sm90(const Product& product);
/** Starts the kernels for Hopper, one launch for up to 32 products. A status. */
int32_t multiply_sm90_all(const Product* products, int n);

/** Chains that the sum over k is cut into, each `depth` long but the last, and their memory; by shape alone. */
struct Splits {
  int64_t count, depth;
  float* partial;  // [count][M][N]; null when count is 1
};
int32_t split(const Product& product, int64_t tiles, int64_t slice, Splits* out);
/** Adds the chains in order, then does what follows the product. */
void add_splits(const Product& product, const Splits& splits);

/** da and db of silu(a)·b, given the gradient of that. */
DEVICE void gate_slope(float d, float sigmoid, float& a, float& b) {
  const float up = b;
  b = d * a * sigmoid;
  a = d * up * sigmoid * (1.0f + a * (1.0f - sigmoid));
}

/** Adds the bias, does what the tail says, stores c, stores gelu(c). */
DEVICE void finish(const Product& p, int64_t m, int64_t n, float value) {
  if (p.bias) value += p.bias[n];
  if (p.tail == kAdd) value += load_one(p.beside, m * p.N + n);
  if (p.tail == kSlope) value *= gelu_slope(load_one(p.beside, m * p.N + n));
  if (p.tail == kGateSlope) {
    const int64_t at = m * 2 * p.N + n;
    float a = load_one(p.beside, at), b = load_one(p.beside, at + p.N);
    gate_slope(value, 1.0f / (1.0f + expf(-a)), a, b);
    store_one(p.c, at, a);
    store_one(p.c, at + p.N, b);
    return;
  }
  if (p.c.data) store_one(p.c, m * p.N + n, value);
  if (p.y.data) store_one(p.y, m * p.N + n, gelu(value));
}

#endif
