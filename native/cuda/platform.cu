// platform.h on the CUDA runtime, which is linked statically: a machine without a driver gets a reason, not a missing library.
#include "platform.h"

#include <cuda.h>
#include <stdio.h>
#include <string.h>
#include <sched.h>
#include <time.h>

#include <set>

namespace {

cudaStream_t g_stream = nullptr;
int g_major = 0, g_minor = 0, g_multiprocessors = 0, g_shared_bytes = 0;
char g_reason[256];
char g_description[256];

int32_t status_of(cudaError_t error, const char* where) {
  if (error == cudaSuccess) return PHYSLM_OK;
  if (error == cudaErrorMemoryAllocation) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "[%s] no memory left on the GPU", where);
  return physlm_fail(PHYSLM_DEVICE_LOST, "[%s] %s (%s)", where, cudaGetErrorString(error), cudaGetErrorName(error));
}

std::set<void*>& pinned() {
  static auto* all = new std::set<void*>;  // outlives every finalizer
  return *all;
}

/** Looks for a device once; fills g_reason or g_description. */
bool look() {
  int count = 0, driver = 0, runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaDriverGetVersion(&driver);
  if (driver == 0) {
    snprintf(g_reason, sizeof g_reason, "no NVIDIA driver is installed (CUDA %d.%d needs one)", runtime / 1000,
             runtime / 10 % 100);
    return false;
  }
  if (error != cudaSuccess || count == 0) {
    snprintf(g_reason, sizeof g_reason, "the NVIDIA driver offers no GPU: %s",
             error != cudaSuccess ? cudaGetErrorString(error) : "it counts none");
    return false;
  }
  cudaDeviceProp properties;
  if (cudaSetDevice(0) != cudaSuccess || cudaGetDeviceProperties(&properties, 0) != cudaSuccess) {
    snprintf(g_reason, sizeof g_reason, "GPU 0 cannot be opened: %s", cudaGetErrorString(cudaGetLastError()));
    return false;
  }
  if (properties.major < 8) {
    snprintf(g_reason, sizeof g_reason, "%s has compute capability %d.%d, the kernels need 8.0 or later", properties.name,
             properties.major, properties.minor);
    return false;
  }
  if (!properties.concurrentManagedAccess) {
    snprintf(g_reason, sizeof g_reason, "%s cannot share memory with the host (concurrentManagedAccess is 0)",
             properties.name);
    return false;
  }
  if (cudaStreamCreateWithFlags(&g_stream, cudaStreamNonBlocking) != cudaSuccess) {
    snprintf(g_reason, sizeof g_reason, "no stream on %s: %s", properties.name, cudaGetErrorString(cudaGetLastError()));
    return false;
  }
  g_major = properties.major;
  g_minor = properties.minor;
  g_multiprocessors = properties.multiProcessorCount;
  g_shared_bytes = (int)properties.sharedMemPerBlockOptin;
  snprintf(g_description, sizeof g_description, "%s, compute capability %d.%d, driver CUDA %d.%d, runtime %d.%d",
           properties.name, properties.major, properties.minor, driver / 1000, driver / 10 % 100, runtime / 1000,
           runtime / 10 % 100);
  return true;
}

}  // namespace

const char* platform_unavailable(void) {
  static const bool found = look();
  if (found) cudaSetDevice(0);  // each host thread of its own
  return found ? nullptr : g_reason;
}

const char* platform_description(void) { return g_description; }

bool platform_hopper(void) { return g_major == 9 && g_minor == 0; }
int platform_multiprocessors(void) { return g_multiprocessors; }
int platform_shared_bytes(void) { return g_shared_bytes; }

