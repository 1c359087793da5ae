#include "dispatch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <atomic>

#include "runtime.h"
#include "signature.h"

namespace {

constexpr physlm_signature kSignatures[] = {
#define KERNEL(name, axes, n_attrs, in_place) {#name "_cpu", axes, n_attrs, in_place},
#include "kernels.def"
#undef KERNEL
};
constexpr int32_t kKernels = sizeof(kSignatures) / sizeof(kSignatures[0]);

struct Isa {
  const char* name;
  const physlm_kernel* (*kernels)(void);
  bool (*here)();
};

bool always() { return true; }
#ifdef PHYSLM_X86
bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
bool has_avx512() {
  __builtin_cpu_init();
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

// Best first.
const Isa kIsas[] = {
#ifdef PHYSLM_X86
    {"avx512", physlm_kernels_avx512, has_avx512},
    {"avx2", physlm_kernels_avx2, has_avx2},
#endif
    {"generic", physlm_kernels_generic, always},
};
constexpr int kIsaCount = sizeof(kIsas) / sizeof(kIsas[0]);

physlm_kernel_entry g_manifests[kIsaCount][kKernels];
std::atomic<int> g_active{-1};
thread_local char g_error[512];

int find(const char* name) {
  for (int i = 0; i < kIsaCount; i++)
    if ((!name || !strcmp(name, kIsas[i].name)) && kIsas[i].here()) return i;
  return -1;
}

bool fill_manifests() {
  for (int i = 0; i < kIsaCount; i++) {
    const physlm_kernel* kernels = kIsas[i].kernels();
    for (int32_t k = 0; k < kKernels; k++) {
      g_manifests[i][k] = physlm_entry_of(kSignatures[k], kernels[k]);
    }
  }
  return true;
}

int active() {
  static const bool filled = fill_manifests();
  (void)filled;
  int i = g_active.load(std::memory_order_relaxed);
  if (i < 0) {
    const char* want = getenv("PHYSLM_CPU_ISA");
    i = want && *want ? find(want) : -1;
    if (i < 0) i = find(nullptr);
    g_active.store(i, std::memory_order_relaxed);
  }
  return i;
}

}  // namespace

const char* physlm_isa(void) { return kIsas[active()].name; }

const char* physlm_isa_at(int i) {
  for (int k = 0; k < kIsaCount; k++)
    if (kIsas[k].here() && i-- == 0) return kIsas[k].name;
  return nullptr;
}

int physlm_set_isa(const char* name) {
  const int i = find(name);
  if (i < 0) return 0;
  active();
  g_active.store(i, std::memory_order_relaxed);
  return 1;
}

int32_t physlm_check(int32_t kernel, int32_t n_sets, const physlm_tensor* in, const physlm_tensor* out) {
  return physlm_check_signature(kSignatures[kernel], n_sets, in, out);
}

const physlm_kernel_entry* physlm_manifest(int32_t* n) {
  *n = kKernels;
  return g_manifests[active()];
}

const char* physlm_last_error(void) { return g_error; }

int32_t physlm_fail(int32_t status, const char* format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(g_error, sizeof g_error, format, args);
  va_end(args);
  return status;
}

namespace {

int32_t run_calls(const physlm_call* calls, int32_t n_calls, physlm_replay**, int32_t* failed) {
  int32_t n;
  const physlm_kernel_entry* entries = physlm_manifest(&n);
  for (int32_t i = 0; i < n_calls; i++) {
    const physlm_call& call = calls[i];
    const physlm_kernel_entry& entry = entries[call.kernel];
    const int32_t n_in = call.n_sets * entry.n_in, n_out = call.n_sets * entry.n_out;
    const int32_t status = entry.run(call.tensors, n_in, call.tensors + n_in, n_out, call.attrs, entry.n_attrs, nullptr);
    if (status) {
      *failed = i;
      return status;
    }
  }
  return PHYSLM_OK;
}

double now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

int32_t profile_calls(const physlm_call* calls, int32_t n_calls, double* ns, int32_t* failed) {
  for (int32_t i = 0; i < n_calls; i++) {
    const double start = now_ns();
    if (const int32_t status = run_calls(calls + i, 1, nullptr, failed)) {
      *failed = i;
      return status;
    }
    ns[i] = now_ns() - start;
  }
  return PHYSLM_OK;
}

const char* always_available() { return nullptr; }

}  // namespace

const physlm_library* physlm_cpu_library(void) {
  static const physlm_library library = {PHYSLM_ABI_VERSION, "cpu",         always_available, physlm_isa,
                                         physlm_manifest,    physlm_last_error, physlm_check, run_calls,
                                         profile_calls,      nullptr,       nullptr,          nullptr,
                                         nullptr};
  return &library;
}
