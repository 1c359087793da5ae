// Cross-entropy of rows of logits against target tokens, in nats. A block does a row: forward reads it once and keeps the
// log-sum-exp; backward reads it once and may write the gradient over it.
#include "kernel.h"

namespace {

constexpr int kBlock = 256;
constexpr float kLeast = -3.402823466e38f;

/** A maximum and Σ e^(x − maximum); NaN stays NaN. */
struct Sum {
  float top, total;
};
DEVICE Sum join(Sum a, Sum b) {
  const float top = a.top > b.top ? a.top : b.top;
  return {top, a.total * expf(a.top - top) + b.total * expf(b.top - top)};
}

template <int V>
__global__ void cross_entropy(Floats logits, const int32_t* targets, float* loss, float* lse, int64_t V_size, int32_t ignored,
                              uint64_t* problem) {
  Sum* const room = gpu::shared<Sum>();
  const int64_t r = blockIdx.x;
  Sum mine = {kLeast, 0.0f};
  float v[V];
  for (int64_t i = (int64_t)threadIdx.x * V; i < V_size; i += (int64_t)kBlock * V) {
    load(logits, r * V_size + i, v);
    float top = v[0];
    for (int j = 1; j < V; j++) top = v[j] > top ? v[j] : top;
    if (top > mine.top) {
      mine.total *= expf(mine.top - top);
      mine.top = top;
    }
    for (int j = 0; j < V; j++) mine.total += expf(v[j] - mine.top);
  }
  for (int mask = 16; mask > 0; mask /= 2) {
    const Sum other = {gpu::shuffle_xor(mine.top, mask), gpu::shuffle_xor(mine.total, mask)};
    mine = lane_index() & mask ? join(other, mine) : join(mine, other);  // the same bits in both lanes
  }
  if (lane_index() == 0) room[warp_index()] = mine;
  gpu::sync();
  if (threadIdx.x > 0) return;
  Sum all = room[0];
  for (int w = 1; w < kBlock / kWarp; w++) all = join(all, room[w]);
  const float total = all.top + logf(all.total);
  const int32_t target = targets[r];
  if (lse) lse[r] = total;
  if (target != ignored && (target < 0 || target >= V_size))
    report(problem, kBadTarget, r, target);
  else if (loss)
    loss[r] = target == ignored ? 0.0f : total - load_one(logits, r * V_size + target);
}

/** dlogits = (softmax(logits) − one_hot(target))·dloss; zero where the target is ignored. */
template <int V>
__global__ void cross_entropy_backward(Floats logits, const int32_t* targets, const float* lse, const float* dloss,
                                       Floats dlogits, int64_t V_size, int32_t ignored, uint64_t* problem) {
  const int64_t r = blockIdx.x;
  const int32_t target = targets[r];
  const bool counts = target != ignored;
  if (counts && (target < 0 || target >= V_size) && threadIdx.x == 0) report(problem, kBadTarget, r, target);
  const float total = lse[r], weight = counts ? dloss[r] : 0.0f;
  float v[V];
  for (int64_t i = (int64_t)threadIdx.x * V; i < V_size; i += (int64_t)kBlock * V) {
    load(logits, r * V_size + i, v);
    for (int j = 0; j < V; j++) {
      const float p = expf(v[j] - total);
      v[j] = counts ? (p - (i + j == target ? 1.0f : 0.0f)) * weight : 0.0f;
    }
    store(dlogits, r * V_size + i, v);
  }
}

}  // namespace

OP(crossEntropy_forward) {
  const int64_t R = leading(in[0], 1), V = axis(in[0], 1);
  uint64_t* const problem = problem_record();
  if (!problem) return PHYSLM_OUT_OF_MEMORY;
  if (R == 0) return PHYSLM_OK;
  start(in_eights(in[0], V) ? cross_entropy<8> : cross_entropy<1>, dim3((unsigned)R), kBlock, kBlock / kWarp * sizeof(Sum),
        floats(in[0]), static_cast<const int32_t*>(in[1].data), static_cast<float*>(out[0].data),
        static_cast<float*>(out[1].data), V, (int32_t)attrs[0], problem);
  return PHYSLM_OK;
}

OP(crossEntropy_backward) {
  const int64_t R = leading(in[0], 1), V = axis(in[0], 1);
  uint64_t* const problem = problem_record();
  if (!problem) return PHYSLM_OUT_OF_MEMORY;
  if (R == 0 || !out[0].data) return PHYSLM_OK;
  const bool eights = in_eights(in[0], V) && in_eights(out[0], V);
  start(eights ? cross_entropy_backward<8> : cross_entropy_backward<1>, dim3((unsigned)R), kBlock, 0, floats(in[0]),
        static_cast<const int32_t*>(in[1].data), static_cast<const float*>(in[2].data),
        static_cast<const float*>(in[3].data), floats(out[0]), V, (int32_t)attrs[0], problem);
  return PHYSLM_OK;
}
