// Gradients of attention on Hopper, one kernel for those of queries and one for those of keys and values. See attention_sm90.h.
#include "attention_sm90.h"

namespace {

using namespace hopper;

#ifdef PHYSLM_SM90
/** Turns rows t and t + 8 of a head's gradients back; pairs are kHalf columns apart, which one thread holds. */
template <int kD, int kHalf>
DEVICE void turn_back_by(const Attention& a, int t, float (&total)[kD / 2]) {
  static_assert(kHalf % 8 == 0, "pairs in one thread");
#pragma unroll
  for (int r = 0; r < 2; r++) {
    if (t + 8 * r >= a.T) return;
    const float4* const turns = reinterpret_cast<const float4*>(a.turns + ((int64_t)(t + 8 * r) * kHalf + 2 * (lane_index() % 4)) * 2);
#pragma unroll
    for (int n = 0; n < kHalf / 8; n++) {
      const float4 two = turns[4 * n];
      const float by[4] = {two.x, two.y, two.z, two.w};
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float &low = total[4 * n + 2 * r + e], &high = total[4 * n + kHalf / 2 + 2 * r + e];
        const float was = low;
        low = was * by[2 * e] + high * by[2 * e + 1];
        high = high * by[2 * e] - was * by[2 * e + 1];
      }
    }
  }
}
/** Whole heads of 32 and 64, and the first quarter of heads of 64. */
template <int kD>
DEVICE void turn_back(const Attention& a, int t, float (&total)[kD / 2]) {
  if constexpr (kD < 128) {
    if (!a.turns) return;
    if (a.half == kD / 2)
      turn_back_by<kD, kD / 2>(a, t, total);
    else if constexpr (kD == 64)
      turn_back_by<kD, kD / 8>(a, t, total);
  }
}

/** Σ over a row of the products of two operands that take() gave; for rows lane/4 and lane/4 + 8. */
DEVICE void add_products(const uint32_t (&x)[4], const uint32_t (&y)[4], float (&total)[2]) {
#pragma unroll
  for (int i = 0; i < 4; i++)
    total[i % 2] += from_half(x[i] & 0xffffu) * from_half(y[i] & 0xffffu) + from_half(x[i] >> 16) * from_half(y[i] >> 16);
}
#endif

/**
 * a.delta receives, for each tile of queries, 64 log-sum-exps in bits and then 64 sums of dO·o; +∞ and 0 behind the last. With
 * documents also the bits of 64 starts; behind the last that of the last.
 */
