// Memory of devices with memory of their own, as ArrayBuffers.
#ifndef PHYSLM_DEVICE_MEMORY_H
#define PHYSLM_DEVICE_MEMORY_H

#include <stddef.h>

#include "napi-values.h"

// Whether the library gave out all of these bytes.
bool gave(const physlm_library* library, char* data, size_t bytes);

// allocate(byteLength, host) and synchronize() of binding.ts.
napi_value allocate(napi_env env, napi_callback_info info);
napi_value synchronize(napi_env env, napi_callback_info info);

#endif
