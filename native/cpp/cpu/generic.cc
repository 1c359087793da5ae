#include "kernels.inl"

const physlm_kernel* physlm_kernels_generic(void) { return kKernels; }
