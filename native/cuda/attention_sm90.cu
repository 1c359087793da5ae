// Attention on Hopper: a warp group holds queries and meets keys and values. See attention_sm90.h; the gradients are in
// attention_backward_sm90.cu.
#include "attention_sm90.h"

namespace {

using namespace hopper;

template <int kD, bool kDocuments>
__global__ void __launch_bounds__(Layout<kD, kForward>::threads, 1)
    forward_wgmma(const __grid_constant__ gpu::TensorMap rows, Attention a, Walk walk) {
#ifdef PHYSLM_SM90
  using L = Layout<kD, kForward>;
  const Room<kD, kForward, false> room;
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
          const int tile = walk.tiles - 1 - rank_of(walk, r, w, turn);  // zeros when there is none
          bring<kD>(to, rows, query_column<kD>(a, h), tile * kTile, b, room.held(w));
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
  for (int j = blockIdx.x; j < jobs_of(walk); j += gridDim.x) {
    const Job job = job_of(walk, j);
    const int b = job.head / (int)a.H, h = job.head % (int)a.H;
    for (int r = job.from; r < job.to; r++, turn++) {
      const int rank = rank_of(walk, r, mine, turn), steps = steps_of_queries<kDocuments>(a, walk, b, r, highest_of(walk, r));
      uint32_t q[kD / 16][4], p[4][4];
      gpu::barrier_wait(room.held(mine), turn % 2);
      take<kD>(room.holding(mine), q);
      gpu::sync_warp();
      room.release_held(mine);
      if (rank >= walk.tiles) {
        room.pass_by(at, steps);
        continue;
      }
      const int own = kDocuments ? steps_of_queries<true>(a, walk, b, r, rank) : steps, until = own < steps ? own : steps;
      const int mixed = kDocuments ? mixed_from(a, walk, b, r, rank) : steps;
      const int lead = lead_of(walk, r, rank), q0 = (walk.tiles - 1 - rank) * kTile, t = q0 + row0 + lane / 4;
      const int end = (int)a.T - 1, last0 = a.causal && t < end ? t : end, last1 = a.causal && t + 8 < end ? t + 8 : end;
      room.pass_by(at, lead);

      float s[32], o[kD / 2], top[2] = {-1e30f, -1e30f}, total[2] = {}, shrink[2];
      // Scores become exponentials of what they are above the highest so far.
      auto weigh = [&] {
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
      hide(s, (walk.tiles - 1 - met_at(walk, r, lead)) * kTile, last0, last1, -INFINITY);
      if (kDocuments && lead >= mixed) hide_before(a, b, t, s, (walk.tiles - 1 - met_at(walk, r, lead)) * kTile, -INFINITY);
      weigh();
      as_weights(s, p);
#pragma unroll 1
      for (int step = lead + 1; step < until; step++, at++) {
        room.wait_full(at + 1);
        gpu::wgmma_fence();
        multiply_rows<kD>(s, q, gpu::address(room.stage(at + 1)));
        gpu::wgmma_commit();
        add_rows<kD>(o, p, gpu::address(room.stage(at)) + kTileBytes<kD>, step > lead + 1);
        gpu::wgmma_commit();
        gpu::wgmma_wait<1>();
        gpu::wgmma_results(s);
        if (kDocuments && step >= mixed) hide_before(a, b, t, s, (walk.tiles - 1 - met_at(walk, r, step)) * kTile, -INFINITY);
        weigh();
        gpu::wgmma_wait<0>();
        gpu::wgmma_results(o);
        room.release(at);
#pragma unroll
        for (int i = 0; i < kD / 2; i++) o[i] *= shrink[i / 2 % 2];
        as_weights(s, p);
      }
      gpu::wgmma_fence();
      add_rows<kD>(o, p, gpu::address(room.stage(at)) + kTileBytes<kD>, until - lead > 1);
      gpu::wgmma_commit();
      gpu::wgmma_wait<0>();
      gpu::wgmma_results(o);
      room.release(at++);
      if (kDocuments) room.pass_by(at, steps - until);

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

template <int kD, bool kDocuments>
int32_t forward(const Attention& a) {
  using L = Layout<kD, kForward>;
  gpu::TensorMap rows;
  if (int32_t status = platform_tensor_maps(&rows, a.qkv.data, a.P, a.T, a.B, kWidth<kD>, kTile)) return status;
  const Walk walk = walk_of(a.T, L::groups, a.causal, a.B * a.H, 4 * a.T * a.K);
  start(forward_wgmma<kD, kDocuments>, dim3((unsigned)least(jobs_of(walk), platform_multiprocessors())), L::threads, L::bytes, rows,
        a, walk);
  return PHYSLM_OK;
}

}  // namespace

bool suits_sm90(const Attention& a) {
  return hopper_for("attention_forward") && suits(a) && (uintptr_t)a.o.data % 16 == 0;
}
int32_t attend_sm90(const Attention& a) {
  if (a.starts) return a.K == 32 ? forward<32, true>(a) : a.K == 64 ? forward<64, true>(a) : forward<128, true>(a);
  return a.K == 32 ? forward<32, false>(a) : a.K == 64 ? forward<64, false>(a) : forward<128, false>(a);
}
