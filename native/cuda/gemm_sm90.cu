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
#include "chains.h"
#include "gemm.h"

namespace {

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

/** Which tile of which product, and which part of its sum. */
struct Job {
  int member, m0, n0, k0, split, steps;
};
/** Job j of an M×N result in tiles of kWide columns whose sums over K are cut into chains of `depth`. */
template <int kWide>
DEVICE Job job_at(int j, int M, int N, int K, int depth) {
  const int tiles_m = (M + kM - 1) / kM, tiles_n = (N + kWide - 1) / kWide, tiles = tiles_m * tiles_n;
  const TileAt<int> tile = tile_at(j % tiles, tiles_m, tiles_n);
  const int split = j / tiles, k0 = split * depth, end = K - k0 > depth ? k0 + depth : K;
  return {0, tile.m * kM, tile.n * kWide, k0, split, (end - k0 + kK - 1) / kK};
}

/** A launch of one product. */
template <int kN, Tail kTail>
struct One {
  gpu::TensorMap map_a, map_b;
  Product p;
  float *partial, *tile_sums;
  int depth, jobs, wide;
  DEVICE Job job(int j) const {
    return job_at<kColumns<kN, kTail>>(j, (int)p.M, kTail == kGate ? (int)p.N / 2 : (int)p.N, (int)p.K, depth);
  }
  DEVICE const gpu::TensorMap& a(const Job&) const { return map_a; }
  DEVICE const gpu::TensorMap& b(const Job&) const { return map_b; }
  DEVICE const Product& product(const Job&) const { return p; }
  DEVICE float* chains(const Job&) const { return partial; }
};

/** Products of one launch; their parameters must fit into those of a kernel, 32,764 bytes. */
constexpr int kMembers = 32;
struct Member {
  gpu::TensorMap a, b;
  float *c, *partial;
  int M, N, K, depth, chains, first;  // first: its first job
};
template <int kN>
struct Group {
  Member members[kMembers];
  int count, jobs;
  static constexpr float* tile_sums = nullptr;
  static constexpr int wide = 1;
  DEVICE Job job(int j) const {
    int i = 0;
    while (i + 1 < count && members[i + 1].first <= j) i++;
    const Member& m = members[i];
    Job job = job_at<kN>(j - m.first, m.M, m.N, m.K, m.depth);
    job.member = i;
    return job;
  }
  DEVICE const gpu::TensorMap& a(const Job& job) const { return members[job.member].a; }
  DEVICE const gpu::TensorMap& b(const Job& job) const { return members[job.member].b; }
  DEVICE Product product(const Job& job) const {
    const Member& m = members[job.member];
    return {m.M, m.N, m.K, {}, {}, nullptr, {m.c, 0}, {}};
  }
  DEVICE float* chains(const Job& job) const { return members[job.member].partial; }
};

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
      const Job job = work.job(j);
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
    const Job job = work.job(j);
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

/** Adds the chains of member blockIdx.y in order. */
template <int kN>
__global__ void __launch_bounds__(256) add_members(const __grid_constant__ Group<kN> group) {
  const Member& m = group.members[blockIdx.y];
  const uint32_t n = (uint32_t)m.M * (uint32_t)m.N, i = (blockIdx.x * 256 + threadIdx.x) * 4;  // few tiles: it fits
  if (!m.partial || i >= n) return;
  float4 total = reinterpret_cast<const float4*>(m.partial)[i / 4];
  for (int s = 1; s < m.chains; s++) {
    const float4 more = reinterpret_cast<const float4*>(m.partial + (int64_t)s * n)[i / 4];
    total.x += more.x, total.y += more.y, total.z += more.z, total.w += more.w;
  }
  reinterpret_cast<float4*>(m.c)[i / 4] = total;
}

int32_t map_of(const Operand& o, int64_t rows, int64_t K, int tile, gpu::TensorMap* map) {
  return o.turned ? platform_tensor_map(map, o.x.data, rows, K, o.ld, kK)
                  : platform_tensor_map(map, o.x.data, K, rows, o.ld, tile);
}

/** Whether eight columns at a time can be stored, and read where a tail reads. */
bool in_eights(const Product& p) {
  const auto aligned = [](const Floats& x) { return (uintptr_t)x.data % 16 == 0; };
  // Partners are eight or sixteen columns apart, and heads begin where slices do.
  const Turn& t = p.turn;
  if (p.tail == kTurn && (t.width % kSlice || t.half % 8 || t.half > kSlice / 2 || t.half == 0)) return false;
  return p.N % (p.tail == kGate ? 16 : 8) == 0 && aligned(p.c) && aligned(p.y) && aligned(p.beside);
}

template <int kN, bool kTurnedA, bool kTurnedB, Tail kTail>
int32_t multiply_as(const Product& p) {
  One<kN, kTail> work;
  if (int32_t status = map_of(p.a, p.M, p.K, kM, &work.map_a)) return status;
  if (int32_t status = map_of(p.b, p.N, p.K, kColumns<kN, kTail>, &work.map_b)) return status;
  const int64_t N = kTail == kGate ? p.N / 2 : p.N, tiles_m = ceil_div(p.M, kM), tiles = tiles_m * ceil_div(N, kColumns<kN, kTail>);
  Splits splits = {1, most(kK, ceil_div(p.K, kK) * kK), nullptr};
  if (kTail != kGate && kTail != kTurn)
    if (int32_t status = split(p, tiles, kK, &splits)) return status;
  float* tile_sums = nullptr;
  if (p.sums && splits.count == 1) {
    tile_sums = static_cast<float*>(scratch(kSlotPartial, tiles_m * p.N * sizeof(float)));
    if (!tile_sums) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for sums of columns");
  }
  work.p = p;
  work.partial = splits.partial, work.tile_sums = tile_sums;
  work.depth = (int)splits.depth, work.jobs = (int)(tiles * splits.count), work.wide = in_eights(p);
  start(multiply_wgmma<One<kN, kTail>, kN, kTurnedA, kTurnedB, kTail>, dim3((unsigned)least(work.jobs, platform_multiprocessors())),
        kThreads, kSharedBytes<kN>, work);
  add_splits(p, splits);
  if (tile_sums) add_chunks(tile_sums, tiles_m, p.N, {p.sums, 0}, p.N);
  return p.sums && !tile_sums ? sum_rows(p.c, p.M, p.N, {p.sums, 0}) : PHYSLM_OK;
}

template <int kN>
int32_t multiply_by(const Product& p) {
  if (p.tail == kAdd) return multiply_as<kN, false, false, kAdd>(p);
  if (p.tail == kTurn) return multiply_as<kN, false, false, kTurn>(p);
  if (p.tail == kGate) return multiply_as<kN, false, false, kGate>(p);
  if (p.tail == kSlope) return multiply_as<kN, false, true, kSlope>(p);
  if (p.tail == kGateSlope) return multiply_as<kN, false, true, kGateSlope>(p);
  return p.a.turned ? p.b.turned ? multiply_as<kN, true, true, kPlain>(p) : multiply_as<kN, true, false, kPlain>(p)
         : p.b.turned ? multiply_as<kN, false, true, kPlain>(p)
                      : multiply_as<kN, false, false, kPlain>(p);
}

/** Starts the kernels for up to kMembers products of the same kind. */
template <int kN>
int32_t multiply_group(const Product* products, int n) {
  static_assert(sizeof(Group<kN>) <= 32764, "parameters of a kernel");
  Group<kN> group;
  group.count = n;
  const auto tiles_of = [](const Product& p) { return ceil_div(p.M, kM) * ceil_div(p.N, kN); };
  int64_t tiles = 0, area = 0, deepest = 0;
  for (int i = 0; i < n; i++) tiles += tiles_of(products[i]), area += products[i].M * products[i].N, deepest = most(deepest, products[i].K);
  const int64_t wanted = chains_of(area, 1, deepest, tiles);
  int64_t jobs = 0, floats = 0, largest = 0;
  for (int i = 0; i < n; i++) {
    const Product& p = products[i];
    Member& m = group.members[i];
    if (int32_t status = map_of(p.a, p.M, p.K, kM, &m.a)) return status;
    if (int32_t status = map_of(p.b, p.N, p.K, kN, &m.b)) return status;
    m.M = (int)p.M, m.N = (int)p.N, m.K = (int)p.K;
    m.depth = (int)(ceil_div(ceil_div(p.K, least(wanted, most(1, p.K / 512))), kK) * kK);
    m.chains = (int)ceil_div(p.K, m.depth);
    m.first = (int)jobs;
    m.c = static_cast<float*>(p.c.data);
    jobs += tiles_of(p) * m.chains;
    if (m.chains == 1) continue;
    floats += m.chains * p.M * p.N;
    largest = most(largest, p.M * p.N);
  }
  float* partial = floats ? static_cast<float*>(scratch(kSlotPartial, floats * sizeof(float))) : nullptr;
  if (floats && !partial) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for partial products");
  for (int i = 0; i < n; i++) {
    Member& m = group.members[i];
    m.partial = m.chains > 1 ? partial : nullptr;
    if (m.partial) partial += (int64_t)m.chains * m.M * m.N;
  }
  group.jobs = (int)jobs;
  start(multiply_wgmma<Group<kN>, kN, true, true, kPlain>, dim3((unsigned)least(jobs, platform_multiprocessors())), kThreads,
        kSharedBytes<kN>, group);
  if (floats) start(add_members<kN>, dim3((unsigned)ceil_div(largest, 1024), (unsigned)n), 256, 0, group);
  return PHYSLM_OK;
}

/** Empty columns and all of the results in tiles of this width. */
int64_t columns_in(const Product& p, int64_t width) { return p.M * ceil_div(p.N, width) * width; }

bool by_tma(const Operand& o) { return o.x.half && o.ld % 8 == 0 && (uintptr_t)o.x.data % 16 == 0; }

}  // namespace

