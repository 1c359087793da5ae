// Products. Each element is one chain over k in a fixed order, or a few chains of equal length (split) that a second kernel
// adds in order; the split depends on the shape alone, so results are bitwise reproducible. Scratch: split · M·N floats.
//
// f32: 64×64 tiles, 4×4 elements a thread. bf16: 128×128×64 tiles, eight warps of 64×32, mma.m16n8k16, three stages of
// cp.async. Tiles lie in shared memory as they lie in global memory, 16-byte chunks permuted by row so that ldmatrix has no
// bank conflicts; nothing is ever transposed but by ldmatrix.trans.
#include <vector>

#include "chains.h"
#include "gemm.h"
#include "tiles.h"

namespace {

DEVICE void store_pair(const Floats& x, int64_t i, float first, float second) {
  if (x.half) {
    reinterpret_cast<uint32_t*>(x.data)[i / 2] = gpu::pack_bf16(first, second);
  } else {
    static_cast<float*>(x.data)[i] = first;
    static_cast<float*>(x.data)[i + 1] = second;
  }
}

/** finish() for columns n and n+1; n is even. */
DEVICE void finish_pair(const Product& p, int64_t m, int64_t n, float first, float second) {
  if (p.N % 2 || n + 1 >= p.N || p.tail != kPlain) {
    finish(p, m, n, first);
    if (n + 1 < p.N) finish(p, m, n + 1, second);
    return;
  }
  if (p.bias) first += p.bias[n], second += p.bias[n + 1];
  if (p.c.data) store_pair(p.c, m * p.N + n, first, second);
  if (p.y.data) store_pair(p.y, m * p.N + n, gelu(first), gelu(second));
}

// --- f32 -----------------------------------------------------------------------------------------------------------------

constexpr int kSide = 64, kDepth = 16, kPitch = kSide + 4;

/** Fills to[k][i] with the operand's rows i0… and columns k0…; zeros outside. */
DEVICE void fetch(const Operand& o, int64_t i0, int64_t rows, int64_t k0, int64_t k1, float* to) {
#pragma unroll
  for (int j = 0; j < kSide * kDepth / 256; j++) {
    const int at = threadIdx.x + 256 * j;
    const int i = o.turned ? at % kSide : at / kDepth, k = o.turned ? at / kSide : at % kDepth;
    const bool inside = i0 + i < rows && k0 + k < k1;
    const int64_t from = o.turned ? (k0 + k) * o.ld + i0 + i : (i0 + i) * o.ld + k0 + k;
    to[k * kPitch + i] = inside ? static_cast<const float*>(o.x.data)[from] : 0.0f;
  }
}

__global__ void __launch_bounds__(256) multiply_f32(Product p, int64_t depth, float* partial) {
  float* const a = gpu::shared<float>();
  float* const b = a + kDepth * kPitch;
  const TileAt<int64_t> tile = tile_at<int64_t>(blockIdx.x, (p.M + kSide - 1) / kSide, (p.N + kSide - 1) / kSide);
  const int64_t m0 = tile.m * kSide, n0 = tile.n * kSide;
  const int64_t begin = blockIdx.z * depth, end = begin + depth < p.K ? begin + depth : p.K;
  const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
  float c[4][4] = {};
  for (int64_t k0 = begin; k0 < end; k0 += kDepth) {
    gpu::sync();
    fetch(p.a, m0, p.M, k0, end, a);
    fetch(p.b, n0, p.N, k0, end, b);
    gpu::sync();
#pragma unroll
    for (int k = 0; k < kDepth; k++)
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) c[i][j] += a[k * kPitch + row + i] * b[k * kPitch + column + j];
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      const int64_t m = m0 + row + i, n = n0 + column + j;
      if (m >= p.M || n >= p.N) continue;
      if (partial)
        partial[(blockIdx.z * p.M + m) * p.N + n] = c[i][j];
      else
        finish(p, m, n, c[i][j]);
    }
}

// --- bf16 ----------------------------------------------------------------------------------------------------------------

