// Gradient norm and AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with clipping, one pass over one flat arena. The
// learning rate and all else that changes from step to step lies in memory, so a captured step needs no update.
#include "kernel.h"

namespace {

constexpr int kBlock = 256;
constexpr int64_t kNormChunk = 1 << 16;  // elements of one partial sum; part of the bits

__global__ void squares(const float* g, int64_t n, double* partial) {
  const int64_t begin = blockIdx.x * kNormChunk, end = begin + kNormChunk < n ? begin + kNormChunk : n;
  double total = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kBlock) total += (double)g[i] * (double)g[i];
  total = block_sum(total, gpu::shared<double>());
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

__global__ void finish_norm(const double* partial, int64_t n, float* norm) {
  double total = 0;
  for (int64_t i = threadIdx.x; i < n; i += kBlock) total += partial[i];
  total = block_sum(total, gpu::shared<double>());
  if (threadIdx.x == 0) norm[0] = (float)sqrt(total);
}

/**
 * hyper: lr, beta1, beta2, eps, weightDecay, 1 − beta1ᵗ, 1 − beta2ᵗ, maxNorm (0: no clipping), which may lie in memory of the
 * host. rates gets the same near the device, with the factor that clips in place of maxNorm.
 */
__global__ void read_rates(const float* norm, const float* hyper, float* rates) {
  const float max_norm = hyper[7];
  float clip = 1.0f;
  if (max_norm > 0.0f) {
    clip = max_norm / (norm[0] + 1e-6f);
    if (clip > 1.0f) clip = 1.0f;  // a NaN norm stays NaN
  }
  if (threadIdx.x < 8) rates[threadIdx.x] = threadIdx.x == 7 ? clip : hyper[threadIdx.x];
}

__global__ void adamw(const float* w, const float* g, const float* m, const float* v, const float* rates, float* w1, float* m1,
                      float* v1, int64_t n, int64_t n_decay) {
  const int64_t i = (int64_t)blockIdx.x * kBlock + threadIdx.x;
  if (i >= n) return;
  const float lr = rates[0], beta1 = rates[1], beta2 = rates[2], eps = rates[3], decay = rates[4], clip = rates[7];
  const float old = w[i], d = g[i] * clip;
  const float first = beta1 * m[i] + (1.0f - beta1) * d;
  const float second = beta2 * v[i] + (1.0f - beta2) * (d * d);
  const float step = first / rates[5] / (sqrtf(second / rates[6]) + eps) + (i < n_decay ? old * decay : 0.0f);
  m1[i] = first;
  v1[i] = second;
  w1[i] = old - lr * step;
}

const float* numbers(const physlm_tensor& t) { return static_cast<const float*>(t.data); }
float* numbers(physlm_tensor& t) { return static_cast<float*>(t.data); }

}  // namespace

OP(gradNorm_forward) {
  const int64_t n = elements(in[0]), chunks = most(1, ceil_div(n, kNormChunk));
  double* const partial = static_cast<double*>(scratch(kSlotPartial, chunks * sizeof(double)));
  if (!partial) return PHYSLM_OUT_OF_MEMORY;
  const size_t room = kBlock / kWarp * sizeof(double);
  start(squares, dim3((unsigned)chunks), kBlock, room, numbers(in[0]), n, partial);
  start(finish_norm, dim3(1), kBlock, room, (const double*)partial, chunks, numbers(out[0]));
  return PHYSLM_OK;
}

OP(adamW_forward) {
  const int64_t n = elements(in[0]);
  if (n == 0) return PHYSLM_OK;
  float* const rates = static_cast<float*>(scratch(kSlotPartial, 8 * sizeof(float)));
  if (!rates) return PHYSLM_OUT_OF_MEMORY;
  start(read_rates, dim3(1), kWarp, 0, numbers(in[4]), numbers(in[5]), rates);
  start(adamw, dim3((unsigned)ceil_div(n, kBlock)), kBlock, 0, numbers(in[0]), numbers(in[1]), numbers(in[2]), numbers(in[3]),
        (const float*)rates, numbers(out[0]), numbers(out[1]), numbers(out[2]), n, (int64_t)attrs[0]);
  return PHYSLM_OK;
}