bool suits_sm90(const Product& p) {
  // Tails are made for the layouts that need them: results of y = x·wᵀ, and of dx = dy·w.
  const bool slope = p.tail == kSlope || p.tail == kGateSlope, reads = p.tail == kAdd || slope;
  const bool tail = p.tail == kPlain || (hopper_for("epilogue") && in_eights(p) && (!reads || (p.beside.half && p.c.half)) && !p.a.turned && p.b.turned == slope);
  return hopper_for("gemm") && tail && by_tma(p.a) && by_tma(p.b) && p.M >= 64 && p.N >= 32 && p.K >= 16 && p.M < 1 << 30 &&
         p.N < 1 << 30 && p.K < 1 << 30;
}

int32_t multiply_sm90(const Product& p) {
  // The width that leaves fewer empty columns; the wider one reads less.
  return ceil_div(p.N, 192) * 192 <= ceil_div(p.N, 128) * 128 ? multiply_by<192>(p) : multiply_by<128>(p);
}

int32_t multiply_sm90_all(const Product* products, int n) {
  for (int from = 0; from < n; from += kMembers) {
    const int count = (int)least(kMembers, n - from);
    int64_t wide = 0, narrow = 0;
    for (int i = from; i < from + count; i++) wide += columns_in(products[i], 192), narrow += columns_in(products[i], 128);
    const int32_t status = wide <= narrow ? multiply_group<192>(products + from, count) : multiply_group<128>(products + from, count);
    if (status) return status;
  }
  return PHYSLM_OK;
}

bool suits_group_sm90(const Product& p) {
  const bool plain = p.tail == kPlain && !p.bias && !p.y.data && p.c.data && !p.c.half && p.a.turned && p.b.turned;
  return hopper_for("weights") && plain && p.M % 8 == 0 && p.N % 8 == 0 && (uintptr_t)p.c.data % 16 == 0 && p.M * p.N < int64_t{1} << 31 && suits_sm90(p);
}
