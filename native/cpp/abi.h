// The C ABI between the TypeScript engine and every kernel library (CPU now, CUDA in a library of its own).
//
// A kernel gets contiguous, row-major tensors. Inputs are never written, unless the caller gave the same memory as an
// output of the same position in an op that is declared in place. A null `data` in an output means "not wanted".
// A forward kernel is named <op>_forward_<device>; a backward kernel <op>_backward_<device>. The backward kernel's inputs
// are what the op saves, in the declared order, then the gradients of the differentiable outputs; its outputs are the
// gradients of the float inputs in declared order, written with `=`, never `+=`.
// Every kernel is bitwise deterministic: same inputs, same bits, for any number of threads.
#ifndef PHYSLM_ABI_H
#define PHYSLM_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PHYSLM_ABI_VERSION 4
#define PHYSLM_MAX_RANK 6
#define PHYSLM_GROUP_ID_BYTES 128

enum physlm_dtype { PHYSLM_F32 = 0, PHYSLM_F64 = 1, PHYSLM_I32 = 2, PHYSLM_BF16 = 3 };
enum physlm_status { PHYSLM_OK = 0, PHYSLM_BAD_ARGUMENT = 1, PHYSLM_OUT_OF_MEMORY = 2, PHYSLM_DEVICE_LOST = 3 };

typedef struct {
  void* data;
  int32_t dtype;
  int32_t rank;
  int64_t shape[PHYSLM_MAX_RANK];
} physlm_tensor;

typedef struct physlm_stream physlm_stream;

typedef int32_t (*physlm_kernel)(const physlm_tensor* in, int32_t n_in, physlm_tensor* out, int32_t n_out,
                                 const double* attrs, int32_t n_attrs, physlm_stream* stream);

typedef struct {
  const char* name;
  int32_t n_in;
  int32_t n_out;
  int32_t n_attrs;
  uint32_t bf16;    // bit i: tensor i, inputs before outputs, may be bf16 instead of f32
  int32_t repeats;  // 1: a call may do the same for several sets of n_in inputs and n_out outputs; all inputs come first
  physlm_kernel run;
} physlm_kernel_entry;


// --- what a library offers to the addon; the CPU's is linked, a GPU's is loaded when it is asked for ---------------------
// One kernel call of a plan: inputs before outputs. Both arrays stay where they are as long as the plan lives.
typedef struct {
  int32_t kernel;
  int32_t n_sets;  // 1 unless the kernel repeats
  physlm_tensor* tensors;
  const double* attrs;
} physlm_call;

// What a library keeps between runs of one plan, such as a captured graph.
typedef struct physlm_replay physlm_replay;

// Calls come one at a time. Functions that return int32_t give a physlm_status.
typedef struct {
  int32_t abi_version;  // stays the first field in every version
  const char* device;   // ending of the kernels' names
  // NULL when the device can be used, or one sentence that says why not.
  const char* (*unavailable)(void);
  // The device's name and version; asked for only when it is available.
  const char* (*description)(void);
  const physlm_kernel_entry* (*manifest)(int32_t* n);
  const char* (*last_error)(void);
  // Dtypes, shapes, nulls and overlaps against the kernel's signature, for `n_sets` sets of its tensors.
  int32_t (*check)(int32_t kernel, int32_t n_sets, const physlm_tensor* in, const physlm_tensor* out);
  // Runs the calls in order; `failed` receives the index of the one that failed, or -1 when none can be named. `replay`
  // belongs to the plan and starts as NULL; a NULL pointer means that the calls will not come again. A library with
  // `synchronize` may return before the work is done.
  int32_t (*run)(const physlm_call* calls, int32_t n_calls, physlm_replay** replay, int32_t* failed);
  // Runs the calls and writes nanoseconds for each.
  int32_t (*profile)(const physlm_call* calls, int32_t n_calls, double* ns, int32_t* failed);
  void (*drop_replay)(physlm_replay* replay);
  // Memory that both the host and the device reach, zeroed, near the device unless `host`; NULL in a library that works on
  // any memory of the host.
  void* (*allocate)(uint64_t bytes, int32_t host);
  void (*release)(void* memory);
  // Waits until the host may read results; reports what went wrong since the last call. NULL where run() waits.
  int32_t (*synchronize)(void);
  // Several processes with a device each; NULL in a library that knows no others. One process makes the group's id, all join
  // with it, and then add vectors of equal length in the order of their ranks: the same bits in every process.
  const char* (*group_unavailable)(void);  // NULL, or one sentence that says why not
  int32_t (*group_id)(uint8_t* id);        // PHYSLM_GROUP_ID_BYTES
  int32_t (*group_join)(const uint8_t* id, int32_t rank, int32_t size);
  int32_t (*group_sum)(float* data, uint64_t n);  // waits; the device's memory
} physlm_library;

// The one symbol that a loaded library exports.
const physlm_library* physlm_cuda_library(void);

#ifdef __cplusplus
}
#endif
#endif
