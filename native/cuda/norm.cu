// LayerNorm (Ba et al. 2016, arXiv:1607.06450) and RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467), over the last axis.
// A warp does a row. Forward reads x once from memory (twice more from cache) and writes y; backward reads x and dy and
// writes dx. Gradients of gain and bias: each warp adds its rows, the block its warps, a second kernel the blocks, all in an
// order that the shape alone decides. Scratch: blocks · 2D floats.
#include "kernel.h"

namespace {

constexpr int kRows = 8;  // warps of a forward block

template <int V, bool kCentred>
__global__ void norm_forward(Floats x, const float* g, const float* b, Floats y, float* means, float* rstds, int64_t R,
                             int64_t D, float eps) {
  const int64_t r = (int64_t)blockIdx.x * kRows + warp_index();
  if (r >= R) return;
  const int lane = lane_index();
  const float scale = 1.0f / (float)D;
  float v[V], mean = 0;
  if (kCentred) {
    for (int64_t i = lane * V; i < D; i += kWarp * V) {
      load(x, r * D + i, v);
      for (int j = 0; j < V; j++) mean += v[j];
    }
    mean = warp_sum(mean) * scale;
  }
  float squares = 0;
  for (int64_t i = lane * V; i < D; i += kWarp * V) {
    load(x, r * D + i, v);
    for (int j = 0; j < V; j++) squares += (v[j] - mean) * (v[j] - mean);
  }
  const float rstd = 1.0f / sqrtf(warp_sum(squares) * scale + eps);
  for (int64_t i = lane * V; i < D; i += kWarp * V) {
    load(x, r * D + i, v);
    for (int j = 0; j < V; j++) v[j] = (v[j] - mean) * rstd * g[i + j] + (kCentred ? b[i + j] : 0.0f);
    store(y, r * D + i, v);
  }
  if (lane == 0) {
    if (kCentred && means) means[r] = mean;
    if (rstds) rstds[r] = rstd;
  }
}

/**
 * dx = rstd·(dy·g − mean(dy·g) − n·mean(dy·g·n)) with n = (x − mean)·rstd; RMSNorm has mean 0 and no second term. A block
 * takes `depth` rows, warp w every kWarps-th of them; partial[block][2D] gets Σ dy·n, then Σ dy.
 */
template <int V, bool kCentred>
__global__ void norm_backward(Floats x, const float* g, const float* means, const float* rstds, Floats dy, Floats dx,
                              float* partial, int64_t R, int64_t D, int64_t depth) {
  const int lane = lane_index(), warp = warp_index(), warps = blockDim.x / kWarp;
  float* const all = gpu::shared<float>();
  float* const gains = all + warp * 2 * D;
  float* const biases = gains + D;
  const float scale = 1.0f / (float)D;
  if (partial)
    for (int64_t i = lane; i < 2 * D; i += kWarp) gains[i] = 0.0f;
  gpu::sync_warp();
  const int64_t begin = (int64_t)blockIdx.x * depth, end = begin + depth < R ? begin + depth : R;
  for (int64_t r = begin + warp; r < end; r += warps) {
    const float mean = kCentred ? means[r] : 0.0f, rstd = rstds[r];
    float v[V], d[V], plain = 0, along = 0;
    for (int64_t i = lane * V; i < D; i += kWarp * V) {
      load(x, r * D + i, v);
      load(dy, r * D + i, d);
      for (int j = 0; j < V; j++) {
        const float n = (v[j] - mean) * rstd, weighted = d[j] * g[i + j];
        plain += weighted;
        along += weighted * n;
        if (partial) {
          gains[i + j] += d[j] * n;
          if (kCentred) biases[i + j] += d[j];
        }
      }
    }
    if (!dx.data) continue;
    const float p = kCentred ? warp_sum(plain) * scale : 0.0f, q = warp_sum(along) * scale;
    for (int64_t i = lane * V; i < D; i += kWarp * V) {
      load(x, r * D + i, v);
      load(dy, r * D + i, d);
      for (int j = 0; j < V; j++) v[j] = rstd * (d[j] * g[i + j] - p - (v[j] - mean) * rstd * q);
      store(dx, r * D + i, v);
    }
  }
  if (!partial) return;
  gpu::sync();
  for (int64_t i = threadIdx.x; i < 2 * D; i += blockDim.x) {
    float total = all[i];
    for (int w = 1; w < warps; w++) total += all[w * 2 * D + i];
    partial[blockIdx.x * 2 * D + i] = total;
  }
}

template <bool kCentred>
int32_t forward(const physlm_tensor& x, const physlm_tensor& g, const float* b, physlm_tensor& y, float* means, float* rstds,
                double eps) {
  const int64_t R = leading(x, 1), D = axis(x, 1);
  if (R == 0) return PHYSLM_OK;
  const auto kernel = in_eights(x, D) && in_eights(y, D) ? norm_forward<8, kCentred> : norm_forward<1, kCentred>;
  start(kernel, dim3((unsigned)ceil_div(R, kRows)), kRows * kWarp, 0, floats(x), static_cast<const float*>(g.data), b,
        floats(y), means, rstds, R, D, (float)eps);
  return PHYSLM_OK;
}

template <bool kCentred>
int32_t backward(const physlm_tensor& x, const physlm_tensor& g, const float* means, const float* rstds,
                 const physlm_tensor& dy, physlm_tensor& dx, float* dg, float* db) {
  constexpr int64_t kBlocksMost = 264, kRowsLeast = 32;  // two blocks for each multiprocessor of an H100
  constexpr int64_t kSharedMost = 160 << 10;
  const int64_t R = leading(x, 1), D = axis(x, 1);
  const int64_t room = 2 * D * (int64_t)sizeof(float);
  if (room > kSharedMost)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[x] expected rows of at most %lld elements, got %lld",
                       (long long)(kSharedMost / 8), (long long)D);
  const int64_t warps = most(1, least(8, kSharedMost / 2 / room));
  const int64_t depth = most(kRowsLeast, ceil_div(R, kBlocksMost)), blocks = most(1, ceil_div(R, depth));
  float* partial = nullptr;
  if (dg || db) {
    partial = static_cast<float*>(scratch(kSlotPartial, blocks * room));
    if (!partial) return PHYSLM_OUT_OF_MEMORY;
  }
  const bool eights = in_eights(x, D) && in_eights(dy, D) && in_eights(dx, D);
  const auto kernel = eights ? norm_backward<8, kCentred> : norm_backward<1, kCentred>;
  start(kernel, dim3((unsigned)blocks), (int)warps * kWarp, partial ? (size_t)(warps * room) : 0, floats(x),
        static_cast<const float*>(g.data), means, rstds, floats(dy), floats(dx), partial, R, D, depth);
  if (dg) add_chunks(partial, blocks, 2 * D, {dg, 0}, D);
  if (db) add_chunks(partial + D, blocks, 2 * D, {db, 0}, D);
  return PHYSLM_OK;
}

float* numbers(const physlm_tensor& t) { return static_cast<float*>(t.data); }

}  // namespace

OP(layerNorm_forward) {
  return forward<true>(in[0], in[1], numbers(in[2]), out[0], numbers(out[1]), numbers(out[2]), attrs[0]);
}
OP(layerNorm_backward) {
  return backward<true>(in[0], in[1], numbers(in[2]), numbers(in[3]), in[4], out[0], numbers(out[1]), numbers(out[2]));
}
OP(rmsNorm_forward) {
  return forward<false>(in[0], in[1], nullptr, out[0], nullptr, numbers(out[1]), attrs[0]);
}
OP(rmsNorm_backward) {
  return backward<false>(in[0], in[1], nullptr, numbers(in[2]), in[3], out[0], numbers(out[1]), nullptr);
}
