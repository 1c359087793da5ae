// Rows of a table by token, and the gradient of the table, bitwise reproducible without float atomics.
//
// Backward: row numbers are sorted by token (stable radix sort, 8 bits a pass), so the rows of one token lie together in
// order. Tiles of 32 sorted rows are added in order; a token that lies in one tile is written at once, sums of tokens that
// cross tiles go to scratch and are added tile by tile. Scratch: 16 bytes a row, 2·D floats a tile.
#include <math.h>

#include "kernel.h"

namespace {

constexpr int kRows = 8;    // warps of a forward block
constexpr int kTile = 32;   // sorted rows that one block adds; part of the bits
constexpr int kSortBlock = 256;
constexpr int kDigits = 256;

template <int V>
__global__ void gather(const int32_t* ids, Floats w, Floats y, int64_t R, int64_t V_size, int64_t D, uint64_t* problem) {
  const int64_t r = (int64_t)blockIdx.x * kRows + warp_index();
  if (r >= R) return;
  const int32_t id = ids[r];
  if (id < 0 || id >= V_size) {
    if (lane_index() == 0) report(problem, kBadToken, r, id);
    return;
  }
  float v[V];
  for (int64_t i = lane_index() * V; i < D; i += kWarp * V) {
    load(w, id * D + i, v);
    store(y, r * D + i, v);
  }
}

/** Tokens that are out of range count as V and are skipped later. */
__global__ void number_rows(const int32_t* ids, int64_t R, int64_t V_size, uint32_t* keys, uint32_t* rows, uint64_t* problem) {
  const int64_t r = (int64_t)blockIdx.x * kSortBlock + threadIdx.x;
  if (r >= R) return;
  const bool known = ids[r] >= 0 && ids[r] < V_size;
  if (!known) report(problem, kBadToken, r, ids[r]);
  keys[r] = known ? (uint32_t)ids[r] : (uint32_t)V_size;
  rows[r] = (uint32_t)r;
}

/** counts[digit][block]: how often each digit occurs among the block's keys. */
__global__ void count_digits(const uint32_t* keys, int64_t R, int shift, int32_t* counts) {
  int* const mine = gpu::shared<int>();
  mine[threadIdx.x] = 0;
  gpu::sync();
  const int64_t r = (int64_t)blockIdx.x * kSortBlock + threadIdx.x;
  if (r < R) gpu::atomic_add(&mine[keys[r] >> shift & (kDigits - 1)], 1);
  gpu::sync();
  counts[(int64_t)threadIdx.x * gridDim.x + blockIdx.x] = mine[threadIdx.x];
}

/** counts becomes the number of smaller keys, and equal ones of earlier blocks; one block. */
__global__ void scan_counts(int32_t* counts, int64_t n) {
  int* const room = gpu::shared<int>();
  const int64_t depth = (n + kSortBlock - 1) / kSortBlock;
  const int64_t begin = threadIdx.x * depth, end = begin + depth < n ? begin + depth : n;
  int total = 0;
  for (int64_t i = begin; i < end; i++) total += counts[i];
  room[threadIdx.x] = total;
  gpu::sync();
  int before = 0;
  for (int i = 0; i < (int)threadIdx.x; i++) before += room[i];
  for (int64_t i = begin; i < end; i++) {
    const int count = counts[i];
    counts[i] = before;
    before += count;
  }
}

__global__ void move_keys(const uint32_t* keys, const uint32_t* rows, int64_t R, int shift, const int32_t* places,
                          uint32_t* keys_to, uint32_t* rows_to) {
  int* const digits = gpu::shared<int>();
  const int64_t r = (int64_t)blockIdx.x * kSortBlock + threadIdx.x;
  const int digit = r < R ? (int)(keys[r] >> shift & (kDigits - 1)) : -1;
  digits[threadIdx.x] = digit;
  gpu::sync();
  if (r >= R) return;
  int rank = 0;
  for (int i = 0; i < (int)threadIdx.x; i++) rank += digits[i] == digit;
  const int64_t to = places[(int64_t)digit * gridDim.x + blockIdx.x] + rank;
  keys_to[to] = keys[r];
  rows_to[to] = rows[r];
}

__global__ void clear(float* w, int64_t n) {
  const int64_t i = (int64_t)blockIdx.x * kSortBlock + threadIdx.x;
  if (i < n) w[i] = 0.0f;
}

/** edges[tile][0]: sum of the token that came in from the tile before; [1]: of the one that goes on in the next. */
__global__ void add_tile(const uint32_t* keys, const uint32_t* rows, Floats dy, int64_t R, int64_t V_size, int64_t D, float* dw,
                         float* edges) {
  const int64_t begin = (int64_t)blockIdx.x * kTile, end = begin + kTile < R ? begin + kTile : R;
  const int64_t i = (int64_t)blockIdx.y * blockDim.x + threadIdx.x;
  if (i >= D) return;
  float* const edge = edges + (int64_t)blockIdx.x * 2 * D;
  for (int64_t at = begin; at < end;) {
    const uint32_t key = keys[at];
    const int64_t first = at;
    float total = 0;
    for (; at < end && keys[at] == key; at++) total += load_one(dy, rows[at] * D + i);
    const bool came = first == begin && begin > 0 && keys[begin - 1] == key;
    const bool goes = at == end && end < R && keys[end] == key;
    if (came)
      edge[i] = total;  // also when it goes on: the whole tile is this token's
    else if (goes)
      edge[D + i] = total;
    else if (key < V_size)
      dw[key * D + i] = total;
  }
}

/** The tile in which a crossing token starts adds all its parts in order. */
__global__ void add_edges(const uint32_t* keys, int64_t R, int64_t V_size, int64_t D, const float* edges, float* dw) {
  const int64_t begin = (int64_t)blockIdx.x * kTile, end = begin + kTile;
  const int64_t i = (int64_t)blockIdx.y * blockDim.x + threadIdx.x;
  if (i >= D || end >= R || keys[end] != keys[end - 1]) return;
  const uint32_t key = keys[end - 1];
  if (key >= V_size || (keys[begin] == key && begin > 0 && keys[begin - 1] == key)) return;
  float total = edges[(int64_t)blockIdx.x * 2 * D + D + i];
  for (int64_t tile = blockIdx.x + 1; tile * kTile < R && keys[tile * kTile] == key; tile++) total += edges[tile * 2 * D + i];
  dw[key * D + i] = total;
}

}  // namespace

