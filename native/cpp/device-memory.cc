#include "device-memory.h"

#include <map>
#include <utility>

namespace {

// Memory that libraries with memory of their own gave out, by address.
pthread_mutex_t g_allocations_lock = PTHREAD_MUTEX_INITIALIZER;
std::map<char*, std::pair<size_t, const physlm_library*>>& allocations() {
  static auto* all = new std::map<char*, std::pair<size_t, const physlm_library*>>;  // outlives every finalizer
  return *all;
}

void release(napi_env, void* data, void* hint) {
  const auto* library = static_cast<const physlm_library*>(hint);
  pthread_mutex_lock(&g_allocations_lock);
  allocations().erase(static_cast<char*>(data));
  pthread_mutex_unlock(&g_allocations_lock);
  Turn turn;
  library->release(data);
}

}  // namespace

bool gave(const physlm_library* library, char* data, size_t bytes) {
  pthread_mutex_lock(&g_allocations_lock);
  auto it = allocations().upper_bound(data);
  bool inside = false;
  if (it != allocations().begin()) {
    --it;
    inside = it->second.second == library && data + bytes <= it->first + it->second.first;
  }
  pthread_mutex_unlock(&g_allocations_lock);
  return inside;
}

napi_value allocate(napi_env env, napi_callback_info info) {
  napi_value args[2];
  if (!arguments(env, info, args)) return nullptr;
  const physlm_library* library = library_of(env, info);
  double bytes;
  bool host;
  if (napi_get_value_double(env, args[0], &bytes) != napi_ok || !(bytes >= 1 && bytes <= kMaxExact))
    return fail(env, "[allocate] expected a number of bytes from 1 on, got something else");
  if (napi_get_value_bool(env, args[1], &host) != napi_ok)
    return fail(env, "[allocate] expected whether it lies near the host, got something else");
  void* data;
  {
    Turn turn;
    data = library->allocate((uint64_t)bytes, host);
  }
  if (!data) return fail(env, "[allocate] no memory for %.0f bytes on device %s", bytes, library->device);
  pthread_mutex_lock(&g_allocations_lock);
  allocations()[static_cast<char*>(data)] = {(size_t)bytes, library};
  pthread_mutex_unlock(&g_allocations_lock);
  napi_value out;
  if (napi_create_external_arraybuffer(env, data, (size_t)bytes, release, const_cast<physlm_library*>(library), &out) !=
      napi_ok) {
    release(env, data, const_cast<physlm_library*>(library));
    return fail(env, "[allocate] this JavaScript runtime takes no memory from outside, device %s needs that", library->device);
  }
  return out;
}

napi_value synchronize(napi_env env, napi_callback_info info) {
  const physlm_library* library = library_of(env, info);
  int32_t status;
  {
    Turn turn;
    status = library->synchronize();
  }
  return status ? fail(env, "%s", library->last_error()) : nullptr;
}
