#include "command-list.h"

#include "device-memory.h"
#include "runtime.h"

namespace {

size_t element_bytes(int32_t dtype) { return dtype == PHYSLM_F64 ? 8 : dtype == PHYSLM_BF16 ? 2 : 4; }

// Reads a list of numbers that must be whole and within bounds; stops at the first that is not.
class Reader {
 public:
  Reader(const double* words, size_t count) : words_(words), count_(count) {}
  bool done() const { return at_ == count_; }
  bool has(size_t n) const { return count_ - at_ >= n; }
  double number() { return words_[at_++]; }
  // NaN fails every comparison, so it is out of bounds like any other bad number.
  bool whole(double low, double high, int64_t* out) {
    const double v = words_[at_++];
    if (!(v >= low && v <= high) || v != (double)(int64_t)v) {
      bad_ = v;
      return false;
    }
    *out = (int64_t)v;
    return true;
  }
  double bad() const { return bad_; }

 private:
  const double* words_;
  size_t count_;
  size_t at_ = 0;
  double bad_ = 0;
};

}  // namespace

bool parse(napi_env env, Plan& plan, const double* words, size_t count) {
  const physlm_library& library = *plan.library;
  int32_t n_kernels;
  const physlm_kernel_entry* manifest = library.manifest(&n_kernels);
  Reader reader(words, count);
  for (int index = 0; !reader.done(); index++) {
    if (!reader.has(4)) return fail(env, "[command %d] expected 4 numbers before the tensors, got the end of the list", index);
    int64_t kernel, n_in, n_out, n_attrs;
    if (!reader.whole(0, n_kernels - 1, &kernel))
      return fail(env, "[command %d] expected a kernel index from 0 to %d, got %g", index, n_kernels - 1, reader.bad());
    const physlm_kernel_entry& entry = manifest[kernel];
    const char* name = entry.name;
    if (!reader.whole(entry.n_in, entry.repeats ? INT32_MAX : entry.n_in, &n_in))
      return fail(env, "[command %d: %s] expected %d inputs, got %g", index, name, entry.n_in, reader.bad());
    if (entry.repeats && n_in % entry.n_in)
      return fail(env, "[command %d: %s] expected a multiple of %d inputs, got %lld", index, name, entry.n_in, (long long)n_in);
    const int32_t n_sets = entry.repeats ? (int32_t)n_in / entry.n_in : 1;
    const double n_outputs = (double)n_sets * entry.n_out;
    if (!reader.whole(n_outputs, n_outputs, &n_out))
      return fail(env, "[command %d: %s] expected %.0f outputs, got %g", index, name, n_outputs, reader.bad());
    if (!reader.whole(entry.n_attrs, entry.n_attrs, &n_attrs))
      return fail(env, "[command %d: %s] expected %d attributes, got %g", index, name, entry.n_attrs, reader.bad());
    const size_t first = plan.tensors.size();
    for (int64_t t = 0; t < n_in + n_out; t++) {
      const char* role = t < n_in ? "input" : "output";
      const int place = (int)(t < n_in ? t : t - n_in);
      if (!reader.has(4)) return fail(env, "[command %d: %s] expected %s %d, got the end of the list", index, name, role, place);
      int64_t buffer, offset, dtype, rank;
      const int lowest = t < n_in ? 0 : -1;
      if (!reader.whole(lowest, (double)plan.buffers.size() - 1, &buffer))
        return fail(env, "[command %d: %s, %s %d] expected a buffer index from %d to %d, got %g", index, name, role, place,
                    lowest, (int)plan.buffers.size() - 1, reader.bad());
      if (!reader.whole(0, kMaxExact, &offset))
        return fail(env, "[command %d: %s, %s %d] expected a byte offset, got %g", index, name, role, place, reader.bad());
      if (!reader.whole(PHYSLM_F32, PHYSLM_BF16, &dtype))
        return fail(env, "[command %d: %s, %s %d] expected a dtype from 0 to 3, got %g", index, name, role, place, reader.bad());
      if (!reader.whole(0, PHYSLM_MAX_RANK, &rank))
        return fail(env, "[command %d: %s, %s %d] expected a rank from 0 to %d, got %g", index, name, role, place,
                    PHYSLM_MAX_RANK, reader.bad());
      if (!reader.has((size_t)rank))
        return fail(env, "[command %d: %s, %s %d] expected %d axes, got the end of the list", index, name, role, place, (int)rank);
      physlm_tensor tensor = {};
      tensor.dtype = (int32_t)dtype;
      tensor.rank = (int32_t)rank;
      double bytes = (double)element_bytes(tensor.dtype);
      for (int64_t a = 0; a < rank; a++) {
        if (!reader.whole(0, kMaxExact, &tensor.shape[a]))
          return fail(env, "[command %d: %s, %s %d] expected a size for axis %d, got %g", index, name, role, place, (int)a,
                      reader.bad());
        bytes *= (double)tensor.shape[a];
      }
      if (buffer >= 0) {
        const Buffer& memory = plan.buffers[buffer];
        const double past = (double)memory.slice_stride * (plan.slices - 1) + (double)memory.lane_stride * (plan.lanes - 1);
        if ((double)offset + bytes + past > (double)memory.bytes)
          return fail(env, "[command %d: %s, %s %d] expected at most %zu bytes in buffer %d, got %.0f bytes at offset %lld",
                      index, name, role, place, memory.bytes, (int)buffer, bytes, (long long)offset);
        char* data = memory.data + offset;
        if ((uintptr_t)data % element_bytes(tensor.dtype))
          return fail(env, "[command %d: %s, %s %d] expected an offset aligned to %zu bytes, got %lld", index, name, role,
                      place, element_bytes(tensor.dtype), (long long)offset);
        static char nothing[64];
        tensor.data = data ? data : nothing;  // an empty ArrayBuffer may have no memory; null means "not wanted"
      }
      plan.tensors.push_back(tensor);
      if (plan.sliced()) plan.tensor_buffer.push_back((int32_t)buffer);
    }
    if (!reader.has((size_t)n_attrs))
      return fail(env, "[command %d: %s] expected %d attributes, got the end of the list", index, name, (int)n_attrs);
    plan.commands.push_back({(int32_t)kernel, n_sets, (uint32_t)first, (uint32_t)plan.attrs.size()});
    for (int64_t a = 0; a < n_attrs; a++) plan.attrs.push_back(reader.number());
    if (library.check((int32_t)kernel, n_sets, &plan.tensors[first], &plan.tensors[first + n_in]))
      return fail(env, "[command %d: %s]%s", index, name, library.last_error());
  }
  plan.calls.clear();
  for (const Command& command : plan.commands)
    plan.calls.push_back({command.kernel, command.n_sets, plan.tensors.data() + command.tensors, plan.attrs.data() + command.attrs});
  return true;
}

