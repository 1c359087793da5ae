// The C ABI: the table of kernels, runs of command lists, what a plan keeps, scratch memory, errors.
//
// A plan's first run launches its kernels one by one, which grows the scratch memory; its second is captured as a graph; later
// runs replay that. A graph holds addresses of scratch memory, so it is captured again when that has grown since.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cpp/signature.h"
#include "kernel.h"
#include "ranks.h"

#define KERNEL(name, axes, n_attrs, in_place)                                                                         \
  int32_t name##_cuda(const physlm_tensor*, int32_t, physlm_tensor*, int32_t, const double*, int32_t, physlm_stream*);
#include "kernels.def"
#undef KERNEL

struct physlm_replay {
  void* graph;
  uint64_t scratch_generation;
};

namespace {

constexpr physlm_signature kSignatures[] = {
#define KERNEL(name, axes, n_attrs, in_place) {#name "_cuda", axes, n_attrs, in_place},
#include "kernels.def"
#undef KERNEL
};
constexpr physlm_kernel kRuns[] = {
#define KERNEL(name, axes, n_attrs, in_place) name##_cuda,
#include "kernels.def"
#undef KERNEL
};
constexpr int32_t kKernels = sizeof(kSignatures) / sizeof(kSignatures[0]);

thread_local char g_error[512];

struct {
  void* memory;
  int64_t bytes;
} g_scratch[kSlots];
uint64_t g_scratch_generation = 1;

uint64_t* g_problem = nullptr;
bool g_problem_possible = false;  // a kernel that may report was launched since the last wait

const physlm_kernel_entry* manifest(int32_t* n) {
  static physlm_kernel_entry entries[kKernels];
  static const bool filled = [] {
    for (int32_t k = 0; k < kKernels; k++) entries[k] = physlm_entry_of(kSignatures[k], kRuns[k]);
    return true;
  }();
  (void)filled;
  *n = kKernels;
  return entries;
}

int32_t check(int32_t kernel, int32_t n_sets, const physlm_tensor* in, const physlm_tensor* out) {
  return physlm_check_signature(kSignatures[kernel], n_sets, in, out);
}

const char* last_error() { return g_error; }

int32_t launch_call(const physlm_call& call) {
  int32_t n;
  const physlm_kernel_entry& entry = manifest(&n)[call.kernel];
  platform_name_work(entry.name);
  const int32_t n_in = call.n_sets * entry.n_in, n_out = call.n_sets * entry.n_out;
  if (const int32_t status = entry.run(call.tensors, n_in, call.tensors + n_in, n_out, call.attrs, entry.n_attrs, nullptr))
    return status;
  return platform_launch_status();
}

int32_t launch_calls(const physlm_call* calls, int32_t n_calls, int32_t* failed) {
  for (int32_t i = 0; i < n_calls; i++) {
    if (const int32_t status = launch_call(calls[i])) {
      *failed = i;
      return status;
    }
  }
  return PHYSLM_OK;
}

int32_t synchronize() {
  if (platform_unavailable()) return physlm_fail(PHYSLM_DEVICE_LOST, "%s", platform_unavailable());
  if (const int32_t status = platform_synchronize()) return status;
  if (!g_problem_possible) return PHYSLM_OK;
  g_problem_possible = false;
  const uint64_t problem = *g_problem;
  if (problem == ~uint64_t{0}) return PHYSLM_OK;
  *g_problem = ~uint64_t{0};
  const int row = (int)(problem >> 32 & 0xfffffff), value = (int)(int32_t)(uint32_t)problem;
  switch (problem >> 60) {
    case kBadToken:
      return physlm_fail(PHYSLM_BAD_ARGUMENT, "[embedding.ids] expected a token of the vocabulary, got %d in row %d", value, row);
    case kBadTarget:
      return physlm_fail(PHYSLM_BAD_ARGUMENT,
                         "[crossEntropy.targets] expected a token of the vocabulary or the ignored one, got %d in row %d", value,
                         row);
    default:
      return physlm_fail(PHYSLM_BAD_ARGUMENT, "[attentionStep.position] expected a row of the caches, got %d", value);
  }
}

int32_t run(const physlm_call* calls, int32_t n_calls, physlm_replay** replay, int32_t* failed) {
  if (platform_unavailable()) return physlm_fail(PHYSLM_DEVICE_LOST, "%s", platform_unavailable());
  if (!replay) {
    if (const int32_t status = launch_calls(calls, n_calls, failed)) return status;
    return g_problem_possible ? synchronize() : PHYSLM_OK;
  }
  if (!*replay) {
    *replay = new physlm_replay{nullptr, 0};
    return launch_calls(calls, n_calls, failed);
  }
  physlm_replay& kept = **replay;
  if (kept.graph && kept.scratch_generation != g_scratch_generation) {
    platform_drop(kept.graph);
    kept.graph = nullptr;
  }
  if (!kept.graph) {
    if (const int32_t status = platform_begin_capture()) return status;
    const int32_t status = launch_calls(calls, n_calls, failed);
    kept.graph = platform_end_capture();
    if (status || !kept.graph) return status ? status : PHYSLM_DEVICE_LOST;
    kept.scratch_generation = g_scratch_generation;
  }
  g_problem_possible = true;
  problem_record();
  return platform_replay(kept.graph);
}

struct Timed {
  const physlm_call* call;
};
int32_t launch_timed(void* context) { return launch_call(*static_cast<Timed*>(context)->call); }

int32_t profile(const physlm_call* calls, int32_t n_calls, double* ns, int32_t* failed) {
  if (platform_unavailable()) return physlm_fail(PHYSLM_DEVICE_LOST, "%s", platform_unavailable());
  for (int32_t i = 0; i < n_calls; i++) {
    Timed timed = {calls + i};
    if (const int32_t status = platform_time(launch_timed, &timed, ns + i)) {
      *failed = i;
      return status;
    }
  }
  return synchronize();
}

void drop_replay(physlm_replay* replay) {
  if (replay->graph) {
    platform_synchronize();
    platform_drop(replay->graph);
  }
  delete replay;
}

void* allocate(uint64_t bytes, int32_t host) {
  return platform_unavailable() ? nullptr : platform_allocate(bytes, host != 0);
}

}  // namespace

