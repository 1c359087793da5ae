// What the attention kernels share: how packed rows are read, and which kernels serve which shapes. See attention.cu.
#ifndef PHYSLM_CUDA_ATTENTION_H
#define PHYSLM_CUDA_ATTENTION_H

#include "common.h"

/** Axes: B batch, T position, P packed columns (H query, G key, G value heads of K), H query head, G kv head. */
struct Attention {
  int64_t B, T, P, H, G, K;
  float scale;
  int causal;
  Floats qkv, o, dO, dqkv;  // rows of P; rows of H·K for o and dO
  float* lse;               // [B][H][T], nats
  float* delta;             // [B][H][T], Σ dO·o; scratch
  int chunks;               // whether heads can be read 16 bytes at a time
};

/** Hopper's own tensor cores: bf16 rows and heads of 32, 64 or 128; ask suits_sm90 first. */
bool suits_sm90(const Attention& a);
int32_t attend_sm90(const Attention& a);
/** Tensor cores: bf16 rows and heads up to 128 wide. */
int32_t attend_bf16(const Attention& a);
int32_t attend_backward_bf16(const Attention& a);
/** f32 arithmetic on rows of any kind, heads up to 256 wide. */
int32_t attend_f32(const Attention& a);
int32_t attend_backward_f32(const Attention& a);

#endif
