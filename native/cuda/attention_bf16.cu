// Attention on tensor cores (mma.m16n8k16, sm_80 and later): bf16 operands, f32 scores, sums and gradients. A block of four
// warps owns 64 queries (forward, gradients of queries) or 64 keys (gradients of keys and values), a warp 16 of them, and
// walks over tiles of 64 (fewer where registers are short) of the others, fetched one ahead by cp.async. Heads narrower than 32, 64 or 128 are padded with
// zeros in shared memory. Patterns stay in registers: results of one product are the operand of the next. Documents have
// instances of their own, which leave out the tiles between documents as attention.cu says.
#include "attention.h"
#include "tiles.h"

namespace {

constexpr int kTile = 64, kBlock = 128;

template <int kD>
constexpr int kTileBytes = kTile * kD * 2;
/** Rows of a walked tile in the backward passes: the two products must fit into registers beside the gradients. */
template <int kD>
constexpr int kStep = kD > 64 ? 32 : 64;
template <int kD>
constexpr int kKeyStep = kD > 64 ? 16 : 64;

/** kRows rows of a head into a tile; zeros behind position T and column K. */
template <int kD, int kRows = kTile>
DEVICE void bring(const Floats& x, int64_t base, int64_t stride, int64_t first, const Attention& a, char* to) {
  constexpr int kChunks = kD / 8;
#pragma unroll 2  // more would keep more addresses in registers than there are
  for (int j = 0; j < kRows * kChunks / kBlock; j++) {
    const int at = threadIdx.x + kBlock * j, row = at / kChunks, chunk = at % kChunks;
    const int64_t left = first + row < a.T ? a.K - 8 * chunk : 0, from = base + (first + row) * stride + 8 * chunk;
    char* const goal = to + place<kChunks>(row, chunk);
    if (left >= 8 && a.chunks && x.half) {
      gpu::copy_async(goal, static_cast<const uint16_t*>(x.data) + from);
      continue;
    }
    float v[8];
#pragma unroll
    for (int e = 0; e < 8; e++) v[e] = e < left ? load_one(x, from + e) : 0.0f;
    store(Floats{goal, 1}, 0, v);
  }
}

DEVICE int64_t head_base(const Attention& a, int64_t b, int64_t column) { return b * a.T * a.P + column * a.K; }

/** The first keys that rows t and t + 8 see; 0 behind the last. */
template <bool kDocuments>
DEVICE void read_starts(const Attention& a, int64_t b, int64_t t, int (&starts)[2]) {
#pragma unroll
  for (int r = 0; r < 2; r++) starts[r] = kDocuments && t + 8 * r < a.T ? start_of(a, b, t + 8 * r) : 0;
}
/** The tile of `step` keys that the queries from q0 on meet first. */
template <bool kDocuments>
DEVICE int first_tile(const Attention& a, int64_t b, int64_t q0, int step) {
  return kDocuments ? start_of(a, b, q0) / step : 0;
}

/** c[16 × 8·kN] = (rows i0… of `left`)·(rows of `right`)ᵀ over the head's width. */
template <int kD, int kN>
DEVICE void products(const char* left, int i0, const char* right, float (&c)[kN][4]) {
#pragma unroll
  for (int n = 0; n < kN; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) c[n][e] = 0.0f;
#pragma unroll
  for (int k = 0; k < kD; k += 16) {
    uint32_t rows[4], columns[4];
    fragment<false, false, kD / 8>(left, i0, k, rows);
#pragma unroll
    for (int n = 0; n < kN; n += 2) {
      fragment<false, true, kD / 8>(right, 8 * n, k, columns);
      const uint32_t low[2] = {columns[0], columns[1]}, high[2] = {columns[2], columns[3]};
      gpu::mma(c[n], rows, low);
      gpu::mma(c[n + 1], rows, high);
    }
  }
}

/** total[16 × kD] += weights[16 × 8·kN]·(rows of `values`). */
template <int kD, int kN>
DEVICE void accumulate(const float (&weights)[kN][4], const char* values, float (&total)[kD / 8][4]) {
#pragma unroll
  for (int k = 0; k < 8 * kN; k += 16) {
    uint32_t rows[4], columns[4];
    as_operand(weights[k / 8], weights[k / 8 + 1], rows);
#pragma unroll
    for (int n = 0; n < kD / 8; n += 2) {
      fragment<true, true, kD / 8>(values, 8 * n, k, columns);
      const uint32_t low[2] = {columns[0], columns[1]}, high[2] = {columns[2], columns[3]};
      gpu::mma(total[n], rows, low);
      gpu::mma(total[n + 1], rows, high);
    }
  }
}

DEVICE float quad_sum(float v) {
  v += gpu::shuffle_xor(v, 1);
  return v + gpu::shuffle_xor(v, 2);
}
DEVICE float quad_max(float v) {
  float other = gpu::shuffle_xor(v, 1);
  v = other > v ? other : v;
  other = gpu::shuffle_xor(v, 2);
  return other > v ? other : v;
}

/** Writes a warp's 16 rows, first… on, of a head. */
template <int kD>
DEVICE void write_rows(const Floats& x, int64_t base, int64_t stride, int64_t first, const Attention& a,
                       const float (&total)[kD / 8][4], float by0, float by1) {
  const int lane = lane_index();
#pragma unroll
  for (int n = 0; n < kD / 8; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const int64_t row = first + lane / 4 + (e >= 2 ? 8 : 0);
      const int column = 8 * n + 2 * (lane % 4) + e % 2;
      if (row < a.T && column < a.K) store_one(x, base + row * stride + column, total[n][e] * (e >= 2 ? by1 : by0));
    }
}

template <int kD, bool kDocuments>
__global__ void __launch_bounds__(kBlock, 1) forward(Attention a) {
  char* const q = gpu::shared<char>();
  char* const keys = q + kTileBytes<kD>;  // two tiles of keys, each followed by its values
  const int64_t b = blockIdx.z, h = blockIdx.y, g = h * a.G / a.H;
  const int64_t q0 = (int64_t)(gridDim.x - 1 - blockIdx.x) * kTile;  // the longest rows first
  const int lane = lane_index(), row0 = warp_index() * 16;
  const int64_t last = a.causal && q0 + kTile < a.T ? q0 + kTile : a.T;
  const int steps = (int)((last + kTile - 1) / kTile), first = first_tile<kDocuments>(a, b, q0, kTile);
  int starts[2];
  read_starts<kDocuments>(a, b, q0 + row0 + lane / 4, starts);
  auto bring_keys = [&](int i) {
    if (i < steps) {
      char* const to = keys + i % 2 * 2 * kTileBytes<kD>;
      bring<kD>(a.qkv, head_base(a, b, a.H + g), a.P, (int64_t)i * kTile, a, to);
      bring<kD>(a.qkv, head_base(a, b, a.H + a.G + g), a.P, (int64_t)i * kTile, a, to + kTileBytes<kD>);
    }
    gpu::copy_commit();
  };
  bring<kD>(a.qkv, head_base(a, b, h), a.P, q0, a, q);
  bring_keys(first);
  float o[kD / 8][4] = {}, top[2] = {-1e30f, -1e30f}, total[2] = {};
  const float by = a.scale * kLog2E;
  for (int i = first; i < steps; i++) {
    gpu::sync();  // the other pair of tiles is free
    bring_keys(i + 1);
    gpu::copy_wait<1>();
    gpu::sync();
    const char* const k = keys + i % 2 * 2 * kTileBytes<kD>;
    float s[8][4];
    products<kD>(q, row0, k, s);
    const int64_t k0 = (int64_t)i * kTile;
    const bool edge = k0 + kTile > a.T || (a.causal && k0 + kTile > q0 + row0) ||
                      (kDocuments && (k0 < starts[0] || k0 < starts[1]));
    float peak[2] = {top[0], top[1]};
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        float v = s[n][e] * by;
        if (edge) {
          const int64_t key = k0 + 8 * n + 2 * (lane % 4) + e % 2, t = q0 + row0 + lane / 4 + (e >= 2 ? 8 : 0);
          if (key >= a.T || (a.causal && key > t) || (kDocuments && key < starts[e / 2])) v = -INFINITY;
        }
        s[n][e] = v;
        peak[e / 2] = v > peak[e / 2] ? v : peak[e / 2];
      }
    float shrink[2], sum[2] = {};
#pragma unroll
    for (int r = 0; r < 2; r++) {
      peak[r] = quad_max(peak[r]);
      shrink[r] = gpu::exp2_fast(top[r] - peak[r]);
      top[r] = peak[r];
    }
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        s[n][e] = gpu::exp2_fast(s[n][e] - top[e / 2]);
        sum[e / 2] += s[n][e];
      }
#pragma unroll
    for (int r = 0; r < 2; r++) total[r] = total[r] * shrink[r] + sum[r];
#pragma unroll
    for (int n = 0; n < kD / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) o[n][e] *= shrink[e / 2];
    accumulate<kD>(s, k + kTileBytes<kD>, o);
  }
  gpu::copy_wait<0>();