template <int kD, bool kDocuments>
__global__ void __launch_bounds__(Layout<kD, kQueries>::threads, 1)
    gradient_queries_wgmma(const __grid_constant__ gpu::TensorMap rows, const __grid_constant__ gpu::TensorMap gradients,
                           const __grid_constant__ gpu::TensorMap outputs, Attention a, Walk walk) {
#ifdef PHYSLM_SM90
  using L = Layout<kD, kQueries>;
  constexpr bool kInRegisters = kD < 128;  // wide heads are multiplied straight from shared memory
  const Room<kD, kQueries, false> room;
  const int group = warp_index() / 4;
  int at = 0, turn = 0;

  if (group == 0) {
    gpu::registers_down<L::few>();
    if (threadIdx.x > 0) return;
    for (int j = blockIdx.x; j < jobs_of(walk); j += gridDim.x) {
      const Job job = job_of(walk, j);
      const int b = job.head / (int)a.H, h = job.head % (int)a.H, g = h * (int)a.G / (int)a.H;
      for (int r = job.from; r < job.to; r++, turn++) {
        const int steps = steps_of_queries<kDocuments>(a, walk, b, r, highest_of(walk, r));
        for (int w = 0; w < L::groups; w++) {
          char* const to = room.refill_held(w, turn);
          const int q0 = (walk.tiles - 1 - rank_of(walk, r, w, turn)) * kTile;
          bring<kD>(to, rows, query_column<kD>(a, h), q0, b, room.held(w));
          bring<kD>(to + kTileBytes<kD>, gradients, h * kD, q0, b, room.held(w));
          bring<kD>(to + 2 * kTileBytes<kD>, outputs, h * kD, q0, b, room.held(w));
        }
        for (int step = 0; step < steps; step++, at++) {
          char* const to = room.refill(at, L::fetched);
          uint64_t* const full = room.full(at);
          const int k0 = (walk.tiles - 1 - met_at(walk, r, step)) * kTile;
          bring<kD>(to, rows, key_column<kD>(a, g), k0, b, full);
          bring<kD>(to + kTileBytes<kD>, rows, value_column<kD>(a, g), k0, b, full);
        }
      }
    }
    return;
  }

  gpu::registers_up<L::many>();
  const int mine = group - 1, lane = lane_index(), row0 = warp_index() % 4 * 16;
  const float by = a.scale * kLog2E;
  const char* const held = room.holding(mine);
  const uint32_t held_at = gpu::address(held);
  for (int j = blockIdx.x; j < jobs_of(walk); j += gridDim.x) {
    const Job job = job_of(walk, j);
    const int b = job.head / (int)a.H, h = job.head % (int)a.H;
    for (int r = job.from; r < job.to; r++, turn++) {
      const int rank = rank_of(walk, r, mine, turn), steps = steps_of_queries<kDocuments>(a, walk, b, r, highest_of(walk, r));
      gpu::barrier_wait(room.held(mine), turn % 2);
      if (rank >= walk.tiles) {
        room.release_held(mine);
        room.pass_by(at, steps);
        continue;
      }
      const int own = kDocuments ? steps_of_queries<true>(a, walk, b, r, rank) : steps, until = own < steps ? own : steps;
      const int mixed = kDocuments ? mixed_from(a, walk, b, r, rank) : steps;
      const int lead = lead_of(walk, r, rank), q0 = (walk.tiles - 1 - rank) * kTile, t = q0 + row0 + lane / 4;
      const int end = (int)a.T - 1, last0 = a.causal && t < end ? t : end, last1 = a.causal && t + 8 < end ? t + 8 : end;
      uint32_t q[kD / 16][4], d[kD / 16][4], p[4][4];
      float lse[2], delta[2] = {};
      take<kD>(held, q);
      take<kD>(held + kTileBytes<kD>, d);
#pragma unroll
      for (int k = 0; k < kD; k += 16) {
        uint32_t o[4];
        fragment<false, false, kWidth<kD> / 8>(held + 2 * kTileBytes<kD> + k / 64 * kBoxBytes, row0, k % 64, o);
        add_products(d[k / 16], o, delta);
      }
      gpu::sync_warp();
      if (kInRegisters) room.release_held(mine);
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const int row = t + 8 * e;
        lse[e] = row < a.T ? a.lse[(int64_t)job.head * a.T + row] * kLog2E : INFINITY;
        delta[e] = quad_sum(delta[e]);
        float* const to = a.delta + ((int64_t)job.head * walk.tiles + q0 / kTile) * (kStatBytes<kDocuments> / 4) + row % kTile;
        if (lane % 4 == 0) to[0] = lse[e], to[kTile] = delta[e];
        if (kDocuments && lane % 4 == 0) to[2 * kTile] = __uint_as_float(start_of(a, b, row < end ? row : end));
      }
      room.pass_by(at, lead);

      float s[32], dp[32], dq[kD / 2];
      auto multiply = [&](int stage) {
        const uint32_t keys = gpu::address(room.stage(stage));
        if constexpr (kInRegisters) {
          multiply_rows<kD>(s, q, keys);
          multiply_rows<kD>(dp, d, keys + kTileBytes<kD>);
        } else {
          multiply_rows<kD>(s, held_at, keys);
          multiply_rows<kD>(dp, held_at + kTileBytes<kD>, keys + kTileBytes<kD>);
        }
        gpu::wgmma_commit();
      };
      // s becomes the gradient of the scores.
      auto slope = [&] {
        gpu::wgmma_results(s);
        gpu::wgmma_results(dp);
#pragma unroll
        for (int i = 0; i < 32; i++) s[i] = gpu::exp2_fast(s[i] * by - lse[i / 2 % 2]) * (dp[i] - delta[i / 2 % 2]);
      };
      room.wait_full(at);
      gpu::wgmma_fence();
      multiply(at);
      gpu::wgmma_wait<0>();
      slope();
      hide(s, (walk.tiles - 1 - met_at(walk, r, lead)) * kTile, last0, last1, 0.0f);
      if (kDocuments && lead >= mixed) hide_before(a, b, t, s, (walk.tiles - 1 - met_at(walk, r, lead)) * kTile, 0.0f);
      as_weights(s, p);
#pragma unroll 1
      for (int step = lead + 1; step < until; step++, at++) {
        room.wait_full(at + 1);
        gpu::wgmma_fence();
        multiply(at + 1);
        add_rows<kD>(dq, p, gpu::address(room.stage(at)), step > lead + 1);
        gpu::wgmma_commit();
        gpu::wgmma_wait<1>();
        slope();
        if (kDocuments && step >= mixed) hide_before(a, b, t, s, (walk.tiles - 1 - met_at(walk, r, step)) * kTile, 0.0f);
        gpu::wgmma_wait<0>();
        gpu::wgmma_results(dq);
        room.release(at);
        as_weights(s, p);
      }
      if (!kInRegisters) room.release_held(mine);
      gpu::wgmma_fence();
      add_rows<kD>(dq, p, gpu::address(room.stage(at)), until - lead > 1);
      gpu::wgmma_commit();
      gpu::wgmma_wait<0>();
      gpu::wgmma_results(dq);
      room.release(at++);
      if (kDocuments) room.pass_by(at, steps - until);
      turn_back<kD>(a, t, dq);
      write_rows<kD>(a.dqkv, b * a.T * a.P + query_column<kD>(a, h), a.P, q0 + row0, a.T, dq, a.scale, a.scale);
    }
  }
