// Functions that kernels call and host code can check while it compiles (emulate/index-maps.cc).
#ifndef PHYSLM_CUDA_EITHER_H
#define PHYSLM_CUDA_EITHER_H

#ifdef PHYSLM_EMULATE
#define EITHER constexpr inline
#else
#define EITHER __host__ __device__ __forceinline__ constexpr
#endif

#endif
