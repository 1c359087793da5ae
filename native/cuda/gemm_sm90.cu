// bf16 products on Hopper: operands by TMA into a ring of stages, wgmma straight from shared memory, f32 sums in registers.
//
// One block stays on each multiprocessor and takes tiles of 128×kN in turn. Warp group 0 fetches; groups 1 and 2 each own
// every other tile (ping-pong), so that one group's stores run under the other's products: with K of a few hundred, as in
// small models, storing takes as long as multiplying. Two named barriers keep the groups' main loops apart. Each element is
// one chain over k, or `split` chains that a second kernel adds in order, whatever the number of multiprocessors.
//
// Stage s is full when its bytes have come (barrier full[s]), empty when the four warps that read it have arrived
// (empty[s]). Step `at` of the block uses stage at % kStages in round at / kStages.
#include "gemm.h"

namespace {

constexpr int kM = 128, kK = 64;   // rows of a tile; depth of a stage: 128 bytes, one swizzle atom
constexpr int kSlice = 32;         // columns that a warp stores at a time
constexpr int kPitch = kSlice + 4; // floats; rows of a slice start in different banks
constexpr int kThreads = 384;

template <int kN>
constexpr int kStages = kN == 192 ? 4 : 5;
template <int kN>
constexpr int kStageBytes = (kM + kN) * kK * 2;
template <int kN>
constexpr int kSharedBytes = 1024 + kStages<kN> * kStageBytes<kN> + 8 * 32 * kPitch * 4 + 2 * kStages<kN> * 8;

/** finish() for eight columns from n on. */
DEVICE void finish_eight(const Product& p, int m, int n, const float* from, int wide) {
  if (!wide || n + 8 > p.N) {
#pragma unroll 1
    for (int j = 0; j < 8; j++)
      if (n + j < p.N) finish(p, m, n + j, from[j]);
    return;
  }
  float v[8];
#pragma unroll
  for (int j = 0; j < 8; j++) v[j] = from[j] + (p.bias ? p.bias[n + j] : 0.0f);
  if (p.c.data) store(p.c, (int64_t)m * p.N + n, v);
  if (p.y.data) {
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] = gelu(v[j]);
    store(p.y, (int64_t)m * p.N + n, v);
  }
}

/** Which tile, and which part of its sum, job j is. */
struct Job {
  int m0, n0, k0, split, steps;
};
template <int kN>
DEVICE Job job_at(int j, const Product& p, int64_t depth) {
  const int64_t tiles_m = (p.M + kM - 1) / kM, tiles_n = (p.N + kN - 1) / kN, tiles = tiles_m * tiles_n;
  const Tile tile = tile_at(j % tiles, tiles_m, tiles_n);
  const int64_t split = j / tiles, k0 = split * depth, end = k0 + depth < p.K ? k0 + depth : p.K;
  return {(int)tile.m * kM, (int)tile.n * kN, (int)k0, (int)split, (int)((end - k0 + kK - 1) / kK)};
}

