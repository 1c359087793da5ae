// Disentangled attention (He et al. 2021, arXiv:2006.03654, Eq. 2-4) in f32: score(t, s) = scale·(q_t·(k_s + kp[t − s]) +
// k_s·qp[s − t]). Tiles of 32 queries and 32 keys, with the 63 rows of both tables that stand for their distances beside them;
// 64 columns of a head at a time. A block owns 64 columns of its results and computes the scores of a wider head again. The pattern never exists in memory. Backward recomputes it three times,
// so that every gradient has one owner that adds in a fixed order: by keys, by queries, and by distances, where a block takes
// 32 distances and goes through sequences and queries. Scratch: B·H·T floats, and 2·M·Q for each chunk of sequences, M being
// the distances that occur.
#include "attention.h"
#include "blend.h"

namespace {

using blend::bring;
using blend::dot;
using blend::kPitch;
using blend::kTile;
using blend::kWide;
constexpr int kBlock = blend::kBlock;
constexpr int kOwn = kWide / 8;       // columns of a thread
constexpr int kSpan = 2 * kTile - 1;  // distances between two tiles
constexpr int64_t kFill = 256;        // blocks by distance that a gradient is cut into at least; part of the bits

/** Axes: B sequence, T position, H head, K width, Q = H·K, P = 3·Q, N rows of the tables. */
struct Relative {
  int64_t B, T, H, K, Q, N;
  float scale;
  int causal;
  Floats qkv, key_positions, query_positions, o, dO, dqkv;
  float* lse;      // [B][H][T], nats
  float* delta;    // [B][H][T], Σ dO·o
  float* partial;  // [chunk][kp, qp][M][Q]
  int64_t chunks;

