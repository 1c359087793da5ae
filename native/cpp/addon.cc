// Node-API glue: command lists in, kernels run, errors out. Raw Node-API calls, because an eager op costs a few
// microseconds and a wrapper would cost as much again. The same functions serve the CPU kernels and those of a library that
// is loaded later (CUDA): each function carries the library it belongs to.
#include <stdint.h>

#include <string>

#include "device-memory.h"
#include "dispatch.h"
#include "group.h"
#include "libraries.h"
#include "plan.h"
#include "runtime.h"

namespace {

napi_value abi_version(napi_env env, napi_callback_info) { return number(env, PHYSLM_ABI_VERSION); }

napi_value manifest(napi_env env, napi_callback_info info) {
  int32_t n;
  const physlm_kernel_entry* entries = library_of(env, info)->manifest(&n);
  napi_value list;
  napi_create_array_with_length(env, n, &list);
  for (int32_t i = 0; i < n; i++) {
    napi_value entry;
    napi_create_object(env, &entry);
    napi_set_named_property(env, entry, "name", string(env, entries[i].name));
    napi_set_named_property(env, entry, "nIn", number(env, entries[i].n_in));
    napi_set_named_property(env, entry, "nOut", number(env, entries[i].n_out));
    napi_set_named_property(env, entry, "nAttr", number(env, entries[i].n_attrs));
    napi_set_named_property(env, entry, "bf16", number(env, entries[i].bf16));
    napi_value repeats;
    napi_get_boolean(env, entries[i].repeats != 0, &repeats);
    napi_set_named_property(env, entry, "repeats", repeats);
    napi_set_element(env, list, i, entry);
  }
  return list;
}

napi_value isa(napi_env env, napi_callback_info) { return string(env, physlm_isa()); }

napi_value isas(napi_env env, napi_callback_info) {
  napi_value list;
  napi_create_array(env, &list);
  for (int i = 0; const char* name = physlm_isa_at(i); i++) napi_set_element(env, list, i, string(env, name));
  return list;
}

napi_value set_isa(napi_env env, napi_callback_info info) {
  napi_value args[1];
  if (!arguments(env, info, args)) return nullptr;
  char name[32];
  size_t length;
  if (napi_get_value_string_utf8(env, args[0], name, sizeof name, &length) != napi_ok)
    return fail(env, "[setIsa] expected a string, got something else");
  napi_value out;
  Turn turn;
  napi_get_boolean(env, physlm_set_isa(name), &out);
  return out;
}

napi_value threads(napi_env env, napi_callback_info) { return number(env, physlm_threads()); }

napi_value set_threads(napi_env env, napi_callback_info info) {
  napi_value args[1];
  if (!arguments(env, info, args)) return nullptr;
  double n;
  if (napi_get_value_double(env, args[0], &n) != napi_ok || !(n >= 1 && n <= 1e6) || n != (double)(int)n)
    return fail(env, "[setThreads] expected a whole number from 1 on, got something else");
  Turn turn;
  physlm_set_threads((int)n);
  return nullptr;
}

napi_value address_modulo(napi_env env, napi_callback_info info) {
  napi_value args[2];
  if (!arguments(env, info, args)) return nullptr;
  void* data;
  size_t bytes;
  double modulus;
  if (napi_get_arraybuffer_info(env, args[0], &data, &bytes) != napi_ok)
    return fail(env, "[addressModulo] expected an ArrayBuffer, got something else");
  if (napi_get_value_double(env, args[1], &modulus) != napi_ok || !(modulus >= 1 && modulus <= 1e9))
    return fail(env, "[addressModulo] expected a modulus from 1 on, got something else");
  return number(env, (double)((uintptr_t)data % (uintptr_t)modulus));
}

napi_value description(napi_env env, napi_callback_info info) { return string(env, library_of(env, info)->description()); }

bool export_functions(napi_env env, napi_value to, const physlm_library* library);

napi_value open_library(napi_env env, napi_callback_info info) {
  napi_value args[1];
  if (!arguments(env, info, args)) return nullptr;
  size_t length = 0;
  if (napi_get_value_string_utf8(env, args[0], nullptr, 0, &length) != napi_ok)
    return fail(env, "[openLibrary] expected a path, got something else");
  std::string path(length, 0), why;
  napi_get_value_string_utf8(env, args[0], &path[0], length + 1, &length);
  const physlm_library* library = load_library(path, &why);
  const char* unavailable = nullptr;
  if (library) {
    Turn turn;
    unavailable = library->unavailable();
  }
  if (!library || unavailable) return fail(env, "%s", library ? unavailable : why.c_str());
  napi_value out;
  napi_create_object(env, &out);
  return export_functions(env, out, library) ? out : nullptr;
}

struct Function {
  const char* name;
  napi_callback call;
};

bool export_all(napi_env env, napi_value to, const physlm_library* library, const Function* functions, size_t count) {
  for (size_t i = 0; i < count; i++) {
    napi_value value;
    if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call,
                             const_cast<physlm_library*>(library), &value) != napi_ok ||
        napi_set_named_property(env, to, functions[i].name, value) != napi_ok)
      return fail(env, "[%s] could not be exported", functions[i].name);
  }
  return true;
}

bool export_functions(napi_env env, napi_value to, const physlm_library* library) {
  const Function common[] = {{"manifest", manifest}, {"description", description}, {"addressModulo", address_modulo},
                             {"compile", compile}, {"run", run}, {"runEach", run_each}, {"profile", profile}, {"launch", launch}};
  const Function group[] = {{"groupUnavailable", group_unavailable}, {"groupId", group_id}, {"groupJoin", group_join},
                            {"groupSum", group_sum}};
  const Function own_memory[] = {{"allocate", allocate}, {"synchronize", synchronize}};
  return export_all(env, to, library, common, sizeof common / sizeof *common) &&
         (!library->allocate || export_all(env, to, library, own_memory, sizeof own_memory / sizeof *own_memory)) &&
         (!library->group_sum || export_all(env, to, library, group, sizeof group / sizeof *group));
}

napi_value init(napi_env env, napi_value exports) {
  const Function functions[] = {{"abiVersion", abi_version}, {"isa", isa}, {"isas", isas}, {"setIsa", set_isa},
                                {"threads", threads}, {"setThreads", set_threads}, {"openLibrary", open_library}};
  if (!export_functions(env, exports, physlm_cpu_library()) ||
      !export_all(env, exports, nullptr, functions, sizeof functions / sizeof *functions))
    return nullptr;
  return exports;
}

}  // namespace

NAPI_MODULE(physlm_native, init)
