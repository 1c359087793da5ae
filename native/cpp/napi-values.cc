#include "napi-values.h"

#include <stdarg.h>
#include <stdio.h>

namespace {

pthread_mutex_t g_engine = PTHREAD_MUTEX_INITIALIZER;

}  // namespace

Turn::Turn() { pthread_mutex_lock(&g_engine); }
Turn::~Turn() { pthread_mutex_unlock(&g_engine); }

napi_value fail(napi_env env, const char* format, ...) {
  char text[768];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_error(env, "native", text);
  return nullptr;
}

bool is_undefined(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type == napi_undefined;
}

const physlm_library* library_of(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  return static_cast<const physlm_library*>(data);
}

napi_value number(napi_env env, double value) {
  napi_value out = nullptr;
  napi_create_double(env, value, &out);
  return out;
}

napi_value string(napi_env env, const char* text) {
  napi_value out = nullptr;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &out);
  return out;
}