OP(embedding_forward) {
  const int64_t R = elements(in[0]), V = leading(in[1], 1), D = axis(in[1], 1);
  uint64_t* const problem = problem_record();
  if (!problem) return PHYSLM_OUT_OF_MEMORY;
  if (R == 0) return PHYSLM_OK;
  start(in_eights(in[1], D) && in_eights(out[0], D) ? gather<8> : gather<1>, dim3((unsigned)ceil_div(R, kRows)), kRows * kWarp,
        0, static_cast<const int32_t*>(in[0].data), floats(in[1]), floats(out[0]), R, V, D, problem);
  return PHYSLM_OK;
}

OP(embedding_backward) {
  if (!out[0].data) return PHYSLM_OK;
  const int64_t R = elements(in[0]), V = leading(out[0], 1), D = axis(out[0], 1);
  const int64_t tiles = ceil_div(R, kTile), blocks = ceil_div(R, kSortBlock);
  uint64_t* const problem = problem_record();
  uint32_t* const lists = static_cast<uint32_t*>(scratch(kSlotSort, (4 * R + kDigits * blocks + 1) * sizeof(uint32_t)));
  float* const edges = static_cast<float*>(scratch(kSlotPartial, (2 * tiles * D + 1) * sizeof(float)));
  if (!problem || !lists || !edges) return PHYSLM_OUT_OF_MEMORY;
  float* const dw = static_cast<float*>(out[0].data);
  start(clear, dim3((unsigned)ceil_div(V * D, kSortBlock)), kSortBlock, 0, dw, V * D);
  if (R == 0) return PHYSLM_OK;
  uint32_t *keys = lists, *rows = lists + R, *keys_to = lists + 2 * R, *rows_to = lists + 3 * R;
  int32_t* const counts = reinterpret_cast<int32_t*>(lists + 4 * R);
  const dim3 grid((unsigned)blocks);
  start(number_rows, grid, kSortBlock, 0, static_cast<const int32_t*>(in[0].data), R, V, keys, rows, problem);
  for (int shift = 0; shift < 32 && V >> shift > 0; shift += 8) {
    start(count_digits, grid, kSortBlock, kDigits * sizeof(int), (const uint32_t*)keys, R, shift, counts);
    start(scan_counts, dim3(1), kSortBlock, kSortBlock * sizeof(int), counts, kDigits * blocks);
    start(move_keys, grid, kSortBlock, kSortBlock * sizeof(int), (const uint32_t*)keys, (const uint32_t*)rows, R, shift,
          (const int32_t*)counts, keys_to, rows_to);
    uint32_t* swap = keys;
    keys = keys_to, keys_to = swap;
    swap = rows, rows = rows_to, rows_to = swap;
  }
  const int width = (int)least(256, ceil_div(D, kWarp) * kWarp);
  const dim3 columns((unsigned)tiles, (unsigned)ceil_div(D, width));
  start(add_tile, columns, width, 0, (const uint32_t*)keys, (const uint32_t*)rows, floats(in[1]), R, V, D, dw, edges);
  start(add_edges, columns, width, 0, (const uint32_t*)keys, R, V, D, (const float*)edges, dw);
  return PHYSLM_OK;
}
