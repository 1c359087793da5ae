// Everything that only a GPU can do, behind one thin set of names, so that the same kernel sources also run on the host: with
// PHYSLM_EMULATE, g++ compiles them against emulate/gpu.h, where a block's threads are fibers and every primitive does by
// definition what the instruction does. Kernels use no other intrinsics, and only dynamic shared memory.
#ifndef PHYSLM_GPU_H
#define PHYSLM_GPU_H

#include <stdint.h>

/** bfloat16 as it lies in memory: the upper half of a float. */
struct bf16 {
  uint16_t bits;
};

#ifdef PHYSLM_EMULATE
#include "emulate/gpu.h"
#else
#include <cuda_runtime.h>

#define DEVICE __device__ __forceinline__

namespace gpu {

/** The block's dynamic shared memory. */
template <class T>
DEVICE T* shared() {
  extern __shared__ __align__(1024) unsigned char physlm_shared_memory[];
  return reinterpret_cast<T*>(physlm_shared_memory);
}

/** Barrier of the whole block. */
DEVICE void sync() { __syncthreads(); }
/** Barrier of the warp. */
DEVICE void sync_warp() { __syncwarp(); }
template <class T>
DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
template <class T>
DEVICE T shuffle(T value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}

/** Two floats rounded to nearest even; `low` lies first in memory. */
DEVICE uint32_t pack_bf16(float low, float high) {
  uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
}
/** 2^x to about 2 units in the last place. */
DEVICE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/** x/y to about 2 units in the last place; 0 where y is huge. */
DEVICE float divide_fast(float x, float y) { return __fdividef(x, y); }

/** c += a·b for one warp: a 16×16, b 16×8, bf16 into f32. PTX ISA, mma.m16n8k16. */
DEVICE void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/** Four 8×8 matrices of 16-bit elements; lane l gives the address of row l%8 of matrix l/8. */
DEVICE void load_matrices(uint32_t (&r)[4], const void* row) {
  const uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
/** The same, each matrix transposed. */
DEVICE void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  const uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/** 16 bytes from global to shared memory in the background; both 16-byte aligned. */
DEVICE void copy_async(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from) : "memory");
}
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/** Waits until at most n committed groups of this thread are under way. */
template <int n>
DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

DEVICE int atomic_add(int* at, int value) { return atomicAdd(at, value); }
DEVICE uint64_t atomic_min(uint64_t* at, uint64_t value) {
  return atomicMin(reinterpret_cast<unsigned long long*>(at), (unsigned long long)value);
}

/** Starts `kernel` on a stream with `bytes` of dynamic shared memory. Errors: cudaGetLastError. */
template <class... Parameters, class... Arguments>
inline void launch(void (*kernel)(Parameters...), dim3 grid, int block, size_t bytes, cudaStream_t stream,
                   Arguments... arguments) {
  if (bytes > 48 * 1024) cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
  kernel<<<grid, block, bytes, stream>>>(Parameters(arguments)...);
}

}  // namespace gpu
#endif
#endif