#pragma unroll
  for (int r = 0; r < 2; r++) total[r] = quad_sum(total[r]);
  write_rows<kD>(a.o, b * a.T * a.H * a.K + h * a.K, a.H * a.K, q0 + row0, a, o, 1.0f / total[0], 1.0f / total[1]);
  if (a.lse && lane % 4 == 0)
    for (int r = 0; r < 2; r++) {
      const int64_t t = q0 + row0 + lane / 4 + 8 * r;
      if (t < a.T) a.lse[(b * a.H + h) * a.T + t] = (top[r] + log2f(total[r])) * kLn2;
    }
}

template <int kD, bool kDocuments>
__global__ void __launch_bounds__(kBlock, 1) backward_queries(Attention a) {
  constexpr int kStepBytes = kStep<kD> * kD * 2;
  char* const q = gpu::shared<char>();
  char* const d = q + kTileBytes<kD>;
  char* const keys = d + kTileBytes<kD>;
  const int64_t b = blockIdx.z, h = blockIdx.y, g = h * a.G / a.H;
  const int64_t q0 = (int64_t)(gridDim.x - 1 - blockIdx.x) * kTile;
  const int lane = lane_index(), row0 = warp_index() * 16;
  const int64_t last = a.causal && q0 + kTile < a.T ? q0 + kTile : a.T;
  const int steps = (int)((last + kStep<kD> - 1) / kStep<kD>), first = first_tile<kDocuments>(a, b, q0, kStep<kD>);
  int starts[2];
  read_starts<kDocuments>(a, b, q0 + row0 + lane / 4, starts);
  auto bring_keys = [&](int i) {
    if (i < steps) {
      char* const to = keys + i % 2 * 2 * kStepBytes;
      bring<kD, kStep<kD>>(a.qkv, head_base(a, b, a.H + g), a.P, (int64_t)i * kStep<kD>, a, to);
      bring<kD, kStep<kD>>(a.qkv, head_base(a, b, a.H + a.G + g), a.P, (int64_t)i * kStep<kD>, a, to + kStepBytes);
    }
    gpu::copy_commit();
  };
  bring<kD>(a.qkv, head_base(a, b, h), a.P, q0, a, q);
  bring<kD>(a.dO, b * a.T * a.H * a.K + h * a.K, a.H * a.K, q0, a, d);
  bring_keys(first);
  float lse[2], delta[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int64_t t = q0 + row0 + lane / 4 + 8 * r;
    lse[r] = t < a.T ? a.lse[(b * a.H + h) * a.T + t] * kLog2E : 0.0f;
    delta[r] = t < a.T ? a.delta[(b * a.H + h) * a.T + t] : 0.0f;
  }
  float dq[kD / 8][4] = {};
  const float by = a.scale * kLog2E;
  for (int i = first; i < steps; i++) {
    gpu::sync();
    bring_keys(i + 1);
    gpu::copy_wait<1>();
    gpu::sync();
    const char* const k = keys + i % 2 * 2 * kStepBytes;
    float s[kStep<kD> / 8][4], dp[kStep<kD> / 8][4];
    products<kD>(q, row0, k, s);
    products<kD>(d, row0, k + kStepBytes, dp);
#pragma unroll
    for (int n = 0; n < kStep<kD> / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int64_t key = (int64_t)i * kStep<kD> + 8 * n + 2 * (lane % 4) + e % 2, t = q0 + row0 + lane / 4 + (e >= 2 ? 8 : 0);
        const bool sees = t < a.T && key < a.T && (!a.causal || key <= t) && (!kDocuments || key >= starts[e / 2]);
        const float p = sees ? gpu::exp2_fast(s[n][e] * by - lse[e / 2]) : 0.0f;
        s[n][e] = p * (dp[n][e] - delta[e / 2]);
      }
    accumulate<kD>(s, k, dq);
  }
  gpu::copy_wait<0>();
  write_rows<kD>(a.dqkv, head_base(a, b, h), a.P, q0 + row0, a, dq, a.scale, a.scale);
}

