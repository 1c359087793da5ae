// bf16 products on Hopper: operands by TMA into a ring of stages, wgmma straight from shared memory, f32 sums in registers.
//
// One block stays on each multiprocessor and takes tiles of 128×kN in turn. Warp group 0 fetches; groups 1 and 2 each own
// every other tile (ping-pong), so that one group's stores run under the other's products: with K of a few hundred, as in
// small models, storing takes as long as multiplying. Two named barriers keep the groups' main loops apart. Each element is
// one chain over k, or `split` chains that a second kernel adds in order, whatever the number of multiprocessors.
//
// What follows the product (Tail) happens to eight columns at a time as they are stored. Tensors that it reads come four rows
// ahead; sums of columns (bias gradients) are taken for each tile, and a second kernel adds the tiles in order. Where a tile
// gates, its left half are columns of a, its right half the same columns of b.
//
// A launch has one product (One) or several that only share the multiprocessors (Group): gradients of weights, each of which
// alone would leave most of them idle.
//
// Stage s is full when its bytes have come (barrier full[s]), empty when the four warps that read it have arrived
// (empty[s]). Step `at` of the block uses stage at % kStages in round at / kStages.
#ifndef PHYSLM_CUDA_GEMM_SM90_H
#define PHYSLM_CUDA_GEMM_SM90_H

#include "gemm.h"

namespace hopper_gemm {

constexpr int kM = 128, kK = 64;   // rows of a tile; depth of a stage: 128 bytes, one swizzle atom
constexpr int kSlice = 32;         // columns that a warp stores at a time
constexpr int kPitch = kSlice + 4; // floats; rows of a slice start in different banks
constexpr int kThreads = 384;

constexpr int kQueueBytes = 32 * 4 * 16;  // of a warp: four chunks of each lane, of what its tail reads

template <int kN>
constexpr int kStages = kN == 192 ? 4 : 5;
template <int kN>
constexpr int kStageBytes = (kM + kN) * kK * 2;
template <int kN>
constexpr int kSharedBytes = 1024 + kStages<kN> * kStageBytes<kN> + 8 * 32 * kPitch * 4 + 8 * kN * 4 + 8 * kQueueBytes + 2 * kStages<kN> * 8;
/** Tensors beside the product that a tail reads. */
template <Tail kTail>
constexpr int kBeside = kTail == kGateSlope ? 2 : kTail == kAdd || kTail == kSlope ? 1 : 0;
/** Columns of the result that a tile stores. */
template <int kN, Tail kTail>
constexpr int kColumns = kTail == kGate ? kN / 2 : kN;

/** 1/(1 + e^−x) from the hardware's exponential: to about 1e-6 of itself. */
DEVICE float sigmoid_fast(float x) { return gpu::divide_fast(1.0f, 1.0f + gpu::exp2_fast(-kLog2E * x)); }
/** gelu() and gelu_slope() by ½(1 + tanh u) = sigmoid(2u): no cancellation, and a fifth of the work. */
DEVICE float gelu_fast(float x) { return x * sigmoid_fast(1.5957691216057308f * (x + 0.044715f * x * x * x)); }
DEVICE float gelu_slope_fast(float x) {
  const float s = sigmoid_fast(1.5957691216057308f * (x + 0.044715f * x * x * x));
  return s + x * s * (1.0f - s) * 1.5957691216057308f * (1.0f + 3.0f * 0.044715f * x * x);
}

/** What the tail reads beside eight columns, on its way into chunks of shared memory that no other lane touches. */
template <Tail kTail>
struct Queue {
  static constexpr int depth = kBeside<kTail> == 2 ? 2 : 4;
  char* chunks;
  /** Asks for columns n… of row m, to be taken `depth` turns after turn `turn` of a slice. */
  DEVICE void fetch(const Product& p, int turn, int m, int n, bool wanted) const {
    if (kBeside<kTail> == 0) return;
    if (wanted && m < p.M && n < p.N) {
      const uint16_t* const from = static_cast<const uint16_t*>(p.beside.data) + (int64_t)m * p.N * kBeside<kTail> + n;
#pragma unroll
      for (int i = 0; i < kBeside<kTail>; i++) gpu::copy_async(chunk(turn, i), from + i * p.N);
    }
    gpu::copy_commit();
  }
  /** Waits for what was asked for `depth` turns ago. */
  DEVICE void wait() const {
    if (kBeside<kTail> > 0) gpu::copy_wait<depth - 1>();
  }
  DEVICE void take(int turn, int i, float (&v)[8]) const { load(Floats{chunk(turn, i), 1}, 0, v); }
  DEVICE char* chunk(int turn, int i) const { return chunks + (turn % depth * kBeside<kTail> + i) * 512; }
};

/** finish() for eight columns from n on, all inside if there is a tail; with kSlope what is stored replaces what came, for sums of columns. */
template <Tail kTail>
DEVICE void finish_eight(const Product& p, int m, int n, float* from, int wide, const Queue<kTail>& queue, int turn) {
  if (kTail == kPlain && (!wide || n + 8 > p.N)) {
#pragma unroll 1
    for (int j = 0; j < 8; j++)
      if (n + j < p.N) finish(p, m, n + j, from[j]);
    return;
  }
  const int N = (int)p.N;
  float v[8];
#pragma unroll
  for (int j = 0; j < 8; j++) v[j] = from[j] + (kTail != kSlope && kTail != kGateSlope && p.bias ? p.bias[n + j] : 0.0f);
  if (kTail == kPlain) {
    if (p.c.data) store(p.c, (int64_t)m * N + n, v);
    if (!p.y.data) return;
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] = gelu_fast(v[j]);
    store(p.y, (int64_t)m * N + n, v);
    return;
  }
  const Floats c = {p.c.data, 1};
  float x[8];
  queue.take(turn, 0, x);
  if (kTail == kGateSlope) {
    float w[8];
    queue.take(turn, 1, w);
#pragma unroll
    for (int j = 0; j < 8; j++) gate_slope(v[j], sigmoid_fast(x[j]), x[j], w[j]);
    store(c, (int64_t)m * 2 * N + n, x);
    store(c, (int64_t)m * 2 * N + N + n, w);
    return;
  }
#pragma unroll
  for (int j = 0; j < 8; j++) {
    if (kTail == kAdd) v[j] += x[j];
    if (kTail == kSlope) from[j] = v[j] *= gelu_slope_fast(x[j]);
  }
  store(c, (int64_t)m * N + n, v);
}

