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
// Checks dtypes, shapes, nulls and overlaps against the kernel's signature. PHYSLM_OK or PHYSLM_BAD_ARGUMENT.
int32_t physlm_check(int32_t kernel, const physlm_tensor* in, const physlm_tensor* out);

#endif
