// Which tile of a product a block computes, which part of its sum, and where chunks of tiles lie in shared memory: plain
// functions that host code can check (emulate/index-maps.cc).
#ifndef PHYSLM_CUDA_TILE_MAPS_H
#define PHYSLM_CUDA_TILE_MAPS_H

#include "either.h"

/**
 * Byte offset of 16-byte chunk `chunk` of row `row`, chunks permuted within the row so that the eight rows of an ldmatrix fall into
 * different banks; a row has kChunks: 4, 8 or 16.
 */
template <int kChunks>
EITHER int place(int row, int chunk) {
  static_assert(kChunks == 4 || kChunks == 8 || kChunks == 16, "rows of 64, 128 or 256 bytes");
  return (row * kChunks + (chunk ^ (kChunks == 4 ? row >> 1 & 3 : row & 7))) * 16;
}

/** Block `index` of tiles_m·tiles_n: eight rows of tiles at a time, so that their operands stay in L2. */
template <class Integer>
struct TileAt {
  Integer m, n;
};
template <class Integer>
EITHER TileAt<Integer> tile_at(Integer index, Integer tiles_m, Integer tiles_n) {
  const Integer group = index / (8 * tiles_n), inside = index % (8 * tiles_n);
  const Integer rows = tiles_m - 8 * group < 8 ? tiles_m - 8 * group : 8;
  return {8 * group + inside % rows, inside / rows};
}

/** A tile of one of several products, from (m0, n0) on, and the part of its sum that begins at k0 and takes `steps` slices. */
struct TileJob {
  int member, m0, n0, k0, split, steps;
};
/** Job j of an M×N result in tiles of tall×wide whose sums over K, in slices of `deep`, are cut into chains of `depth`. */
EITHER TileJob tile_job(int j, int M, int N, int K, int depth, int tall, int wide, int deep) {
  const int tiles_m = (M + tall - 1) / tall, tiles_n = (N + wide - 1) / wide, tiles = tiles_m * tiles_n;
  const TileAt<int> tile = tile_at(j % tiles, tiles_m, tiles_n);
  const int split = j / tiles, k0 = split * depth, end = K - k0 > depth ? k0 + depth : K;
  return {0, tile.m * tall, tile.n * wide, k0, split, (end - k0 + deep - 1) / deep};
}

#endif
