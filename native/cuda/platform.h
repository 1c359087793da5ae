// Memory, streams and graphs of the one device that this process uses: platform.cu asks the CUDA runtime, emulate/platform.cc
// plays one on the host. Everything returns a physlm_status and leaves its reason for physlm_last_error().
#ifndef PHYSLM_CUDA_PLATFORM_H
#define PHYSLM_CUDA_PLATFORM_H

#include "../cpp/abi.h"
#include "gpu_sm90.h"

/** NULL when there is a device that these kernels run on, or one sentence that says why not. Asks once. */
const char* platform_unavailable(void);
/** The device's name, and what else belongs into an environment file. */
const char* platform_description(void);

/** Whether the kernels for Hopper (sm_90a) run here. */
bool platform_hopper(void);
/**
 * Whether Hopper's own kernels of one family are to be used: `gemm`, `attention_forward`, `attention_backward`, `epilogue`.
 * PHYSLM_CUDA_WITHOUT lists families whose work the kernels for sm_80 then do.
 */
bool hopper_for(const char* family);
int platform_multiprocessors(void);
/** Most shared memory that one block may have. */
int platform_shared_bytes(void);
/**
 * Describes a bf16 matrix [outer][inner] with rows `stride` elements apart, of which boxes [box_outer][64] are fetched. The
 * address and the rows must be aligned to 16 bytes.
 */
int32_t platform_tensor_map(gpu::TensorMap* map, const void* data, int64_t inner, int64_t outer, int64_t stride, int box_outer);

/** The same for [matrices][outer][inner] without gaps, and boxes [box_outer][box_inner]; box_inner is 64 or 32. */
int32_t platform_tensor_maps(gpu::TensorMap* map, const void* data, int64_t inner, int64_t outer, int64_t matrices, int box_inner,
                             int box_outer);

/** Zeroed memory that host and device both reach, near the host or near the device; NULL when memory is out. */
void* platform_allocate(size_t bytes, bool host);
/** Waits for the device first. */
void platform_release(void* memory);
/** Memory of the device alone; NULL when memory is out. */
void* platform_allocate_scratch(size_t bytes);

cudaStream_t platform_stream(void);
/** What the launches since the last call met, if it can be known without waiting. */
int32_t platform_launch_status(void);
int32_t platform_synchronize(void);
/** Starts what was launched, before another library puts work on the stream. */
int32_t platform_flush(void);
/** Waits for the stream; false when it is not done within so many seconds. */
bool platform_wait(double seconds);
/** Whether processes reach each other's device memory through NCCL. */
bool platform_needs_nccl(void);

/** Names the work that is enqueued from here on, for messages. */
void platform_name_work(const char* name);

/** Between begin and end, launches are collected instead of run. */
int32_t platform_begin_capture(void);
/** NULL: the reason is in physlm_last_error(). */
void* platform_end_capture(void);
int32_t platform_replay(void* graph);
void platform_drop(void* graph);

/** Nanoseconds of device time that `work` takes; for profiles. */
int32_t platform_time(int32_t (*work)(void*), void* context, double* ns);

/** Records the sentence for physlm_last_error() and returns `status`. */
int32_t physlm_fail(int32_t status, const char* format, ...) __attribute__((format(printf, 2, 3)));

#endif
