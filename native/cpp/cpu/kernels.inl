// The kernels of one instruction set: this file is included by one source file for each, inside nothing, with that set's
// flags. Everything but the table has internal linkage, so no function compiled for a newer CPU can be chosen by the
// linker for an older one; for the same reason no C++ standard header may be included here.
#include <stddef.h>
#include <stdint.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "../runtime.h"

namespace {
#include "vec.inl"
// Order matters: products first, then what is built on them.
#include "gemm.inl"
#include "linear.inl"
#include "pointwise.inl"
#include "norm.inl"
#include "attention-tiles.inl"
#include "attention.inl"
#include "attention-documents.inl"
#include "attention-step.inl"
#include "relative.inl"
#include "position.inl"
#include "loss.inl"
#include "optimizer.inl"
#include "probe.inl"
#include "experts.inl"

const physlm_kernel kKernels[] = {
#define KERNEL(name, axes, n_attrs, in_place) name,
#include "../kernels.def"
#undef KERNEL
};
}  // namespace
