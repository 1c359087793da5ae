#include "dispatch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <atomic>

#include "runtime.h"

namespace {

struct Signature {
  const char* name;
  const char* axes;
  int32_t n_attrs;
  int in_place;
};

constexpr Signature kSignatures[] = {
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

int count_tensors(const char* s, const char* end) {
  int n = 0;
  for (; s < end && *s; s++) n += (*s == 'f' || *s == 'i');
  return n;
}

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
      const char* axes = kSignatures[k].axes;
      const char* arrow = strchr(axes, '>');
      g_manifests[i][k] = {kSignatures[k].name, count_tensors(axes, arrow), count_tensors(arrow, axes + strlen(axes)),
                           kSignatures[k].n_attrs, kernels[k]};
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

int64_t element_bytes(const physlm_tensor& t) { return t.dtype == PHYSLM_F64 ? 8 : t.dtype == PHYSLM_BF16 ? 2 : 4; }

int64_t bytes(const physlm_tensor& t) {
  int64_t n = element_bytes(t);
  for (int32_t i = 0; i < t.rank; i++) n *= t.shape[i];
  return n;
}

const char* dtype_name(int32_t dtype) {
  static const char* const names[] = {"f32", "f64", "i32", "bf16"};
  return dtype >= 0 && dtype < 4 ? names[dtype] : "unknown";
}

// Sizes bound so far, one for each capital letter.
struct Binding {
  int64_t size[26];
};

// Checks one tensor against its token; `s` stands behind the dtype letter.
int32_t bind(Binding& binding, const char* role, int index, const char* axes, int n_axes, const physlm_tensor& t) {
  const bool scalar = t.rank == 0 && n_axes == 1;
  if (t.rank < n_axes && !scalar)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[%s %d] expected axes %.*s, got rank %d", role, index, n_axes, axes, t.rank);
  const int32_t folded = scalar ? 0 : t.rank - n_axes + 1;
  for (int a = 0; a < n_axes; a++) {
    int64_t size = 1;
    if (a == 0)
      for (int32_t i = 0; i < folded; i++) size *= t.shape[i];
    else
      size = t.shape[folded + a - 1];
    const char letter = axes[a];
    const int64_t want = letter >= 'A' ? binding.size[letter - 'A'] : letter - '0';
    if (want < 0)
      binding.size[letter - 'A'] = size;
    else if (want != size)
      return physlm_fail(PHYSLM_BAD_ARGUMENT, "[%s %d] expected %c=%lld, got %lld", role, index, letter, (long long)want,
                         (long long)size);
  }
  return PHYSLM_OK;
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

int32_t physlm_check(int32_t kernel, const physlm_tensor* in, const physlm_tensor* out) {
  const Signature& signature = kSignatures[kernel];
  Binding binding;
  for (int64_t& size : binding.size) size = -1;
  const char* role = "input";
  const physlm_tensor* tensors = in;
  int index = 0, n_in = 0;
  for (const char* s = signature.axes; *s;) {
    if (*s == ' ') {
      s++;
      continue;
    }
    if (*s == '>') {
      n_in = index;
      role = "output";
      tensors = out;
      index = 0;
      s++;
      continue;
    }
    const bool nullable = *s == '?';
    if (nullable) s++;
    const int32_t dtype = *s++ == 'i' ? PHYSLM_I32 : PHYSLM_F32;
    const int n_axes = (int)strcspn(s, " ");
    const physlm_tensor& t = tensors[index];
    if (t.data == nullptr && !nullable)
      return physlm_fail(PHYSLM_BAD_ARGUMENT, "[%s %d] expected memory, got null", role, index);
    if (t.data != nullptr) {
      if (t.dtype != dtype)
        return physlm_fail(PHYSLM_BAD_ARGUMENT, "[%s %d] expected dtype %s, got %s", role, index, dtype_name(dtype),
                           dtype_name(t.dtype));
      const int32_t status = bind(binding, role, index, s, n_axes, t);
      if (status) return status;
    }
    index++;
    s += n_axes;
  }
  const int n_out = index;
  for (int o = 0; o < n_out; o++) {
    if (!out[o].data) continue;
    const char* begin = (const char*)out[o].data;
    const char* end = begin + bytes(out[o]);
    for (int i = 0; i < n_in + o; i++) {
      const physlm_tensor& other = i < n_in ? in[i] : out[i - n_in];
      if (!other.data) continue;
      const char* from = (const char*)other.data;
      const char* to = from + bytes(other);
      if (begin >= to || from >= end) continue;
      if (i < n_in && signature.in_place && begin == from && end == to) continue;
      return physlm_fail(PHYSLM_BAD_ARGUMENT, "[output %d] expected memory of its own, got an overlap with %s %d", o,
                         i < n_in ? "input" : "output", i < n_in ? i : i - n_in);
    }
  }
  return PHYSLM_OK;
}

extern "C" const physlm_kernel_entry* physlm_manifest(int32_t* n) {
  *n = kKernels;
  return g_manifests[active()];
}

extern "C" const char* physlm_last_error(void) { return g_error; }

extern "C" const char* physlm_unavailable(void) { return nullptr; }

int32_t physlm_fail(int32_t status, const char* format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(g_error, sizeof g_error, format, args);
  va_end(args);
  return status;
}
