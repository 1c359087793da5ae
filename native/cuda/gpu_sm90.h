// What only Hopper (sm_90a) can do, as in gpu.h: barriers in shared memory that count bytes, boxes of tensors fetched by TMA,
// products of a warp group straight from shared memory. PTX ISA: mbarrier, cp.async.bulk.tensor, wgmma.
#ifndef PHYSLM_GPU_SM90_H
#define PHYSLM_GPU_SM90_H

#include "gpu.h"

/** Defined where all of this can be used: in the pass of nvcc for sm_90a, and in the emulation. */
#if defined(PHYSLM_EMULATE) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PHYSLM_SM90
#endif

#ifdef PHYSLM_EMULATE
#include "emulate/gpu_sm90.h"
#else

namespace gpu {

/** A matrix in global memory, or several, and the box that one fetch brings: CUtensorMap, opaque. */
struct alignas(64) TensorMap {
  uint64_t words[16];
};

#ifdef PHYSLM_SM90
DEVICE uint32_t address(const void* shared) { return (uint32_t)__cvta_generic_to_shared(shared); }

DEVICE void barrier_init(uint64_t* barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(barrier)), "r"(count) : "memory");
}
/** Makes new barriers known to TMA; a sync of the block must follow. */
DEVICE void barrier_init_done() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEVICE void barrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(barrier)) : "memory");
}
/** Arrives, and lets the phase wait for `bytes` that TMA will bring. */
DEVICE void barrier_expect(uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address(barrier)), "r"(bytes) : "memory");
}
/** Waits until the phase of this parity is over; a fresh barrier counts as past parity 1. */
DEVICE void barrier_wait(uint64_t* barrier, int parity) {
  uint32_t done;
  do {
    asm volatile(
        "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
        : "=r"(done)
        : "r"(address(barrier)), "r"(parity)
        : "memory");
  } while (!done);
}

/** Fetches the box whose first element is (inner, outer); what lies outside the matrix becomes 0. */
DEVICE void tensor_load(void* to, const TensorMap& map, int inner, int outer, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
          address(to)),
      "l"(&map), "r"(address(barrier)), "r"(inner), "r"(outer)
      : "memory");
}

/** The same from one of several matrices. */
DEVICE void tensor_load(void* to, const TensorMap& map, int inner, int outer, int matrix, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(
          address(to)),
      "l"(&map), "r"(address(barrier)), "r"(inner), "r"(outer), "r"(matrix)
      : "memory");
}
/** Fetches `bytes`, a multiple of 16, from global memory; both addresses are multiples of 16. */
DEVICE void bulk_load(void* to, const void* from, int bytes, uint64_t* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(address(to)),
               "l"(from), "r"(bytes), "r"(address(barrier))
               : "memory");
}

/** Barrier `id` (from 1) of `count` threads; arrive does not wait. */
DEVICE void named_sync(int id, int count) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(count) : "memory"); }
DEVICE void named_arrive(int id, int count) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(count) : "memory"); }

template <int n>
DEVICE void registers_up() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
}
template <int n>
DEVICE void registers_down() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
}

/** Before the first product that touches registers which ordinary code wrote. */
DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/** Waits until at most n committed groups are under way. */
template <int n>
DEVICE void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory");
}

/** Results of a product that was waited for: keeps ordinary code that reads them behind the wait. */
template <int n>
DEVICE void wgmma_results(float (&d)[n]) {
#pragma unroll
  for (int i = 0; i < n; i++) asm volatile("" : "+f"(d[i])::"memory");
}

