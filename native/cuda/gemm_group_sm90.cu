// Launches of several bf16 products that only share the multiprocessors of a Hopper GPU: gradients of weights, each of which alone
// would leave most of them idle. See gemm_sm90.h.
#include "chains.h"
#include "gemm_sm90.h"

namespace {

using namespace hopper_gemm;

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
  DEVICE TileJob job(int j) const {
    int i = 0;
    while (i + 1 < count && members[i + 1].first <= j) i++;
    const Member& m = members[i];
    TileJob job = tile_job(j - m.first, m.M, m.N, m.K, m.depth, kM, kN, kK);
    job.member = i;
    return job;
  }
  DEVICE const gpu::TensorMap& a(const TileJob& job) const { return members[job.member].a; }
  DEVICE const gpu::TensorMap& b(const TileJob& job) const { return members[job.member].b; }
  DEVICE Product product(const TileJob& job) const {
    const Member& m = members[job.member];
    return {m.M, m.N, m.K, {}, {}, nullptr, {m.c, 0}, {}};
  }
  DEVICE float* chains(const TileJob& job) const { return members[job.member].partial; }
};

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

}  // namespace

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
