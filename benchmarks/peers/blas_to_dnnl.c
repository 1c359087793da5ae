/* Sends every sgemm_ of a program to oneDNN, when loaded before its BLAS (LD_PRELOAD): the fastest products that a
   PyTorch built against a system BLAS can get without being built again. Column-major C = alpha·op(A)·op(B) + beta·C is
   row-major Cᵀ = alpha·op(B)ᵀ·op(A)ᵀ + beta·Cᵀ. */
#include <dnnl.h>

static char letter(const char *trans) { return *trans == 'n' || *trans == 'N' ? 'N' : 'T'; }

void sgemm_(const char *transa, const char *transb, const int *m, const int *n, const int *k, const float *alpha,
            const float *a, const int *lda, const float *b, const int *ldb, const float *beta, float *c,
            const int *ldc) {
  if (*m <= 0 || *n <= 0) return;
  dnnl_sgemm(letter(transb), letter(transa), *n, *m, *k, *alpha, b, *ldb, a, *lda, *beta, c, *ldc);
}
