// The multi-head linear position probe's mixing of positions (arXiv:2305.13673, equations 4.2 and 4.3): mixed[b][i] =
// Σ_r Σ_k w[r][i][k]·f[b][k][r], w = softmax over k < length[b] (and |k − i| ≤ reach unless that is negative) of <p[i][r], p[k][r]>.
// Scores are made once for all sentences; a sentence's weights differ by its denominators only. Scratch floats: H·T·W twice, W
// positions that one looks at, and B·H·T·(C + 2).
#include "blend.h"

namespace {

constexpr int kBlock = 256;

/** Axes: B sentence, T position, H head, C outputs of a head, K width of a position vector; W columns of a row of scores. */
struct Mix {
  int64_t B, T, H, C, K, W, reach;
  const float* p;  // [V][H][K]
  Floats f;        // [B][T][H][C]
  const int32_t* lengths;
  float *scores, *heads, *lse;  // [H][T][W], [H][T][B][C], [H][T][B]

  DEVICE bool all() const { return reach < 0 || W == T; }
  DEVICE int64_t length(int64_t b) const { return lengths[b] < 0 ? 0 : lengths[b] < T ? lengths[b] : T; }
  /** Positions that i looks at: [from, to), before the end of the sentence cuts them. */
  DEVICE int64_t from(int64_t i) const { return reach < 0 || i < reach ? 0 : i - reach; }
  DEVICE int64_t to(int64_t i) const { return reach < 0 || i + reach + 1 > T ? T : i + reach + 1; }
  DEVICE int64_t score_at(int64_t h, int64_t i, int64_t k) const { return (h * T + i) * W + (all() ? k : k - i + reach); }
  DEVICE int64_t row_at(int64_t h, int64_t i, int64_t b) const { return (h * T + i) * B + b; }
  DEVICE int64_t f_at(int64_t b, int64_t k, int64_t h) const { return ((b * T + k) * H + h) * C; }
  DEVICE float weight(int64_t b, int64_t h, int64_t i, int64_t k) const {
    return k >= from(i) && k < to(i) && k < length(b) && i < length(b) ? expf(scores[score_at(h, i, k)] - lse[row_at(h, i, b)])
                                                                         : 0.0f;
  }
};

__global__ void mix_scores(Mix a) {
  const int64_t at = (int64_t)blockIdx.x * kBlock + threadIdx.x, h = at / a.W / a.T, i = at / a.W % a.T;
  if (h >= a.H) return;
  const int64_t k = a.all() ? at % a.W : at % a.W + i - a.reach;
  float total = 0;
  if (k >= 0 && k < a.T)
    for (int64_t x = 0; x < a.K; x++) total += a.p[(i * a.H + h) * a.K + x] * a.p[(k * a.H + h) * a.K + x];
  a.scores[at] = total;
}

/** A warp for each (head, position, sentence). */
__global__ void sum_scores(Mix a) {
  const int64_t at = (int64_t)blockIdx.x * (kBlock / kWarp) + warp_index(), b = at % a.B, i = at / a.B % a.T, h = at / a.B / a.T;
  if (h >= a.H) return;
  const int64_t end = a.to(i) < a.length(b) ? a.to(i) : a.length(b);
  float top = -INFINITY, total = 0;
  if (i < end) {
    for (int64_t k = a.from(i) + lane_index(); k < end; k += kWarp) {
      const float score = a.scores[a.score_at(h, i, k)];
      top = score > top ? score : top;
    }
    top = warp_max(top);
    for (int64_t k = a.from(i) + lane_index(); k < end; k += kWarp) total += expf(a.scores[a.score_at(h, i, k)] - top);
    total = warp_sum(total);
  }
  if (lane_index() == 0) a.lse[at] = i < end ? top + logf(total) : 0.0f;
}

/** heads[h][i][b] = Σ_k w·f[b][k][h]. */
struct Forward : Mix {
  __host__ DEVICE int64_t rows() const { return T; }
  __host__ DEVICE int64_t columns() const { return C; }
  DEVICE int64_t begin(int64_t, int64_t row0) const { return from(row0); }
  DEVICE int64_t end(int64_t unit, int64_t row0) const {
    const int64_t last = to(row0 + blend::kTile - 1), n = length(unit / H);
    return row0 >= n ? 0 : last < n ? last : n;
  }
  DEVICE float weight(int64_t unit, int64_t i, int64_t k) const { return Mix::weight(unit / H, unit % H, i, k); }
  DEVICE float value(int64_t unit, int64_t k, int64_t c) const { return load_one(f, f_at(unit / H, k, unit % H) + c); }
  DEVICE void put(int64_t unit, int64_t i, int64_t c, float y) const { heads[row_at(unit % H, i, unit / H) * C + c] = y; }
};

__global__ void add_heads(Mix a, Floats mixed) {
  const int64_t at = (int64_t)blockIdx.x * kBlock + threadIdx.x, c = at % a.C, i = at / a.C % a.T, b = at / a.C / a.T;
  if (b >= a.B) return;
  float total = 0;
  for (int64_t h = 0; h < a.H; h++) total += a.heads[a.row_at(h, i, b) * a.C + c];
  store_one(mixed, at, total);
}

/** df[b][k][h] = Σ_i w(i, k)·dmixed[b][i]. */
struct BackwardValues : Mix {
  Floats dmixed, df;
  __host__ DEVICE int64_t rows() const { return T; }
  __host__ DEVICE int64_t columns() const { return C; }
  DEVICE int64_t begin(int64_t, int64_t row0) const { return from(row0); }
  DEVICE int64_t end(int64_t unit, int64_t row0) const {
    const int64_t last = to(row0 + blend::kTile - 1), n = length(unit / H);
    return row0 >= n ? 0 : last < n ? last : n;
  }
  DEVICE float weight(int64_t unit, int64_t k, int64_t i) const { return Mix::weight(unit / H, unit % H, i, k); }
  DEVICE float value(int64_t unit, int64_t i, int64_t c) const { return load_one(dmixed, (unit / H * T + i) * C + c); }
  DEVICE void put(int64_t unit, int64_t k, int64_t c, float y) const { store_one(df, f_at(unit / H, k, unit % H) + c, y); }
};

/** delta[h][i][b] = Σ_c dmixed·heads, a warp each. */
__global__ void mix_deltas(Mix a, Floats dmixed, float* delta) {
  const int64_t at = (int64_t)blockIdx.x * (kBlock / kWarp) + warp_index(), b = at % a.B, i = at / a.B % a.T;
  if (at >= a.H * a.T * a.B) return;
  float total = 0;
  for (int64_t c = lane_index(); c < a.C; c += kWarp) total += load_one(dmixed, (b * a.T + i) * a.C + c) * a.heads[at * a.C + c];
  total = warp_sum(total);
  if (lane_index() == 0) delta[at] = total;
}

/** slopes[h][i][k] = Σ_b w·(<dmixed[b][i], f[b][k][h]> − delta), laid out as the scores. */
struct BackwardScores : Mix {
  Floats dmixed;
  const float* delta;
  float* to_slopes;
  __host__ DEVICE int64_t rows() const { return T; }
  __host__ DEVICE int64_t columns() const { return C; }
  DEVICE int64_t sequences() const { return B; }
  DEVICE bool meet(int64_t i0, int64_t k0) const { return k0 < to(i0 + blend::kTile - 1) && k0 + blend::kTile > from(i0); }
  DEVICE float left(int64_t b, int64_t, int64_t i, int64_t c) const { return load_one(dmixed, (b * T + i) * C + c); }
  DEVICE float right(int64_t b, int64_t h, int64_t k, int64_t c) const { return load_one(f, f_at(b, k, h) + c); }
  DEVICE float slope(int64_t b, int64_t h, int64_t i, int64_t k, float dot) const {
    return Mix::weight(b, h, i, k) * (dot - delta[row_at(h, i, b)]);
  }
  DEVICE void finish(int64_t h, int64_t i0, int64_t k0, const float* square) const {
    for (int at = threadIdx.x; at < blend::kTile * blend::kTile; at += blend::kBlock) {
      const int64_t i = i0 + at / blend::kTile, k = k0 + at % blend::kTile;
      if (i < T && k < T && k >= from(i) && k < Mix::to(i))
        to_slopes[score_at(h, i, k)] = square[at / blend::kTile * (blend::kTile + 1) + at % blend::kTile];
    }
  }
};

/** dp[i][h] = Σ_k (slope(i, k) + slope(k, i))·p[k][h]; zero for positions behind T. */
__global__ void mix_positions(Mix a, const float* slopes, int64_t V, float* dp) {
  const int64_t at = (int64_t)blockIdx.x * kBlock + threadIdx.x, h = at / a.K % a.H, i = at / a.K / a.H;
  if (i >= V) return;
  float total = 0;
  if (i < a.T)
    for (int64_t k = a.from(i); k < a.to(i); k++)
      total += (slopes[a.score_at(h, i, k)] + slopes[a.score_at(h, k, i)]) * a.p[(k * a.H + h) * a.K + at % a.K];
  dp[at] = total;
}

int32_t read_mix(Mix& a, const physlm_tensor* in, const double* attrs) {
  const int64_t* const f = in[1].shape;
  const int64_t V = in[0].shape[0], T = f[1];
  if (in[0].rank != 3 || in[1].rank != 4 || V < T)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[p] expected [V >= %lld, H, K] and f [B, T, H, C], got V=%lld", (long long)T,
                       (long long)V);
  const int64_t reach = (int64_t)attrs[0], W = reach < 0 ? T : least(T, 2 * reach + 1);
  a = {f[0], T, f[2], f[3], in[0].shape[2], W, reach, static_cast<const float*>(in[0].data), floats(in[1]),
       static_cast<const int32_t*>(in[2].data)};
  return PHYSLM_OK;
}

