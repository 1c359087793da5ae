// bf16 attention on Hopper: tiles of 64 rows by TMA, wgmma with one operand in registers, f32 scores, sums and gradients.
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
// Stage s of the ring is full when its bytes have come (full[s]), empty when every warp that multiplies has arrived (empty[s]);
// step `at` of the block uses stage at % kStages in round at / kStages. A group's held tiles have a pair of such barriers too.
#include "attention.h"
#include "tiles.h"
#include "walk.h"

namespace {

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
constexpr int kStatBytes = 512;  // 64 log-sum-exps, 64 deltas

enum Pass { kForward, kQueries, kKeys };

/** Shared memory of one pass: the ring, then what each group holds, then barriers. */
template <int kD, Pass pass>
struct Layout {
  static constexpr int groups = pass == kForward && kD < 128 ? 3 : 2;
  static constexpr int threads = 128 * (groups + 1);
  static constexpr int arrivals = 4 * groups;
  static constexpr int held = (pass == kForward ? 1 : pass == kQueries ? 3 : 2) * kTileBytes<kD>;
  static constexpr int fetched = 2 * kTileBytes<kD> + (pass == kKeys ? kStatBytes : 0);
  static constexpr int stage = (fetched + 1023) / 1024 * 1024;
  static constexpr int fits = (kSharedMost - 1024 - 512 - groups * held) / stage;
  static constexpr int stages = fits < 16 ? fits : 16;
  static constexpr int bytes = 1024 + stages * stage + groups * held + 8 * (2 * stages + 2 * groups);
  // Registers of a thread that fetches, and of one that multiplies.
  static constexpr int few = groups == 3 ? 32 : 40, many = groups == 3 ? 160 : 232;
};

/** The addresses of a block's shared memory, and its barriers. */
template <int kD, Pass pass>
struct Room {
  using L = Layout<kD, pass>;
  char* ring;
  char* holds;
  uint64_t *full, *empty, *held, *read;

  DEVICE Room() {
    ring = gpu::shared<char>();
    ring += (1024 - gpu::address(ring) % 1024) % 1024;
    holds = ring + L::stages * L::stage;
    full = reinterpret_cast<uint64_t*>(holds + L::groups * L::held);
    empty = full + L::stages;
    held = empty + L::stages;
    read = held + L::groups;
    if (threadIdx.x == 0) {
      for (int s = 0; s < L::stages; s++) {
        gpu::barrier_init(full + s, 1);
        gpu::barrier_init(empty + s, L::arrivals);
      }
      for (int g = 0; g < L::groups; g++) {
        gpu::barrier_init(held + g, 1);
        gpu::barrier_init(read + g, 4);
      }
      gpu::barrier_init_done();
    }
    gpu::sync();
  }

