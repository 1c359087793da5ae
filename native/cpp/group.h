// Sums over processes with a device each: groupUnavailable, groupId, groupJoin and groupSum of binding.ts.
#ifndef PHYSLM_GROUP_H
#define PHYSLM_GROUP_H

#include "napi-values.h"

napi_value group_unavailable(napi_env env, napi_callback_info info);
napi_value group_id(napi_env env, napi_callback_info info);
napi_value group_join(napi_env env, napi_callback_info info);
napi_value group_sum(napi_env env, napi_callback_info info);

#endif