dim3 by_thread(int64_t n) { return dim3((unsigned)ceil_div(n, kBlock)); }
dim3 by_warp(int64_t n) { return dim3((unsigned)ceil_div(n, kBlock / kWarp)); }

}  // namespace

OP(positionMix_forward) {
  Mix a;
  if (int32_t status = read_mix(a, in, attrs)) return status;
  const int64_t n_scores = a.H * a.T * a.W, n_rows = a.H * a.T * a.B;
  float* const values = static_cast<float*>(scratch(kSlotValues, most(1, n_scores + n_rows * (a.C + 1)) * sizeof(float)));
  if (!values) return PHYSLM_OUT_OF_MEMORY;
  a.scores = values;
  a.heads = out[1].data ? static_cast<float*>(out[1].data) : values + n_scores;
  a.lse = out[2].data ? static_cast<float*>(out[2].data) : values + n_scores + n_rows * a.C;
  if (n_rows == 0) return PHYSLM_OK;
  start(mix_scores, by_thread(n_scores), kBlock, 0, a);
  start(sum_scores, by_warp(n_rows), kBlock, 0, a);
  blend::start_mix(Forward{a}, a.B * a.H);
  if (a.C > 0) start(add_heads, by_thread(a.B * a.T * a.C), kBlock, 0, a, floats(out[0]));
  return PHYSLM_OK;
}