bool read_words(napi_env env, napi_value value, const double** words, size_t* count) {
  napi_typedarray_type type;
  void* data;
  if (napi_get_typedarray_info(env, value, &type, count, &data, nullptr, nullptr) != napi_ok || type != napi_float64_array)
    return fail(env, "[commands] expected a Float64Array, got something else");
  *words = static_cast<const double*>(data);
  return true;
}

bool read_buffers(napi_env env, napi_value list, Plan& plan, std::vector<napi_value>* values) {
  uint32_t count;
  if (napi_get_array_length(env, list, &count) != napi_ok) return fail(env, "[buffers] expected an array, got something else");
  for (uint32_t i = 0; i < count; i++) {
    napi_value value;
    void* data;
    size_t bytes;
    if (napi_get_element(env, list, i, &value) != napi_ok || napi_get_arraybuffer_info(env, value, &data, &bytes) != napi_ok)
      return fail(env, "[buffers] expected an ArrayBuffer at %u, got something else", i);
    if (plan.library->allocate && bytes > 0 && !gave(plan.library, static_cast<char*>(data), bytes))
      return fail(env, "[buffers] expected memory of device %s at %u, got another ArrayBuffer\nMake it with allocate().",
                  plan.library->device, i);
    plan.buffers.push_back({static_cast<char*>(data), bytes, nullptr, 0, 0});
    if (values) values->push_back(value);
  }
  return true;
}

bool read_slices(napi_env env, napi_value list, Plan& plan) {
  const double* words = nullptr;
  size_t count = 0;
  if (!read_words(env, list, &words, &count)) return false;
  if (count != 2 + 2 * plan.buffers.size())
    return fail(env, "[slices] expected %zu numbers, got %zu", 2 + 2 * plan.buffers.size(), count);
  Reader reader(words, count);
  int64_t slices, lanes, slice_stride, lane_stride;
  if (!reader.whole(1, 1 << 15, &slices) || !reader.whole(1, PHYSLM_MAX_THREADS, &lanes))
    return fail(env, "[slices] expected 1 to 32768 slices on 1 to %d lanes, got %g", PHYSLM_MAX_THREADS, reader.bad());
  for (Buffer& buffer : plan.buffers) {
    if (!reader.whole(0, kMaxExact, &slice_stride) || !reader.whole(0, kMaxExact, &lane_stride))
      return fail(env, "[slices] expected strides in bytes, got %g", reader.bad());
    buffer.slice_stride = (size_t)slice_stride;
    buffer.lane_stride = (size_t)lane_stride;
  }
  plan.slices = (int)slices;
  plan.lanes = (int)lanes;
  return true;
}
