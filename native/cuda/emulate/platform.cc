// platform.h without a GPU: memory of the host, a queue for a stream, a list of launches for a graph. For tests only.
#include "../platform.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <exception>
#include <string>
#include <vector>

namespace {

struct Work {
  std::string name;
  std::function<void()> run;
};
using Works = std::vector<Work>;

Works g_queue;
Works* g_capturing = nullptr;
std::string g_name = "nothing";

int32_t run(const Works& works) {
  for (const Work& work : works) {
    try {
      work.run();
    } catch (const std::exception& problem) {
      return physlm_fail(PHYSLM_DEVICE_LOST, "[%s] %s", work.name.c_str(), problem.what());
    }
  }
  return PHYSLM_OK;
}

}  // namespace

void gpu::enqueue(std::function<void()> work) {
  (g_capturing ? *g_capturing : g_queue).push_back({g_name, std::move(work)});
}

// PHYSLM_EMULATE_ABSENT lets tests see what a machine without a GPU says.
const char* platform_unavailable(void) {
  return getenv("PHYSLM_EMULATE_ABSENT") ? "no NVIDIA driver is installed (emulated)" : nullptr;
}
const char* platform_description(void) { return "emulated on the host"; }

// PHYSLM_EMULATE_SM=80 plays an older card.
bool platform_hopper(void) {
  const char* wish = getenv("PHYSLM_EMULATE_SM");
  return !wish || strcmp(wish, "80");
}
int platform_multiprocessors(void) { return 3; }
int platform_shared_bytes(void) { return platform_hopper() ? 227 << 10 : 99 << 10; }

int32_t platform_tensor_map(gpu::TensorMap* map, const void* data, int64_t inner, int64_t outer, int64_t stride,
                            int box_outer) {
  if ((uintptr_t)data % 16 || stride % 8 || box_outer > 256)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[tensor map] a matrix that no GPU takes");
  *map = {static_cast<const uint16_t*>(data), inner, outer, stride, 64, box_outer, 1, 0};
  return PHYSLM_OK;
}
int32_t platform_tensor_maps(gpu::TensorMap* map, const void* data, int64_t inner, int64_t outer, int64_t matrices, int box_inner,
                             int box_outer) {
  if (int32_t status = platform_tensor_map(map, data, inner, outer, inner, box_outer)) return status;
  map->box_inner = box_inner;
  map->matrices = matrices;
  map->apart = inner * outer;
  return PHYSLM_OK;
}

void* platform_allocate(size_t bytes, bool) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, bytes)) return nullptr;
  return memset(memory, 0, bytes);
}
void platform_release(void* memory) {
  platform_synchronize();
  free(memory);
}
void* platform_allocate_scratch(size_t bytes) {
  void* memory = platform_allocate(bytes, false);
  return memory ? memset(memory, 0xff, bytes) : nullptr;
}

cudaStream_t platform_stream(void) { return nullptr; }
int32_t platform_launch_status(void) { return PHYSLM_OK; }

int32_t platform_synchronize(void) {
  Works works;
  works.swap(g_queue);
  return run(works);
}

int32_t platform_flush(void) { return platform_synchronize(); }
bool platform_wait(double) { return true; }
// PHYSLM_NCCL lets tests play a group of GPUs with a library of their own.
bool platform_needs_nccl(void) { return getenv("PHYSLM_NCCL") != nullptr; }

void platform_name_work(const char* name) { g_name = name; }

int32_t platform_begin_capture(void) {
  g_capturing = new Works;
  return PHYSLM_OK;
}
void* platform_end_capture(void) {
  Works* graph = g_capturing;
  g_capturing = nullptr;
  return graph;
}
int32_t platform_replay(void* graph) {
  const Works& works = *static_cast<Works*>(graph);
  g_queue.insert(g_queue.end(), works.begin(), works.end());
  return PHYSLM_OK;
}
void platform_drop(void* graph) { delete static_cast<Works*>(graph); }

int32_t platform_time(int32_t (*work)(void*), void* context, double* ns) {
  if (int32_t status = platform_synchronize()) return status;
  timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  int32_t status = work(context);
  if (!status) status = platform_synchronize();
  clock_gettime(CLOCK_MONOTONIC, &end);
  *ns = 1e9 * (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec);
  return status;
}
