// The primitives of ../gpu.h by definition, on the host: see fibers.h for how threads run. Launches wait in a queue until
// someone synchronises, as on a stream, so that a result read too early is seen to be missing.
#ifndef PHYSLM_EMULATE_GPU_H
#define PHYSLM_EMULATE_GPU_H

#include <math.h>
#include <string.h>

#include <algorithm>

#include "fibers.h"

#define __global__ static
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __grid_constant__
#define __restrict__
#define DEVICE inline
#define threadIdx (emulate::block().current->thread)
#define blockIdx (emulate::block().block)
#define blockDim (emulate::block().size)
#define gridDim (emulate::block().grid)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct float2 {
  float x, y;
};
struct float4 {
  float x, y, z, w;
};
struct uint4 {
  uint32_t x, y, z, w;
};
typedef struct physlm_emulated_stream* cudaStream_t;

DEVICE float __uint_as_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
DEVICE uint32_t __float_as_uint(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}
DEVICE float rsqrtf(float x) { return 1.0f / sqrtf(x); }

namespace gpu {

template <class T>
inline T* shared() {
  return reinterpret_cast<T*>(emulate::block().shared);
}

inline void sync() { emulate::block_barrier(); }
inline void sync_warp() {
  const char nothing = 0;
  emulate::exchange(&nothing, 1);
}
template <class T>
inline T shuffle(T value, int lane) {
  static_assert(sizeof(T) <= emulate::kSlotBytes, "a lane shows at most 64 bytes");
  const unsigned char(*all)[emulate::kSlotBytes] = emulate::exchange(&value, sizeof(T));
  memcpy(&value, all[lane & 31], sizeof(T));
  return value;
}
template <class T>
inline T shuffle_xor(T value, int mask) {
  return shuffle(value, emulate::block().current->lane ^ mask);
}

inline uint16_t round_bf16(float x) {
  const uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}
inline uint32_t pack_bf16(float low, float high) { return round_bf16(low) | (uint32_t)round_bf16(high) << 16; }
inline float exp2_fast(float x) { return exp2f(x); }
inline float divide_fast(float x, float y) { return x / y; }
inline float from_bf16(uint32_t pair, int which) { return __uint_as_float(which ? pair & 0xffff0000u : pair << 16); }

/**
 * Lane l of the instruction holds rows l/4 and l/4+8 of a and c, column l/4 of b, and pairs from 2·(l%4) on. The last lane
 * to come does the work of all.
 */
inline void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  struct Lane {
    uint32_t a[4], b[2];
    float c[4];
  } mine;
  memcpy(mine.a, a, sizeof a);
  memcpy(mine.b, b, sizeof b);
  memcpy(mine.c, c, sizeof c);
  const unsigned char(*all)[emulate::kSlotBytes] =
      emulate::exchange(&mine, sizeof mine, [](unsigned char(*slots)[emulate::kSlotBytes]) {
        auto lane = [&](int l) -> Lane& { return *reinterpret_cast<Lane*>(slots[l]); };
        float A[16][16], B[16][8], C[16][8];
        for (int l = 0; l < 32; l++)
          for (int p = 0; p < 2; p++) {
            const int row = l / 4, pair = 2 * (l % 4) + p;
            for (int q = 0; q < 4; q++) A[row + 8 * (q % 2)][pair + 8 * (q / 2)] = from_bf16(lane(l).a[q], p);
            for (int q = 0; q < 2; q++) B[pair + 8 * q][row] = from_bf16(lane(l).b[q], p);
            for (int q = 0; q < 2; q++) C[row + 8 * q][pair] = lane(l).c[2 * q + p];
          }
        for (int i = 0; i < 16; i++)
          for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) C[i][j] += A[i][k] * B[k][j];
        for (int l = 0; l < 32; l++)
          for (int e = 0; e < 4; e++) lane(l).c[e] = C[l / 4 + 8 * (e / 2)][2 * (l % 4) + e % 2];
      });
  memcpy(c, reinterpret_cast<const Lane*>(all[emulate::block().current->lane])->c, sizeof c);
}

inline void load_matrices_by(uint32_t (&r)[4], const void* row, bool transposed) {
  const unsigned char(*all)[emulate::kSlotBytes] = emulate::exchange(&row, sizeof row);
  const int lane = emulate::block().current->lane;
  for (int m = 0; m < 4; m++) {
    uint16_t pair[2];
    for (int p = 0; p < 2; p++) {
      const int i = transposed ? 2 * (lane % 4) + p : lane / 4, j = transposed ? lane / 4 : 2 * (lane % 4) + p;
      const uint16_t* from;
      memcpy(&from, all[m * 8 + i], sizeof from);
      pair[p] = from[j];
    }
    r[m] = pair[0] | (uint32_t)pair[1] << 16;
  }
  sync_warp();  // nobody writes the rows before all have read
}
inline void load_matrices(uint32_t (&r)[4], const void* row) { load_matrices_by(r, row, false); }
inline void load_matrices_transposed(uint32_t (&r)[4], const void* row) { load_matrices_by(r, row, true); }

inline void copy_async(void* to, const void* from) {
  emulate::Fiber& fiber = *emulate::block().current;
  memset(to, 0xff, 16);
  fiber.copies.push_back({to, from, fiber.groups});
}
inline void copy_commit() { emulate::block().current->groups++; }
template <int n>
inline void copy_wait() {
  emulate::Fiber& fiber = *emulate::block().current;
  std::vector<emulate::Copy> later;
  for (const emulate::Copy& copy : fiber.copies) {
    if (copy.group < fiber.groups - n)
      memcpy(copy.to, copy.from, 16);
    else
      later.push_back(copy);
  }
  fiber.copies.swap(later);
}

inline int atomic_add(int* at, int value) {
  const int before = *at;
  *at += value;
  return before;
}
inline uint64_t atomic_min(uint64_t* at, uint64_t value) {
  const uint64_t before = *at;
  *at = std::min(before, value);
  return before;
}

/** Puts a launch at the end of the queue. */
void enqueue(std::function<void()> work);

template <class... Parameters, class... Arguments>
inline void launch(void (*kernel)(Parameters...), dim3 grid, int block, size_t bytes, cudaStream_t, Arguments... arguments) {
  enqueue([=] {
    emulate::run_grid({grid.x, grid.y, grid.z}, {(unsigned)block, 1, 1}, bytes,
                      [&] { kernel(Parameters(arguments)...); });
  });
}

}  // namespace gpu
#endif
