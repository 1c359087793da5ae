// Ends a decoding step: the next token of each sequence, from its script or chosen from its logits, and the next position. A
// block does a sequence. Greedy: the largest logit, the smaller token among equals. Sampling: each thread adds the weights of a
// run of neighbouring tokens in double, the runs are added in order, and the draw falls into one of them. The topK largest are
// found digit by digit of their bits, eight at a time. All of it reads the logits a few times and from cache.
#include "kernel.h"

namespace {

constexpr int kBlock = 256;
constexpr int kDigits = 256;

struct Best {
  float value;
  int32_t token;
};
DEVICE Best better(Best a, Best b) { return b.value > a.value || (b.value == a.value && b.token < a.token) ? b : a; }

/** Unsigned numbers in the order of the floats. */
DEVICE uint32_t rank_of(float x) {
  const uint32_t bits = __float_as_uint(x == 0.0f ? 0.0f : x);  // both zeros alike
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/** What the threads of a block show each other. */
struct Room {
  Best best[kBlock / kWarp];
  double sums[kBlock];
  int counts[kDigits];
  uint32_t prefix;
  int wanted, token;
};

DEVICE Best block_best(const float* logits, int64_t V, Room& room) {
  Best mine = {-INFINITY, (int32_t)V};
  for (int64_t i = threadIdx.x; i < V; i += kBlock) mine = better(mine, {logits[i], (int32_t)i});
  for (int mask = 16; mask > 0; mask /= 2)
    mine = better(mine, {gpu::shuffle_xor(mine.value, mask), gpu::shuffle_xor(mine.token, mask)});
  if (lane_index() == 0) room.best[warp_index()] = mine;
  gpu::sync();
  for (int w = 0; w < kBlock / kWarp; w++) mine = better(mine, room.best[w]);
  return mine;
}

/** room.prefix: the rank of the k-th largest logit; room.wanted: how many of those that equal it are among the k. */
DEVICE void find_threshold(const float* logits, int64_t V, int k, Room& room) {
  if (threadIdx.x == 0) room.prefix = 0, room.wanted = k;
  for (int shift = 24; shift >= 0; shift -= 8) {
    room.counts[threadIdx.x] = 0;
    gpu::sync();
    const uint32_t prefix = room.prefix;
    for (int64_t i = threadIdx.x; i < V; i += kBlock) {
      const uint32_t rank = rank_of(logits[i]);
      if (shift == 24 || rank >> (shift + 8) == prefix >> (shift + 8))
        gpu::atomic_add(&room.counts[rank >> shift & (kDigits - 1)], 1);
    }
    gpu::sync();
    if (threadIdx.x == 0) {
      int digit = kDigits - 1;
      for (; digit > 0 && room.counts[digit] < room.wanted; digit--) room.wanted -= room.counts[digit];
      room.prefix = prefix | (uint32_t)digit << shift;
    }
    gpu::sync();
  }
}

__global__ void choose(const float* logits, const float* draws, const int32_t* position, int32_t* ids, int32_t* script,
                       int64_t V, int64_t S, float temperature, int64_t top_k) {
  Room& room = *gpu::shared<Room>();
  const int64_t b = blockIdx.x, next = position[0] + 1, at = b * S + next;
  if (next < 1 || next >= S) return;
  const int32_t known = script[at];
  if (known >= 0) {
    if (threadIdx.x == 0) ids[b] = known;
    return;
  }
  const float* const row = logits + b * V;
  const Best best = block_best(row, V, room);
  if (threadIdx.x == 0) room.token = best.token < V ? best.token : 0;
  if (temperature > 0) {
    const bool all = top_k >= V;
    if (!all) find_threshold(row, V, (int)top_k, room);
    gpu::sync();
    const uint32_t threshold = room.prefix;
    const int64_t run = (V + kBlock - 1) / kBlock, begin = threadIdx.x * run, end = begin + run < V ? begin + run : V;
    int ties = room.wanted;  // of those that equal the threshold, in order of token
    if (!all) {
      int equal = 0;
      for (int64_t i = begin; i < end; i++) equal += rank_of(row[i]) == threshold;
      room.counts[threadIdx.x] = equal;
      gpu::sync();
      for (int i = 0; i < (int)threadIdx.x; i++) ties -= room.counts[i];
    }
    auto weight = [&](int64_t i, int& left) {
      if (!all) {
        const uint32_t rank = rank_of(row[i]);
        if (rank < threshold || (rank == threshold && left-- <= 0)) return 0.0;
      }
      return (double)expf((row[i] - best.value) / temperature);
    };
    double mine = 0;
    int left = ties;
    for (int64_t i = begin; i < end; i++) mine += weight(i, left);
    room.sums[threadIdx.x] = mine;
    gpu::sync();
    double before = 0, total = 0;
    for (int i = 0; i < kBlock; i++) {
      if (i == (int)threadIdx.x) before = total;
      total += room.sums[i];
    }
    const double target = draws[at] * total;
    if (target >= before && target < before + mine) {  // one thread's run
      double sum = before;
      left = ties;
      for (int64_t i = begin; i < end; i++) {
        const double w = weight(i, left);
        if (w == 0) continue;
        room.token = (int)i;
        sum += w;
        if (sum > target) break;
      }
    }
  }
  gpu::sync();
  if (threadIdx.x == 0) ids[b] = script[at] = room.token;
}

/** After all sequences have read it. */
__global__ void advance(const int32_t* from, int32_t* position) {
  if (threadIdx.x == 0) position[0] = from[0] + 1;
}

__global__ void copy_script(const int32_t* from, int32_t* to, int64_t n) {
  const int64_t i = (int64_t)blockIdx.x * kBlock + threadIdx.x;
  if (i < n) to[i] = from[i];
}

}  // namespace

OP(nextTokens_forward) {
  const int64_t B = leading(in[0], 1), V = axis(in[0], 1), S = axis(in[1], 1), n = elements(in[1]);
  const int64_t top_k = (int64_t)attrs[1];
  if (V < 1 || (attrs[0] > 0 && top_k < 1))
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[topK] expected at least 1 token to choose from, got %lld of %lld",
                       (long long)top_k, (long long)V);
  int32_t* const script = static_cast<int32_t*>(out[1].data);
  const int32_t* const position = static_cast<const int32_t*>(in[3].data);
  if (script != in[1].data && n > 0)
    start(copy_script, dim3((unsigned)ceil_div(n, kBlock)), kBlock, 0, static_cast<const int32_t*>(in[1].data), script, n);
  if (B > 0)
    start(choose, dim3((unsigned)B), kBlock, sizeof(Room), static_cast<const float*>(in[0].data),
          static_cast<const float*>(in[2].data), position, static_cast<int32_t*>(out[0].data), script, V, S, (float)attrs[0],
          top_k);
  start(advance, dim3(1), kWarp, 0, position, static_cast<int32_t*>(out[2].data));
  return PHYSLM_OK;
}