constexpr int kTile = 128, kSlice = 64, kStages = 3;
constexpr int kTileBytes = kTile * kSlice * 2;

/** Brings the tile of rows i0… and columns k0… into shared memory as it lies in global memory. */
template <bool kTurned>
DEVICE void fetch_tile(const Operand& o, int64_t i0, int64_t rows, int64_t k0, int64_t k1, bool in_chunks, char* to) {
  constexpr int kChunks = kTurned ? kTile / 8 : kSlice / 8;  // in a row
#pragma unroll
  for (int j = 0; j < kTileBytes / 16 / 256; j++) {
    const int at = threadIdx.x + 256 * j, row = at / kChunks, chunk = at % kChunks;
    const int64_t outer = (kTurned ? k0 : i0) + row, inner = (kTurned ? i0 : k0) + 8 * chunk;
    const int64_t outer_end = kTurned ? k1 : rows, inner_end = kTurned ? rows : k1;
    const int64_t left = outer < outer_end ? inner_end - inner : 0, from = outer * o.ld + inner;
    char* const goal = to + place<kChunks>(row, chunk);
    if (left >= 8 && in_chunks && o.x.half) {
      gpu::copy_async(goal, static_cast<const uint16_t*>(o.x.data) + from);
      continue;
    }
    float v[8];
    if (left >= 8 && in_chunks) {
      load(o.x, from, v);
    } else {
#pragma unroll
      for (int e = 0; e < 8; e++) v[e] = e < left ? load_one(o.x, from + e) : 0.0f;
    }
    store(Floats{goal, 1}, 0, v);
  }
}

template <bool kTurnedA, bool kTurnedB>
__global__ void __launch_bounds__(256) multiply_bf16(Product p, int64_t depth, float* partial, int a_chunks, int b_chunks) {
  char* const shared = gpu::shared<char>();
  const TileAt<int64_t> tile = tile_at<int64_t>(blockIdx.x, (p.M + kTile - 1) / kTile, (p.N + kTile - 1) / kTile);
  const int64_t m0 = tile.m * kTile, n0 = tile.n * kTile;
  const int64_t begin = blockIdx.z * depth, end = begin + depth < p.K ? begin + depth : p.K;
  const int steps = (int)((end - begin + kSlice - 1) / kSlice);
  const int row = warp_index() / 4 * 64, column = warp_index() % 4 * 32;

  auto bring = [&](int step) {
    if (step < steps) {
      char* const to = shared + step % kStages * 2 * kTileBytes;
      const int64_t k0 = begin + (int64_t)step * kSlice;
      fetch_tile<kTurnedA>(p.a, m0, p.M, k0, end, a_chunks, to);
      fetch_tile<kTurnedB>(p.b, n0, p.N, k0, end, b_chunks, to + kTileBytes);
    }
    gpu::copy_commit();
  };

  float c[4][4][4] = {};
  for (int step = 0; step < kStages - 1; step++) bring(step);
  for (int step = 0; step < steps; step++) {
    gpu::copy_wait<kStages - 2>();
    gpu::sync();  // the slice is here, and nobody reads the one before it any more
    bring(step + kStages - 1);
    const char* const a = shared + step % kStages * 2 * kTileBytes;
    const char* const b = a + kTileBytes;
#pragma unroll
    for (int k = 0; k < kSlice; k += 16) {
      uint32_t left[4][4], right[2][4];
#pragma unroll
      for (int i = 0; i < 4; i++) fragment<kTurnedA, false, kTurnedA ? kTile / 8 : kSlice / 8>(a, row + 16 * i, k, left[i]);
#pragma unroll
      for (int j = 0; j < 2; j++) fragment<kTurnedB, true, kTurnedB ? kTile / 8 : kSlice / 8>(b, column + 16 * j, k, right[j]);
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const uint32_t two[2] = {right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]};
          gpu::mma(c[i][j], left[i], two);
        }
    }
  }
  gpu::copy_wait<0>();

  const int lane = lane_index();
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int64_t m = m0 + row + 16 * i + 8 * half + lane / 4, n = n0 + column + 8 * j + 2 * (lane % 4);
        if (m >= p.M || n >= p.N) continue;
        const float first = c[i][j][2 * half], second = c[i][j][2 * half + 1];
        if (partial) {
          float* const to = partial + (blockIdx.z * p.M + m) * p.N + n;
          to[0] = first;
          if (n + 1 < p.N) to[1] = second;
        } else {
          finish_pair(p, m, n, first, second);
        }
      }
}

