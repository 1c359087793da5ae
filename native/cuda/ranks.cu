// Several processes with one GPU each add their gradients. NCCL carries the bytes and is loaded when it is asked for; what is added,
// and in which order, is decided here: each rank gets its share of the vector from all others, adds the parts in the order of
// ranks from +0 on, and gives the sum to the others. So the bits depend on how many ranks there are, and on nothing else.
// Scratch: n + 4·size floats.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks.h"

namespace {

constexpr int kBlock = 256;
constexpr double kPatience = 300;  // seconds; a sum takes milliseconds, so someone is gone

// What is used of nccl.h, which is not needed to build.
struct NcclId {
  char bytes[PHYSLM_GROUP_ID_BYTES];
};
typedef struct NcclComm* Comm;
constexpr int kFloat32 = 7;

struct {
  int (*GetUniqueId)(NcclId*);
  int (*CommInitRank)(Comm*, int, NcclId, int);
  int (*CommAbort)(Comm);
  int (*GroupStart)(void);
  int (*GroupEnd)(void);
  int (*Send)(const void*, size_t, int, int, Comm, cudaStream_t);
  int (*Recv)(void*, size_t, int, int, Comm, cudaStream_t);
  const char* (*GetErrorString)(int);
} nccl;

Comm g_comm = nullptr;
int g_rank = 0, g_size = 1;

/** Fills `nccl`; NULL, or why not. */
const char* load_nccl() {
  static char reason[512];
  static const bool loaded = [] {
    const char* const wish = getenv("PHYSLM_NCCL");
    const char* const name = wish && *wish ? wish : "libnccl.so.2";
    void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      snprintf(reason, sizeof reason,
               "several GPUs need NCCL, and %.200s could not be loaded (%.150s)\nInstall it (libnccl2, or the Python package "
               "nvidia-nccl-cu13) or set PHYSLM_NCCL to its path.", name, dlerror());
      return false;
    }
    auto find = [&](auto& function, const char* symbol) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, symbol));
      if (!function) snprintf(reason, sizeof reason, "%.200s is no NCCL: it has no %s", name, symbol);
      return function != nullptr;
    };
    return find(nccl.GetUniqueId, "ncclGetUniqueId") && find(nccl.CommInitRank, "ncclCommInitRank") &&
           find(nccl.CommAbort, "ncclCommAbort") && find(nccl.GroupStart, "ncclGroupStart") &&
           find(nccl.GroupEnd, "ncclGroupEnd") && find(nccl.Send, "ncclSend") && find(nccl.Recv, "ncclRecv") &&
           find(nccl.GetErrorString, "ncclGetErrorString");
  }();
  return loaded ? nullptr : reason;
}

int32_t status_of(int result, const char* what) {
  if (result == 0) return PHYSLM_OK;
  return physlm_fail(PHYSLM_DEVICE_LOST, "[ranks] %s: %s", what, nccl.GetErrorString(result));
}

/** Elements of the vector that rank r adds: [first, first + count). */
struct Share {
  int64_t first, count;
};
Share share_of(int64_t n, int rank) {
  const int64_t each = ceil_div(ceil_div(n, g_size), 4) * 4, first = least(n, each * rank);
  return {first, least(each, n - first)};
}

/** own[i] = +0 + Σ_r part r, where part `rank` is own[i] and the others lie in `parts`, `stride` apart. */
__global__ void add_ranks(float* own, const float* parts, int64_t stride, int64_t n, int rank, int size) {
  const int64_t i = (int64_t)blockIdx.x * kBlock + threadIdx.x;
  if (i >= n) return;
  float total = 0.0f;
  for (int r = 0; r < size; r++) total += r == rank ? own[i] : parts[r * stride + i];
  own[i] = total;
}

int32_t exchange(float* data, float* parts, int64_t stride, int64_t n, bool gather) {
  const Share own = share_of(n, g_rank);
  int result = nccl.GroupStart();
  for (int r = 0; r < g_size && result == 0; r++) {
    const Share other = share_of(n, r);
    if (r == g_rank) continue;
    const Share give = gather ? own : other, get = gather ? other : own;
    float* const to = gather ? data + other.first : parts + r * stride;
    if (give.count > 0) result = nccl.Send(data + give.first, give.count, kFloat32, r, g_comm, platform_stream());
    if (get.count > 0 && result == 0) result = nccl.Recv(to, get.count, kFloat32, r, g_comm, platform_stream());
  }
  const int ended = nccl.GroupEnd();
  return status_of(result ? result : ended, gather ? "giving the sum" : "sharing the parts");
}

}  // namespace

const char* group_unavailable(void) { return load_nccl(); }

int32_t group_id(uint8_t* id) {
  if (const char* why = load_nccl()) return physlm_fail(PHYSLM_DEVICE_LOST, "[ranks] %s", why);
  NcclId made;
  if (int32_t status = status_of(nccl.GetUniqueId(&made), "a name for the group")) return status;
  memcpy(id, made.bytes, sizeof made.bytes);
  return PHYSLM_OK;
}

int32_t group_join(const uint8_t* id, int32_t rank, int32_t size) {
  if (const char* why = load_nccl()) return physlm_fail(PHYSLM_DEVICE_LOST, "[ranks] %s", why);
  if (g_comm) return physlm_fail(PHYSLM_BAD_ARGUMENT, "[ranks] this process is in a group already");
  NcclId name;
  memcpy(name.bytes, id, sizeof name.bytes);
  if (int32_t status = status_of(nccl.CommInitRank(&g_comm, size, name, rank), "joining the group")) return status;
  g_rank = rank;
  g_size = size;
  return PHYSLM_OK;
}

int32_t group_sum(float* data, uint64_t count) {
  if (!g_comm) return physlm_fail(PHYSLM_BAD_ARGUMENT, "[ranks] this process is in no group");
  const int64_t n = (int64_t)count, stride = share_of(n, 0).count;
  const Share own = share_of(n, g_rank);
  float* const parts = static_cast<float*>(scratch(kSlotPartial, most(1, stride * g_size) * (int64_t)sizeof(float)));
  if (!parts) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "[ranks] no memory to add gradients in");
  if (int32_t status = platform_flush()) return status;
  if (int32_t status = exchange(data, parts, stride, n, false)) return status;
  if (own.count > 0)
    start(add_ranks, dim3((unsigned)ceil_div(own.count, kBlock)), kBlock, 0, data + own.first, (const float*)parts, stride,
          own.count, g_rank, g_size);
  if (int32_t status = platform_flush()) return status;
  if (int32_t status = exchange(data, parts, stride, n, true)) return status;
  if (platform_wait(kPatience)) return platform_synchronize();
  nccl.CommAbort(g_comm);
  g_comm = nullptr;
  return physlm_fail(PHYSLM_DEVICE_LOST, "[ranks] a sum over %d ranks did not end within %.0f s: one of them has ended or hangs",
                     g_size, kPatience);
}
