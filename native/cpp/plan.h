// Command lists: read and checked once, run any number of times, on each slice of a batch. See binding.ts.
#ifndef PHYSLM_PLAN_H
#define PHYSLM_PLAN_H

#include "napi-values.h"

napi_value compile(napi_env env, napi_callback_info info);
napi_value run(napi_env env, napi_callback_info info);
napi_value run_each(napi_env env, napi_callback_info info);
napi_value profile(napi_env env, napi_callback_info info);
napi_value launch(napi_env env, napi_callback_info info);

#endif