namespace {

/** The driver's own function, so that the library needs no libcuda to be loaded. */
decltype(&cuTensorMapEncodeTiled) tensor_map_encoder(void) {
  static decltype(&cuTensorMapEncodeTiled) encode = nullptr;
  cudaDriverEntryPointQueryResult found;
  void* function = nullptr;
  if (!encode && !status_of(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
                            "tensor map"))
    encode = reinterpret_cast<decltype(encode)>(function);
  if (!encode) physlm_fail(PHYSLM_DEVICE_LOST, "[tensor map] the driver has no cuTensorMapEncodeTiled");
  return encode;
}

int32_t encode_map(gpu::TensorMap* map, const void* data, int rank, const cuuint64_t* sizes, const cuuint64_t* strides,
                   const cuuint32_t* box) {
  static_assert(sizeof(gpu::TensorMap) == sizeof(CUtensorMap), "TensorMap stands for CUtensorMap");
  const auto encode = tensor_map_encoder();
  if (!encode) return PHYSLM_DEVICE_LOST;
  const cuuint32_t steps[3] = {1, 1, 1};
  const CUresult result = encode(reinterpret_cast<CUtensorMap*>(map), CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, rank,
                                 const_cast<void*>(data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                 box[0] == 64 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result == CUDA_SUCCESS) return PHYSLM_OK;
  return physlm_fail(PHYSLM_BAD_ARGUMENT, "[tensor map] the driver refused %lld×%lld, rows %lld bytes apart (error %d)",
                     (long long)sizes[1], (long long)sizes[0], (long long)strides[0], (int)result);
}

}  // namespace

int32_t platform_tensor_map(gpu::TensorMap* map, const void* data, int64_t inner, int64_t outer, int64_t stride,
                            int box_outer) {
  const cuuint64_t sizes[2] = {(cuuint64_t)inner, (cuuint64_t)outer}, strides[1] = {(cuuint64_t)stride * 2};
  const cuuint32_t box[2] = {64, (cuuint32_t)box_outer};
  return encode_map(map, data, 2, sizes, strides, box);
}

int32_t platform_tensor_maps(gpu::TensorMap* map, const void* data, int64_t inner, int64_t outer, int64_t matrices, int box_inner,
                             int box_outer) {
  const cuuint64_t sizes[3] = {(cuuint64_t)inner, (cuuint64_t)outer, (cuuint64_t)matrices};
  const cuuint64_t strides[2] = {(cuuint64_t)inner * 2, (cuuint64_t)(inner * outer) * 2};
  const cuuint32_t box[3] = {(cuuint32_t)box_inner, (cuuint32_t)box_outer, 1};
  return encode_map(map, data, 3, sizes, strides, box);
}

void* platform_allocate(size_t bytes, bool host) {
  void* memory = nullptr;
  if (platform_unavailable()) return nullptr;
  if (host) {
    // Pinned: the GPU reads and writes it over the bus, and no page wanders.
    if (status_of(cudaHostAlloc(&memory, bytes, cudaHostAllocPortable | cudaHostAllocMapped), "allocate")) {
      cudaGetLastError();
      return nullptr;
    }
    pinned().insert(memory);
    return memset(memory, 0, bytes);
  }
  if (status_of(cudaMallocManaged(&memory, bytes), "allocate")) {
    cudaGetLastError();
    return nullptr;
  }
#if CUDART_VERSION >= 13000
  const cudaMemLocation here = {cudaMemLocationTypeDevice, 0};
#else
  const int here = 0;
#endif
  cudaMemAdvise(memory, bytes, cudaMemAdviseSetPreferredLocation, here);
  if (status_of(cudaMemsetAsync(memory, 0, bytes, g_stream), "allocate") ||
      status_of(cudaStreamSynchronize(g_stream), "allocate")) {
    cudaFree(memory);
    return nullptr;
  }
  return memory;
}

// Also called when the process ends, perhaps after the driver has gone: what it answers then does not matter.
void platform_release(void* memory) {
  if (pinned().erase(memory) == 0) {
    cudaFree(memory);
    return;
  }
  cudaStreamSynchronize(g_stream);
  cudaFreeHost(memory);
}

void* platform_allocate_scratch(size_t bytes) {
  void* memory = nullptr;
  if (status_of(cudaMalloc(&memory, bytes), "scratch memory")) {
    cudaGetLastError();
    return nullptr;
  }
  return memory;
}

cudaStream_t platform_stream(void) { return g_stream; }

int32_t platform_launch_status(void) { return status_of(cudaGetLastError(), "launch"); }

int32_t platform_flush(void) { return PHYSLM_OK; }

bool platform_wait(double seconds) {
  timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (;;) {
    if (cudaStreamQuery(g_stream) != cudaErrorNotReady) return true;  // an error is found by whoever synchronises
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((double)(now.tv_sec - begin.tv_sec) > seconds) return false;
    sched_yield();
  }
}

bool platform_needs_nccl(void) { return true; }

int32_t platform_synchronize(void) { return status_of(cudaStreamSynchronize(g_stream), "synchronize"); }

void platform_name_work(const char*) {}

int32_t platform_begin_capture(void) {
  return status_of(cudaStreamBeginCapture(g_stream, cudaStreamCaptureModeThreadLocal), "capture");
}

void* platform_end_capture(void) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  if (status_of(cudaStreamEndCapture(g_stream, &graph), "capture")) return nullptr;
  status_of(cudaGraphInstantiate(&ready, graph, 0), "capture");
  cudaGraphDestroy(graph);
  return ready;
}

int32_t platform_replay(void* graph) {
  return status_of(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), g_stream), "replay");
}

void platform_drop(void* graph) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

int32_t platform_time(int32_t (*work)(void*), void* context, double* ns) {
  static cudaEvent_t begin = nullptr, end = nullptr;
  if (!begin) {
    cudaEventCreate(&begin);
    cudaEventCreate(&end);
  }
  cudaEventRecord(begin, g_stream);
  const int32_t status = work(context);
  cudaEventRecord(end, g_stream);
  if (status) return status;
  if (int32_t lost = status_of(cudaEventSynchronize(end), "profile")) return lost;
  float ms = 0;
  cudaEventElapsedTime(&ms, begin, end);
  *ns = 1e6 * ms;
  return PHYSLM_OK;
}
