// Attention that sees positions alone (Allen-Zhu and Li 2023, arXiv:2305.13673). GPT_pos: weights exp(table[h][t − s] − lse[t]),
// the same for every sequence, are made tile by tile; scratch for gradients: B·H·T floats, and 63 for each pair of tiles of 32
// positions. GPT_uni: means over windows, of sums that are never taken back, so that a NaN stays where it belongs.
#include "attention.h"
#include "blend.h"

namespace {

constexpr int kBlock = 256;
constexpr int kDiagonals = 2 * blend::kTile - 1;

/** Axes: B sequence, T position, H head, K width, Q = H·K, N distances; from distance N − 1 on scores are table[h][N − 1]. */
struct ByDistance {
  int64_t B, T, H, K, Q, N;
  const float* table;
  float* lse;  // [H][T], nats

  DEVICE float score(int64_t h, int64_t distance) const { return table[h * N + (distance < N - 1 ? distance : N - 1)]; }
  DEVICE float weight(int64_t h, int64_t t, int64_t s) const {
    return s <= t ? expf(score(h, t - s) - lse[h * T + t]) : 0.0f;
  }
  DEVICE int64_t at(int64_t unit, int64_t t, int64_t k) const { return (unit / H * T + t) * Q + unit % H * K + k; }
};

/** A warp for each (head, position). */
__global__ void sum_scores(ByDistance a) {
  const int64_t at = (int64_t)blockIdx.x * (kBlock / kWarp) + warp_index(), h = at / a.T, t = at % a.T;
  if (h >= a.H) return;
  float top = -INFINITY, total = 0;
  for (int64_t d = lane_index(); d <= t; d += kWarp) {
    const float score = a.score(h, d);
    top = score > top ? score : top;
  }
  top = warp_max(top);
  for (int64_t d = lane_index(); d <= t; d += kWarp) total += expf(a.score(h, d) - top);
  total = warp_sum(total);
  if (lane_index() == 0) a.lse[at] = top + logf(total);
}

struct Forward : ByDistance {
  Floats v, o;
  __host__ DEVICE int64_t rows() const { return T; }
  __host__ DEVICE int64_t columns() const { return K; }
  DEVICE int64_t begin(int64_t, int64_t) const { return 0; }
  DEVICE int64_t end(int64_t, int64_t row0) const { return row0 + blend::kTile < T ? row0 + blend::kTile : T; }
  DEVICE float weight(int64_t unit, int64_t t, int64_t s) const { return ByDistance::weight(unit % H, t, s); }
  DEVICE float value(int64_t unit, int64_t s, int64_t k) const { return load_one(v, at(unit, s, k)); }
  DEVICE void put(int64_t unit, int64_t t, int64_t k, float y) const { store_one(o, at(unit, t, k), y); }
};

/** dv[s] = Σ_t weight(t, s)·dO[t]. */
struct BackwardValues : ByDistance {
  Floats dO, dv;
  __host__ DEVICE int64_t rows() const { return T; }
  __host__ DEVICE int64_t columns() const { return K; }
  DEVICE int64_t begin(int64_t, int64_t row0) const { return row0; }
  DEVICE int64_t end(int64_t, int64_t) const { return T; }
  DEVICE float weight(int64_t unit, int64_t s, int64_t t) const { return ByDistance::weight(unit % H, t, s); }
  DEVICE float value(int64_t unit, int64_t t, int64_t k) const { return load_one(dO, at(unit, t, k)); }
  DEVICE void put(int64_t unit, int64_t s, int64_t k, float y) const { store_one(dv, at(unit, s, k), y); }
};

/** Slopes of scores, Σ_b weight(t, s)·(dO[t]·v[s] − delta[t]), added along the diagonals of each pair of tiles. */
struct BackwardScores : ByDistance {
  Floats dO, v;
  const float* delta;  // [B][H][T]
  float* partial;      // [H][tile of t][tile of s][63]
  __host__ DEVICE int64_t rows() const { return T; }
  __host__ DEVICE int64_t columns() const { return K; }
  DEVICE int64_t sequences() const { return B; }
  DEVICE bool meet(int64_t t0, int64_t s0) const { return s0 <= t0; }
  DEVICE float left(int64_t b, int64_t h, int64_t t, int64_t k) const { return load_one(dO, at(b * H + h, t, k)); }
  DEVICE float right(int64_t b, int64_t h, int64_t s, int64_t k) const { return load_one(v, at(b * H + h, s, k)); }
  DEVICE float slope(int64_t b, int64_t h, int64_t t, int64_t s, float dot) const {
    return ByDistance::weight(h, t, s) * (dot - delta[(b * H + h) * T + t]);
  }
  DEVICE void finish(int64_t h, int64_t t0, int64_t s0, const float* square) const {
    if (threadIdx.x >= kDiagonals) return;
    const int ahead = (int)threadIdx.x - (blend::kTile - 1);  // row − column
    float total = 0;
    for (int row = ahead > 0 ? ahead : 0; row < blend::kTile && row - ahead < blend::kTile; row++)
      total += square[row * (blend::kTile + 1) + row - ahead];
    const int64_t tiles = (T + blend::kTile - 1) / blend::kTile;
    partial[((h * tiles + t0 / blend::kTile) * tiles + s0 / blend::kTile) * kDiagonals + threadIdx.x] = total;
  }
};

/** A warp for each entry of the table adds its distances, and for each the tiles that its diagonal crosses. */
__global__ void add_diagonals(BackwardScores a, float* dtable) {
  const int64_t at = (int64_t)blockIdx.x * (kBlock / kWarp) + warp_index(), h = at / a.N, n = at % a.N;
  if (h >= a.H) return;
  const int64_t tiles = (a.T + blend::kTile - 1) / blend::kTile;
  float total = 0;
  for (int64_t d = n + lane_index(); d < (n == a.N - 1 || n + 1 > a.T ? a.T : n + 1); d += kWarp)
    for (int64_t apart = d / blend::kTile; apart <= d / blend::kTile + 1; apart++)
      for (int64_t tile = apart; tile < tiles; tile++)
        if (d - apart * blend::kTile > -blend::kTile)
          total += a.partial[((h * tiles + tile) * tiles + tile - apart) * kDiagonals + d - apart * blend::kTile + blend::kTile - 1];
  total = warp_sum(total);
  if (lane_index() == 0) dtable[at] = total;
}

int32_t expect_heads(int64_t Q, int64_t H) {
  if (H >= 1 && Q % H == 0) return PHYSLM_OK;
  return physlm_fail(PHYSLM_BAD_ARGUMENT, "[v] expected a multiple of %lld heads, got %lld columns", (long long)H, (long long)Q);
}

ByDistance read_table(const physlm_tensor& v, const physlm_tensor& table) {
  const int64_t H = leading(table, 1), Q = axis(v, 1);
  return {leading(v, 2), axis(v, 2), H, Q / most(1, H), Q, axis(table, 1), static_cast<const float*>(table.data), nullptr};
}

/** A block for each entry of a (table, per warp) list. */
dim3 by_warp(int64_t n) { return dim3((unsigned)ceil_div(n, kBlock / kWarp)); }

// --- uniform windows -------------------------------------------------------------------------------------------------------

constexpr int kColumns = 32, kGroups = 8;

/**
 * Forward: y[t] = Σ x[s] / n(t) over the last n(t) = min(t + 1, width) positions. Backward, turned in time: y[s] = Σ x[t] / n(t)
 * over the `width` positions from s on. A block has 32 rows and 32 columns of a head: what all its rows see is added once, by
 * eight groups in order; then each row adds what it sees besides.
 */
__global__ void slide(Floats x, Floats y, int64_t T, int64_t H, int64_t K, int backward) {
  float* const room = gpu::shared<float>();
  const int column = threadIdx.x % kColumns, group = threadIdx.x / kColumns;
  const int64_t tiles = (T + blend::kTile - 1) / blend::kTile, unit = blockIdx.x / tiles, first = blockIdx.x % tiles * blend::kTile;
  const int64_t h = unit % H, k = (int64_t)blockIdx.y * kColumns + column, last = first + blend::kTile < T ? first + blend::kTile : T;
  const int64_t width = h >= 40 ? T : ((int64_t)2 << h) - 1 < T ? ((int64_t)2 << h) - 1 : T;
  auto place = [&](int64_t i) { return (unit / H * T + (backward ? T - 1 - i : i)) * H * K + h * K + k; };
  auto value = [&](int64_t i) {
    const int64_t t = T - 1 - i;
    return k < K ? load_one(x, place(i)) / (backward ? (float)(t + 1 < width ? t + 1 : width) : 1.0f) : 0.0f;
  };
  auto begin = [&](int64_t i) { return i + 1 > width ? i + 1 - width : 0; };
  const int64_t from = begin(last - 1), count = first >= from ? first + 1 - from : 0, depth = (count + kGroups - 1) / kGroups;
  const int64_t to = from + (group + 1) * depth < from + count ? from + (group + 1) * depth : from + count;
  float total = 0;
  for (int64_t i = from + group * depth; i < to; i++) total += value(i);
  room[group * kColumns + column] = total;
  gpu::sync();
  for (int64_t i = first + group; i < last; i += kGroups) {
    float sum = 0;
    const int64_t early = count > 0 ? from : i + 1, late = count > 0 ? first + 1 : begin(i);
    for (int64_t j = begin(i); j < early; j++) sum += value(j);
    if (count > 0)
      for (int g = 0; g < kGroups; g++) sum += room[g * kColumns + column];
    if (count > 0)
      for (int64_t j = late; j <= i; j++) sum += value(j);
    if (k < K) store_one(y, place(i), backward ? sum : sum / (float)(i + 1 < width ? i + 1 : width));
  }
}

int32_t slide_windows(const physlm_tensor& x, physlm_tensor& y, const double* attrs, int backward) {
  if (!y.data) return PHYSLM_OK;
  const int64_t B = leading(x, 2), T = axis(x, 2), Q = axis(x, 1), H = (int64_t)attrs[0];
  if (int32_t status = expect_heads(Q, H)) return status;
  if (B * T * Q == 0) return PHYSLM_OK;
  start(slide, dim3((unsigned)(B * H * ceil_div(T, blend::kTile)), (unsigned)ceil_div(Q / H, kColumns)), kColumns * kGroups,
        kColumns * kGroups * sizeof(float), floats(x), floats(y), T, H, Q / H, backward);
  return PHYSLM_OK;
}

}  // namespace

