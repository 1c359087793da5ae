#include "kernels.inl"

const physlm_kernel* physlm_kernels_avx512(void) { return kKernels; }
