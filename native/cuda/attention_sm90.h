// What the kernels of attention on Hopper share (attention_sm90.cu, attention_backward_sm90.cu): bf16, tiles of 64 rows by TMA,
// wgmma with one operand in registers, f32 scores, sums and gradients.
//
// One block stays on each multiprocessor and takes rounds of tiles in turn (walk.h). Warp group 0 fetches; each of the others
// holds a tile of 64 rows in registers and multiplies it with the tiles of a ring that all of them read:
//
//   forward             holds queries               meets keys and values      o, log-sum-exp
//   gradient_queries    holds queries, dO, o        meets keys and values      dq; lse and Σ dO·o for the next kernel
//   gradient_keys       holds keys, values          meets queries and dO       dk, dv
//
// So each gradient has one owner that adds in a fixed order (seven products where five would do, but no atomics, no dq in
// memory, nothing exchanged between groups). While a group computes exponentials, its sum over the tile before and the products
// of the other groups keep the tensor cores at work. Heads are 32, 64 or 128 wide.
//
// Documents have instances of their own. There a group's walk ends with the tile in which the document of its first query begins
// (of its last key ends), and tiles that hold more than one document are masked.
//
// Stage s of the ring is full when its bytes have come (full[s]), empty when every warp that multiplies has arrived (empty[s]);
// step `at` of the block uses stage at % kStages in round at / kStages. A group's held tiles have a pair of such barriers too.
#ifndef PHYSLM_CUDA_ATTENTION_SM90_H
#define PHYSLM_CUDA_ATTENTION_SM90_H

#include "attention.h"
#include "tiles.h"
#include "walk.h"

namespace hopper {

constexpr int kTile = 64;
constexpr int kSharedMost = 232448;

/** Columns of a box: rows of 128 bytes, or of 64 in narrow heads. */
template <int kD>
constexpr int kWidth = kD < 64 ? kD : 64;
template <int kD>
constexpr int kRowBytes = kWidth<kD> * 2;
template <int kD>
constexpr int kTileBytes = kTile * kD * 2;
constexpr int kBoxBytes = 8192;  // of a head that has two
/** 64 log-sum-exps, 64 deltas and, with documents, where those of 64 queries begin. */
template <bool kDocuments>
constexpr int kStatBytes = kDocuments ? 768 : 512;

enum Pass { kForward, kQueries, kKeys };

/** Shared memory of one pass: the ring, then what each group holds, then barriers. */
template <int kD, Pass pass, bool kDocuments = false>
struct Layout {
  static constexpr int groups = pass == kForward && kD < 128 ? 3 : 2;
  static constexpr int threads = 128 * (groups + 1);
  static constexpr int arrivals = 4 * groups;
  static constexpr int held = (pass == kForward ? 1 : pass == kQueries ? 3 : 2) * kTileBytes<kD>;
  static constexpr int fetched = 2 * kTileBytes<kD> + (pass == kKeys ? kStatBytes<kDocuments> : 0);
  static constexpr int stage = (fetched + 1023) / 1024 * 1024;
  static constexpr int fits = (kSharedMost - 1024 - 512 - groups * held) / stage;
  static constexpr int stages = fits < 16 ? fits : 16;
  static constexpr int bytes = 1024 + stages * stage + groups * held + 8 * (2 * stages + 2 * groups);
  // Registers of a thread that fetches, and of one that multiplies.
  static constexpr int few = groups == 3 ? 32 : 40, many = groups == 3 ? 160 : 232;
};

#ifdef PHYSLM_SM90
/** A block's shared memory and its barriers: one base, so that few registers hold them. */
template <int kD, Pass pass, bool kDocuments>
struct Room {
  using L = Layout<kD, pass, kDocuments>;
  char* ring;

  DEVICE Room() {
    ring = gpu::shared<char>();
    ring += (1024 - gpu::address(ring) % 1024) % 1024;
    if (threadIdx.x == 0) {
      for (int s = 0; s < L::stages; s++) {
        gpu::barrier_init(full(s), 1);
        gpu::barrier_init(empty(s), L::arrivals);
      }
      for (int g = 0; g < L::groups; g++) {
        gpu::barrier_init(held(g), 1);
        gpu::barrier_init(read(g), 4);
      }
      gpu::barrier_init_done();
    }
    gpu::sync();
  }

  DEVICE uint64_t* barrier(int i) const { return reinterpret_cast<uint64_t*>(ring + L::stages * L::stage + L::groups * L::held) + i; }
  DEVICE uint64_t* full(int at) const { return barrier(at % L::stages); }
  DEVICE uint64_t* empty(int at) const { return barrier(L::stages + at % L::stages); }
  /** Whether what a group holds has come, and whether it may be overwritten. */
  DEVICE uint64_t* held(int group) const { return barrier(2 * L::stages + group); }
  DEVICE uint64_t* read(int group) const { return barrier(2 * L::stages + L::groups + group); }