#endif
}

/** Reads the a.delta that gradient_queries_wgmma left. */
template <int kD, bool kDocuments>
__global__ void __launch_bounds__(Layout<kD, kKeys, kDocuments>::threads, 1)
    gradient_keys_wgmma(const __grid_constant__ gpu::TensorMap rows, const __grid_constant__ gpu::TensorMap gradients, Attention a,
                        Walk walk) {
#ifdef PHYSLM_SM90
  using L = Layout<kD, kKeys, kDocuments>;
  constexpr bool kInRegisters = kD < 128;
  const Room<kD, kKeys, kDocuments> room;
  const int group = warp_index() / 4, heads = (int)(a.H / a.G);
  int at = 0, turn = 0;

  if (group == 0) {
    gpu::registers_down<L::few>();
    if (threadIdx.x > 0) return;
    for (int j = blockIdx.x; j < jobs_of(walk); j += gridDim.x) {
      const Job job = job_of(walk, j);
      const int b = job.head / (int)a.G, g = job.head % (int)a.G;
      for (int r = job.from; r < job.to; r++, turn++) {
        const int steps = steps_of_keys<kDocuments>(a, walk, b, r);
        for (int w = 0; w < L::groups; w++) {
          char* const to = room.refill_held(w, turn);
          const int k0 = rank_of(walk, r, w, turn) * kTile;
          bring<kD>(to, rows, key_column<kD>(a, g), k0, b, room.held(w));
          bring<kD>(to + kTileBytes<kD>, rows, value_column<kD>(a, g), k0, b, room.held(w));
        }
        for (int h = g * heads; h < (g + 1) * heads; h++)
          for (int step = 0; step < steps; step++, at++) {
            char* const to = room.refill(at, L::fetched);
            uint64_t* const full = room.full(at);
            const int tile = met_at(walk, r, step);
            bring<kD>(to, rows, query_column<kD>(a, h), tile * kTile, b, full);
            bring<kD>(to + kTileBytes<kD>, gradients, h * kD, tile * kTile, b, full);
            gpu::bulk_load(to + 2 * kTileBytes<kD>, a.delta + ((b * a.H + h) * walk.tiles + tile) * (kStatBytes<kDocuments> / 4),
                           kStatBytes<kDocuments>, full);
          }
      }
    }
    return;
  }

  gpu::registers_up<L::many>();
  const int mine = group - 1, lane = lane_index(), row0 = warp_index() % 4 * 16;
  const float by = a.scale * kLog2E;
  const char* const held = room.holding(mine);
  const uint32_t held_at = gpu::address(held);
  for (int j = blockIdx.x; j < jobs_of(walk); j += gridDim.x) {
    const Job job = job_of(walk, j);
    const int b = job.head / (int)a.G, g = job.head % (int)a.G;
    for (int r = job.from; r < job.to; r++, turn++) {
      const int rank = rank_of(walk, r, mine, turn), steps = steps_of_keys<kDocuments>(a, walk, b, r);
      gpu::barrier_wait(room.held(mine), turn % 2);
      if (rank >= walk.tiles) {
        room.release_held(mine);
        room.pass_by(at, steps * heads);
        continue;
      }
      const int lead = lead_of(walk, r, rank), k0 = rank * kTile;
      uint32_t k[kD / 16][4], v[kD / 16][4], p[4][4];
      if constexpr (kInRegisters) {
        take<kD>(held, k);
        take<kD>(held + kTileBytes<kD>, v);
        gpu::sync_warp();
        room.release_held(mine);
      }

      float s[32], dk[kD / 2], dv[kD / 2];
      // Log-sum-exps (which 0), deltas (1) or starts (2) of the two queries whose results this thread holds in columns 8·n….
      auto stats = [&](int stage, int which, int n) {
        return *reinterpret_cast<const float2*>(room.stage(stage) + 2 * kTileBytes<kD> + 4 * (which * kTile + 8 * n + 2 * (lane % 4)));
      };
      // Keys after a query, in the tile that holds both: the first one.
      auto hide_after = [&](float(&x)[32], bool first) {
        const int query = first && a.causal ? row0 + lane / 4 - 2 * (lane % 4) : -kTile;
#pragma unroll
        for (int i = 0; i < 32; i++)
          if (8 * (i / 4) + i % 2 - (i % 4 < 2 ? 0 : 8) < query) x[i] = 0.0f;
      };
      // Where the document of a query begins; that of the tile's last query is the latest.
      auto start = [&](int stage, int query) {
        return reinterpret_cast<const int*>(room.stage(stage) + 2 * kTileBytes<kD>)[2 * kTile + query];
      };
      const int key = k0 + row0 + lane / 4;
      auto is_mixed = [&](int stage) { return kDocuments && start(stage, kTile - 1) > key; };
      // A tile of queries that see none of the keys, nor do those behind them: the walk of this group is over.
      auto is_behind = [&](int stage) { return kDocuments && start(stage, 0) >= k0 + kTile; };
      auto hide_before = [&](float(&x)[32], float(&y)[32], int stage) {
#pragma unroll
        for (int n = 0; n < 8; n++) {
          const float2 starts = stats(stage, 2, n);
#pragma unroll
          for (int i = 4 * n; i < 4 * n + 4; i++)
            if ((int)__float_as_uint(i % 2 ? starts.y : starts.x) - (i % 4 < 2 ? 0 : 8) > key) x[i] = y[i] = 0.0f;
        }
      };
      if constexpr (kD < 128) {
        float dp[32];
        uint32_t ds[4][4];
        auto multiply = [&](int stage) {
          const uint32_t queries = gpu::address(room.stage(stage));
          multiply_rows<kD>(s, k, queries);
          multiply_rows<kD>(dp, v, queries + kTileBytes<kD>);
          gpu::wgmma_commit();
        };
        // s becomes the pattern and dp the gradient of the scores, both turned: rows are keys.
        auto slope = [&](int stage) {
          gpu::wgmma_results(s);
          gpu::wgmma_results(dp);
#pragma unroll
          for (int n = 0; n < 8; n++) {
            const float2 lse = stats(stage, 0, n), delta = stats(stage, 1, n);
#pragma unroll
            for (int i = 4 * n; i < 4 * n + 4; i++) {
              s[i] = gpu::exp2_fast(s[i] * by - (i % 2 ? lse.y : lse.x));
              dp[i] = s[i] * (dp[i] - (i % 2 ? delta.y : delta.x));
            }
          }
          if (is_mixed(stage)) hide_before(s, dp, stage);
        };
        auto add = [&](int stage, int accumulate) {
          const uint32_t queries = gpu::address(room.stage(stage));
          add_rows<kD>(dv, p, queries + kTileBytes<kD>, accumulate);
          add_rows<kD>(dk, ds, queries, accumulate);
          gpu::wgmma_commit();
        };
        for (int h = 0; h < heads; h++) {
          room.pass_by(at, lead);
          room.wait_full(at);
          gpu::wgmma_fence();
          multiply(at);
          gpu::wgmma_wait<0>();
          slope(at);
          hide_after(s, true);
          hide_after(dp, true);
          as_weights(s, p);
          as_weights(dp, ds);
          int step = lead + 1;
#pragma unroll 1
          for (; step < steps; step++, at++) {
            room.wait_full(at + 1);
            if (is_behind(at + 1)) break;
            gpu::wgmma_fence();
            multiply(at + 1);
            add(at, h > 0 || step > lead + 1);
            gpu::wgmma_wait<1>();
            slope(at + 1);
            gpu::wgmma_wait<0>();
            gpu::wgmma_results(dk);
            gpu::wgmma_results(dv);
            room.release(at);
            as_weights(s, p);
            as_weights(dp, ds);
          }
          gpu::wgmma_fence();
          add(at, h > 0 || (kDocuments ? step : steps) - lead > 1);
          gpu::wgmma_wait<0>();
          gpu::wgmma_results(dk);
          gpu::wgmma_results(dv);
          room.release(at++);
          if (kDocuments) room.pass_by(at, steps - step);
        }
      } else {
        // Two wide gradients leave room for one 64×64 product at a time: first the scores, then, from the rounded pattern, their
        // gradients.
        for (int h = 0; h < heads; h++) {
          room.pass_by(at, lead);
          int step = lead;
#pragma unroll 1
          for (; step < steps; step++, at++) {
            const uint32_t queries = gpu::address(room.stage(at));
            room.wait_full(at);
            if (is_behind(at)) break;
            gpu::wgmma_fence();
            multiply_rows<kD>(s, held_at, queries);
            gpu::wgmma_commit();
            gpu::wgmma_wait<0>();
            gpu::wgmma_results(s);
            gpu::wgmma_results(dk);
            if (step > lead) room.release(at - 1);
#pragma unroll
            for (int n = 0; n < 8; n++) {
              const float2 lse = stats(at, 0, n);
#pragma unroll
              for (int i = 4 * n; i < 4 * n + 4; i++) s[i] = gpu::exp2_fast(s[i] * by - (i % 2 ? lse.y : lse.x));
            }
            hide_after(s, step == lead);
            if (is_mixed(at)) hide_before(s, s, at);
            as_weights(s, p);
            gpu::wgmma_fence();
            multiply_rows<kD>(s, held_at + kTileBytes<kD>, queries + kTileBytes<kD>);
            add_rows<kD>(dv, p, queries + kTileBytes<kD>, h > 0 || step > lead);
            gpu::wgmma_commit();
            gpu::wgmma_wait<0>();
            gpu::wgmma_results(s);
            gpu::wgmma_results(dv);
#pragma unroll
            for (int n = 0; n < 8; n++) {
              const float2 delta = stats(at, 1, n);
#pragma unroll
              for (int e = 0; e < 2; e++) {
                uint32_t& pair = p[n / 2][n % 2 * 2 + e];
                pair = gpu::pack_bf16(from_half(pair & 0xffffu) * (s[4 * n + 2 * e] - delta.x),
                                      __uint_as_float(pair & 0xffff0000u) * (s[4 * n + 2 * e + 1] - delta.y));
              }
            }
            gpu::wgmma_fence();
            add_rows<kD>(dk, p, queries, h > 0 || step > lead);
            gpu::wgmma_commit();
          }
          gpu::wgmma_wait<0>();
          gpu::wgmma_results(dk);
          room.release(at - 1);
          if (kDocuments) room.pass_by(at, steps - step);
        }
      }
      if (!kInRegisters) room.release_held(mine);
      turn_back<kD>(a, k0 + row0 + lane / 4, dk);
      write_rows<kD>(a.dqkv, b * a.T * a.P + key_column<kD>(a, g), a.P, k0 + row0, a.T, dk, a.scale, a.scale);
      write_rows<kD>(a.dqkv, b * a.T * a.P + value_column<kD>(a, g), a.P, k0 + row0, a.T, dv, 1.0f, 1.0f);
    }
  }
#endif
}

