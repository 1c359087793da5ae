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

#define PHYSLM_ABI_VERSION 1
#define PHYSLM_MAX_RANK 6

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
  physlm_kernel run;
} physlm_kernel_entry;

// The kernels this library holds; `n` receives their number. The table lives as long as the library.
const physlm_kernel_entry* physlm_manifest(int32_t* n);
// The reason of the last non-zero status on this thread.
const char* physlm_last_error(void);
// NULL when the device can be used, or one sentence that says why not.
const char* physlm_unavailable(void);

#ifdef __cplusplus
}
#endif
#endif
