// One new token for each sequence over a cache of keys and values, which it extends in place, for every kind of attention.
// The rows so far are cut into parts of 128; a block takes one part of one head of one sequence and keeps the largest score,
// the sum of weights and the mix of values, which a second kernel joins in order. Where a row lies decides its part, so the
// bits depend on the position and not on the machine. The position lies in memory: a captured step serves all of them.
// Scratch: (K + 2) floats for each part.
#include "attention.h"

namespace {

constexpr int kBlock = 128;
constexpr int kPart = kBlock;  // rows of a part; one thread weighs one row
constexpr int kWarps = kBlock / kWarp;

/** Axes: B sequence, S row of the cache, H query head, G key and value head, K width of a head. */
struct Step {
  Floats row, o;                      // the new token's [B][pitch] and the result [B][H·K]
  int64_t pitch, keys, values;        // where the new keys and values begin in a row
  const float *k_old, *v_old;         // [B][S][G][K]; no keys where the pattern sees positions alone
  float *k_new, *v_new;
  const int32_t* positions;
  int64_t B, S, H, G, K, parts;
  float* partial;                     // [B][H][part]: largest score, sum of weights, mix of values
  uint64_t* problem;

  DEVICE int64_t cache(int64_t b, int64_t s, int64_t g) const { return ((b * S + s) * G + g) * K; }
  DEVICE float key(int64_t b, int64_t s, int64_t g, int64_t k, int64_t position) const {
    return s == position ? load_one(row, b * pitch + keys + g * K + k) : k_old[cache(b, s, g) + k];
  }
  DEVICE float value(int64_t b, int64_t s, int64_t g, int64_t k, int64_t position) const {
    return s == position ? load_one(row, b * pitch + values + g * K + k) : v_old[cache(b, s, g) + k];
  }
};

// A score: whether it sees content, the first row that a head sees, and the score of row s, from columns part, part + 8 …
// whose sum over eight threads it is when it sees content.

struct ByContent {
  static constexpr bool kContent = true;
  float scale;
  DEVICE int64_t first(int64_t, int64_t) const { return 0; }
  DEVICE float score(const Step& a, const float* q, int64_t b, int64_t h, int64_t s, int64_t position, int part) const {
    float total = 0;
    for (int64_t k = part; k < a.K; k += 8) total += q[k] * a.key(b, s, h * a.G / a.H, k, position);
    return total * scale;
  }
};

struct ByContentAndDistance {
  static constexpr bool kContent = true;
  float scale;
  const float *key_positions, *query_positions;  // [N][H·K]
  int64_t N;
  DEVICE int64_t first(int64_t, int64_t) const { return 0; }
  DEVICE float score(const Step& a, const float* q, int64_t b, int64_t h, int64_t s, int64_t position, int part) const {
    const int64_t at = ((position - s < N - 1 ? position - s : N - 1) * a.H + h) * a.K;
    float total = 0;
    for (int64_t k = part; k < a.K; k += 8) {
      const float key = a.key(b, s, h, k, position);
      total += q[k] * (key + key_positions[at + k]) + key * query_positions[at + k];
    }
    return total * scale;
  }
};

struct ByDistance {
  static constexpr bool kContent = false;
  const float* table;  // [H][N]
  int64_t N;
  DEVICE int64_t first(int64_t, int64_t) const { return 0; }
  DEVICE float score(const Step&, const float*, int64_t, int64_t h, int64_t s, int64_t position, int) const {
    return table[h * N + (position - s < N - 1 ? position - s : N - 1)];
  }
};

/** Head h sees the last 2^(h+1) − 1 rows alike. */
struct ByWindow {
  static constexpr bool kContent = false;
  DEVICE int64_t first(int64_t h, int64_t position) const {
    const int64_t width = h >= 40 ? position + 1 : ((int64_t)2 << h) - 1;
    return position + 1 > width ? position + 1 - width : 0;
  }
  DEVICE float score(const Step&, const float*, int64_t, int64_t, int64_t, int64_t, int) const { return 0.0f; }
};

/** A softmax over no finite score shifts by nothing, so that it gives 0 and not NaN. */
DEVICE float shift_of(float top) { return top == -INFINITY ? 0.0f : top; }

template <class Score>
__global__ void step(Step a, Score score) {
  float* const weights = gpu::shared<float>();  // [kPart], then the query [K], the mix by warp [kWarps][K], room for sums
  float* const q = weights + kPart;
  float* const mixed = q + a.K;
  float* const room = mixed + kWarps * a.K;
  const int64_t part = blockIdx.x, h = blockIdx.y, b = blockIdx.z, g = h * a.G / a.H, position = a.positions[0];
  if (position < 0 || position >= a.S) {
    if (threadIdx.x == 0) report(a.problem, kBadPosition, b, (int32_t)position);
    return;
  }
  const int64_t first = score.first(h, position), s0 = part * kPart, s1 = s0 + kPart < position + 1 ? s0 + kPart : position + 1;
  if (position / kPart == part && h % (a.H / a.G) == 0)  // one head of a group writes the new row; all read where it came from
    for (int64_t k = threadIdx.x; k < a.K; k += kBlock) {
      if (Score::kContent) a.k_new[a.cache(b, position, g) + k] = load_one(a.row, b * a.pitch + a.keys + g * a.K + k);
      a.v_new[a.cache(b, position, g) + k] = load_one(a.row, b * a.pitch + a.values + g * a.K + k);
    }
  if (s1 <= first || s1 <= s0) return;
  if (Score::kContent) {
    for (int64_t k = threadIdx.x; k < a.K; k += kBlock) q[k] = load_one(a.row, b * a.pitch + h * a.K + k);
    gpu::sync();
    const int line = threadIdx.x / 8, column = threadIdx.x % 8;
    for (int i = line; i < kPart; i += kBlock / 8) {  // every thread takes every turn: the octets of a warp add together
      const int64_t s = s0 + i;
      const float sum = octet_sum(s < s1 ? score.score(a, q, b, h, s, position, column) : 0.0f);
      if (column == 0) weights[i] = sum;
    }
    gpu::sync();
  }
  const int64_t mine = s0 + threadIdx.x;
  const bool seen = mine >= first && mine < s1;
  float own = -INFINITY;
  if (seen) own = Score::kContent ? weights[threadIdx.x] : score.score(a, q, b, h, mine, position, 0);
  float top = warp_max(own);
  if (lane_index() == 0) room[warp_index()] = top;
  gpu::sync();
  for (int w = 0; w < kWarps; w++) top = room[w] > top ? room[w] : top;
  const float weight = seen ? expf(own - shift_of(top)) : 0.0f;
  weights[threadIdx.x] = weight;
  const float total = block_sum(weight, room);
  const int64_t begin = s0 > first ? s0 : first;
  for (int64_t k0 = 0; k0 < a.K; k0 += kWarp) {
    const int64_t k = k0 + lane_index();
    if (k >= a.K) continue;
    float sum = 0;
    for (int64_t s = begin + warp_index(); s < s1; s += kWarps) sum += weights[s - s0] * a.value(b, s, g, k, position);
    mixed[warp_index() * a.K + k] = sum;
  }
  gpu::sync();
  float* const to = a.partial + ((b * a.H + h) * a.parts + part) * (a.K + 2);
  for (int64_t k = threadIdx.x; k < a.K; k += kBlock) {
    float sum = mixed[k];
    for (int w = 1; w < kWarps; w++) sum += mixed[w * a.K + k];
    if (a.parts == 1)
      store_one(a.o, (b * a.H + h) * a.K + k, sum / total);
    else
      to[2 + k] = sum;
  }
  if (a.parts > 1 && threadIdx.x == 0) to[0] = top, to[1] = total;
}

/** A block joins the parts of one head of one sequence. */
template <class Score>
__global__ void join(Step a, Score score) {
  const int64_t h = blockIdx.x, b = blockIdx.y, position = a.positions[0];
  if (position < 0 || position >= a.S) return;
  const int64_t begin = score.first(h, position) / kPart, end = position / kPart + 1, width = a.K + 2;
  const float* const from = a.partial + (b * a.H + h) * a.parts * width;
  float top = -INFINITY, total = 0;
  for (int64_t part = begin; part < end; part++) top = from[part * width] > top ? from[part * width] : top;
  const float down = shift_of(top);
  for (int64_t part = begin; part < end; part++) total += from[part * width + 1] * expf(from[part * width] - down);
  for (int64_t k = threadIdx.x; k < a.K; k += kBlock) {
    float sum = 0;
    for (int64_t part = begin; part < end; part++) sum += from[part * width + 2 + k] * expf(from[part * width] - down);
    store_one(a.o, (b * a.H + h) * a.K + k, sum / total);
  }
}

__global__ void copy_floats(const float* from, float* to, int64_t n) {
  const int64_t i = (int64_t)blockIdx.x * kBlock + threadIdx.x;
  if (i < n) to[i] = from[i];
}

/** What all steps share. A cache that is not in place is copied first. */
int32_t read_caches(Step& a, const physlm_tensor& row, const physlm_tensor* k_cache, const physlm_tensor& v_cache,
                    const physlm_tensor& position, physlm_tensor& o, physlm_tensor* k_next, physlm_tensor& v_next) {
  a.row = floats(row), a.o = floats(o);
  a.pitch = axis(row, 1);
  a.B = leading(v_cache, 3), a.S = axis(v_cache, 3), a.G = axis(v_cache, 2), a.K = axis(v_cache, 1);
  a.positions = static_cast<const int32_t*>(position.data);
  a.problem = problem_record();
  a.parts = ceil_div(a.S, kPart);
  a.partial = nullptr;
  if (!a.problem) return PHYSLM_OUT_OF_MEMORY;
  if (a.H > 65535 || a.B > 65535 || a.K > 8192)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[cache] expected up to 65535 heads and sequences, heads up to 8192 wide, got %lld, "
                       "%lld and %lld", (long long)a.H, (long long)a.B, (long long)a.K);
  const int64_t n = elements(v_cache);
  auto keep = [&](const physlm_tensor& from, physlm_tensor& to, const float*& old, float*& next) {
    old = static_cast<const float*>(from.data), next = static_cast<float*>(to.data);
    if (old != next && n > 0) start(copy_floats, dim3((unsigned)ceil_div(n, kBlock)), kBlock, 0, old, next, n);
  };
  keep(v_cache, v_next, a.v_old, a.v_new);
  if (k_cache) keep(*k_cache, *k_next, a.k_old, a.k_new);
  return PHYSLM_OK;
}

