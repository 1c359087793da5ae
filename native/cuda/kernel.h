// What every kernel file uses: elements that are f32 or bf16, sums over warps and blocks in a fixed order, launches.
#ifndef PHYSLM_CUDA_KERNEL_H
#define PHYSLM_CUDA_KERNEL_H

#include "platform.h"

// --- tensors ---------------------------------------------------------------------------------------------------------

/** Elements in global memory, f32 or bf16; every sum over them is in f32. */
struct Floats {
  void* data;
  int half;
};

inline Floats floats(const physlm_tensor& t) { return {t.data, t.dtype == PHYSLM_BF16}; }
/** Product of all axes but the last `n`. */
inline int64_t leading(const physlm_tensor& t, int n) {
  int64_t size = 1;
  for (int i = 0; i < t.rank - n; i++) size *= t.shape[i];
  return size;
}
/** Axis counted from the end: 1 is the last. */
inline int64_t axis(const physlm_tensor& t, int from_end) { return t.shape[t.rank - from_end]; }
inline int64_t elements(const physlm_tensor& t) { return leading(t, 0); }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/** Whether eight elements at a time can be read: the row's width and the address allow it. */
inline bool in_eights(const physlm_tensor& t, int64_t width) {
  return t.data == nullptr || (width % 8 == 0 && (uintptr_t)t.data % 16 == 0);
}

DEVICE float from_half(uint32_t bits) { return __uint_as_float(bits << 16); }

/** V elements from i on; V is 1, or 8 at a multiple of 8. */
template <int V>
DEVICE void load(const Floats& x, int64_t i, float (&v)[V]) {
  static_assert(V == 1 || V == 8, "one element or eight");
  if (V == 1) {
    v[0] = x.half ? from_half(static_cast<const uint16_t*>(x.data)[i]) : static_cast<const float*>(x.data)[i];
  } else if (x.half) {
    const uint4 words = *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(x.data) + i);
    const uint32_t all[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int j = 0; j < V / 2; j++) {
      v[2 * j] = __uint_as_float(all[j] << 16);
      v[2 * j + 1] = __uint_as_float(all[j] & 0xffff0000u);
    }
  } else {
    const float4* from = reinterpret_cast<const float4*>(static_cast<const float*>(x.data) + i);
#pragma unroll
    for (int j = 0; j < V / 4; j++) {
      const float4 four = from[j];
      v[4 * j] = four.x, v[4 * j + 1] = four.y, v[4 * j + 2] = four.z, v[4 * j + 3] = four.w;
    }
  }
}

template <int V>
DEVICE void store(const Floats& x, int64_t i, const float (&v)[V]) {
  if (V == 1) {
    if (x.half)
      static_cast<uint16_t*>(x.data)[i] = (uint16_t)gpu::pack_bf16(v[0], 0.0f);
    else
      static_cast<float*>(x.data)[i] = v[0];
  } else if (x.half) {
    uint4 words;
    words.x = gpu::pack_bf16(v[0], v[1 % V]);
    words.y = gpu::pack_bf16(v[2 % V], v[3 % V]);
    words.z = gpu::pack_bf16(v[4 % V], v[5 % V]);
    words.w = gpu::pack_bf16(v[6 % V], v[7 % V]);
    *reinterpret_cast<uint4*>(static_cast<uint16_t*>(x.data) + i) = words;
  } else {
    float4* to = reinterpret_cast<float4*>(static_cast<float*>(x.data) + i);
    to[0] = float4{v[0], v[1 % V], v[2 % V], v[3 % V]};
    to[1] = float4{v[4 % V], v[5 % V], v[6 % V], v[7 % V]};
  }
}

DEVICE float load_one(const Floats& x, int64_t i) {
  float v[1];
  load(x, i, v);
  return v[0];
}
DEVICE void store_one(const Floats& x, int64_t i, float value) {
  const float v[1] = {value};
  store(x, i, v);
}

// --- sums in a fixed order ---------------------------------------------------------------------------------------------

constexpr int kWarp = 32;

DEVICE int lane_index() { return threadIdx.x % kWarp; }
DEVICE int warp_index() { return threadIdx.x / kWarp; }

template <class T>
DEVICE T warp_sum(T value) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) value += gpu::shuffle_xor(value, mask);
  return value;
}
DEVICE float warp_max(float value) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    const float other = gpu::shuffle_xor(value, mask);
    value = other > value ? other : value;
  }
  return value;
}
/** The sum over all threads, in every thread. `room`: one T for each warp, in shared memory. */
template <class T>
DEVICE T block_sum(T value, T* room) {
  value = warp_sum(value);
  gpu::sync();
  if (lane_index() == 0) room[warp_index()] = value;
  gpu::sync();
  T total = room[0];
  for (int w = 1; w < (int)blockDim.x / kWarp; w++) total += room[w];
  return total;
}

// --- the library's services for host code ---------------------------------------------------------------------------------

/** One block of the device's own memory that the next kernels may use; contents do not outlive one op. NULL: out of memory. */
enum Slot { kSlotPartial, kSlotValues, kSlotSort, kSlotTurns, kSlots };
void* scratch(Slot slot, int64_t bytes);

/** Where kernels report a token that is out of range; whoever waits for the device hears of it. */
enum Problem { kBadToken = 1, kBadTarget = 2, kBadPosition = 3 };
uint64_t* problem_record(void);
DEVICE void report(uint64_t* record, Problem kind, int64_t row, int32_t value) {
  gpu::atomic_min(record, (uint64_t)kind << 60 | (uint64_t)(row & 0xfffffff) << 32 | (uint32_t)value);
}

/** Begins the host side of an op: checks what the signature cannot say, asks for scratch memory, starts kernels. */
#define OP(name)                                                                                                    \
  int32_t name##_cuda(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,  \
                      physlm_stream*)

/** Starts a kernel on the library's stream. */
template <class... Parameters, class... Arguments>
inline void start(void (*kernel)(Parameters...), dim3 grid, int block, size_t shared_bytes, Arguments... arguments) {
  gpu::launch(kernel, grid, block, shared_bytes, platform_stream(), arguments...);
}

/** out[i] = Σ_c partial[c·stride + i] over c < n_chunks, in a fixed order. */
void add_chunks(const float* partial, int64_t n_chunks, int64_t stride, Floats out, int64_t n);
/** out[i] = Σ_r x[r·width + i]. A status. */
int32_t sum_rows(Floats x, int64_t rows, int64_t width, Floats out);

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

/** tanh form of GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415) and its derivative. */
DEVICE float gelu(float x) {
  const float inner = 0.7978845608028654f * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1.0f + tanhf(inner));
}
DEVICE float gelu_slope(float x) {
  const float t = tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608028654f * (1.0f + 3.0f * 0.044715f * x * x);
}

#endif
