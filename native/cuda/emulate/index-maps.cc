// Properties of the index maps of ../walk.h, ../tile_maps.h and ../chains.h, for every small shape, checked when this is compiled.
#include "../chains.h"
#include "../tile_maps.h"
#include "../walk.h"

namespace {

/**
 * Every pair of ranks that a walk asks for comes exactly once, at any order of jobs and with any turns. With documents (reach
 * above 0) it asks for those up to the end of a rank's run of `reach`, or `over` further.
 */
constexpr bool meets_each_pair_once(const Walk& w, int turn, int reach = 0, int over = 0) {
  auto last = [&](int rank) {
    const int end = rank / reach * reach + reach - 1 + over;
    return end < w.tiles ? end : w.tiles - 1;
  };
  bool seen[3][20][20] = {};
  for (int j = 0; j < jobs_of(w); j++) {
    const Job job = job_of(w, j);
    if (job.head < 0 || job.head >= w.heads || job.to > rounds_of(w)) return false;
    for (int r = job.from; r < job.to; r++, turn++)
      for (int g = 0; g < w.groups; g++) {
        const int rank = rank_of(w, r, g, turn);
        if (rank >= w.tiles) continue;
        const int steps = reach ? steps_until(w, r, last(highest_of(w, r))) : steps_of(w, r);
        const int end = reach ? steps_until(w, r, last(rank)) : steps;
        if (lead_of(w, r, rank) >= end || end > steps || steps > steps_of(w, r)) return false;
        for (int step = lead_of(w, r, rank); step < end; step++) {
          bool& met = seen[job.head][rank][met_at(w, r, step)];
          if (met) return false;
          met = true;
        }
      }
  }
  for (int head = 0; head < w.heads; head++)
    for (int rank = 0; rank < w.tiles; rank++)
      for (int other = 0; other < w.tiles; other++)
        if (seen[head][rank][other] != (!w.causal || (other >= rank && (!reach || other <= last(rank))))) return false;
  return true;
}

constexpr bool all_meet_once() {
  for (int tiles = 1; tiles <= 20; tiles += tiles < 10 ? 1 : 5)
    for (int groups = 2; groups <= 3; groups++)
      for (int flags = 0; flags < 8; flags++)
        for (int section = 1; section <= 3; section++)
          if (!meets_each_pair_once({tiles, groups, flags & 1, 3, flags >> 1 & 1, section}, flags >> 2)) return false;
  return true;
}
static_assert(all_meet_once(), "each pair of tiles once");

constexpr bool documents_meet_once() {
  for (int tiles = 1; tiles <= 13; tiles += tiles < 8 ? 1 : 5)
    for (int groups = 2; groups <= 3; groups++)
      for (int reach = 1; reach <= 4; reach++)
        for (int flags = 0; flags < 8; flags++)
          if (!meets_each_pair_once({tiles, groups, 1, 3, flags & 1, 2}, flags >> 1 & 1, reach, flags >> 2)) return false;
  return true;
}
static_assert(documents_meet_once(), "each pair of tiles of a document once");

/** Steps that the busiest group of three has more than the idlest, over two heads of `tiles` tiles. */
constexpr int imbalance(int tiles) {
  const Walk w = {tiles, 3, 1, 2, 1, 1};
  int work[3] = {}, turn = 0;
  for (int j = 0; j < 2; j++)
    for (int r = 0; r < rounds_of(w); r++, turn++)
      for (int g = 0; g < 3; g++)
        if (rank_of(w, r, g, turn) < tiles) work[g] += tiles - rank_of(w, r, g, turn);
  const int most = work[0] > work[1] ? work[0] > work[2] ? work[0] : work[2] : work[1] > work[2] ? work[1] : work[2];
  const int least = work[0] < work[1] ? work[0] < work[2] ? work[0] : work[2] : work[1] < work[2] ? work[1] : work[2];
  return most - least;
}
static_assert(imbalance(8) == 0, "512 positions: mirrored turns even out over two heads");

/** Longest rounds first within a section. */
constexpr bool descends(const Walk& w) {
  for (int j = 1; j < jobs_of(w); j++) {
    const Job before = job_of(w, j - 1), now = job_of(w, j);
    if (before.head / w.section == now.head / w.section && steps_of(w, before.from) < steps_of(w, now.from)) return false;
  }
  return true;
}
static_assert(descends({20, 3, 1, 3, 0, 2}) && descends({7, 2, 1, 5, 0, 5}), "longest first");
static_assert(walk_of(512, 3, 1, 1152, 131072).whole == 1 && walk_of(2048, 3, 1, 64, 524288).whole == 0, "by shape");
// Weight gradients of GPT-2 124M over 49,152 tokens: near whole waves of 132, from 72, 24 and 96 tiles.
static_assert(chains_of(2304, 768, 49152, 72) * 72 % 132 > 90 && chains_of(3072, 768, 49152, 96) == 4, "few idle multiprocessors");
static_assert(chains_of(768, 768, 49152, 24) == 5, "as few chains as fill a wave");
static_assert(chains_of(49152, 768, 3072, 1536) == 1 && chains_of(128, 128, 1000, 1) == 1, "many tiles, or a short sum");
static_assert(walk_of(1 << 20, 3, 1, 1, 268435456).section == 1, "a head that L2 does not hold");

/** The jobs of a product take each slice of each tile's sum once, in tiles of 2×3 and slices of 2. */
constexpr bool sums_each_tile_once(int M, int N, int K, int depth) {
  const int tiles_m = (M + 1) / 2, tiles_n = (N + 2) / 3, slices = (K + 1) / 2, chains = (K + depth - 1) / depth;
  bool seen[10][6][8] = {};
  for (int j = 0; j < tiles_m * tiles_n * chains; j++) {
    const TileJob job = tile_job(j, M, N, K, depth, 2, 3, 2);
    if (job.m0 % 2 || job.n0 % 3 || job.m0 >= M || job.n0 >= N || job.k0 != job.split * depth || job.steps < 1) return false;
    for (int s = job.k0 / 2; s < job.k0 / 2 + job.steps; s++) {
      if (s >= slices || seen[job.m0 / 2][job.n0 / 3][s]) return false;
      seen[job.m0 / 2][job.n0 / 3][s] = true;
    }
  }
  for (int m = 0; m < tiles_m; m++)
    for (int n = 0; n < tiles_n; n++)
      for (int s = 0; s < slices; s++)
        if (!seen[m][n][s]) return false;
  return true;
}
constexpr bool all_sum_once() {
  for (int M = 1; M <= 19; M += 3)
    for (int N = 2; N <= 17; N += 5)
      for (int K = 1; K <= 16; K += 3)
        for (int depth = 2; depth <= 14; depth += 6)
          if (!sums_each_tile_once(M, N, K, depth)) return false;
  return true;
}
static_assert(all_sum_once(), "each slice of each tile once");

/** Each chunk of a tile of `rows` rows has a place of its own, and eight neighbouring rows lie in different banks. */
template <int kChunks>
constexpr bool places_apart(int rows) {
  bool taken[128 * 16] = {};
  for (int row = 0; row < rows; row++)
    for (int chunk = 0; chunk < kChunks; chunk++) {
      const int at = place<kChunks>(row, chunk);
      if (at % 16 || at / 16 >= rows * kChunks || taken[at / 16]) return false;
      taken[at / 16] = true;
    }
  for (int first = 0; first + 8 <= rows; first += 8)
    for (int chunk = 0; chunk < kChunks; chunk++) {
      int banks = 0;
      for (int row = first; row < first + 8; row++) banks |= 1 << place<kChunks>(row, chunk) / 16 % 8;
      if (banks != 255) return false;
    }
  return true;
}
static_assert(places_apart<4>(64) && places_apart<8>(128) && places_apart<16>(64), "a bijection without bank conflicts");

}  // namespace