  __host__ DEVICE int64_t distances() const { return causal ? T : 2 * T - 1; }
  __host__ DEVICE int64_t least_distance() const { return causal ? 0 : 1 - T; }
  /** Row of the tables for the distance t − s; `query`: of the table that keys meet. */
  DEVICE int64_t row(int64_t distance, bool query) const {
    if (causal) return distance < 0 ? 0 : distance < N ? distance : N - 1;
    const int64_t reach = (N - 1) / 2, signed_distance = query ? -distance : distance;
    return reach + (signed_distance < -reach ? -reach : signed_distance > reach ? reach : signed_distance);
  }
  DEVICE bool sees(int64_t t, int64_t s) const { return t >= 0 && t < T && s >= 0 && s < T && (!causal || s <= t); }
  /** Part 0: query, 1: key, 2: value. */
  DEVICE int64_t at(int64_t b, int64_t h, int64_t t, int part) const { return (b * T + t) * 3 * Q + part * Q + h * K; }
  DEVICE float stat(const float* of, int64_t b, int64_t h, int64_t t) const {
    return t >= 0 && t < T ? of[(b * H + h) * T + t] : 0.0f;
  }
};

/** The places in shared memory of what a block works on, one after another, rows of kPitch. */
struct Rooms {
  float *q, *k, *kp, *qp, *d, *v;
};
/** Queries and gradients have n_query rows, keys and values n_key, the tables n_distance. */
DEVICE Rooms rooms(float* at, int n_query, int n_key, int n_distance) {
  Rooms r;
  r.q = at;
  r.k = r.q + n_query * kPitch;
  r.kp = r.k + n_key * kPitch;
  r.qp = r.kp + n_distance * kPitch;
  r.d = r.qp + n_distance * kPitch;
  r.v = r.d + n_query * kPitch;
  return r;
}
constexpr int kForwardRows = 2 * kTile + 2 * kSpan, kBackwardRows = 4 * kTile + 2 * kSpan;
constexpr int kDistanceRows = 2 * kTile + 2 * kSpan + 2 * kTile;

/** Rows t0 … of one of the three parts, columns c0 …. */
DEVICE void bring_part(const Relative& a, int64_t b, int64_t h, int part, int count, int64_t t0, int64_t c0, float* to) {
  bring([&](int64_t t, int64_t c) { return load_one(a.qkv, a.at(b, h, t, part) + c); }, count, t0, a.T, c0, a.K, to);
}
DEVICE void bring_gradient(const Relative& a, int64_t b, int64_t h, int64_t t0, int64_t c0, float* to) {
  bring([&](int64_t t, int64_t c) { return load_one(a.dO, (b * a.T + t) * a.Q + h * a.K + c); }, kTile, t0, a.T, c0, a.K, to);
}
/** Rows of a table for `count` distances from `first` on. */
DEVICE void bring_distances(const Relative& a, int64_t h, bool query, int count, int64_t first, int64_t c0, float* to) {
  const Floats& table = query ? a.query_positions : a.key_positions;
  bring([&](int64_t i, int64_t c) { return load_one(table, a.row(first + i, query) * a.Q + h * a.K + c); }, count, 0, count, c0,
        a.K, to);
}

/**
 * One place in the pattern, over the columns in shared memory: query · (key + its distance) + key · its distance, and, for
 * gradients, dO · value.
 */
template <bool kGradient>
DEVICE void place(const Rooms& r, int query, int key, int distance, float& score, float& dp) {
  const float *q = r.q + query * kPitch, *k = r.k + key * kPitch, *kp = r.kp + distance * kPitch, *qp = r.qp + distance * kPitch;
  float total = 0;
#pragma unroll 4
  for (int c = 0; c < kWide; c++) total += q[c] * (k[c] + kp[c]) + k[c] * qp[c];
  score += total;
  if (kGradient) dp += dot(r.d + query * kPitch, r.v + key * kPitch);
}

/** All that a tile of queries and a tile of keys need for their scores, columns c0 …. */
template <bool kGradient>
DEVICE void bring_tile(const Relative& a, const Rooms& r, int64_t b, int64_t h, int64_t q0, int64_t k0, int64_t c0) {
  gpu::sync();
  bring_part(a, b, h, 0, kTile, q0, c0, r.q);
  bring_part(a, b, h, 1, kTile, k0, c0, r.k);
  bring_distances(a, h, false, kSpan, q0 - k0 - (kTile - 1), c0, r.kp);
  bring_distances(a, h, true, kSpan, q0 - k0 - (kTile - 1), c0, r.qp);
  if (kGradient) bring_gradient(a, b, h, q0, c0, r.d);
  if (kGradient) bring_part(a, b, h, 2, kTile, k0, c0, r.v);
  gpu::sync();
}

/** What a block owns: a tile of rows and columns own0 … of the head. */
struct Share {
  int64_t row0, own0;
};
DEVICE Share share_of(int64_t n_row) {
  const int64_t tiles = (n_row + kTile - 1) / kTile;
  return {blockIdx.x % tiles * kTile, blockIdx.x / tiles * kWide};
}

__global__ void relative_forward(Relative a) {
  const auto [q0, own0] = share_of(a.T);
  const int64_t b = blockIdx.z, h = blockIdx.y;
  float* const s = gpu::shared<float>();
  const Rooms r = rooms(s + blend::kSquare, kTile, kTile, kSpan);
  const int row = threadIdx.x / 8, part = threadIdx.x % 8;
  const int64_t t = q0 + row;
  float own[kOwn] = {}, top = -3e38f, total = 0;
  const int64_t last = a.causal && q0 + kTile < a.T ? q0 + kTile : a.T;
  for (int64_t k0 = 0; k0 < last; k0 += kTile) {
    float score[4] = {}, none = 0, peak = top, sum = 0;
    for (int64_t c0 = 0; c0 < a.K; c0 += kWide) {
      bring_tile<false>(a, r, b, h, q0, k0, c0);
      for (int j = 0; j < 4; j++) place<false>(r, row, part + 8 * j, row - part - 8 * j + kTile - 1, score[j], none);
    }
    for (int j = 0; j < 4; j++) {
      score[j] = a.sees(t, k0 + part + 8 * j) ? score[j] * a.scale : -INFINITY;
      peak = score[j] > peak ? score[j] : peak;
    }
    peak = octet_max(peak);
    for (int j = 0; j < 4; j++) {
      const float p = expf(score[j] - peak);
      s[row * (kTile + 1) + part + 8 * j] = p;
      sum += p;
    }
    const float shrink = expf(top - peak);
    total = total * shrink + octet_sum(sum);
    top = peak;
#pragma unroll
    for (int j = 0; j < kOwn; j++) own[j] *= shrink;
    gpu::sync();
    bring_part(a, b, h, 2, kTile, k0, own0, r.k);
    gpu::sync();
#pragma unroll 1
    for (int key = 0; key < kTile; key++) {
      const float p = s[row * (kTile + 1) + key];
#pragma unroll
      for (int j = 0; j < kOwn; j++) own[j] += p * r.k[key * kPitch + part + 8 * j];
    }
  }
  if (t >= a.T) return;
#pragma unroll
  for (int j = 0; j < kOwn; j++) {
    const int64_t column = own0 + part + 8 * j;
    if (column < a.K) store_one(a.o, (b * a.T + t) * a.Q + h * a.K + column, own[j] / total);
  }
  if (a.lse && own0 == 0 && part == 0) a.lse[(b * a.H + h) * a.T + t] = top + logf(total);
}

/** dq_t = Σ_s dS(t, s)·(k_s + kp[t − s]). */
__global__ void relative_queries(Relative a) {
  const auto [q0, own0] = share_of(a.T);
  const int64_t b = blockIdx.z, h = blockIdx.y;
  float* const s = gpu::shared<float>();
  const Rooms r = rooms(s + blend::kSquare, kTile, kTile, kSpan);
  const int row = threadIdx.x / 8, part = threadIdx.x % 8;
  const int64_t t = q0 + row;
  const float lse = a.stat(a.lse, b, h, t), delta = a.stat(a.delta, b, h, t);
  float own[kOwn] = {};
  const int64_t last = a.causal && q0 + kTile < a.T ? q0 + kTile : a.T;
  for (int64_t k0 = 0; k0 < last; k0 += kTile) {
    float score[4] = {}, dp[4] = {};
    for (int64_t c0 = 0; c0 < a.K; c0 += kWide) {
      bring_tile<true>(a, r, b, h, q0, k0, c0);
      for (int j = 0; j < 4; j++) place<true>(r, row, part + 8 * j, row - part - 8 * j + kTile - 1, score[j], dp[j]);
    }
    for (int j = 0; j < 4; j++) {
      const float p = a.sees(t, k0 + part + 8 * j) ? expf(score[j] * a.scale - lse) : 0.0f;
      s[row * (kTile + 1) + part + 8 * j] = p * (dp[j] - delta) * a.scale;
    }
    gpu::sync_warp();  // a row belongs to one warp
    if (a.K > kWide) bring_tile<false>(a, r, b, h, q0, k0, own0);
#pragma unroll 1
    for (int key = 0; key < kTile; key++) {
      const float ds = s[row * (kTile + 1) + key];
#pragma unroll
      for (int j = 0; j < kOwn; j++)
        own[j] += ds * (r.k[key * kPitch + part + 8 * j] + r.kp[(row - key + kTile - 1) * kPitch + part + 8 * j]);
    }
  }
  if (t >= a.T) return;
#pragma unroll
  for (int j = 0; j < kOwn; j++)
    if (own0 + part + 8 * j < a.K) store_one(a.dqkv, a.at(b, h, t, 0) + own0 + part + 8 * j, own[j]);
}

/** dk_s = Σ_t dS(t, s)·(q_t + qp[s − t]), dv_s = Σ_t p(t, s)·dO_t. */
__global__ void relative_keys(Relative a) {
  const auto [k0, own0] = share_of(a.T);
  const int64_t b = blockIdx.z, h = blockIdx.y;
  float* const p = gpu::shared<float>();  // [key][query]
  float* const s = p + blend::kSquare;
  float* const stats = s + blend::kSquare;  // lse, then delta
  const Rooms r = rooms(stats + 2 * kTile, kTile, kTile, kSpan);
  const int row = threadIdx.x / 8, part = threadIdx.x % 8;
  const int64_t key = k0 + row;
  float dk[kOwn] = {}, dv[kOwn] = {};
  for (int64_t q0 = a.causal ? k0 : 0; q0 < a.T; q0 += kTile) {
    float score[4] = {}, dp[4] = {};
    for (int64_t c0 = 0; c0 < a.K; c0 += kWide) {
      bring_tile<true>(a, r, b, h, q0, k0, c0);
      for (int j = 0; j < 4; j++) place<true>(r, part + 8 * j, row, part + 8 * j - row + kTile - 1, score[j], dp[j]);
    }
    gpu::sync();
    if (threadIdx.x < 2 * kTile)
      stats[threadIdx.x] = a.stat(threadIdx.x < kTile ? a.lse : a.delta, b, h, q0 + threadIdx.x % kTile);
    gpu::sync();
    for (int j = 0; j < 4; j++) {
      const int query = part + 8 * j;
      const float e = a.sees(q0 + query, key) ? expf(score[j] * a.scale - stats[query]) : 0.0f;
      p[row * (kTile + 1) + query] = e;
      s[row * (kTile + 1) + query] = e * (dp[j] - stats[kTile + query]) * a.scale;
    }
    gpu::sync_warp();
    if (a.K > kWide) bring_tile<true>(a, r, b, h, q0, k0, own0);
#pragma unroll 1
    for (int query = 0; query < kTile; query++) {
      const float e = p[row * (kTile + 1) + query], ds = s[row * (kTile + 1) + query];
#pragma unroll
      for (int j = 0; j < kOwn; j++) {
        const int column = part + 8 * j;
        dv[j] += e * r.d[query * kPitch + column];
        dk[j] += ds * (r.q[query * kPitch + column] + r.qp[(query - row + kTile - 1) * kPitch + column]);
      }
    }
  }
  if (key >= a.T) return;
#pragma unroll
  for (int j = 0; j < kOwn; j++) {
    const int64_t column = own0 + part + 8 * j;
    if (column >= a.K) continue;
    store_one(a.dqkv, a.at(b, h, key, 1) + column, dk[j]);
    store_one(a.dqkv, a.at(b, h, key, 2) + column, dv[j]);
  }
}

/** For 32 distances, over a chunk of sequences: dkp = Σ dS(t, t − distance)·q_t, dqp = Σ dS(t, t − distance)·k_(t − distance). */
__global__ void relative_distances(Relative a) {
  const int64_t chunk = blockIdx.z, h = blockIdx.y, M = a.distances();
  const auto [m0, own0] = share_of(M);
  const int64_t d0 = m0 + a.least_distance();
  float* const s = gpu::shared<float>();  // [distance][query]
  float* const stats = s + blend::kSquare;
  const Rooms r = rooms(stats + 2 * kTile, kTile, kSpan, kTile);
  const int row = threadIdx.x / 8, part = threadIdx.x % 8;
  float dkp[kOwn] = {}, dqp[kOwn] = {};
  for (int64_t b = a.B * chunk / a.chunks; b < a.B * (chunk + 1) / a.chunks; b++) {
    // Queries t with a key t − distance in [0, T) for one of the distances.
    const int64_t begin = d0 > 0 ? d0 / kTile * kTile : 0, end = d0 + kTile - 1 < 0 ? a.T + d0 + kTile - 1 : a.T;
    for (int64_t q0 = begin; q0 < end; q0 += kTile) {
      const int64_t s0 = q0 - d0 - (kTile - 1);  // key of row i: s0 + i; of a query and a distance: i = query − distance + 31
      auto bring_all = [&](int64_t c0) {
        gpu::sync();
        bring_part(a, b, h, 0, kTile, q0, c0, r.q);
        bring_part(a, b, h, 1, kSpan, s0, c0, r.k);
        bring_part(a, b, h, 2, kSpan, s0, c0, r.v);
        bring_distances(a, h, false, kTile, d0, c0, r.kp);
        bring_distances(a, h, true, kTile, d0, c0, r.qp);
        bring_gradient(a, b, h, q0, c0, r.d);
        gpu::sync();
      };
      float score[4] = {}, dp[4] = {};
      for (int64_t c0 = 0; c0 < a.K; c0 += kWide) {
        bring_all(c0);
        for (int j = 0; j < 4; j++) place<true>(r, part + 8 * j, part + 8 * j - row + kTile - 1, row, score[j], dp[j]);
      }
      gpu::sync();
      if (threadIdx.x < 2 * kTile)
        stats[threadIdx.x] = a.stat(threadIdx.x < kTile ? a.lse : a.delta, b, h, q0 + threadIdx.x % kTile);
      gpu::sync();
      for (int j = 0; j < 4; j++) {
        const int query = part + 8 * j;
        const bool is_there = m0 + row < M && a.sees(q0 + query, q0 + query - d0 - row);
        const float p = is_there ? expf(score[j] * a.scale - stats[query]) : 0.0f;
        s[row * (kTile + 1) + query] = p * (dp[j] - stats[kTile + query]) * a.scale;
      }
      gpu::sync_warp();
      if (a.K > kWide) bring_all(own0);
#pragma unroll 1
      for (int query = 0; query < kTile; query++) {
        const float ds = s[row * (kTile + 1) + query];
#pragma unroll
        for (int j = 0; j < kOwn; j++) {
          dkp[j] += ds * r.q[query * kPitch + part + 8 * j];
          dqp[j] += ds * r.k[(query - row + kTile - 1) * kPitch + part + 8 * j];
        }
      }
    }
  }
  if (m0 + row >= M) return;
#pragma unroll
  for (int j = 0; j < kOwn; j++) {
    const int64_t column = own0 + part + 8 * j;
    if (column >= a.K) continue;
    float* const to = a.partial + (chunk * 2 * M + m0 + row) * a.Q + h * a.K + column;
    to[0] = dkp[j];
    to[M * a.Q] = dqp[j];
  }
}

/** dtable[n] = Σ of the distances that share row n, chunk by chunk. */
__global__ void add_distances(Relative a, int query, Floats to) {
  const int64_t at = (int64_t)blockIdx.x * kBlock + threadIdx.x, n = at / a.Q, i = at % a.Q, M = a.distances();
  if (n >= a.N) return;
  const int64_t reach = (a.N - 1) / 2, far = a.T - 1;
  int64_t low = a.causal ? n : n == 0 ? -far : n - reach, high = n == a.N - 1 ? far : a.causal ? n : n - reach;
  if (!a.causal && query) {
    const int64_t swap = low;
    low = -high, high = -swap;
  }
  low = low < a.least_distance() ? a.least_distance() : low;
  high = high > far ? far : high;
  float total = 0;
  for (int64_t chunk = 0; chunk < a.chunks; chunk++)
    for (int64_t d = low; d <= high; d++)
      total += a.partial[((chunk * 2 + query) * M + d - a.least_distance()) * a.Q + i];
  store_one(to, at, total);
}

int32_t read_relative(Relative& a, const physlm_tensor* in, const double* attrs) {
  a = {};
  a.B = leading(in[0], 2), a.T = axis(in[0], 2), a.Q = axis(in[1], 1), a.N = leading(in[1], 1);
  a.H = (int64_t)attrs[0], a.K = (int64_t)attrs[1];
  a.scale = (float)attrs[2];
  a.causal = attrs[3] != 0;
  a.qkv = floats(in[0]), a.key_positions = floats(in[1]), a.query_positions = floats(in[2]);
  if (a.H < 1 || a.K < 1 || a.Q != a.H * a.K || axis(in[0], 1) != 3 * a.Q)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[qkv] expected 3·nHead·dHead = %lld columns, tables of a third, got %lld and %lld",
                       (long long)(3 * a.H * a.K), (long long)axis(in[0], 1), (long long)a.Q);
  if (a.N < 1 || (!a.causal && a.N % 2 == 0))
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[keyPositions] expected %s rows, got %lld",
                       a.causal ? "at least 1" : "an odd number of", (long long)a.N);
  if (a.H > 65535 || a.B > 65535)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[qkv] expected up to 65535 heads and rows of a batch, got %lld and %lld",
                       (long long)a.H, (long long)a.B);
  return PHYSLM_OK;
}

