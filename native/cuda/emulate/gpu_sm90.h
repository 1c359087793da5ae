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
};

inline uint32_t address(const void* shared) {
  return (uint32_t)(static_cast<const unsigned char*>(shared) - emulate::block().shared);
}
inline void barrier_init(uint64_t* barrier, int count) { *emulate::barrier(barrier) = {(uint16_t)count, (int16_t)count, 0, 0}; }
inline void barrier_init_done() {}
inline void barrier_arrive(uint64_t* barrier) { emulate::barrier_arrive(barrier, 0); }
inline void barrier_expect(uint64_t* barrier, int bytes) { emulate::barrier_arrive(barrier, bytes); }
inline void barrier_wait(uint64_t* barrier, int parity) { emulate::barrier_wait(barrier, parity); }

inline void tensor_load(void* to, const TensorMap& map, int inner, int outer, uint64_t* barrier) {
  const int bytes = map.box_inner * map.box_outer * 2;
  memset(to, 0xff, bytes);
  emulate::block().transfers.push_back({barrier, bytes, [=] {
    for (int o = 0; o < map.box_outer; o++)
      for (int i = 0; i < map.box_inner; i++) {
        const bool inside = outer + o < map.outer && inner + i < map.inner;
        const uint32_t at = address(to) + (o * map.box_inner + i) * 2;
        const uint16_t value = inside ? map.data[(outer + o) * map.stride + inner + i] : 0;
        memcpy(emulate::block().shared + (at ^ (at >> 7 & 7) << 4), &value, 2);
      }
  }});
}

inline void named_sync(int id, int count) { emulate::named_barrier(id, count, true); }
inline void named_arrive(int id, int count) { emulate::named_barrier(id, count, false); }
template <int n>
inline void registers_up() {}
template <int n>
inline void registers_down() {}

inline void wgmma_fence() {}
inline void wgmma_commit() { emulate::block().current->product_groups++; }

/** Element (i, k) of an operand as bf16 bits. */
inline float wgmma_element(uint64_t descriptor, bool turned, int i, int k) {
  const uint32_t start = (uint32_t)(descriptor & 0x3fff) << 4, leading = (uint32_t)(descriptor >> 16 & 0x3fff) << 4;
  const uint32_t stride = (uint32_t)(descriptor >> 32 & 0x3fff) << 4;
  const uint32_t at = turned ? start + i / 64 * leading + k / 8 * stride + k % 8 * 128 + i % 64 * 2
                             : start + i / 8 * stride + i % 8 * 128 + k * 2;
  uint16_t bits;
  memcpy(&bits, emulate::block().shared + (at ^ (at >> 7 & 7) << 4), 2);
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
    for (int k = 0; k < 16; k++)
      for (int h = 0; h < 2; h++) a[h][k] = wgmma_element(p.a, p.turned_a, row + 8 * h, k);
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

template <int tA, int tB, int n>
inline void wgmma(float (&d)[n], uint64_t a, uint64_t b, int accumulate) {
  emulate::Fiber& fiber = *emulate::block().current;
  fiber.products.push_back({fiber.product_groups, 2 * n, a, b, tA != 0, tB != 0, accumulate != 0, d});
}

}  // namespace gpu
#endif
