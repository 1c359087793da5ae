// Into how many chains the sum over k of a product is cut, by shape alone: a plain function that host code can check
// (emulate/index-maps.cc).
#ifndef PHYSLM_CUDA_CHAINS_H
#define PHYSLM_CUDA_CHAINS_H

/**
 * Chains for `tiles` tiles of an M×N result over K: those that take least time in a model of an H100, where 132 tiles of
 * 24,576 elements go 64 deep in 0.52 µs and partial sums are written and read at 3 TB/s. Each chain has 512 terms or more.
 */
constexpr inline long long chains_of(long long M, long long N, long long K, long long tiles) {
  const long long steps = (K + 63) / 64;
  const double area = (double)M * (double)N / (double)(tiles > 0 ? tiles : 1), step = 0.52 / 24576 * (area < 24576 ? area : 24576);
  long long best = 1;
  double least = -1;
  for (long long n = 1; n <= 64 && (n == 1 || n * 512 <= K); n++) {
    const double waves = (double)((tiles * n + 131) / 132), deep = (double)((steps + n - 1) / n);
    const double time = waves * deep * step + (n > 1 ? 3 + (double)n * (double)M * (double)N * 8 / 3e6 : 0);
    if (least < 0 || time < least) best = n, least = time;
  }
  return best;
}

#endif