/** Turns eight columns from n on, whose partners lie in the same slice. */
DEVICE void finish_turn(const Product& p, int m, int n, const float* from) {
  const Turn& turn = p.turn;
  const int inside = n % turn.width, half = turn.half;
  float v[8];
#pragma unroll
  for (int j = 0; j < 8; j++) v[j] = from[j] + (p.bias ? p.bias[n + j] : 0.0f);
  if (n / turn.width < turn.heads && inside < 2 * half) {
    const int apart = inside < half ? half : -half;
    const float4* const turns = reinterpret_cast<const float4*>(turn.table + ((int64_t)(m % turn.T) * half + inside % half) * 2);
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      const float4 two = turns[j / 2];
      const float first = from[apart + j] + (p.bias ? p.bias[n + apart + j] : 0.0f);
      const float second = from[apart + j + 1] + (p.bias ? p.bias[n + apart + j + 1] : 0.0f);
      v[j] = v[j] * two.x - (apart > 0 ? first : -first) * two.y;
      v[j + 1] = v[j + 1] * two.z - (apart > 0 ? second : -second) * two.w;
    }
  }
  store(p.c, (int64_t)m * (int)p.N + n, v);
}

/** The gate of eight columns from n on: a and b, and silu(a)·b. */
DEVICE void finish_gate(const Product& p, int m, int n, const float* from_a, const float* from_b) {
  const int64_t half = p.N / 2, at = (int64_t)m * p.N + n, to = (int64_t)m * half + n;
  float a[8], b[8];
#pragma unroll
  for (int j = 0; j < 8; j++) a[j] = from_a[j], b[j] = from_b[j];
  if (p.c.data) store(p.c, at, a), store(p.c, at + half, b);
#pragma unroll
  for (int j = 0; j < 8; j++) a[j] *= sigmoid_fast(a[j]) * b[j];
  store(p.y, to, a);
}

/**
 * The kernel. `Work` says what there is to do: how many `jobs`, and for each which product (`product`), its operands (`a`, `b`)
 * and where its sum goes when it is one of several chains (`chains`, else null); `tile_sums` for sums of columns; `wide` when eight
 * columns at a time can be stored.
 */