int32_t physlm_fail(int32_t status, const char* format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(g_error, sizeof g_error, format, args);
  va_end(args);
  return status;
}

bool hopper_for(const char* family) {
  const char* const without = getenv("PHYSLM_CUDA_WITHOUT");
  return platform_hopper() && !(without && strstr(without, family));
}

void* scratch(Slot slot, int64_t bytes) {
  auto& held = g_scratch[slot];
  if (held.bytes >= bytes && held.memory) return held.memory;
  if (held.memory) platform_release(held.memory);
  // A half more than asked for, so that slowly growing shapes do not capture their graphs again each time.
  held.bytes = bytes + bytes / 2 + 256;
  held.memory = platform_allocate_scratch(held.bytes);
  if (!held.memory) {
    held.bytes = bytes;
    held.memory = platform_allocate_scratch(bytes);
  }
  if (!held.memory) held.bytes = 0;
  g_scratch_generation++;
  return held.memory;
}

uint64_t* problem_record(void) {
  if (!g_problem) {
    g_problem = static_cast<uint64_t*>(platform_allocate(sizeof(uint64_t), true));
    if (g_problem) *g_problem = ~uint64_t{0};
  }
  g_problem_possible = true;
  return g_problem;
}

extern "C" __attribute__((visibility("default"))) const physlm_library* physlm_cuda_library(void) {
  static const physlm_library library = {
      PHYSLM_ABI_VERSION, "cuda", platform_unavailable, platform_description, manifest, last_error, check, run,
      profile,            drop_replay, allocate,        platform_release,     synchronize, group_unavailable,
      group_id,           group_join,  group_sum};
  // Without a GPU nobody needs NCCL: the processes of one machine add over pipes, unless a test says otherwise.
  static const physlm_library alone = [] {
    physlm_library copy = library;
    copy.group_unavailable = nullptr, copy.group_id = nullptr, copy.group_join = nullptr, copy.group_sum = nullptr;
    return copy;
  }();
  return platform_needs_nccl() ? &library : &alone;
}