template <class Score>
int32_t start_step(Step& a, const Score& score) {
  if (a.B * a.S * a.H * a.K == 0) return PHYSLM_OK;
  if (a.parts > 1) {
    a.partial = static_cast<float*>(scratch(kSlotPartial, a.B * a.H * a.parts * (a.K + 2) * sizeof(float)));
    if (!a.partial) return PHYSLM_OUT_OF_MEMORY;
  }
  const size_t bytes = (kPart + (1 + kWarps) * a.K + kWarps) * sizeof(float);
  start(step<Score>, dim3((unsigned)a.parts, (unsigned)a.H, (unsigned)a.B), kBlock, bytes, a, score);
  if (a.parts > 1) start(join<Score>, dim3((unsigned)a.H, (unsigned)a.B), kBlock, 0, a, score);
  return PHYSLM_OK;
}

}  // namespace

OP(attentionStep_forward) {
  Step a = {};
  a.H = (int64_t)attrs[0];
  if (int32_t status = read_caches(a, in[0], &in[1], in[2], in[3], out[0], &out[1], out[2])) return status;
  const int64_t G = (int64_t)attrs[1], K = (int64_t)attrs[2];
  if (a.H < 1 || G < 1 || a.H % G)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[nHead] expected a multiple of nKvHead, both positive, got %lld and %lld",
                       (long long)a.H, (long long)G);
  if (int32_t status = expect("kCache heads", G, a.G)) return status;
  if (int32_t status = expect("kCache width", K, a.K)) return status;
  if (int32_t status = expect("qkv columns", (a.H + 2 * G) * K, a.pitch)) return status;
  if (int32_t status = expect("o columns", a.H * K, axis(out[0], 1))) return status;
  a.keys = a.H * K, a.values = (a.H + G) * K;
  return start_step(a, ByContent{(float)attrs[3]});
}

