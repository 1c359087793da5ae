#include "group.h"

#include <string.h>

#include "device-memory.h"

napi_value group_unavailable(napi_env env, napi_callback_info info) {
  const physlm_library* library = library_of(env, info);
  const char* why;
  {
    Turn turn;
    why = library->group_unavailable();
  }
  return why ? string(env, why) : nullptr;
}

napi_value group_id(napi_env env, napi_callback_info info) {
  const physlm_library* library = library_of(env, info);
  uint8_t id[PHYSLM_GROUP_ID_BYTES];
  int32_t status;
  {
    Turn turn;
    status = library->group_id(id);
  }
  if (status) return fail(env, "%s", library->last_error());
  void* data;
  napi_value buffer, out;
  if (napi_create_arraybuffer(env, sizeof id, &data, &buffer) != napi_ok ||
      napi_create_typedarray(env, napi_uint8_array, sizeof id, buffer, 0, &out) != napi_ok)
    return fail(env, "[groupId] no memory");
  memcpy(data, id, sizeof id);
  return out;
}

napi_value group_join(napi_env env, napi_callback_info info) {
  napi_value args[3];
  if (!arguments(env, info, args)) return nullptr;
  const physlm_library* library = library_of(env, info);
  napi_typedarray_type type;
  size_t length;
  void* id;
  int32_t rank, size;
  if (napi_get_typedarray_info(env, args[0], &type, &length, &id, nullptr, nullptr) != napi_ok || type != napi_uint8_array ||
      length != PHYSLM_GROUP_ID_BYTES)
    return fail(env, "[groupJoin] expected the id of a group, got something else");
  if (napi_get_value_int32(env, args[1], &rank) != napi_ok || napi_get_value_int32(env, args[2], &size) != napi_ok ||
      size < 1 || rank < 0 || rank >= size)
    return fail(env, "[groupJoin] expected a rank within the group, got something else");
  int32_t status;
  {
    Turn turn;
    status = library->group_join(static_cast<uint8_t*>(id), rank, size);
  }
  return status ? fail(env, "%s", library->last_error()) : nullptr;
}

napi_value group_sum(napi_env env, napi_callback_info info) {
  napi_value args[3];
  if (!arguments(env, info, args)) return nullptr;
  const physlm_library* library = library_of(env, info);
  void* data;
  size_t bytes;
  double offset, n;
  if (napi_get_arraybuffer_info(env, args[0], &data, &bytes) != napi_ok ||
      napi_get_value_double(env, args[1], &offset) != napi_ok || napi_get_value_double(env, args[2], &n) != napi_ok ||
      !(offset >= 0 && n >= 0 && offset + 4 * n <= (double)bytes) || (int64_t)offset % 4 ||
      !gave(library, static_cast<char*>(data), bytes))
    return fail(env, "[groupSum] expected floats in memory of device %s, got something else", library->device);
  int32_t status;
  {
    Turn turn;
    status = library->group_sum(reinterpret_cast<float*>(static_cast<char*>(data) + (int64_t)offset), (uint64_t)n);
  }
  return status ? fail(env, "%s", library->last_error()) : nullptr;
}
