// Sums over processes with one GPU each: what library.cu offers as group_… of the ABI. See ranks.cu.
#ifndef PHYSLM_CUDA_RANKS_H
#define PHYSLM_CUDA_RANKS_H

#include <type_traits>

#include "kernel.h"

const char* group_unavailable(void);
int32_t group_id(uint8_t* id);
int32_t group_join(const uint8_t* id, int32_t rank, int32_t size);
int32_t group_sum(float* data, uint64_t n);

#endif
