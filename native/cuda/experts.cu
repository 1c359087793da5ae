// A mixture of experts with one expert for each row (arXiv:2101.03961). How many rows an expert takes is known on the device
// only, so every expert gets as many places as it may take, `capacity` for each group of rows; places that stay free hold zeros
// where sums run over them. Places are chosen in the order of rows: no atomics, the same bits every time. Scratch floats, for
// P = E·capacity·R/group places: 3R + P, then P·(2D + 2F) forward and P·(3D + 3F) + R backward.
#include "gemm.h"

namespace {

constexpr int kBlock = 256;

/** Axes: R rows, E experts, P places; a group has `take` places with each expert. */
struct Routes {
  int64_t R, E, group, take, places;  // places: of one expert
  const float* logits;
  int32_t* chosen;  // [R], expert with the largest logit
  float* gate;      // [R], its probability
  int32_t* place;   // [R], in [0, E·places), or -1 when there was none
  int32_t* row;     // [P], or -1
};

DEVICE int64_t thread_index() { return (int64_t)blockIdx.x * kBlock + threadIdx.x; }
DEVICE int64_t warp_of_grid() { return (int64_t)blockIdx.x * (kBlock / kWarp) + warp_index(); }

/** Largest logit of a row (the first of equals) and the sum of exp(logit − largest); all lanes know. */
struct Peak {
  int32_t at;
  float top, total;
};
DEVICE Peak peak_of(const float* x, int64_t n) {
  float top = -INFINITY, total = 0;
  for (int64_t e = lane_index(); e < n; e += kWarp) top = x[e] > top ? x[e] : top;
  top = warp_max(top);
  float first = (float)n;
  for (int64_t e = lane_index(); e < n; e += kWarp) {
    total += expf(x[e] - top);
    if (x[e] == top && (float)e < first) first = (float)e;
  }
  first = -warp_max(-first);
  return {first < (float)n ? (int32_t)first : 0, top, warp_sum(total)};
}

/** A warp for each row. */
__global__ void choose(Routes a) {
  const int64_t r = warp_of_grid();
  if (r >= a.R) return;
  const Peak peak = peak_of(a.logits + r * a.E, a.E);
  if (lane_index() != 0) return;
  a.chosen[r] = peak.at;
  a.gate[r] = 1.0f / peak.total;
}

/** A thread for each (group, expert) gives out its places in the order of rows. */
__global__ void give_places(Routes a) {
  const int64_t at = thread_index(), e = at % a.E, g = at / a.E;
  if (g >= a.R / a.group) return;
  const int64_t first = e * a.places + g * a.take;
  int64_t taken = 0;
  for (int64_t r = g * a.group; r < (g + 1) * a.group; r++) {
    if (a.chosen[r] != e) continue;
    const bool fits = taken < a.take;
    a.place[r] = fits ? (int32_t)(first + taken) : -1;
    if (fits) a.row[first + taken++] = (int32_t)r;
  }
  for (; taken < a.take; taken++) a.row[first + taken] = -1;
}

/** to[place] = factor·from[row], 0 in free places. */
__global__ void gather_rows(Routes a, const float* from, int64_t width, const float* factor, float* to) {
  const int64_t at = thread_index(), p = at / width, i = at % width;
  if (p >= a.E * a.places) return;
  const int32_t r = a.row[p];
  to[at] = r < 0 ? 0.0f : from[r * width + i] * (factor ? factor[r] : 1.0f);
}

/** to[row] = factor·from[place], 0 for rows without a place. */
__global__ void scatter_rows(Routes a, const float* from, int64_t width, const float* factor, float* to) {
  const int64_t at = thread_index(), r = at / width, i = at % width;
  if (r >= a.R) return;
  const int32_t p = a.place[r];
  to[at] = p < 0 ? 0.0f : from[p * width + i] * (factor ? factor[r] : 1.0f);
}

__global__ void gelu_of(const float* pre, float* y, int64_t n) {
  const int64_t i = thread_index();
  if (i < n) y[i] = gelu(pre[i]);
}

__global__ void gelu_back(const float* pre, const float* dy, float* dpre, int64_t n) {
  const int64_t i = thread_index();
  if (i < n) dpre[i] = dy[i] * gelu_slope(pre[i]);
}

/** dgate[r] = dy·said, from what the places hold: (dhidden·hidden + dsaid·bias) / gate. A warp for each row. */
__global__ void gate_gradients(Routes a, const float* dhidden, const float* hidden, int64_t F, const float* dsaid,
                               const float* bias, int64_t D, float* dgate) {
  const int64_t r = warp_of_grid();
  if (r >= a.R) return;
  const int64_t p = a.place[r];
  float total = 0;
  if (p >= 0) {
    for (int64_t i = lane_index(); i < F; i += kWarp) total += dhidden[p * F + i] * hidden[p * F + i];
    for (int64_t i = lane_index(); i < D; i += kWarp) total += dsaid[p * D + i] * bias[a.chosen[r] * D + i];
  }
  total = warp_sum(total);
  if (lane_index() == 0) dgate[r] = total / a.gate[r];
}

/** dp[chosen]/dlogits = p[chosen]·(1 at chosen − p). A warp for each row. */
__global__ void logit_gradients(Routes a, const float* dgate, float* dlogits) {
  const int64_t r = warp_of_grid();
  if (r >= a.R) return;
  const float* const x = a.logits + r * a.E;
  const float top = x[a.chosen[r]], by = a.place[r] < 0 ? 0.0f : dgate[r] * a.gate[r];
  for (int64_t e = lane_index(); e < a.E; e += kWarp) {
    const float p = expf(x[e] - top) * a.gate[r];
    dlogits[r * a.E + e] = by * ((e == a.chosen[r] ? 1.0f : 0.0f) - p);
  }
}

dim3 by_thread(int64_t n) { return dim3((unsigned)ceil_div(n, kBlock)); }
dim3 by_warp(int64_t n) { return dim3((unsigned)ceil_div(n, kBlock / kWarp)); }

int32_t check_groups(int64_t R, int64_t E, int64_t group) {
  if (group < 1 || R % group != 0)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[group] expected a divisor of R=%lld, got %lld", (long long)R, (long long)group);
  if (E < 1) return physlm_fail(PHYSLM_BAD_ARGUMENT, "[logits] expected an expert, got none");
  return PHYSLM_OK;
}

/** Chooses experts and places; `floats` behind the routes are left for the caller. Returns a status. */
int32_t route(const physlm_tensor& logits, const double* attrs, int64_t per_place, int64_t more, Routes* a, float** room) {
  const int64_t R = leading(logits, 1), E = axis(logits, 1), group = (int64_t)attrs[0];
  if (int32_t status = check_groups(R, E, group)) return status;
  const int64_t take = least((int64_t)attrs[1], group), places = R / group * take, P = E * places;
  float* const all =
      static_cast<float*>(scratch(kSlotValues, most(1, 3 * R + P + P * per_place + more) * (int64_t)sizeof(float)));
  if (!all) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for the places of experts");
  *a = {R, E, group, take, places, static_cast<const float*>(logits.data), (int32_t*)all, all + R, (int32_t*)(all + 2 * R),
        (int32_t*)(all + 3 * R)};
  *room = all + 3 * R + P;
  if (R > 0) {
    start(choose, by_warp(R), kBlock, 0, *a);
    start(give_places, by_thread(R / group * E), kBlock, 0, *a);
  }
  return PHYSLM_OK;
}

const float* data(const physlm_tensor& t) { return static_cast<const float*>(t.data); }
float* data(physlm_tensor& t) { return static_cast<float*>(t.data); }
Floats f32(const float* x) { return {const_cast<float*>(x), 0}; }

/** Shares of experts in each group, from `chosen`: a thread for each. */
__global__ void count_shares(Routes a, float* shares) {
  const int64_t at = thread_index(), e = at % a.E, g = at / a.E;
  if (g >= a.R / a.group) return;
  int64_t n = 0;
  for (int64_t r = g * a.group; r < (g + 1) * a.group; r++) n += a.chosen[r] == e;
  shares[at] = (float)n / (float)a.group;
}

/** Σ_e share·p, in all lanes. */
DEVICE float mean_share(const Routes& a, const float* shares, int64_t r, const Peak& peak) {
  float total = 0;
  for (int64_t e = lane_index(); e < a.E; e += kWarp)
    total += shares[r / a.group * a.E + e] * expf(a.logits[r * a.E + e] - peak.top);
  return warp_sum(total) / peak.total;
}

__global__ void penalties(Routes a, const float* shares, float weight, float* penalty) {
  const int64_t r = warp_of_grid();
  if (r >= a.R) return;
  const float mean = mean_share(a, shares, r, peak_of(a.logits + r * a.E, a.E));
  if (lane_index() == 0) penalty[r] = weight * mean;
}

__global__ void penalty_gradients(Routes a, const float* shares, float weight, const float* dpenalty, float* dlogits) {
  const int64_t r = warp_of_grid();
  if (r >= a.R) return;
  const Peak peak = peak_of(a.logits + r * a.E, a.E);
  const float mean = mean_share(a, shares, r, peak), by = dpenalty[r] * weight / peak.total;
  for (int64_t e = lane_index(); e < a.E; e += kWarp)
    dlogits[r * a.E + e] = by * expf(a.logits[r * a.E + e] - peak.top) * (shares[r / a.group * a.E + e] - mean);
}

int32_t count(const physlm_tensor& logits, const double* attrs, Routes* a, float** shares) {
  const int64_t R = leading(logits, 1), E = axis(logits, 1), group = (int64_t)attrs[0];
  if (int32_t status = check_groups(R, E, group)) return status;
  float* const all = static_cast<float*>(scratch(kSlotValues, most(1, 2 * R + R / group * E) * (int64_t)sizeof(float)));
  if (!all) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for shares of experts");
  *a = {R, E, group, 0, 0, static_cast<const float*>(logits.data), (int32_t*)all, all + R, nullptr, nullptr};
  *shares = all + 2 * R;
  if (R > 0) {
    start(choose, by_warp(R), kBlock, 0, *a);
    start(count_shares, by_thread(R / group * E), kBlock, 0, *a, *shares);
  }
  return PHYSLM_OK;
}

}  // namespace