OP(positionMix_backward) {
  Mix a;
  if (int32_t status = read_mix(a, in, attrs)) return status;
  const int64_t V = in[0].shape[0], n_scores = a.H * a.T * a.W, n_rows = a.H * a.T * a.B, n_positions = V * a.H * a.K;
  float* const values = static_cast<float*>(scratch(kSlotValues, most(1, 2 * n_scores + n_rows) * sizeof(float)));
  if (!values) return PHYSLM_OUT_OF_MEMORY;
  a.scores = values;
  a.heads = static_cast<float*>(in[3].data);
  a.lse = static_cast<float*>(in[4].data);
  float* const slopes = values + n_scores;
  float* const delta = slopes + n_scores;
  const Floats dmixed = floats(in[5]);
  if (n_scores > 0) start(mix_scores, by_thread(n_scores), kBlock, 0, a);
  if (out[1].data) blend::start_mix(BackwardValues{a, dmixed, floats(out[1])}, a.B * a.H);
  if (!out[0].data) return PHYSLM_OK;
  if (n_rows > 0) start(mix_deltas, by_warp(n_rows), kBlock, 0, a, dmixed, delta);
  blend::start_slopes(BackwardScores{a, dmixed, delta, slopes}, a.H);
  if (n_positions > 0)
    start(mix_positions, by_thread(n_positions), kBlock, 0, a, (const float*)slopes, V, static_cast<float*>(out[0].data));
  return PHYSLM_OK;
}