#define PHYSLM_NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define PHYSLM_NAMES_32 \
  PHYSLM_NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PHYSLM_NAMES_64                                                                                  \
  PHYSLM_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "   \
                  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define PHYSLM_NAMES_96                                                                                  \
  PHYSLM_NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "   \
                  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define PHYSLM_SHARE_8(i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define PHYSLM_SHARE_16 PHYSLM_SHARE_8(0), PHYSLM_SHARE_8(8)
#define PHYSLM_SHARE_32 PHYSLM_SHARE_16, PHYSLM_SHARE_8(16), PHYSLM_SHARE_8(24)
#define PHYSLM_SHARE_64 PHYSLM_SHARE_32, PHYSLM_SHARE_8(32), PHYSLM_SHARE_8(40), PHYSLM_SHARE_8(48), PHYSLM_SHARE_8(56)
#define PHYSLM_SHARE_96 PHYSLM_SHARE_64, PHYSLM_SHARE_8(64), PHYSLM_SHARE_8(72), PHYSLM_SHARE_8(80), PHYSLM_SHARE_8(88)

// d = a·b, or d += a·b: 64×N results of a warp group over k of 16, operands by descriptor; t: that operand lies MN-major.
// Arguments: N, results of a thread, and the numbers of the operands behind them.
#define PHYSLM_WGMMA_SHARED(N, count, A, B, accumulates, TA, TB)                                                          \
  template <int tA, int tB>                                                                                              \
  DEVICE void wgmma(float (&d)[count], uint64_t a, uint64_t b, int accumulate) {                                         \
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #accumulates ", 0; wgmma.mma_async.sync.aligned.m64n" #N             \
                 "k16.f32.bf16.bf16 {" PHYSLM_NAMES_##count "}, %" #A ", %" #B ", p, 1, 1, %" #TA ", %" #TB "; }"         \
                 : PHYSLM_SHARE_##count                                                                                  \
                 : "l"(a), "l"(b), "r"(accumulate), "n"(tA), "n"(tB));                                                   \
  }
PHYSLM_WGMMA_SHARED(64, 32, 32, 33, 34, 35, 36)
PHYSLM_WGMMA_SHARED(128, 64, 64, 65, 66, 67, 68)
PHYSLM_WGMMA_SHARED(192, 96, 96, 97, 98, 99, 100)

// The same with a from registers: a warp holds 16 rows as mma's A operand. They must not change before the product is waited for.
#define PHYSLM_WGMMA_REGISTERS(N, count, A0, A1, A2, A3, B, accumulates, TB)                                              \
  template <int tB>                                                                                                      \
  DEVICE void wgmma(float (&d)[count], const uint32_t (&a)[4], uint64_t b, int accumulate) {                             \
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #accumulates ", 0; wgmma.mma_async.sync.aligned.m64n" #N             \
                 "k16.f32.bf16.bf16 {" PHYSLM_NAMES_##count "}, {%" #A0 ", %" #A1 ", %" #A2 ", %" #A3 "}, %" #B           \
                 ", p, 1, 1, %" #TB "; }"                                                                                \
                 : PHYSLM_SHARE_##count                                                                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(tB));                        \
  }
PHYSLM_WGMMA_REGISTERS(32, 16, 16, 17, 18, 19, 20, 21, 22)
PHYSLM_WGMMA_REGISTERS(64, 32, 32, 33, 34, 35, 36, 37, 38)
PHYSLM_WGMMA_REGISTERS(128, 64, 64, 65, 66, 67, 68, 69, 70)
#endif  // sm_90a

}  // namespace gpu
#endif

namespace gpu {

/**
 * Where an operand of wgmma lies: bytes between groups of 8 rows (`stride`) and between neighbouring columns of boxes of an
 * MN-major tile (`leading`); rows of a box have 128 or 64 bytes and are swizzled by as much. The tile is aligned to 1024 bytes.
 */
template <int row_bytes = 128>
DEVICE uint64_t descriptor(uint32_t address, int leading, int stride) {
  static_assert(row_bytes == 128 || row_bytes == 64, "rows of a box");
  return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(leading >> 4) << 16 | (uint64_t)(stride >> 4) << 32 |
         (uint64_t)(row_bytes == 128 ? 1 : 2) << 62;
}

}  // namespace gpu
#endif
