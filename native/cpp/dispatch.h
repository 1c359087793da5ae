// Which instruction set runs, and what each kernel expects.
#ifndef PHYSLM_DISPATCH_H
#define PHYSLM_DISPATCH_H

#include "abi.h"

// Name of the instruction set in use: the best this CPU has, unless PHYSLM_CPU_ISA or physlm_set_isa() said otherwise.
const char* physlm_isa(void);
// The i-th instruction set this CPU can run, or NULL past the last.
const char* physlm_isa_at(int i);
// 0 when this CPU cannot run it; nothing changes then.
int physlm_set_isa(const char* name);
// The CPU kernels as a library.
const physlm_library* physlm_cpu_library(void);
// The kernels, in manifest order; the table changes with the instruction set.
const physlm_kernel_entry* physlm_manifest(int32_t* n);
int32_t physlm_check(int32_t kernel, int32_t n_sets, const physlm_tensor* in, const physlm_tensor* out);
// The reason of the last non-zero status on this thread.
const char* physlm_last_error(void);

#endif
