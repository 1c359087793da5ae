// What a kernel expects of its tensors, written as in kernels.def, and the check of a call against it.
#ifndef PHYSLM_SIGNATURE_H
#define PHYSLM_SIGNATURE_H

#include "abi.h"

typedef struct {
  const char* name;
  const char* axes;  // see kernels.def
  int32_t n_attrs;
  int in_place;
} physlm_signature;

physlm_kernel_entry physlm_entry_of(const physlm_signature& signature, physlm_kernel run);
// Checks dtypes, shapes, nulls and overlaps of all sets. PHYSLM_OK or PHYSLM_BAD_ARGUMENT.
int32_t physlm_check_signature(const physlm_signature& signature, int32_t n_sets, const physlm_tensor* in,
                               const physlm_tensor* out);
// Records the sentence for last_error and returns `status`; each library has its own.
int32_t physlm_fail(int32_t status, const char* format, ...) __attribute__((format(printf, 2, 3)));

#endif
