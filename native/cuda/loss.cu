// Cross-entropy of rows of logits against target tokens, in nats. A block does a row: forward reads it once and keeps the
// log-sum-exp; backward reads it once and may write the gradient over it. Where a step is known to want both, one kernel reads
// the row once, keeps it in shared memory and writes the gradient: crossEntropyGradient, with the bits of the two.
#include "kernel.h"

namespace {

constexpr int kLongest = 16;  // warps of a block
constexpr float kLeast = -3.402823466e38f;

/** Threads for a row; part of the bits. */
int threads_for(int64_t V) { return V >= 8192 ? kLongest * kWarp : 256; }

DEVICE float exponential(float x) { return gpu::exp2_fast(x * kLog2E); }

/** A maximum and Σ e^(x − maximum); NaN stays NaN. */
struct Sum {
  float top, total;
};
DEVICE Sum join(Sum a, Sum b) {
  const float top = a.top > b.top ? a.top : b.top;
  return {top, a.total * exponential(a.top - top) + b.total * exponential(b.top - top)};
}

/** The sum over a row by all threads of the block, in thread 0. kept: nothing, or where each thread puts what it read. */
template <int V>
DEVICE Sum sum_row(const Floats& logits, int64_t from, int64_t V_size, const Floats& kept, Sum* room) {
  Sum mine = {kLeast, 0.0f};
  float v[V];
#pragma unroll 2
  for (int64_t i = (int64_t)threadIdx.x * V; i < V_size; i += (int64_t)blockDim.x * V) {
    load(logits, from + i, v);
    if (kept.data) store(kept, i, v);
    float top = v[0];
    for (int j = 1; j < V; j++) top = v[j] > top ? v[j] : top;
    if (top > mine.top) {
      mine.total *= exponential(mine.top - top);
      mine.top = top;
    }
    for (int j = 0; j < V; j++) mine.total += exponential(v[j] - mine.top);
  }
  for (int mask = 16; mask > 0; mask /= 2) {
    const Sum other = {gpu::shuffle_xor(mine.top, mask), gpu::shuffle_xor(mine.total, mask)};
    mine = lane_index() & mask ? join(other, mine) : join(mine, other);  // the same bits in both lanes
  }
  if (lane_index() == 0) room[warp_index()] = mine;
  gpu::sync();
  Sum all = room[0];
  for (int w = 1; w < (int)blockDim.x / kWarp; w++) all = join(all, room[w]);
  return all;
}

/** Writes what a row costs; by one thread, before the logits may be written over. */
DEVICE void put_loss(const Floats& logits, int64_t r, int64_t V_size, int32_t target, int32_t ignored, float total, float* loss,
                     float* lse, uint64_t* problem) {
  if (lse) lse[r] = total;
  if (target != ignored && (target < 0 || target >= V_size))
    report(problem, kBadTarget, r, target);
  else if (loss)
    loss[r] = target == ignored ? 0.0f : total - load_one(logits, r * V_size + target);
}

/** v = (softmax(logits) − one_hot(target))·weight for V logits from i on. */
template <int V>
DEVICE void to_gradient(float (&v)[V], int64_t i, int32_t target, bool counts, float total, float weight) {
  for (int j = 0; j < V; j++) {
    const float p = exponential(v[j] - total);
    v[j] = counts ? (p - (i + j == target ? 1.0f : 0.0f)) * weight : 0.0f;
  }
}

template <int V>
__global__ void cross_entropy(Floats logits, const int32_t* targets, float* loss, float* lse, int64_t V_size, int32_t ignored,
                              uint64_t* problem) {
  const int64_t r = blockIdx.x;
  const Sum all = sum_row<V>(logits, r * V_size, V_size, {}, gpu::shared<Sum>());
  if (threadIdx.x == 0)
    put_loss(logits, r, V_size, targets[r], ignored, all.top + logf(all.total), loss, lse, problem);
}

/**
 * Both at once: the row is read from memory once and kept in shared memory where it fits, else it is read again from where it
 * was just now. Each thread reads again what it read before.
 */
template <int V>
__global__ void cross_entropy_gradient(Floats logits, const int32_t* targets, const float* dloss, float* loss, float* lse,
                                       Floats dlogits, int64_t V_size, int32_t ignored, int keeps, uint64_t* problem) {
  Sum* const room = gpu::shared<Sum>();
  const int64_t r = blockIdx.x;
  const Floats kept = {keeps ? room + kLongest : nullptr, logits.half};
  const Sum all = sum_row<V>(logits, r * V_size, V_size, kept, room);
  const int32_t target = targets[r];
  const float total = all.top + logf(all.total), weight = target != ignored ? dloss[r] : 0.0f;
  if (threadIdx.x == 0) put_loss(logits, r, V_size, target, ignored, total, loss, lse, problem);
  gpu::sync();
  float v[V];
#pragma unroll 2
  for (int64_t i = (int64_t)threadIdx.x * V; i < V_size; i += (int64_t)blockDim.x * V) {
    load(keeps ? kept : logits, keeps ? i : r * V_size + i, v);
    to_gradient(v, i, target, target != ignored, total, weight);
    store(dlogits, r * V_size + i, v);
  }
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
#pragma unroll 2
  for (int64_t i = (int64_t)threadIdx.x * V; i < V_size; i += (int64_t)blockDim.x * V) {
    load(logits, r * V_size + i, v);
    to_gradient(v, i, target, counts, total, weight);
    store(dlogits, r * V_size + i, v);
  }
}

}  // namespace

OP(crossEntropy_forward) {
  const int64_t R = leading(in[0], 1), V = axis(in[0], 1);
  uint64_t* const problem = problem_record();
  if (!problem) return PHYSLM_OUT_OF_MEMORY;
  if (R == 0) return PHYSLM_OK;
  start(in_eights(in[0], V) ? cross_entropy<8> : cross_entropy<1>, dim3((unsigned)R), threads_for(V), kLongest * sizeof(Sum),
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
  start(eights ? cross_entropy_backward<8> : cross_entropy_backward<1>, dim3((unsigned)R), threads_for(V), 0, floats(in[0]),
        static_cast<const int32_t*>(in[1].data), static_cast<const float*>(in[2].data),
        static_cast<const float*>(in[3].data), floats(out[0]), V, (int32_t)attrs[0], problem);
  return PHYSLM_OK;
}

OP(crossEntropyGradient_forward) {
  const int64_t R = leading(in[0], 1), V = axis(in[0], 1), row = V * (in[0].dtype == PHYSLM_BF16 ? 2 : 4);
  uint64_t* const problem = problem_record();
  if (!problem) return PHYSLM_OUT_OF_MEMORY;
  if (R == 0) return PHYSLM_OK;
  const bool eights = in_eights(in[0], V) && in_eights(out[2], V), keeps = row + 1024 <= platform_shared_bytes();
  start(eights ? cross_entropy_gradient<8> : cross_entropy_gradient<1>, dim3((unsigned)R), threads_for(V),
        kLongest * sizeof(Sum) + (keeps ? row : 0), floats(in[0]), static_cast<const int32_t*>(in[1].data),
        static_cast<const float*>(in[2].data), static_cast<float*>(out[0].data), static_cast<float*>(out[1].data),
        floats(out[2]), V, (int32_t)attrs[0], (int)keeps, problem);
  return PHYSLM_OK;
}
