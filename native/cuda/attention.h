// What the attention kernels share: how packed rows are read, and which kernels serve which shapes. See attention.cu.
#ifndef PHYSLM_CUDA_ATTENTION_H
#define PHYSLM_CUDA_ATTENTION_H

#include "kernel.h"

/** Axes: B batch, T position, P packed columns (H query, G key, G value heads of K), H query head, G kv head. */
struct Attention {
  int64_t B, T, P, H, G, K;
  float scale;
  int causal;
  Floats qkv, o, dO, dqkv;  // rows of P; rows of H·K for o and dO
  float* lse;               // [B][H][T], nats
  float* delta;             // [B][H][T], Σ dO·o; scratch
  const float* turns;       // cosines and sines [T][half][2] of rotary positions that the gradients turn back by; or null
  int half;
  int chunks;               // whether heads can be read 16 bytes at a time
  const int32_t* starts;    // [B][T], never falling: the first key that a query sees, where attention is causal; or null
};

/** The first key that query t < T of sequence b sees where there are documents: within 0…t, whatever the tensor holds. */
DEVICE int start_of(const Attention& a, int64_t b, int64_t t) {
  const int start = a.starts[b * a.T + t];
  return start < 0 ? 0 : start > t ? (int)t : start;
}
/** How many of `tiles` tiles of `step` queries, from tile `first` on, begin with a query that sees keys up to `key`; the first does. */
DEVICE int tiles_that_see(const Attention& a, int64_t b, int key, int first, int tiles, int step) {
  const int32_t* const starts = a.starts + b * a.T;
  int low = first, high = first + tiles - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (starts[middle * step] <= key)
      low = middle;
    else
      high = middle - 1;
  }
  return low - first + 1;
}

/** Hopper's own tensor cores: bf16 rows and heads of 32, 64 or 128; ask first. `delta` is not looked at. */
bool suits_sm90(const Attention& a);
int32_t attend_sm90(const Attention& a);
bool suits_backward_sm90(const Attention& a);
int32_t attend_backward_sm90(Attention a);
/** Tensor cores: bf16 rows and heads up to 128 wide. */
int32_t attend_bf16(const Attention& a);
int32_t attend_backward_bf16(const Attention& a);
/** f32 arithmetic on rows of any kind, heads up to 256 wide. */
int32_t attend_f32(const Attention& a);
int32_t attend_backward_f32(const Attention& a);

/** products[b][h][t] = Σ_k x·y over heads of rows [B][T][H·K]: what the slopes of a softmax are shifted by. */
void head_products(Floats x, Floats y, int64_t B, int64_t T, int64_t H, int64_t K, float* products);

/** Sums and maxima over the eight threads of a row. */
DEVICE float octet_sum(float v) {
  for (int mask = 4; mask > 0; mask /= 2) v += gpu::shuffle_xor(v, mask);
  return v;
}
DEVICE float octet_max(float v) {
  for (int mask = 4; mask > 0; mask /= 2) {
    const float other = gpu::shuffle_xor(v, mask);
    v = other > v ? other : v;
  }
  return v;
}

inline int32_t expect(const char* what, int64_t expected, int64_t got) {
  if (expected == got) return PHYSLM_OK;
  return physlm_fail(PHYSLM_BAD_ARGUMENT, "[%s] expected %lld, got %lld", what, (long long)expected, (long long)got);
}

#endif