template <int kD, bool kDocuments>
__global__ void __launch_bounds__(kBlock, 1) backward_keys(Attention a) {
  constexpr int kStepBytes = kKeyStep<kD> * kD * 2;
  char* const k = gpu::shared<char>();
  char* const v = k + kTileBytes<kD>;
  char* const queries = v + kTileBytes<kD>;  // two tiles of queries, each followed by its gradients
  float* const stats = reinterpret_cast<float*>(queries + 4 * kStepBytes);  // [2][lse, delta][kKeyStep]
  int* const starts = reinterpret_cast<int*>(stats + 4 * kKeyStep<kD>);      // [2][kKeyStep], with documents
  const int64_t b = blockIdx.z, g = blockIdx.y, k0 = (int64_t)blockIdx.x * kTile, group = a.H / a.G;
  const int lane = lane_index(), row0 = warp_index() * 16;
  const int64_t first = a.causal ? k0 / kKeyStep<kD> : 0, behind = (a.T + kKeyStep<kD> - 1) / kKeyStep<kD> - first;
  const int64_t tiles = kDocuments ? tiles_that_see(a, b, (int)k0 + kTile - 1, (int)first, (int)behind, kKeyStep<kD>) : behind;
  const int steps = (int)(tiles * group);
  auto bring_queries = [&](int i) {
    if (i < steps) {
      const int64_t h = g * group + i / tiles, q0 = (first + i % tiles) * kKeyStep<kD>;
      char* const to = queries + i % 2 * 2 * kStepBytes;
      bring<kD, kKeyStep<kD>>(a.qkv, head_base(a, b, h), a.P, q0, a, to);
      bring<kD, kKeyStep<kD>>(a.dO, b * a.T * a.H * a.K + h * a.K, a.H * a.K, q0, a, to + kStepBytes);
      if ((int)threadIdx.x < 2 * kKeyStep<kD>) {
        const bool first_half = (int)threadIdx.x < kKeyStep<kD>;
        const int64_t t = q0 + threadIdx.x % kKeyStep<kD>;
        const float* const from = first_half ? a.lse : a.delta;
        stats[i % 2 * 2 * kKeyStep<kD> + threadIdx.x] =
            t < a.T ? from[(b * a.H + h) * a.T + t] * (first_half ? kLog2E : 1.0f) : 0.0f;
        if (kDocuments && first_half) starts[i % 2 * kKeyStep<kD> + threadIdx.x] = t < a.T ? start_of(a, b, t) : 0;
      }
    }
    gpu::copy_commit();
  };
  bring<kD>(a.qkv, head_base(a, b, a.H + g), a.P, k0, a, k);
  bring<kD>(a.qkv, head_base(a, b, a.H + a.G + g), a.P, k0, a, v);
  bring_queries(0);
  float dk[kD / 8][4] = {}, dv[kD / 8][4] = {};
  const float by = a.scale * kLog2E;
  for (int i = 0; i < steps; i++) {
    gpu::sync();
    bring_queries(i + 1);
    gpu::copy_wait<1>();
    gpu::sync();
    const char* const q = queries + i % 2 * 2 * kStepBytes;
    const float* const lse = stats + i % 2 * 2 * kKeyStep<kD>;
    const float* const delta = lse + kKeyStep<kD>;
    const int* const start = starts + i % 2 * kKeyStep<kD>;
    const int64_t q0 = (first + i % tiles) * kKeyStep<kD>;
    float s[kKeyStep<kD> / 8][4], dp[kKeyStep<kD> / 8][4];
    products<kD>(k, row0, q, s);
    products<kD>(v, row0, q + kStepBytes, dp);
#pragma unroll
    for (int n = 0; n < kKeyStep<kD> / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int column = 8 * n + 2 * (lane % 4) + e % 2;
        const int64_t t = q0 + column, key = k0 + row0 + lane / 4 + (e >= 2 ? 8 : 0);
        const bool seen = t < a.T && key < a.T && (!a.causal || key <= t) && (!kDocuments || key >= start[column]);
        s[n][e] = seen ? gpu::exp2_fast(s[n][e] * by - lse[column]) : 0.0f;
        dp[n][e] = s[n][e] * (dp[n][e] - delta[column]);
      }
    accumulate<kD>(s, q + kStepBytes, dv);
    accumulate<kD>(dp, q, dk);
  }
  gpu::copy_wait<0>();
  write_rows<kD>(a.dqkv, head_base(a, b, a.H + g), a.P, k0 + row0, a, dk, a.scale, a.scale);
  write_rows<kD>(a.dqkv, head_base(a, b, a.H + a.G + g), a.P, k0 + row0, a, dv, 1.0f, 1.0f);
}

