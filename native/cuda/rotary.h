// What kernels with rotary positions share. See rotary.cu.
#ifndef PHYSLM_CUDA_ROTARY_H
#define PHYSLM_CUDA_ROTARY_H

#include "kernel.h"

/** Cosines and sines [T][half][2] of position·base^(−i/half), in scratch memory of their own. NULL: out of memory. */
float* rotary_turns(const int32_t* positions, int64_t T, int64_t half, double base);

#endif