  DEVICE char* stage(int at) const { return ring + at % L::stages * L::stage; }
  DEVICE char* holding(int group) const { return ring + L::stages * L::stage + group * L::held; }
  DEVICE void wait_full(int at) const { gpu::barrier_wait(full(at), at / L::stages % 2); }
  /** By each warp of those that multiply, for every stage in turn. */
  DEVICE void release(int at) const {
    if (lane_index() == 0) gpu::barrier_arrive(empty(at));
  }
  DEVICE void release_held(int group) const {
    if (lane_index() == 0) gpu::barrier_arrive(read(group));
  }
  /** Lets stages go by that this group has no use for; each arrival belongs to the round that its stage is in. */
  DEVICE void pass_by(int& at, int steps) const {
    for (int i = 0; i < steps; i++, at++) {
      wait_full(at);
      release(at);
    }
  }
  /** The stage of step `at`, empty; `bytes` will come. */
  DEVICE char* refill(int at, int bytes) const {
    gpu::barrier_wait(empty(at), at / L::stages % 2 ^ 1);
    gpu::barrier_expect(full(at), bytes);
    return stage(at);
  }
  /** What `group` holds from turn `turn` on, empty; `L::held` bytes will come. */
  DEVICE char* refill_held(int group, int turn) const {
    gpu::barrier_wait(read(group), turn % 2 ^ 1);
    gpu::barrier_expect(held(group), L::held);
    return holding(group);
  }
};

/** 64 rows from t0 on of a head whose first column is `column`, batch row b; zeros behind the last position. */
template <int kD>
DEVICE void bring(char* to, const gpu::TensorMap& map, int column, int t0, int b, uint64_t* barrier) {
#pragma unroll
  for (int i = 0; i < kD; i += kWidth<kD>)
    gpu::tensor_load(to + i / kWidth<kD> * kBoxBytes, map, column + i, t0, b, barrier);
}

/** Columns k… of a tile's rows, as an operand whose rows are the tile's. */
template <int kD>
DEVICE uint64_t by_rows(uint32_t tile, int k) {
  return gpu::descriptor<kRowBytes<kD>>(tile + k / 64 * kBoxBytes + k % 64 * 2, kBoxBytes, 8 * kRowBytes<kD>);
}
/** Rows k… of a tile, as an operand whose rows are the tile's columns. */
template <int kD>
DEVICE uint64_t by_columns(uint32_t tile, int k) {
  return gpu::descriptor<kRowBytes<kD>>(tile + k * kRowBytes<kD>, kBoxBytes, 8 * kRowBytes<kD>);
}

/** A warp's 16 rows of a held tile as operands of wgmma. */
template <int kD>
DEVICE void take(const char* tile, uint32_t (&rows)[kD / 16][4]) {
#pragma unroll
  for (int k = 0; k < kD; k += 16)
    fragment<false, false, kWidth<kD> / 8>(tile + k / 64 * kBoxBytes, warp_index() % 4 * 16, k % 64, rows[k / 16]);
}

/** c = held·tileᵀ, 64×64, under way. */
template <int kD>
DEVICE void multiply_rows(float (&c)[32], const uint32_t (&held)[kD / 16][4], uint32_t tile) {
#pragma unroll
  for (int k = 0; k < kD; k += 16) gpu::wgmma<0>(c, held[k / 16], by_rows<kD>(tile, k), k > 0);
}
/** The same with the held tile in shared memory. */
template <int kD>
DEVICE void multiply_rows(float (&c)[32], uint32_t held, uint32_t tile) {
#pragma unroll
  for (int k = 0; k < kD; k += 16) gpu::wgmma<0, 0>(c, by_rows<kD>(held, k), by_rows<kD>(tile, k), k > 0);
}
/** total (+)= weights·tile, 64×kD, under way. */
template <int kD>
DEVICE void add_rows(float (&total)[kD / 2], const uint32_t (&weights)[4][4], uint32_t tile, int accumulate) {
#pragma unroll
  for (int k = 0; k < 4; k++) gpu::wgmma<1>(total, weights[k], by_columns<kD>(tile, 16 * k), accumulate || k > 0);
}

/** 64×64 results as the operand of the next product. */
DEVICE void as_weights(const float (&s)[32], uint32_t (&weights)[4][4]) {
#pragma unroll
  for (int k = 0; k < 4; k++)
#pragma unroll
    for (int i = 0; i < 4; i++) weights[k][i] = gpu::pack_bf16(s[8 * k + 2 * i], s[8 * k + 2 * i + 1]);
}

DEVICE float quad_sum(float v) {
  v += gpu::shuffle_xor(v, 1);
  return v + gpu::shuffle_xor(v, 2);
}
DEVICE float quad_max(float v) {
  v = fmaxf(v, gpu::shuffle_xor(v, 1));
  return fmaxf(v, gpu::shuffle_xor(v, 2));
}

/** Four words of four neighbouring lanes, transposed: lane q gets word q of each, in order of lanes. */
DEVICE void transpose_quad(uint32_t (&w)[4]) {
  const int q = lane_index() % 4;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const uint32_t got = gpu::shuffle_xor(q & 1 ? w[i] : w[i + 1], 1);
    w[i] = q & 1 ? got : w[i];
    w[i + 1] = q & 1 ? w[i + 1] : got;
  }
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const uint32_t got = gpu::shuffle_xor(q & 2 ? w[i] : w[i + 2], 2);
    w[i] = q & 2 ? got : w[i];
    w[i + 2] = q & 2 ? w[i + 2] : got;
  }
}

