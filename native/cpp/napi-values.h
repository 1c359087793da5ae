// What every function of the addon needs of Node-API: arguments in, values and errors out, turns.
#ifndef PHYSLM_NAPI_VALUES_H
#define PHYSLM_NAPI_VALUES_H

#include <node_api.h>
#include <pthread.h>

#include "abi.h"

constexpr double kMaxExact = 9007199254740992.0;

// Throws an error with code 'native', unless one is on its way; returns null.
napi_value fail(napi_env env, const char* format, ...) __attribute__((format(printf, 2, 3)));

// Reads the arguments; those past the first `needed` are undefined when left out.
template <size_t N>
bool arguments(napi_env env, napi_callback_info info, napi_value (&values)[N], size_t needed = N) {
  size_t count = N;
  if (napi_get_cb_info(env, info, &count, values, nullptr, nullptr) != napi_ok || count < needed)
    return fail(env, "[arguments] expected %zu, got %zu", needed, count);
  return true;
}

bool is_undefined(napi_env env, napi_value value);
// The library that the called function belongs to.
const physlm_library* library_of(napi_env env, napi_callback_info info);
napi_value number(napi_env env, double value);
napi_value string(napi_env env, const char* text);

// The pool, the scratch memory and a device's stream serve one command list at a time; other threads of Node wait here.
// Nobody calls into Node while holding it: that could run a finalizer, which waits here too.
struct Turn {
  Turn();
  ~Turn();
};

#endif