template <int kN, bool kTurnedA, bool kTurnedB>
__global__ void __launch_bounds__(kThreads, 1)
    multiply_wgmma(const __grid_constant__ gpu::TensorMap map_a, const __grid_constant__ gpu::TensorMap map_b, Product p,
                   int64_t depth, int jobs, float* partial, int wide) {
#if defined(PHYSLM_EMULATE) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr int kCount = kStages<kN>;
  char* stages = gpu::shared<char>();
  stages += (1024 - gpu::address(stages) % 1024) % 1024;
  float* const slices = reinterpret_cast<float*>(stages + kCount * kStageBytes<kN>);
  uint64_t* const full = reinterpret_cast<uint64_t*>(slices + 8 * 32 * kPitch);
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
    gpu::registers_down<40>();
    if (threadIdx.x > 0) return;
    int at = 0;
    for (int j = blockIdx.x; j < jobs; j += gridDim.x) {
      const Job job = job_at<kN>(j, p, depth);
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
        }
      }
    }
    return;
  }

  gpu::registers_up<232>();
  const int mine = group - 1, warp = warp_index() % 4;
  float* const slice = slices + (warp_index() - 4) * 32 * kPitch;
  if (mine == 1) gpu::named_arrive(1, 256);  // group 0 of the two begins
  int at = 0, turn = 0;
  for (int j = blockIdx.x; j < jobs; j += gridDim.x, turn ^= 1) {
    const Job job = job_at<kN>(j, p, depth);
    if (turn != mine) {
      at += job.steps;
      continue;
    }
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

    // Rows 16·warp… of both halves, 32 columns at a time, through shared memory of the warp's own.
#pragma unroll
    for (int c0 = 0; c0 < kN; c0 += kSlice) {
      gpu::sync_warp();
#pragma unroll
      for (int h = 0; h < 2; h++)
#pragma unroll
        for (int i = 0; i < kSlice / 8; i++)
#pragma unroll
          for (int e = 0; e < 4; e++)
            slice[(16 * h + lane / 4 + (e >= 2 ? 8 : 0)) * kPitch + 8 * i + 2 * (lane % 4) + e % 2] = c[h][c0 / 2 + 4 * i + e];
      gpu::sync_warp();
#pragma unroll 1
      for (int u = lane; u < 32 * kSlice / 8; u += kWarp) {
        const int row = u / (kSlice / 8), column = u % (kSlice / 8) * 8;
        const int m = job.m0 + (row >= 16 ? 64 : 0) + 16 * warp + row % 16, n = job.n0 + c0 + column;
        if (m >= p.M || n >= p.N) continue;
        const float* const from = slice + row * kPitch + column;
        if (!partial) {
          finish_eight(p, m, n, from, wide);
        } else {
#pragma unroll 1
          for (int e = 0; e < 8; e++)
            if (n + e < p.N) partial[((int64_t)job.split * p.M + m) * p.N + n + e] = from[e];
        }
      }
    }
  }
#endif
}

int32_t map_of(const Operand& o, int64_t rows, int64_t K, int tile, gpu::TensorMap* map) {
  return o.turned ? platform_tensor_map(map, o.x.data, rows, K, o.ld, kK)
                  : platform_tensor_map(map, o.x.data, K, rows, o.ld, tile);
}

template <int kN>
int32_t multiply_by(const Product& p) {
  gpu::TensorMap a, b;
  if (int32_t status = map_of(p.a, p.M, p.K, kM, &a)) return status;
  if (int32_t status = map_of(p.b, p.N, p.K, kN, &b)) return status;
  const int64_t tiles = ceil_div(p.M, kM) * ceil_div(p.N, kN);
  Splits splits;
  if (int32_t status = split(p, tiles, kK, &splits)) return status;
  const auto aligned = [](const Floats& x) { return (uintptr_t)x.data % 16 == 0; };
  const int wide = p.N % 8 == 0 && aligned(p.c) && aligned(p.y);
  const auto kernel = p.a.turned ? p.b.turned ? multiply_wgmma<kN, true, true> : multiply_wgmma<kN, true, false>
                      : p.b.turned ? multiply_wgmma<kN, false, true>
                                   : multiply_wgmma<kN, false, false>;
  const int64_t jobs = tiles * splits.count;
  start(kernel, dim3((unsigned)least(jobs, platform_multiprocessors())), kThreads, kSharedBytes<kN>, a, b, p, splits.depth, (int)jobs,
        splits.partial, wide);
  add_splits(p, splits);
  return PHYSLM_OK;
}

bool by_tma(const Operand& o) { return o.x.half && o.ld % 8 == 0 && (uintptr_t)o.x.data % 16 == 0; }

}  // namespace

bool suits_sm90(const Product& p) {
  return hopper_for("gemm") && by_tma(p.a) && by_tma(p.b) && p.M >= 64 && p.N >= 32 && p.K >= 16 &&
         p.M < 1 << 30 && p.N < 1 << 30 && p.K < 1 << 30;
}

int32_t multiply_sm90(const Product& p) {
  // The width that leaves fewer empty columns; the wider one reads less.
  return ceil_div(p.N, 192) * 192 <= ceil_div(p.N, 128) * 128 ? multiply_by<192>(p) : multiply_by<128>(p);
}