OP(positionAttention_forward) {
  ByDistance a = read_table(in[0], in[1]);
  if (int32_t status = expect_heads(a.Q, a.H)) return status;
  a.lse = static_cast<float*>(out[1].data ? out[1].data : scratch(kSlotValues, most(1, a.H * a.T) * sizeof(float)));
  if (!a.lse) return PHYSLM_OUT_OF_MEMORY;
  if (a.T == 0) return PHYSLM_OK;
  start(sum_scores, by_warp(a.H * a.T), kBlock, 0, a);
  blend::start_mix(Forward{a, floats(in[0]), floats(out[0])}, a.B * a.H);
  return PHYSLM_OK;
}

OP(positionAttention_backward) {
  ByDistance a = read_table(in[0], in[1]);
  if (int32_t status = expect_heads(a.Q, a.H)) return status;
  a.lse = static_cast<float*>(in[3].data);
  const Floats dO = floats(in[4]);
  if (out[0].data) blend::start_mix(BackwardValues{a, dO, floats(out[0])}, a.B * a.H);
  if (!out[1].data) return PHYSLM_OK;
  const int64_t tiles = ceil_div(a.T, blend::kTile);
  float* const delta = static_cast<float*>(scratch(kSlotValues, most(1, a.B * a.H * a.T) * sizeof(float)));
  float* const partial = static_cast<float*>(scratch(kSlotPartial, most(1, a.H * tiles * tiles * kDiagonals) * sizeof(float)));
  if (!delta || !partial) return PHYSLM_OUT_OF_MEMORY;
  head_products(dO, floats(in[2]), a.B, a.T, a.H, a.K, delta);
  const BackwardScores job = {a, dO, floats(in[0]), delta, partial};
  blend::start_slopes(job, a.H);
  start(add_diagonals, by_warp(a.H * a.N), kBlock, 0, job, static_cast<float*>(out[1].data));
  return PHYSLM_OK;
}

OP(uniformAttention_forward) { return slide_windows(in[0], out[0], attrs, 0); }
OP(uniformAttention_backward) { return slide_windows(in[0], out[0], attrs, 1); }