// --- split sums ------------------------------------------------------------------------------------------------------------

__global__ void add_splits_kernel(Product p, const float* partial, int64_t splits) {
  const uint32_t i = blockIdx.x * 256 + threadIdx.x, N = (uint32_t)p.N, n = (uint32_t)p.M * N;  // few tiles: it fits
  if (i >= n) return;
  float total = partial[i];
  for (int64_t s = 1; s < splits; s++) total += partial[s * n + i];
  finish(p, i / N, i % N, total);
}

bool in_chunks(const Operand& o) { return o.ld % 8 == 0 && (uintptr_t)o.x.data % 16 == 0; }

}  // namespace

// Few tiles and a long sum: chains of 512 terms at least, in f32 as many as fill two waves of an H100.
int32_t split(const Product& p, int64_t tiles, int64_t slice, Splits* out) {
  const bool halves = p.a.x.half || p.b.x.half;
  const int64_t wanted = halves ? chains_of(p.M, p.N, p.K, tiles) : most(1, least(ceil_div(264, tiles), least(64, p.K / 512)));
  out->depth = most(slice, ceil_div(ceil_div(p.K, wanted), slice) * slice);
  out->count = most(1, ceil_div(p.K, out->depth));
  out->partial = nullptr;
  if (out->count == 1) return PHYSLM_OK;
  out->partial = static_cast<float*>(scratch(kSlotPartial, out->count * p.M * p.N * sizeof(float)));
  return out->partial ? PHYSLM_OK : physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for partial products");
}

void add_splits(const Product& p, const Splits& splits) {
  if (splits.partial)
    start(add_splits_kernel, dim3((unsigned)ceil_div(p.M * p.N, 256)), 256, 0, p, (const float*)splits.partial, splits.count);
}

int32_t multiply(const Product& p) {
  if (p.M == 0 || p.N == 0) return PHYSLM_OK;
  if (suits_sm90(p)) return multiply_sm90(p);
  const bool halves = p.a.x.half || p.b.x.half;
  const int64_t side = halves ? kTile : kSide;
  const int64_t tiles = ceil_div(p.M, side) * ceil_div(p.N, side);
  Splits splits;
  if (int32_t status = split(p, tiles, halves ? kSlice : kDepth, &splits)) return status;
  const dim3 grid((unsigned)tiles, 1, (unsigned)splits.count);
  if (halves) {
    const auto kernel = p.a.turned ? p.b.turned ? multiply_bf16<true, true> : multiply_bf16<true, false>
                        : p.b.turned ? multiply_bf16<false, true>
                                     : multiply_bf16<false, false>;
    start(kernel, grid, 256, 2 * kStages * kTileBytes, p, splits.depth, splits.partial, (int)in_chunks(p.a),
          (int)in_chunks(p.b));
  } else {
    start(multiply_f32, grid, 256, 2 * kDepth * kPitch * sizeof(float), p, splits.depth, splits.partial);
  }
  add_splits(p, splits);
  return p.sums ? sum_rows(p.c, p.M, p.N, {p.sums, 0}) : PHYSLM_OK;
}

int32_t multiply_all(const Product* products, int n) {
  std::vector<Product> together;
  for (int i = 0; i < n; i++) {
    if (products[i].M == 0 || products[i].N == 0) continue;
    if (n > 1 && suits_group_sm90(products[i])) {
      together.push_back(products[i]);
    } else if (int32_t status = multiply(products[i])) {
      return status;
    }
  }
  return multiply_sm90_all(together.data(), (int)together.size());
}