OP(relativeAttentionStep_forward) {
  Step a = {};
  a.H = axis(in[1], 2);
  if (int32_t status = read_caches(a, in[0], &in[1], in[2], in[5], out[0], &out[1], out[2])) return status;
  const int64_t Q = a.H * a.K;
  if (int32_t status = expect("qkv columns", 3 * Q, a.pitch)) return status;
  if (int32_t status = expect("keyPositions columns", Q, axis(in[3], 1))) return status;
  a.keys = Q, a.values = 2 * Q;
  return start_step(a, ByContentAndDistance{(float)attrs[0], static_cast<const float*>(in[3].data),
                                            static_cast<const float*>(in[4].data), leading(in[3], 1)});
}

OP(positionAttentionStep_forward) {
  Step a = {};
  a.H = axis(in[2], 2);
  if (int32_t status = read_caches(a, in[0], nullptr, in[2], in[3], out[0], nullptr, out[1])) return status;
  if (int32_t status = expect("v columns", a.H * a.K, a.pitch)) return status;
  return start_step(a, ByDistance{static_cast<const float*>(in[1].data), axis(in[1], 1)});
}

OP(uniformAttentionStep_forward) {
  Step a = {};
  a.H = axis(in[1], 2);
  if (int32_t status = read_caches(a, in[0], nullptr, in[1], in[2], out[0], nullptr, out[1])) return status;
  if (int32_t status = expect("v columns", a.H * a.K, a.pitch)) return status;
  return start_step(a, ByWindow{});
}