OP(expertMlp_forward) {
  const int64_t D = axis(in[0], 1), F = axis(in[3], 1);
  Routes a;
  float* room;
  if (int32_t status = route(in[1], attrs, 2 * D + 2 * F, 0, &a, &room)) return status;
  if (a.R == 0) return PHYSLM_OK;
  const int64_t M = a.places, P = a.E * M;
  float* const xs = room;
  float* const said = xs + P * D;
  float* const pre = said + P * D;
  float* const hidden = pre + P * F;
  start(gather_rows, by_thread(P * D), kBlock, 0, a, data(in[0]), D, (const float*)nullptr, xs);
  for (int64_t e = 0; e < a.E; e++) {
    const Product up = {M, F, D, {f32(xs + e * M * D), D, 0}, {f32(data(in[2]) + e * F * D), D, 0}, data(in[3]) + e * F,
                        f32(pre + e * M * F), f32(hidden + e * M * F)};
    if (int32_t status = multiply(up)) return status;
    const Product down = {M, D, F, {f32(hidden + e * M * F), F, 0}, {f32(data(in[4]) + e * D * F), F, 0}, data(in[5]) + e * D,
                          f32(said + e * M * D), {}};
    if (int32_t status = multiply(down)) return status;
  }
  start(scatter_rows, by_thread(a.R * D), kBlock, 0, a, (const float*)said, D, (const float*)a.gate, data(out[0]));
  if (out[1].data) start(scatter_rows, by_thread(a.R * F), kBlock, 0, a, (const float*)pre, F, (const float*)nullptr, data(out[1]));
  return PHYSLM_OK;
}