  DEVICE char* stage(int at) const { return ring + at % L::stages * L::stage; }
  DEVICE char* holding(int group) const { return holds + group * L::held; }
  DEVICE void wait_full(int at) const { gpu::barrier_wait(full + at % L::stages, at / L::stages % 2); }
  /** By each warp of those that multiply, for every stage in turn. */
  DEVICE void release(int at) const {
    if (lane_index() == 0) gpu::barrier_arrive(empty + at % L::stages);
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
    gpu::barrier_wait(empty + at % L::stages, at / L::stages % 2 ^ 1);
    gpu::barrier_expect(full + at % L::stages, bytes);
    return stage(at);
  }
};

/** 64 rows from t0 on of a head whose first column is `column`, batch row b; zeros behind the last position. */
template <int kD>
DEVICE void bring(char* to, const gpu::TensorMap& map, int64_t column, int t0, int64_t b, uint64_t* barrier) {
#pragma unroll
  for (int i = 0; i < kD; i += kWidth<kD>)
    gpu::tensor_load(to + i / kWidth<kD> * kBoxBytes, map, (int)column + i, t0, (int)b, barrier);
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
DEVICE int64_t query_column(const Attention& a, int64_t h) { return h * a.K; }
DEVICE int64_t key_column(const Attention& a, int64_t g) { return (a.H + g) * a.K; }
DEVICE int64_t value_column(const Attention& a, int64_t g) { return (a.H + a.G + g) * a.K; }

/** Turns scores of keys that a row does not see into −∞; `last`: the last key that rows lane/4 and lane/4 + 8 see. */
DEVICE void hide(float (&s)[32], int k0, int last0, int last1, float value) {
  const int column = k0 + 2 * (lane_index() % 4);
#pragma unroll
  for (int i = 0; i < 32; i++)
    if (column + 8 * (i / 4) + i % 2 > (i % 4 < 2 ? last0 : last1)) s[i] = value;
}

template <int kD>
__global__ void __launch_bounds__(Layout<kD, kForward>::threads, 1)
    forward_wgmma(const __grid_constant__ gpu::TensorMap rows, Attention a, Walk walk) {
#if defined(PHYSLM_EMULATE) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using L = Layout<kD, kForward>;
  const Room<kD, kForward> room;
  const int group = warp_index() / 4;
  int at = 0, turn = 0;

  if (group == 0) {
    gpu::registers_down<L::few>();
    if (threadIdx.x > 0) return;
    for (int j = blockIdx.x; j < jobs_of(walk); j += gridDim.x) {
      const Job job = job_of(walk, j);
      const int64_t b = job.head / a.H, h = job.head % a.H, g = h * a.G / a.H;
      for (int r = job.from; r < job.to; r++, turn++) {
        for (int w = 0; w < L::groups; w++) {
          gpu::barrier_wait(room.read + w, turn % 2 ^ 1);
          gpu::barrier_expect(room.held + w, L::held);
          const int tile = walk.tiles - 1 - rank_of(walk, r, w, turn);  // zeros when there is none
          bring<kD>(room.holding(w), rows, query_column(a, h), tile * kTile, b, room.held + w);
        }
        for (int step = 0; step < steps_of(walk, r); step++, at++) {
          char* const to = room.refill(at, L::fetched);
          uint64_t* const full = room.full + at % L::stages;
          const int k0 = (walk.tiles - 1 - met_at(walk, r, step)) * kTile;
          bring<kD>(to, rows, key_column(a, g), k0, b, full);
          bring<kD>(to + kTileBytes<kD>, rows, value_column(a, g), k0, b, full);
        }
      }
    }
    return;
  }

  gpu::registers_up<L::many>();
  const int mine = group - 1, lane = lane_index(), row0 = warp_index() % 4 * 16;
  const float by = a.scale * kLog2E;
  for (int j = blockIdx.x; j < jobs_of(walk); j += gridDim.x) {
    const Job job = job_of(walk, j);
    const int64_t b = job.head / a.H, h = job.head % a.H;
    for (int r = job.from; r < job.to; r++, turn++) {
      const int rank = rank_of(walk, r, mine, turn), steps = steps_of(walk, r);
      uint32_t q[kD / 16][4], p[4][4];
      gpu::barrier_wait(room.held + mine, turn % 2);
      take<kD>(room.holding(mine), q);
      gpu::sync_warp();
      if (lane == 0) gpu::barrier_arrive(room.read + mine);
      if (rank >= walk.tiles) {
        room.pass_by(at, steps);
        continue;
      }
      const int lead = lead_of(walk, r, rank), q0 = (walk.tiles - 1 - rank) * kTile, t = q0 + row0 + lane / 4;
      const int end = (int)a.T - 1, last0 = a.causal && t < end ? t : end, last1 = a.causal && t + 8 < end ? t + 8 : end;
      room.pass_by(at, lead);

      float s[32], o[kD / 2], top[2] = {-1e30f, -1e30f}, total[2] = {}, shrink[2];
      int k0 = (walk.tiles - 1 - met_at(walk, r, lead)) * kTile;
      // Scores of the tile at k0 become exponentials of what they are above the highest so far.
      auto weigh = [&] {
        if (k0 + kTile - 1 > last0) hide(s, k0, last0, last1, -INFINITY);
        float peak[2] = {top[0], top[1]}, sum[2] = {};
#pragma unroll
        for (int i = 0; i < 32; i++) peak[i / 2 % 2] = fmaxf(peak[i / 2 % 2], s[i]);
        float shift[2];
#pragma unroll
        for (int e = 0; e < 2; e++) {
          peak[e] = quad_max(peak[e]);
          shrink[e] = gpu::exp2_fast((top[e] - peak[e]) * by);
          top[e] = peak[e];
          shift[e] = peak[e] * by;
        }
#pragma unroll
        for (int i = 0; i < 32; i++) {
          s[i] = gpu::exp2_fast(s[i] * by - shift[i / 2 % 2]);
          sum[i / 2 % 2] += s[i];
        }
#pragma unroll
        for (int e = 0; e < 2; e++) total[e] = total[e] * shrink[e] + sum[e];
      };

      room.wait_full(at);
      gpu::wgmma_fence();
      multiply_rows<kD>(s, q, gpu::address(room.stage(at)));
      gpu::wgmma_commit();
      gpu::wgmma_wait<0>();
      gpu::wgmma_results(s);
      weigh();
      as_weights(s, p);
#pragma unroll 1
      for (int step = lead + 1; step < steps; step++, at++) {
        room.wait_full(at + 1);
        gpu::wgmma_fence();
        multiply_rows<kD>(s, q, gpu::address(room.stage(at + 1)));
        gpu::wgmma_commit();
        add_rows<kD>(o, p, gpu::address(room.stage(at)) + kTileBytes<kD>, step > lead + 1);
        gpu::wgmma_commit();
        gpu::wgmma_wait<1>();
        gpu::wgmma_results(s);
        k0 -= kTile;
        weigh();
        gpu::wgmma_wait<0>();
        gpu::wgmma_results(o);
        room.release(at);
#pragma unroll
        for (int i = 0; i < kD / 2; i++) o[i] *= shrink[i / 2 % 2];
        as_weights(s, p);
      }
      gpu::wgmma_fence();
      add_rows<kD>(o, p, gpu::address(room.stage(at)) + kTileBytes<kD>, steps - lead > 1);
      gpu::wgmma_commit();
      gpu::wgmma_wait<0>();
      gpu::wgmma_results(o);
      room.release(at++);

#pragma unroll
      for (int e = 0; e < 2; e++) total[e] = quad_sum(total[e]);
      write_rows<kD>(a.o, b * a.T * a.H * a.K + h * a.K, a.H * a.K, q0 + row0, a.T, o, 1.0f / total[0], 1.0f / total[1]);
      if (a.lse && lane % 4 == 0)
        for (int e = 0; e < 2; e++)
          if (t + 8 * e < a.T) a.lse[(int64_t)job.head * a.T + t + 8 * e] = (top[e] * by + log2f(total[e])) * kLn2;
    }
  }
#endif
}

// --- host ------------------------------------------------------------------------------------------------------------------

bool by_tma(const Floats& x) { return x.half && (uintptr_t)x.data % 16 == 0; }

template <int kD>
int32_t forward(const Attention& a) {
  using L = Layout<kD, kForward>;
  gpu::TensorMap rows;
  if (int32_t status = platform_tensor_maps(&rows, a.qkv.data, a.P, a.T, a.B, kWidth<kD>, kTile)) return status;
  const Walk walk = walk_of(a.T, L::groups, a.causal, a.B * a.H, 4 * a.T * a.K);
  start(forward_wgmma<kD>, dim3((unsigned)least(jobs_of(walk), platform_multiprocessors())), L::threads, L::bytes, rows, a, walk);
  return PHYSLM_OK;
}

/** Shapes and layouts that TMA fetches and that fill tiles; a positive scale, so that the highest score is the highest product. */
bool suits(const Attention& a) {
  return (a.K == 32 || a.K == 64 || a.K == 128) && by_tma(a.qkv) && a.scale > 0 && a.T > kTile / 2 && a.T < 1 << 24 &&
         a.B * a.H < 1 << 20;
}

}  // namespace

bool suits_sm90(const Attention& a) {
  return hopper_for("attention_forward") && suits(a) && (uintptr_t)a.o.data % 16 == 0;
}
int32_t attend_sm90(const Attention& a) { return a.K == 32 ? forward<32>(a) : a.K == 64 ? forward<64>(a) : forward<128>(a); }