template <class Work, int kN, bool kTurnedA, bool kTurnedB, Tail kTail>
__global__ void __launch_bounds__(kThreads, 1) multiply_wgmma(const __grid_constant__ Work work) {
#ifdef PHYSLM_SM90
  constexpr int kCount = kStages<kN>;
  char* stages = gpu::shared<char>();
  stages += (1024 - gpu::address(stages) % 1024) % 1024;
  float* const slices = reinterpret_cast<float*>(stages + kCount * kStageBytes<kN>);
  float* const columns = slices + 8 * 32 * kPitch;  // sums of a warp's rows, [8][kN]
  char* const queues = reinterpret_cast<char*>(columns + 8 * kN);
  uint64_t* const full = reinterpret_cast<uint64_t*>(queues + 8 * kQueueBytes);
  uint64_t* const empty = full + kCount;
  const int lane = lane_index(), group = warp_index() / 4;
  if (threadIdx.x == 0) {
    for (int s = 0; s < kCount; s++) {
      gpu::barrier_init(full + s, 1);
      gpu::barrier_init(empty + s, 4);
    }
    gpu::barrier_init_done();
  }
  gpu::sync();

  if (group == 0) {
    gpu::registers_down<24>();
    if (threadIdx.x > 0) return;
    int at = 0;
    for (int j = blockIdx.x; j < work.jobs; j += gridDim.x) {
      const TileJob job = work.job(j);
      const gpu::TensorMap &map_a = work.a(job), &map_b = work.b(job);
      for (int step = 0; step < job.steps; step++, at++) {
        const int stage = at % kCount, k = job.k0 + step * kK;
        char* const a = stages + stage * kStageBytes<kN>;
        char* const b = a + kM * kK * 2;
        gpu::barrier_wait(empty + stage, at / kCount % 2 ^ 1);
        gpu::barrier_expect(full + stage, kStageBytes<kN>);
        if (kTurnedA) {
          for (int i = 0; i < kM / 64; i++) gpu::tensor_load(a + i * 8192, map_a, job.m0 + 64 * i, k, full + stage);
        } else {
          gpu::tensor_load(a, map_a, k, job.m0, full + stage);
        }
        if (kTurnedB) {
          for (int i = 0; i < kN / 64; i++) gpu::tensor_load(b + i * 8192, map_b, job.n0 + 64 * i, k, full + stage);
        } else {
          gpu::tensor_load(b, map_b, k, job.n0, full + stage);
          if (kTail == kGate) gpu::tensor_load(b + kN / 2 * kK * 2, map_b, k, (int)work.product(job).N / 2 + job.n0, full + stage);
        }
      }
    }
    return;
  }

  gpu::registers_up<240>();
  const int mine = group - 1, warp = warp_index() % 4;
  float* const slice = slices + (warp_index() - 4) * 32 * kPitch;
  if (mine == 1) gpu::named_arrive(1, 256);  // group 0 of the two begins
  const Queue<kTail> queue = {queues + (warp_index() - 4) * kQueueBytes + lane * 16};
  int at = 0, turn = 0;
  for (int j = blockIdx.x; j < work.jobs; j += gridDim.x, turn ^= 1) {
    const TileJob job = work.job(j);
    if (turn != mine) {
      at += job.steps;
      continue;
    }
    const auto& p = work.product(job);
    float* const partial = work.chains(job);
    // Rows 16·warp… of both halves are this warp's; turn u / 32 of a slice stores row u / 4.
    const auto row_of = [&](int row) { return job.m0 + (row >= 16 ? 64 : 0) + 16 * warp + row % 16; };
#pragma unroll
    for (int i = 0; i < Queue<kTail>::depth; i++) queue.fetch(p, i, row_of(lane / 4 + 8 * i), job.n0 + lane % 4 * 8, !partial);
    gpu::named_sync(1 + mine, 256);
    float c[2][kN / 2];
    for (int step = 0; step < job.steps; step++, at++) {
      const int stage = at % kCount;
      const uint32_t a = gpu::address(stages + stage * kStageBytes<kN>), b = a + kM * kK * 2;
      gpu::barrier_wait(full + stage, at / kCount % 2);
      gpu::wgmma_fence();
#pragma unroll
      for (int k = 0; k < kK / 16; k++) {
        const uint64_t right = gpu::descriptor(b + k * (kTurnedB ? 2048 : 32), 8192, 1024);
#pragma unroll
        for (int h = 0; h < 2; h++)
          gpu::wgmma<kTurnedA, kTurnedB>(
              c[h], gpu::descriptor(a + h * 8192 + k * (kTurnedA ? 2048 : 32), 8192, 1024), right, step > 0 || k > 0);
      }
      gpu::wgmma_commit();
      if (step > 0) {
        gpu::wgmma_wait<1>();  // the step before is done with its stage
        if (lane == 0) gpu::barrier_arrive(empty + (at - 1) % kCount);
      }
    }
    gpu::wgmma_wait<0>();
    if (lane == 0) gpu::barrier_arrive(empty + (at - 1) % kCount);
    gpu::named_arrive(2 - mine, 256);

    // 32 columns at a time through shared memory of the warp's own; when gating, 16 columns of a and the same of b.
#pragma unroll
    for (int c0 = 0; c0 < kN; c0 += kSlice) {
      gpu::sync_warp();
#pragma unroll
      for (int h = 0; h < 2; h++)
#pragma unroll
        for (int i = 0; i < kSlice / 8; i++)
#pragma unroll
          for (int e = 0; e < 4; e++) {
            const int from = kTail == kGate ? c0 / 4 + 4 * (i % 2) + i / 2 * (kN / 4) : c0 / 2 + 4 * i;
            slice[(16 * h + lane / 4 + (e >= 2 ? 8 : 0)) * kPitch + 8 * i + 2 * (lane % 4) + e % 2] = c[h][from + e];
          }
      gpu::sync_warp();
#pragma unroll 1
      for (int u = lane; u < 32 * (kTail == kGate ? 2 : 4); u += kWarp) {
        if (kTail == kGate) {
          const int row = u / 2, m = row_of(row), n = job.n0 + c0 / 2 + u % 2 * 8;
          const float* const from = slice + row * kPitch + u % 2 * 8;
          if (m < p.M && n < p.N / 2) finish_gate(p, m, n, from, from + 16);
          continue;
        }
        const int row = u / 4, column = u % 4 * 8, m = row_of(row), n = job.n0 + c0 + column;
        float* const from = slice + row * kPitch + column;
        queue.wait();
        if (m < p.M && n < p.N) {
          if (kTail == kTurn) {
            finish_turn(p, m, n, from);
          } else if (!partial) {
            finish_eight(p, m, n, from, work.wide, queue, u / kWarp);
          } else {
#pragma unroll 1
            for (int e = 0; e < 8; e++)
              if (n + e < p.N) partial[((int64_t)job.split * p.M + m) * p.N + n + e] = from[e];
          }
        }
        if (Queue<kTail>::depth == 2 && u < 2 * kWarp)
          queue.fetch(p, u / kWarp, row_of(row + 16), n, !partial);
        else
          queue.fetch(p, u / kWarp, row_of((row + 8 * Queue<kTail>::depth) % 32), n + kSlice, !partial && c0 + kSlice < kN);
      }
      if (kTail == kSlope && work.tile_sums) {
        gpu::sync_warp();
        float sum = 0;
#pragma unroll 8
        for (int row = 0; row < 32; row++) sum += row_of(row) < p.M ? slice[row * kPitch + lane] : 0.0f;
        columns[(warp_index() - 4) * kN + c0 + lane] = sum;
      }
    }
    if (kTail == kSlope && work.tile_sums) {
      // Nobody writes the sums of the next tile before all have passed the barrier of its main loop.
      gpu::named_sync(3 + mine, 128);
      const float* const from = columns + 4 * mine * kN;
      for (int n = threadIdx.x % 128; n < kN && job.n0 + n < p.N; n += 128)
        work.tile_sums[(int64_t)(job.m0 / kM) * p.N + job.n0 + n] = from[n] + from[kN + n] + from[2 * kN + n] + from[3 * kN + n];
    }
  }
#endif
}

inline int32_t map_of(const Operand& o, int64_t rows, int64_t K, int tile, gpu::TensorMap* map) {
  return o.turned ? platform_tensor_map(map, o.x.data, rows, K, o.ld, kK)
                  : platform_tensor_map(map, o.x.data, K, rows, o.ld, tile);
}

}  // namespace hopper_gemm

#endif