template <int kD, bool kDocuments>
void attend(const Attention& a, bool backward) {
  const unsigned tiles = (unsigned)ceil_div(a.T, kTile);
  const dim3 by_query(tiles, (unsigned)a.H, (unsigned)a.B), by_key(tiles, (unsigned)a.G, (unsigned)a.B);
  if (!backward) {
    start(forward<kD, kDocuments>, by_query, kBlock, 5 * kTileBytes<kD>, a);
    return;
  }
  const size_t stats = (kDocuments ? 6 : 4) * kKeyStep<kD> * sizeof(float);
  start(backward_keys<kD, kDocuments>, by_key, kBlock, 2 * kTileBytes<kD> + 4 * kKeyStep<kD> * kD * 2 + stats, a);
  start(backward_queries<kD, kDocuments>, by_query, kBlock, 2 * kTileBytes<kD> + 4 * kStep<kD> * kD * 2, a);
}

template <bool kDocuments>
int32_t attend_any(const Attention& a, bool backward) {
  if (a.K <= 32)
    attend<32, kDocuments>(a, backward);
  else if (a.K <= 64)
    attend<64, kDocuments>(a, backward);
  else
    attend<128, kDocuments>(a, backward);
  return PHYSLM_OK;
}

}  // namespace

int32_t attend_bf16(const Attention& a) { return a.starts ? attend_any<true>(a, false) : attend_any<false>(a, false); }
int32_t attend_backward_bf16(const Attention& a) { return a.starts ? attend_any<true>(a, true) : attend_any<false>(a, true); }