// --- host ------------------------------------------------------------------------------------------------------------------

template <int kD, bool kDocuments>
int32_t backward(const Attention& a) {
  using Q = Layout<kD, kQueries>;
  using K = Layout<kD, kKeys, kDocuments>;
  gpu::TensorMap rows, gradients, outputs;
  if (int32_t status = platform_tensor_maps(&rows, a.qkv.data, a.P, a.T, a.B, kWidth<kD>, kTile)) return status;
  if (int32_t status = platform_tensor_maps(&gradients, a.dO.data, a.H * a.K, a.T, a.B, kWidth<kD>, kTile)) return status;
  if (int32_t status = platform_tensor_maps(&outputs, a.o.data, a.H * a.K, a.T, a.B, kWidth<kD>, kTile)) return status;
  Walk walk = walk_of(a.T, Q::groups, a.causal, a.B * a.H, 4 * a.T * a.K);
  start(gradient_queries_wgmma<kD, kDocuments>, dim3((unsigned)least(jobs_of(walk), platform_multiprocessors())), Q::threads,
        Q::bytes, rows, gradients, outputs, a, walk);
  walk = walk_of(a.T, K::groups, a.causal, a.B * a.G, 4 * a.T * a.K * (a.H / a.G));
  start(gradient_keys_wgmma<kD, kDocuments>, dim3((unsigned)least(jobs_of(walk), platform_multiprocessors())), K::threads, K::bytes,
        rows, gradients, a, walk);
  return PHYSLM_OK;
}

}  // namespace

bool suits_backward_sm90(const Attention& a) {
  const bool turns = a.half == 0 || (a.K < 128 && a.half == a.K / 2) || (a.K == 64 && a.half == 8);
  return hopper_for("attention_backward") && turns && suits(a) && by_tma(a.o) && by_tma(a.dO) && (uintptr_t)a.dqkv.data % 16 == 0;
}
int32_t attend_backward_sm90(Attention a) {
  const int64_t bytes = a.B * a.H * ceil_div(a.T, kTile) * (a.starts ? kStatBytes<true> : kStatBytes<false>);
  a.delta = static_cast<float*>(scratch(kSlotValues, bytes));
  if (!a.delta) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for the gradients of attention");
  if (a.starts) return a.K == 32 ? backward<32, true>(a) : a.K == 64 ? backward<64, true>(a) : backward<128, true>(a);
  return a.K == 32 ? backward<32, false>(a) : a.K == 64 ? backward<64, false>(a) : backward<128, false>(a);
}
