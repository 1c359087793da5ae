// What this machine can do right now: a loop of fused multiply-adds in registers, and a copy of a given size.
//
// Reads requests from standard input, one a line, and answers each with a line of JSON:
//   fma ISA THREADS     -> {"gflops": G}   all threads together; ISA is avx512, avx2 or generic
//   copy THREADS BYTES  -> {"gbs": G}      bytes read plus bytes written, by the faster of a vector loop and memcpy
// All threads run at the same time and each counts its own processor time, so that a neighbour on the machine slows the
// figure only by what it takes from the core itself.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <time.h>
#include <vector>

namespace {

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

// Operations that one round of a loop does, and the loop: twelve accumulators cover latency 4 × 2 units with room.
typedef float v4 __attribute__((vector_size(16)));

#define TWELVE(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11)

double generic_round(long rounds) {
  v4 acc[12];
  v4 x = {0.999999f, 0.999999f, 0.999999f, 0.999999f}, y = {1e-7f, 1e-7f, 1e-7f, 1e-7f};
  for (int i = 0; i < 12; i++) acc[i] = y;
  v4 a0 = y, a1 = y, a2 = y, a3 = y, a4 = y, a5 = y, a6 = y, a7 = y, a8 = y, a9 = y, a10 = y, a11 = y;
  for (long k = 0; k < rounds; k++) {
#define STEP(i) a##i = a##i * x + y;
    TWELVE(STEP)
#undef STEP
    asm volatile("" ::: "memory");
  }
  v4 sum = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11 + acc[0];
  volatile float keep = sum[0];
  (void)keep;
  return rounds * 12.0 * 4 * 2;
}

#if defined(__x86_64__)
typedef float v8 __attribute__((vector_size(32)));
typedef float v16 __attribute__((vector_size(64)));

#define LINE(i) "vfmadd213ps %13,%12,%" #i "\n"
#define OUT(i) "+v"(a##i),
#define FMA_ROUND(NAME, TYPE, LANES, TARGET)                                                                        \
  __attribute__((target(TARGET))) double NAME(long rounds) {                                                        \
    TYPE x, y;                                                                                                      \
    for (int i = 0; i < LANES; i++) x[i] = 0.999999f, y[i] = 1e-7f;                                                 \
    TYPE a0 = y, a1 = y, a2 = y, a3 = y, a4 = y, a5 = y, a6 = y, a7 = y, a8 = y, a9 = y, a10 = y, a11 = y;          \
    for (long k = 0; k < rounds; k++)                                                                               \
      asm volatile(TWELVE(LINE)                                                                                     \
                   : "+v"(a0), "+v"(a1), "+v"(a2), "+v"(a3), "+v"(a4), "+v"(a5), "+v"(a6), "+v"(a7), "+v"(a8),      \
                     "+v"(a9), "+v"(a10), "+v"(a11)                                                                 \
                   : "v"(x), "v"(y));                                                                               \
    return rounds * 12.0 * LANES * 2;                                                                               \
  }
FMA_ROUND(avx2_round, v8, 8, "avx2,fma")
FMA_ROUND(avx512_round, v16, 16, "avx512f")
#endif

// Operations per second of one thread, best of a few short blocks: a block that an interrupt hit does not count.
double fma_rate(const std::string& isa) {
  double (*round)(long) = generic_round;
#if defined(__x86_64__)
  if (isa == "avx2") round = avx2_round;
  if (isa == "avx512") round = avx512_round;
#endif
  round(2000);
  double best = 0;
  for (int block = 0; block < 4; block++) {
    const double start = cpu_seconds();
    const double work = round(20000);
    best = std::max(best, work / (cpu_seconds() - start));
  }
  return best;
}

double copy_rate(size_t bytes) {
  const size_t n = std::max<size_t>(bytes / 8, 16);  // floats of the source; as many again of the target
  float* from = static_cast<float*>(aligned_alloc(4096, (n * 4 + 4095) / 4096 * 4096));
  float* to = static_cast<float*>(aligned_alloc(4096, (n * 4 + 4095) / 4096 * 4096));
  for (size_t i = 0; i < n; i++) from[i] = to[i] = static_cast<float>(i);
  const long repeat = std::max<long>(1, static_cast<long>(4e6 / (8.0 * n)));
  double best = 0;
  for (int block = 0; block < 6; block++) {
    const double start = cpu_seconds();
    for (long r = 0; r < repeat; r++) {
      if (block % 2) {
        memcpy(to, from, n * 4);
      } else {
        for (size_t i = 0; i < n; i++) to[i] = from[i];
      }
      asm volatile("" ::"r"(to), "r"(from) : "memory");
    }
    best = std::max(best, 8.0 * n * repeat / (cpu_seconds() - start));
  }
  free(from);
  free(to);
  return best;
}

// Runs `work` on `threads` threads that start together; the sum of their rates.
double together(int threads, const std::function<double()>& work) {
  if (threads <= 1) return work();
  std::atomic<int> waiting{threads};
  std::vector<double> rates(threads);
  std::vector<std::thread> pool;
  for (int i = 0; i < threads; i++) {
    pool.emplace_back([&, i] {
      waiting--;
      while (waiting > 0) std::this_thread::yield();
      rates[i] = work();
    });
  }
  double sum = 0;
  for (int i = 0; i < threads; i++) {
    pool[i].join();
    sum += rates[i];
  }
  return sum;
}

}  // namespace

int main() {
  char line[256];
  while (fgets(line, sizeof line, stdin)) {
    char isa[32];
    int threads;
    size_t bytes;
    if (sscanf(line, "fma %31s %d", isa, &threads) == 2) {
      printf("{\"gflops\": %.3f}\n", together(threads, [&] { return fma_rate(isa); }) / 1e9);
    } else if (sscanf(line, "copy %d %zu", &threads, &bytes) == 2) {
      printf("{\"gbs\": %.3f}\n", together(threads, [&] { return copy_rate(bytes / threads); }) / 1e9);
    } else {
      printf("{\"problem\": \"expected: fma ISA THREADS, or copy THREADS BYTES\"}\n");
    }
    fflush(stdout);
  }
}
