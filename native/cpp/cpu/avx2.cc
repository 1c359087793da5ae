#include "kernels.inl"

const physlm_kernel* physlm_kernels_avx2(void) { return kKernels; }
