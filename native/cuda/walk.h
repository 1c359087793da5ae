// Which tiles the blocks of Hopper's attention kernels take, as plain functions that host code can call and check
// (emulate/index-maps.cc). A warp group holds one tile of 64 rows (queries, or keys in the pass that finds their gradients)
// and walks over the tiles of the other kind. Tiles are told by rank, the one with the longest walk first: rank r of a causal
// walk meets ranks r … tiles − 1 of the other kind, any rank meets all of them otherwise.
#ifndef PHYSLM_CUDA_WALK_H
#define PHYSLM_CUDA_WALK_H

#include "either.h"

/**
 * A round gives `groups` warp groups of a block neighbouring ranks of one head; a job is all rounds of a head (`whole`), or one
 * round: then `section` heads at a time, longest rounds first, so that what these heads read stays in L2.
 */
struct Walk {
  int tiles, groups, causal;
  int heads;  // B·H, or B·G
  int whole, section;
};

EITHER int rounds_of(const Walk& w) { return (w.tiles + w.groups - 1) / w.groups; }
EITHER int jobs_of(const Walk& w) { return w.whole ? w.heads : w.heads * rounds_of(w); }

/** Rounds [from, to) of a head. */
struct Job {
  int head, from, to;
};
EITHER Job job_of(const Walk& w, int j) {
  const int rounds = rounds_of(w);
  if (w.whole) return {j, 0, rounds};
  const int first = j / (w.section * rounds) * w.section, inside = j - first * rounds;
  const int heads = w.heads - first < w.section ? w.heads - first : w.section;
  return {first + inside % heads, inside / heads, inside / heads + 1};
}

/** The rank that warp group `mine` holds; from w.tiles on: none. Odd turns mirror the order, so that groups share the work. */
EITHER int rank_of(const Walk& w, int round, int mine, int turn) {
  return round * w.groups + (turn % 2 ? w.groups - 1 - mine : mine);
}
/** Steps of a round, the same for all its groups, and how many of them rank `rank` sits out at first. */
EITHER int steps_of(const Walk& w, int round) { return w.causal ? w.tiles - round * w.groups : w.tiles; }
EITHER int lead_of(const Walk& w, int round, int rank) { return w.causal ? rank - round * w.groups : 0; }
/** The rank met at a step. */
EITHER int met_at(const Walk& w, int round, int step) { return w.causal ? round * w.groups + step : step; }

/**
 * With documents rank `rank` of a causal walk meets ranks up to some `last` that never falls with `rank`: the steps of a round
 * end with the last of its highest rank, and each group passes by those behind its own.
 */
EITHER int highest_of(const Walk& w, int round) {
  const int end = (round + 1) * w.groups;
  return (end < w.tiles ? end : w.tiles) - 1;
}
EITHER int steps_until(const Walk& w, int round, int last) { return last - round * w.groups + 1; }

/** Whole heads when there are enough of them to keep an H100 busy; else rounds, with at most 24 MB read by a section. */
EITHER Walk walk_of(long long T, int groups, int causal, long long heads, long long bytes_of_head) {
  const long long fits = (24 << 20) / (bytes_of_head > 0 ? bytes_of_head : 1);
  const long long section = fits < 1 ? 1 : fits > heads ? heads : fits;
  return {(int)((T + 63) / 64), groups, causal, (int)heads, heads >= 528, (int)section};
}

#endif