OP(expertMlp_backward) {
  const int64_t D = axis(in[0], 1), F = axis(in[5], 1);
  Routes a;
  float* room;
  if (int32_t status = route(in[1], attrs, 3 * D + 3 * F, leading(in[1], 1), &a, &room)) return status;
  const int64_t M = a.places, P = a.E * M;
  float* const xs = room;
  float* const dsaid = xs + P * D;  // gate·dy
  float* const dxs = dsaid + P * D;
  float* const pre = dxs + P * D;  // then its gradient
  float* const hidden = pre + P * F;
  float* const dhidden = hidden + P * F;
  float* const dgate = dhidden + P * F;
  if (P > 0) {
    start(gather_rows, by_thread(P * D), kBlock, 0, a, data(in[0]), D, (const float*)nullptr, xs);
    start(gather_rows, by_thread(P * D), kBlock, 0, a, data(in[6]), D, (const float*)a.gate, dsaid);
    start(gather_rows, by_thread(P * F), kBlock, 0, a, data(in[5]), F, (const float*)nullptr, pre);
    start(gelu_of, by_thread(P * F), kBlock, 0, (const float*)pre, hidden, P * F);
  }
  int32_t status = PHYSLM_OK;
  for (int64_t e = 0; e < a.E && !status; e++) {
    const Operand d = {f32(dsaid + e * M * D), D, 0};
    status = multiply({M, F, D, d, {f32(data(in[3]) + e * D * F), F, 1}, nullptr, f32(dhidden + e * M * F), {}});
    if (!status && out[4].data)
      status = multiply({D, F, M, {d.x, D, 1}, {f32(hidden + e * M * F), F, 1}, nullptr, f32(data(out[4]) + e * D * F), {}});
    if (!status && out[5].data) status = sum_rows(d.x, M, D, f32(data(out[5]) + e * D));
  }
  if (status) return status;
  if (out[1].data && a.R > 0) {
    start(gate_gradients, by_warp(a.R), kBlock, 0, a, (const float*)dhidden, (const float*)hidden, F, (const float*)dsaid,
          data(in[4]), D, dgate);
    start(logit_gradients, by_warp(a.R), kBlock, 0, a, (const float*)dgate, data(out[1]));
  }
  if (P > 0) start(gelu_back, by_thread(P * F), kBlock, 0, (const float*)pre, (const float*)dhidden, pre, P * F);
  for (int64_t e = 0; e < a.E && !status; e++) {
    const Operand d = {f32(pre + e * M * F), F, 0};
    if (out[2].data)
      status = multiply({F, D, M, {d.x, F, 1}, {f32(xs + e * M * D), D, 1}, nullptr, f32(data(out[2]) + e * F * D), {}});
    if (!status && out[3].data) status = sum_rows(d.x, M, F, f32(data(out[3]) + e * F));
    if (!status && out[0].data)
      status = multiply({M, D, F, d, {f32(data(in[2]) + e * F * D), D, 1}, nullptr, f32(dxs + e * M * D), {}});
  }
  if (!status && out[0].data && a.R > 0)
    start(scatter_rows, by_thread(a.R * D), kBlock, 0, a, (const float*)dxs, D, (const float*)nullptr, data(out[0]));
  return status;
}

OP(balancePenalty_forward) {
  Routes a;
  float* shares;
  if (int32_t status = count(in[0], attrs, &a, &shares)) return status;
  if (a.R > 0)
    start(penalties, by_warp(a.R), kBlock, 0, a, (const float*)shares, (float)(attrs[1] * a.E), data(out[0]));
  return PHYSLM_OK;
}

OP(balancePenalty_backward) {
  Routes a;
  float* shares;
  if (!out[0].data) return PHYSLM_OK;
  if (int32_t status = count(in[0], attrs, &a, &shares)) return status;
  if (a.R > 0)
    start(penalty_gradients, by_warp(a.R), kBlock, 0, a, (const float*)shares, (float)(attrs[1] * a.E), data(in[1]), data(out[0]));
  return PHYSLM_OK;
}
