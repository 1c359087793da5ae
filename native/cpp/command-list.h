// Command lists as JavaScript hands them over, read and checked: see binding.ts, KernelLibrary.
#ifndef PHYSLM_COMMAND_LIST_H
#define PHYSLM_COMMAND_LIST_H

#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "napi-values.h"

struct Command {
  int32_t kernel;
  int32_t n_sets;
  uint32_t tensors;  // index of the first, inputs then outputs
  uint32_t attrs;
};

struct Buffer {
  char* data;
  size_t bytes;
  napi_ref keep;
  // Bytes between what two slices, or two lanes, see at the same offset. See binding.ts, compile().
  size_t slice_stride;
  size_t lane_stride;
};

struct Plan {
  const physlm_library* library = nullptr;
  std::vector<Command> commands;
  std::vector<physlm_tensor> tensors;
  std::vector<double> attrs;
  std::vector<Buffer> buffers;
  std::vector<physlm_call> calls;  // what `commands` becomes once the other vectors are complete
  physlm_replay* replay = nullptr;
  int slices = 1;
  int lanes = 1;
  // Only with slices or lanes: the buffer of each tensor, or -1; for each lane its tensors, moved to its current slice, and
  // the calls on them.
  std::vector<int32_t> tensor_buffer;
  std::vector<physlm_tensor> lane_tensors;
  std::vector<physlm_call> lane_calls;
  bool sliced() const { return slices > 1 || lanes > 1; }
};

// All of these throw and return false when something does not fit.
bool read_words(napi_env env, napi_value value, const double** words, size_t* count);
// Fills plan.buffers; with `values`, the ArrayBuffers themselves too.
bool read_buffers(napi_env env, napi_value list, Plan& plan, std::vector<napi_value>* values);
// Fills slices, lanes and strides from [nSlice, nLane, then slice stride and lane stride of each buffer].
bool read_slices(napi_env env, napi_value list, Plan& plan);
// Fills commands, tensors and attrs from the encoded list; plan.buffers is there already.
bool parse(napi_env env, Plan& plan, const double* words, size_t count);

#endif
