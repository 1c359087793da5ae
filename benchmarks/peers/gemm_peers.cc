// Matrix products by a vendor library: compile with -DPEER_OPENBLAS -lopenblas or -DPEER_DNNL -ldnnl.
//
// Reads requests from standard input, one a line, and answers each with a line of JSON:
//   prepare [check] gemm FORM M N K -> {"seconds": one call, "error": worst difference in units of the result's size}
//   time N                          -> {"seconds": N calls}
// C[M,N] = op(A)·op(B), all row-major. FORM is NN (A[M,K], B[K,N]), NT (A[M,K], B[N,K]) or TN (A[K,M], B[K,N]). The number
// of threads comes from the library's own environment variables. `check` compares sampled elements with sums in double.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#if defined(PEER_OPENBLAS)
#include <cblas.h>
#else
#include <dnnl.h>
#include <dnnl_version.h>
#endif

namespace {

struct Product {
  bool transA = false, transB = false;
  int64_t m = 0, n = 0, k = 0;
  std::vector<float> a, b, c;

  void run() {
    const int64_t lda = transA ? m : k, ldb = transB ? k : n;
#if defined(PEER_OPENBLAS)
    cblas_sgemm(CblasRowMajor, transA ? CblasTrans : CblasNoTrans, transB ? CblasTrans : CblasNoTrans, m, n, k, 1.0f,
                a.data(), lda, b.data(), ldb, 0.0f, c.data(), n);
#else
    dnnl_sgemm(transA ? 'T' : 'N', transB ? 'T' : 'N', m, n, k, 1.0f, a.data(), lda, b.data(), ldb, 0.0f, c.data(), n);
#endif
  }

  double exact(int64_t i, int64_t j) const {
    double sum = 0;
    for (int64_t p = 0; p < k; p++) {
      sum += static_cast<double>(transA ? a[p * m + i] : a[i * k + p]) * (transB ? b[j * k + p] : b[p * n + j]);
    }
    return sum;
  }

  // Worst difference over sampled elements, relative to their root mean square.
  double error() const {
    double worst = 0, squares = 0;
    const int count = 256;
    for (int s = 0; s < count; s++) {
      const int64_t i = (m - 1) * s / (count - 1), j = (static_cast<int64_t>(s) * 7919) % n;
      const double want = exact(i, j);
      worst = std::max(worst, std::fabs(c[i * n + j] - want));
      squares += want * want;
    }
    return worst / std::sqrt(squares / count);
  }
};

// The same numbers as the other contenders: element i of input `stream`, uniform with variance 1.
float value(uint32_t stream, uint32_t i) {
  uint32_t x = i * 0x9e3779b1u + stream * 0x85ebca77u;
  x = (x ^ (x >> 15)) * 0x2c1b3c6du;
  x = (x ^ (x >> 12)) * 0x297a2d39u;
  x ^= x >> 15;
  return static_cast<float>((x / 4294967296.0 - 0.5) * 3.4641016151377544);
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double timed(Product& product, long n) {
  const double start = now();
  for (long i = 0; i < n; i++) product.run();
  return now() - start;
}

}  // namespace

int main() {
#if defined(PEER_OPENBLAS)
  printf("{\"version\": \"%s, %s kernels\"}\n", openblas_get_config(), openblas_get_corename());
#else
  const dnnl_version_t* v = dnnl_version();
  printf("{\"version\": \"oneDNN %d.%d.%d\"}\n", v->major, v->minor, v->patch);
#endif
  fflush(stdout);
  Product product;
  char line[256];
  while (fgets(line, sizeof line, stdin)) {
    char form[8];
    long m, n, k, count;
    const bool check = strncmp(line, "prepare check ", 14) == 0;
    const char* rest = check ? line + 14 : line + 8;
    if (strncmp(line, "prepare ", 8) == 0 && sscanf(rest, "gemm %7s %ld %ld %ld", form, &m, &n, &k) == 4) {
      product = Product();
      product.transA = form[0] == 'T';
      product.transB = form[1] == 'T';
      product.m = m, product.n = n, product.k = k;
      product.a.resize(m * k), product.b.resize(k * n), product.c.resize(m * n);
      for (long i = 0; i < m * k; i++) product.a[i] = value(1, i);
      for (long i = 0; i < k * n; i++) product.b[i] = value(2, i);
      product.run();
      const double error = check ? product.error() : 0;
      timed(product, 1);
      printf("{\"seconds\": %.9f, \"error\": %.3e}\n", timed(product, 1), error);
    } else if (sscanf(line, "time %ld", &count) == 1) {
      printf("{\"seconds\": %.9f}\n", timed(product, count));
    } else {
      printf("{\"problem\": \"expected: prepare [check] gemm FORM M N K, or time N\"}\n");
    }
    fflush(stdout);
  }
}