/** Writes a warp's 16 rows, `first` on, of a head at x[base]; rows are `stride` apart, those from T on are left out. */
template <int kD>
DEVICE void write_rows(const Floats& x, int64_t base, int64_t stride, int first, int64_t T, const float (&total)[kD / 2],
                       float by0, float by1) {
  const int q = lane_index() % 4;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int row = first + lane_index() / 4 + 8 * r;
    const int64_t to = base + row * stride;
    const float by = r ? by1 : by0;
#pragma unroll
    for (int g = 0; g < kD / 32; g++) {
      if (x.half) {
        uint32_t w[4];
#pragma unroll
        for (int i = 0; i < 4; i++) w[i] = gpu::pack_bf16(total[16 * g + 4 * i + 2 * r] * by, total[16 * g + 4 * i + 2 * r + 1] * by);
        transpose_quad(w);
        if (row < T) *reinterpret_cast<uint4*>(static_cast<uint16_t*>(x.data) + to + 32 * g + 8 * q) = uint4{w[0], w[1], w[2], w[3]};
      } else if (row < T) {
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
          for (int e = 0; e < 2; e++)
            static_cast<float*>(x.data)[to + 32 * g + 8 * i + 2 * q + e] = total[16 * g + 4 * i + 2 * r + e] * by;
      }
    }
  }
}

/** First column of query, key and value heads in packed rows. */
template <int kD>
DEVICE int query_column(const Attention&, int h) {
  return h * kD;
}
template <int kD>
DEVICE int key_column(const Attention& a, int g) {
  return ((int)a.H + g) * kD;
}
template <int kD>
DEVICE int value_column(const Attention& a, int g) {
  return ((int)(a.H + a.G) + g) * kD;
}

/**
 * Puts `value` where a row does not see a key of the tile at k0; `last`: the last key that rows lane/4 and lane/4 + 8 see. Only
 * the first tile that a group meets has such keys.
 */
DEVICE void hide(float (&s)[32], int k0, int last0, int last1, float value) {
  const int column = k0 + 2 * (lane_index() % 4);
#pragma unroll
  for (int i = 0; i < 32; i++)
    if (column + 8 * (i / 4) + i % 2 > (i % 4 < 2 ? last0 : last1)) s[i] = value;
}
/** The same for keys before the documents of rows t and t + 8. */
DEVICE void hide_before(const Attention& a, int b, int t, float (&s)[32], int k0, float value) {
  const int first0 = t < a.T ? start_of(a, b, t) : 0, first1 = t + 8 < a.T ? start_of(a, b, t + 8) : 0;
  const int column = k0 + 2 * (lane_index() % 4);
#pragma unroll
  for (int i = 0; i < 32; i++)
    if (column + 8 * (i / 4) + i % 2 < (i % 4 < 2 ? first0 : first1)) s[i] = value;
}

/** Steps of a round of queries; with documents, those until it has met what `rank` needs. */
template <bool kDocuments>
DEVICE int steps_of_queries(const Attention& a, const Walk& w, int b, int round, int rank) {
  if (!kDocuments) return steps_of(w, round);
  return steps_until(w, round, w.tiles - 1 - start_of(a, b, (int64_t)(w.tiles - 1 - rank) * kTile) / kTile);
}
/** The step of a round from which on rank `rank` of queries meets keys before the document of one of them. */
DEVICE int mixed_from(const Attention& a, const Walk& w, int b, int round, int rank) {
  const int64_t end = (int64_t)(w.tiles - rank) * kTile, latest = (end < a.T ? end : a.T) - 1;
  return steps_until(w, round, w.tiles - 1 - (start_of(a, b, latest) + kTile - 1) / kTile);
}
/** Steps of a round of keys; with documents, those until its last key has met all queries that see it. */
template <bool kDocuments>
DEVICE int steps_of_keys(const Attention& a, const Walk& w, int b, int round) {
  if (!kDocuments) return steps_of(w, round);
  const int rank = highest_of(w, round);
  return steps_until(w, round, rank - 1 + tiles_that_see(a, b, rank * kTile + kTile - 1, rank, w.tiles - rank, kTile));
}
#endif

inline bool by_tma(const Floats& x) { return x.half && (uintptr_t)x.data % 16 == 0; }

/** Shapes and layouts that TMA fetches and that fill tiles; a positive scale, so that the highest score is the highest product. */
inline bool suits(const Attention& a) {
  return (a.K == 32 || a.K == 64 || a.K == 128) && by_tma(a.qkv) && a.scale > 0 && a.T > kTile / 2 && a.T < 1 << 24 &&
         a.B * a.H < 1 << 20;
}

}  // namespace hopper

#endif
