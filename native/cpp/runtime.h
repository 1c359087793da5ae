// What every kernel may ask of the library: threads, scratch memory, rotary tables, a place to say what went wrong.
// Plain C declarations only: the kernel files are compiled for newer CPUs than the rest, so nothing inline from the C++
// library may enter through here.
#ifndef PHYSLM_RUNTIME_H
#define PHYSLM_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "abi.h"

#define PHYSLM_MAX_THREADS 64

// --- threads -------------------------------------------------------------------------------------------------------
typedef void (*physlm_part)(void* context, int part, int n_parts);

// Threads a job may use, the caller included.
int physlm_threads(void);
void physlm_set_threads(int n);
// Runs parts 0..n_parts-1 (at most 65535) of `run` on the threads, the caller among them; returns when all are done.
void physlm_parallel(int n_parts, physlm_part run, void* context);
// As physlm_parallel on at most `lanes` threads, for parts that run whole kernels: jobs inside a part run on its thread alone,
// and scratch memory and rotary tables are that thread's own.
void physlm_parallel_lanes(int n_parts, int lanes, physlm_part run, void* context);
// Whether this thread is inside such a part.
int physlm_in_lane(void);
// Which of the threads this is, inside a part: 0..physlm_threads()-1.
int physlm_slot_index(void);

// --- scratch memory: grows, is reused, 64-byte aligned; contents do not outlive one kernel ------------------------------
enum physlm_slot { PHYSLM_SLOT_PACK, PHYSLM_SLOT_PARTIAL, PHYSLM_SLOT_VALUES, PHYSLM_SLOT_ROWS, PHYSLM_SLOTS };

// One block for the whole kernel, asked for by the calling thread outside of jobs; NULL when memory is out.
float* physlm_scratch(enum physlm_slot slot, size_t floats);
// Makes sure that every thread has a block of this size; call before the job. Non-zero when memory is out.
int physlm_reserve_local(size_t floats);
// This thread's block, for use inside a part.
float* physlm_local(void);

// --- rotary angles -----------------------------------------------------------------------------------------------------
// cos and sin of position * base^(-2i/d), [t][d/2] each, from doubles; the last few tables are kept. NULL: out of memory.
typedef struct {
  const float* cos;
  const float* sin;
} physlm_rotary;
int physlm_rotary_table(const int32_t* positions, int64_t t, int64_t d, double base, physlm_rotary* out);

// --- errors --------------------------------------------------------------------------------------------------------------
// Records the sentence for physlm_last_error() and returns `status`.
int32_t physlm_fail(int32_t status, const char* format, ...) __attribute__((format(printf, 2, 3)));

// --- kernels of one instruction set, in the order of kernels.def -----------------------------------------------------------
const physlm_kernel* physlm_kernels_generic(void);
#ifdef PHYSLM_X86
const physlm_kernel* physlm_kernels_avx2(void);
const physlm_kernel* physlm_kernels_avx512(void);
#endif

#endif
