// The primitives of ../gpu_sm90.h on the host. Fetches by TMA happen as late as they may: when no thread can go on without
// them; until then their place holds NaN. Products of a warp group happen when their group is waited for, from what shared
// memory then holds. So a stage that is filled again too early, or read too early, shows.
#ifndef PHYSLM_EMULATE_GPU_SM90_H
#define PHYSLM_EMULATE_GPU_SM90_H

namespace gpu {

struct TensorMap {
  const uint16_t* data;
  int64_t inner, outer, stride;  // elements
  int box_inner, box_outer;
  int64_t matrices, apart;
};

/** Where byte `at` of a box with rows of 128 or 64 bytes lies. */
inline uint32_t swizzled(uint32_t at, int row_bytes) { return at ^ (at >> 7 & (row_bytes / 16 - 1)) << 4; }

inline uint32_t address(const void* shared) {
  return (uint32_t)(static_cast<const unsigned char*>(shared) - emulate::block().shared);
}
inline void barrier_init(uint64_t* barrier, int count) { *emulate::barrier(barrier) = {(uint16_t)count, (int16_t)count, 0, 0}; }
inline void barrier_init_done() {}
inline void barrier_arrive(uint64_t* barrier) { emulate::barrier_arrive(barrier, 0); }
inline void barrier_expect(uint64_t* barrier, int bytes) { emulate::barrier_arrive(barrier, bytes); }
inline void barrier_wait(uint64_t* barrier, int parity) { emulate::barrier_wait(barrier, parity); }

inline void tensor_load(void* to, const TensorMap& map, int inner, int outer, int matrix, uint64_t* barrier) {
  const int bytes = map.box_inner * map.box_outer * 2;
  if (address(to) % (map.box_inner * 16) || matrix < 0 || matrix >= map.matrices) emulate::broken("a fetch that TMA refuses");
  memset(to, 0xff, bytes);
  emulate::block().transfers.push_back({barrier, bytes, [=] {
    for (int o = 0; o < map.box_outer; o++)
      for (int i = 0; i < map.box_inner; i++) {
        const bool inside = outer + o >= 0 && outer + o < map.outer && inner + i >= 0 && inner + i < map.inner;
        const uint32_t at = swizzled(address(to) + (o * map.box_inner + i) * 2, map.box_inner * 2);
        const uint16_t value = inside ? map.data[matrix * map.apart + (outer + o) * map.stride + inner + i] : 0;
        memcpy(emulate::block().shared + at, &value, 2);
      }
  }});
}
inline void tensor_load(void* to, const TensorMap& map, int inner, int outer, uint64_t* barrier) {
  tensor_load(to, map, inner, outer, 0, barrier);
}
inline void bulk_load(void* to, const void* from, int bytes, uint64_t* barrier) {
  if (address(to) % 16 || (uintptr_t)from % 16 || bytes % 16) emulate::broken("a fetch that TMA refuses");
  memset(to, 0xff, bytes);
  emulate::block().transfers.push_back({barrier, bytes, [=] { memcpy(to, from, bytes); }});
}

inline void named_sync(int id, int count) { emulate::named_barrier(id, count, true); }
inline void named_arrive(int id, int count) { emulate::named_barrier(id, count, false); }
template <int n>
inline void registers_up() {}
template <int n>
inline void registers_down() {}

inline void wgmma_fence() {}
inline void wgmma_commit() { emulate::block().current->product_groups++; }

/** Element (i, k) of an operand in shared memory. */
inline float wgmma_element(uint64_t descriptor, bool turned, int i, int k) {
  const uint32_t start = (uint32_t)(descriptor & 0x3fff) << 4, leading = (uint32_t)(descriptor >> 16 & 0x3fff) << 4;
  const uint32_t stride = (uint32_t)(descriptor >> 32 & 0x3fff) << 4;
  const int row_bytes = descriptor >> 62 == 1 ? 128 : 64, wide = row_bytes / 2;
  const uint32_t at = turned ? start + i / wide * leading + k / 8 * stride + k % 8 * row_bytes + i % wide * 2
                             : start + i / 8 * stride + i % 8 * row_bytes + k * 2;
  uint16_t bits;
  memcpy(&bits, emulate::block().shared + swizzled(at, row_bytes), 2);
  return __uint_as_float((uint32_t)bits << 16);
}

template <int n>
inline void wgmma_wait() {
  emulate::Fiber& fiber = *emulate::block().current;
  std::vector<emulate::Product> later;
  for (const emulate::Product& p : fiber.products) {
    if (p.group >= fiber.product_groups - n) {
      later.push_back(p);
      continue;
    }
    const int lane = fiber.lane, row = fiber.warp % 4 * 16 + lane / 4;
    float a[2][16];
    if (p.held) {
      if (memcmp(p.held, p.own, sizeof p.own)) emulate::broken("registers of a product under way were written");
      memcpy(a, p.rows, sizeof a);
    } else {
      for (int k = 0; k < 16; k++)
        for (int h = 0; h < 2; h++) a[h][k] = wgmma_element(p.a, p.turned_a, row + 8 * h, k);
    }
    for (int j = 0; j < p.n / 8; j++)
      for (int c = 0; c < 2; c++) {
        float b[16];
        for (int k = 0; k < 16; k++) b[k] = wgmma_element(p.b, p.turned_b, 8 * j + 2 * (lane % 4) + c, k);
        for (int h = 0; h < 2; h++) {
          float sum = p.accumulate ? p.d[4 * j + 2 * h + c] : 0.0f;
          for (int k = 0; k < 16; k++) sum += a[h][k] * b[k];
          p.d[4 * j + 2 * h + c] = sum;
        }
      }
  }
  fiber.products.swap(later);
  sync_warp();  // the warp goes on as one
}
template <int n>
inline void wgmma_results(float (&)[n]) {}

/** Puts a product under way; results that do not add to what was there are NaN until it is waited for. */
inline void wgmma_issue(emulate::Product product) {
  emulate::Fiber& fiber = *emulate::block().current;
  product.group = fiber.product_groups;
  if (!product.accumulate) std::fill_n(product.d, product.n / 2, NAN);
  fiber.products.push_back(product);
}

template <int tA, int tB, int n>
inline void wgmma(float (&d)[n], uint64_t a, uint64_t b, int accumulate) {
  emulate::Product product{};
  product.n = 2 * n, product.a = a, product.b = b, product.d = d;
  product.turned_a = tA != 0, product.turned_b = tB != 0, product.accumulate = accumulate != 0;
  wgmma_issue(product);
}

/** The rows are read off the warp's lanes at once; whoever writes his registers before the wait is told. */
template <int tB, int n>
inline void wgmma(float (&d)[n], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  emulate::Product product{};
  product.n = 2 * n, product.b = b, product.d = d, product.held = a;
  product.turned_b = tB != 0, product.accumulate = accumulate != 0;
  memcpy(product.own, a, sizeof a);
  const unsigned char(*all)[emulate::kSlotBytes] = emulate::exchange(a, sizeof a);
  const int first = emulate::block().current->lane / 4 * 4;
  for (int l = 0; l < 4; l++) {
    uint32_t theirs[4];
    memcpy(theirs, all[first + l], sizeof theirs);
    for (int q = 0; q < 4; q++)
      for (int e = 0; e < 2; e++) product.rows[q % 2][2 * l + e + 8 * (q / 2)] = from_bf16(theirs[q], e);
  }
  wgmma_issue(product);
}

}  // namespace gpu
#endif