constexpr size_t bytes(int rows, int squares, int stats) {
  return (rows * kPitch + squares * blend::kSquare + stats) * sizeof(float);
}

/** Blocks for n rows and all columns of each head, and for `depth` sequences or chunks of them. */
dim3 shares(const Relative& a, int64_t n, int64_t depth) {
  return dim3((unsigned)(ceil_div(n, kTile) * ceil_div(a.K, kWide)), (unsigned)a.H, (unsigned)depth);
}

}  // namespace

OP(relativeAttention_forward) {
  Relative a;
  if (int32_t status = read_relative(a, in, attrs)) return status;
  a.o = floats(out[0]);
  a.lse = static_cast<float*>(out[1].data);
  if (a.lse)
    if (int32_t status = expect("lse heads", a.H, axis(out[1], 2))) return status;
  if (a.B * a.T > 0)
    start(relative_forward, shares(a, a.T, a.B), kBlock, bytes(kForwardRows, 1, 0), a);
  return PHYSLM_OK;
}

OP(relativeAttention_backward) {
  Relative a;
  if (int32_t status = read_relative(a, in, attrs)) return status;
  if (int32_t status = expect("lse heads", a.H, axis(in[4], 2))) return status;
  a.o = floats(in[3]);
  a.lse = static_cast<float*>(in[4].data);
  a.dO = floats(in[5]);
  a.dqkv = floats(out[0]);
  const int64_t M = most(0, a.distances());
  const bool tables = out[1].data || out[2].data;
  a.chunks = least(a.B, ceil_div(kFill, most(1, a.H * ceil_div(M, kTile))));
  a.delta = static_cast<float*>(scratch(kSlotValues, most(1, a.B * a.H * a.T) * sizeof(float)));
  if (tables) a.partial = static_cast<float*>(scratch(kSlotPartial, most(1, a.chunks * 2 * M * a.Q) * sizeof(float)));
  if (!a.delta || (tables && !a.partial)) return PHYSLM_OUT_OF_MEMORY;
  if (a.B * a.T > 0) {
    head_products(a.dO, a.o, a.B, a.T, a.H, a.K, a.delta);
    if (out[0].data) {
      start(relative_keys, shares(a, a.T, a.B), kBlock, bytes(kBackwardRows, 2, 2 * kTile), a);
      start(relative_queries, shares(a, a.T, a.B), kBlock, bytes(kBackwardRows, 1, 0), a);
    }
    if (tables) start(relative_distances, shares(a, M, a.chunks), kBlock, bytes(kDistanceRows, 1, 2 * kTile), a);
  }
  for (int query = 0; query < 2; query++)
    if (out[1 + query].data)
      start(add_distances, dim3((unsigned)ceil_div(a.N * a.Q, kBlock)), kBlock, 0, a, query, floats(out[1 + query]));
  return PHYSLM_OK;
}
