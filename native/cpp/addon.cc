// Node-API glue: command lists in, kernels run, errors out. Raw Node-API calls, because an eager op costs a few
// microseconds and a wrapper would cost as much again. The same functions serve the CPU kernels and those of a library that
// is loaded later (CUDA): each function carries the library it belongs to.
#include <dlfcn.h>
#include <node_api.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <map>
#include <string>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "abi.h"
#include "dispatch.h"
#include "runtime.h"

// glibc 2.34 moved these into libc; the older versions are still there, and old systems have only them.
#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))
#if defined(__x86_64__)
#define PHYSLM_OLDEST "GLIBC_2.2.5"
#else
#define PHYSLM_OLDEST "GLIBC_2.17"
#endif
__asm__(".symver dlopen,dlopen@" PHYSLM_OLDEST);
__asm__(".symver dlsym,dlsym@" PHYSLM_OLDEST);
__asm__(".symver dlerror,dlerror@" PHYSLM_OLDEST);
#endif

namespace {

constexpr double kMaxExact = 9007199254740992.0;

struct Command {
  int32_t kernel;
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

// The pool, the scratch memory and a device's stream serve one command list at a time; other threads of Node wait here.
// Nobody calls into Node while holding it: that could run a finalizer, which waits here too.
pthread_mutex_t g_engine = PTHREAD_MUTEX_INITIALIZER;
struct Turn {
  Turn() { pthread_mutex_lock(&g_engine); }
  ~Turn() { pthread_mutex_unlock(&g_engine); }
};

constexpr napi_type_tag kPlanTag = {0x7068797360c0ffeeULL, 0x6c6d20706c616e31ULL};

napi_value fail(napi_env env, const char* format, ...) __attribute__((format(printf, 2, 3)));
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

// Memory that libraries with memory of their own gave out, by address.
pthread_mutex_t g_allocations_lock = PTHREAD_MUTEX_INITIALIZER;
std::map<char*, std::pair<size_t, const physlm_library*>>& allocations() {
  static auto* all = new std::map<char*, std::pair<size_t, const physlm_library*>>;  // outlives every finalizer
  return *all;
}

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

// Fills `plan` (commands, tensors, attrs) from the encoded list; plan.buffers is there already. False: an error is thrown.
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
    if (!reader.whole(entry.n_in, entry.n_in, &n_in))
      return fail(env, "[command %d: %s] expected %d inputs, got %g", index, name, entry.n_in, reader.bad());
    if (!reader.whole(entry.n_out, entry.n_out, &n_out))
      return fail(env, "[command %d: %s] expected %d outputs, got %g", index, name, entry.n_out, reader.bad());
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
    plan.commands.push_back({(int32_t)kernel, (uint32_t)first, (uint32_t)plan.attrs.size()});
    for (int64_t a = 0; a < n_attrs; a++) plan.attrs.push_back(reader.number());
    if (library.check((int32_t)kernel, &plan.tensors[first], &plan.tensors[first + n_in]))
      return fail(env, "[command %d: %s]%s", index, name, library.last_error());
  }
  plan.calls.clear();
  for (const Command& command : plan.commands)
    plan.calls.push_back({command.kernel, plan.tensors.data() + command.tensors, plan.attrs.data() + command.attrs});
  return true;
}

// Throws what went wrong in call `failed`; -1: in no particular one.
napi_value fail_call(napi_env env, const Plan& plan, int32_t failed, const char* reason) {
  if (failed < 0) return fail(env, "%s", reason);
  int32_t n;
  return fail(env, "[command %d: %s]%s", failed, plan.library->manifest(&n)[plan.calls[failed].kernel].name, reason);
}

// Gives each lane tensors and calls of its own.
void make_lanes(Plan& plan) {
  for (int lane = 0; lane < plan.lanes; lane++)
    plan.lane_tensors.insert(plan.lane_tensors.end(), plan.tensors.begin(), plan.tensors.end());
  for (int lane = 0; lane < plan.lanes; lane++)
    for (const Command& command : plan.commands)
      plan.lane_calls.push_back({command.kernel, plan.lane_tensors.data() + lane * plan.tensors.size() + command.tensors,
                                 plan.attrs.data() + command.attrs});
}

// The calls of a lane, moved to `slice`.
const physlm_call* place(Plan& plan, int lane, int slice) {
  const size_t count = plan.tensors.size();
  physlm_tensor* tensors = plan.lane_tensors.data() + lane * count;
  for (size_t i = 0; i < count; i++) {
    if (!plan.tensors[i].data || plan.tensor_buffer[i] < 0) continue;
    const Buffer& buffer = plan.buffers[plan.tensor_buffer[i]];
    tensors[i].data = (char*)plan.tensors[i].data + buffer.slice_stride * slice + buffer.lane_stride * lane;
  }
  return plan.lane_calls.data() + lane * plan.commands.size();
}

// What went wrong while slices ran.
struct Failure {
  int32_t status = PHYSLM_OK;
  int slice = -1;  // the first one that failed, so that the same input gives the same message
  int32_t call = -1;
  std::string reason;
};

// Slices on several threads at a time, each slice on one.
struct Lanes {
  Plan* plan;
  int first;
  pthread_mutex_t mutex;
  Failure* failure;
};

void run_lane(void* context, int part, int) {
  Lanes& lanes = *static_cast<Lanes*>(context);
  Plan& plan = *lanes.plan;
  const int slice = lanes.first + part;
  int32_t failed = -1;
  const int32_t status = plan.library->run(place(plan, physlm_slot_index(), slice), (int32_t)plan.calls.size(), nullptr, &failed);
  if (status == PHYSLM_OK) return;
  pthread_mutex_lock(&lanes.mutex);
  Failure& known = *lanes.failure;
  if (known.slice < 0 || slice < known.slice) known = {status, slice, failed, plan.library->last_error()};
  pthread_mutex_unlock(&lanes.mutex);
}

// Runs all commands on each of the slices. Lanes are threads of this process: only the CPU's kernels run in them.
Failure run_slices(Plan& plan, int first, int count) {
  Failure failure;
  if (plan.lanes > 1 && count > 1 && physlm_threads() > 1 && plan.library == physlm_cpu_library()) {
    Lanes lanes = {&plan, first, PTHREAD_MUTEX_INITIALIZER, &failure};
    physlm_parallel_lanes(count, plan.lanes, run_lane, &lanes);
    return failure;
  }
  for (int slice = first; slice < first + count && failure.status == PHYSLM_OK; slice++) {
    int32_t failed = -1;
    const int32_t status = plan.library->run(place(plan, 0, slice), (int32_t)plan.calls.size(), nullptr, &failed);
    if (status != PHYSLM_OK) failure = {status, slice, failed, plan.library->last_error()};
  }
  return failure;
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

// --- exported functions ----------------------------------------------------------------------------------------------

// Reads the arguments; those past the first `needed` are undefined when left out.
template <size_t N>
bool arguments(napi_env env, napi_callback_info info, napi_value (&values)[N], size_t needed = N) {
  size_t count = N;
  if (napi_get_cb_info(env, info, &count, values, nullptr, nullptr) != napi_ok || count < needed)
    return fail(env, "[arguments] expected %zu, got %zu", needed, count);
  return true;
}

bool is_undefined(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type == napi_undefined;
}

// The library that the called function belongs to.
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

void drop_plan(napi_env env, void* data, void*) {
  Plan* plan = static_cast<Plan*>(data);
  for (const Buffer& buffer : plan->buffers)
    if (buffer.keep) napi_delete_reference(env, buffer.keep);
  if (plan->replay) {
    Turn turn;
    plan->library->drop_replay(plan->replay);
  }
  delete plan;
}

// Asks for huge pages under large buffers: kernels walk down columns, and small pages cost them a table walk a row. Only
// memory that is touched later gets them, so it pays to compile before filling.
void advise(const Buffer& buffer) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  const uintptr_t begin = ((uintptr_t)buffer.data + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = ((uintptr_t)buffer.data + buffer.bytes) / kHugePage * kHugePage;
  if (end > begin) madvise((void*)begin, end - begin, MADV_HUGEPAGE);
#else
  (void)buffer;
#endif
}

// Fills slices, lanes and strides from [nSlice, nLane, then slice stride and lane stride of each buffer].
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

napi_value compile(napi_env env, napi_callback_info info) {
  napi_value args[3];
  const double* words = nullptr;
  size_t count = 0;
  if (!arguments(env, info, args, 2) || !read_words(env, args[0], &words, &count)) return nullptr;
  Plan* plan = new Plan;
  plan->library = library_of(env, info);
  std::vector<napi_value> values;
  napi_value out = nullptr;
  bool ready = read_buffers(env, args[1], *plan, &values) &&
               (is_undefined(env, args[2]) || read_slices(env, args[2], *plan)) && parse(env, *plan, words, count);
  if (ready && plan->sliced()) make_lanes(*plan);
  for (size_t i = 0; ready && i < values.size(); i++) {
    if (!plan->library->allocate) advise(plan->buffers[i]);
    ready = napi_create_reference(env, values[i], 1, &plan->buffers[i].keep) == napi_ok;
  }
  if (!ready || napi_create_external(env, plan, drop_plan, nullptr, &out) != napi_ok) {
    drop_plan(env, plan, nullptr);
    return fail(env, "[compile] the plan could not be made");
  }
  napi_type_tag_object(env, out, &kPlanTag);
  return out;
}

// The plan behind a handle, with its buffers still where they were. NULL: an error is thrown.
Plan* open_plan(napi_env env, napi_value handle) {
  bool ours = false;
  void* data;
  if (napi_check_object_type_tag(env, handle, &kPlanTag, &ours) != napi_ok || !ours ||
      napi_get_value_external(env, handle, &data) != napi_ok) {
    fail(env, "[plan] expected what compile() returned, got something else");
    return nullptr;
  }
  Plan* plan = static_cast<Plan*>(data);
  for (size_t i = 0; i < plan->buffers.size(); i++) {
    const Buffer& buffer = plan->buffers[i];
    napi_value value;
    void* memory = nullptr;
    size_t bytes = 0;
    napi_get_reference_value(env, buffer.keep, &value);
    napi_get_arraybuffer_info(env, value, &memory, &bytes);
    if (memory != buffer.data || bytes != buffer.bytes) {
      fail(env, "[plan] expected buffer %zu as it was compiled, got one that was detached or resized", i);
      return nullptr;
    }
  }
  return plan;
}

// Reads the optional arguments firstSlice and nSlice of run() and profile(); all slices when left out.
bool slice_range(napi_env env, const Plan& plan, napi_value first, napi_value count, int* out_first, int* out_count) {
  double from = 0, n = plan.slices;
  if (!is_undefined(env, first) &&
      (napi_get_value_double(env, first, &from) != napi_ok || napi_get_value_double(env, count, &n) != napi_ok ||
       !(from >= 0 && n >= 1 && from + n <= plan.slices) || from != (double)(int)from || n != (double)(int)n))
    return fail(env, "[slices] expected slices within the %d that were compiled, got others", plan.slices);
  *out_first = (int)from;
  *out_count = (int)n;
  return true;
}

napi_value run(napi_env env, napi_callback_info info) {
  napi_value args[3];
  if (!arguments(env, info, args, 1)) return nullptr;
  Plan* plan = open_plan(env, args[0]);
  int first, count;
  if (!plan || !slice_range(env, *plan, args[1], args[2], &first, &count)) return nullptr;
  Failure failure;
  {
    Turn turn;
    if (plan->sliced()) {
      failure = run_slices(*plan, first, count);
    } else {
      failure.status =
          plan->library->run(plan->calls.data(), (int32_t)plan->calls.size(), &plan->replay, &failure.call);
      if (failure.status) failure.reason = plan->library->last_error();
    }
  }
  return failure.status ? fail_call(env, *plan, failure.call, failure.reason.c_str()) : nullptr;
}

napi_value profile(napi_env env, napi_callback_info info) {
  napi_value args[3];
  if (!arguments(env, info, args, 1)) return nullptr;
  Plan* plan = open_plan(env, args[0]);
  int first, count;
  if (!plan || !slice_range(env, *plan, args[1], args[2], &first, &count)) return nullptr;
  const size_t calls = plan->calls.size();
  void* memory;
  napi_value buffer, out;
  if (napi_create_arraybuffer(env, calls * sizeof(double), &memory, &buffer) != napi_ok ||
      napi_create_typedarray(env, napi_float64_array, calls, buffer, 0, &out) != napi_ok)
    return fail(env, "[profile] no memory for %zu times", calls);
  double* times = static_cast<double*>(memory);
  std::vector<double> slice_times(calls);
  int32_t failed = -1, status = PHYSLM_OK;
  {
    Turn turn;
    for (int slice = first; slice < first + count && status == PHYSLM_OK; slice++) {
      const physlm_call* list = plan->sliced() ? place(*plan, 0, slice) : plan->calls.data();
      status = plan->library->profile(list, (int32_t)calls, slice_times.data(), &failed);
      for (size_t i = 0; i < calls; i++) times[i] = (slice == first ? 0 : times[i]) + slice_times[i];
    }
  }
  return status ? fail_call(env, *plan, failed, plan->library->last_error()) : out;
}

napi_value launch(napi_env env, napi_callback_info info) {
  napi_value args[2];
  const double* words = nullptr;
  size_t count = 0;
  if (!arguments(env, info, args) || !read_words(env, args[0], &words, &count)) return nullptr;
  static thread_local Plan plan;  // its vectors keep their memory from call to call
  plan.commands.clear();
  plan.tensors.clear();
  plan.attrs.clear();
  plan.buffers.clear();
  plan.library = library_of(env, info);
  if (!read_buffers(env, args[1], plan, nullptr) || !parse(env, plan, words, count)) return nullptr;
  int32_t failed = -1, status;
  {
    Turn turn;
    status = plan.library->run(plan.calls.data(), (int32_t)plan.calls.size(), nullptr, &failed);
  }
  return status ? fail_call(env, plan, failed, plan.library->last_error()) : nullptr;
}

// --- libraries that are loaded when asked for --------------------------------------------------------------------------

napi_value description(napi_env env, napi_callback_info info) { return string(env, library_of(env, info)->description()); }

void release(napi_env, void* data, void* hint) {
  const auto* library = static_cast<const physlm_library*>(hint);
  pthread_mutex_lock(&g_allocations_lock);
  allocations().erase(static_cast<char*>(data));
  pthread_mutex_unlock(&g_allocations_lock);
  Turn turn;
  library->release(data);
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

// Loads a library once for the process and never unloads it: its threads and its driver may still be at work. NULL: `why`.
const physlm_library* load_library(const std::string& path, std::string* why) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static auto* loaded = new std::map<std::string, const physlm_library*>;
  pthread_mutex_lock(&lock);
  const physlm_library* library = nullptr;
  const auto known = loaded->find(path);
  if (known != loaded->end()) {
    library = known->second;
  } else if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    auto entry = reinterpret_cast<const physlm_library* (*)(void)>(dlsym(handle, "physlm_cuda_library"));
    if (!entry)
      *why = "it is not a library of physlm kernels (no physlm_cuda_library)";
    else if (entry()->abi_version != PHYSLM_ABI_VERSION)
      *why = "it has ABI version " + std::to_string(entry()->abi_version) + ", expected " +
             std::to_string(PHYSLM_ABI_VERSION) + "; build it again";
    else
      (*loaded)[path] = library = entry();
  } else {
    *why = dlerror();
  }
  pthread_mutex_unlock(&lock);
  return library;
}

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
                             {"compile", compile}, {"run", run}, {"profile", profile}, {"launch", launch}};
  const Function own_memory[] = {{"allocate", allocate}, {"synchronize", synchronize}};
  return export_all(env, to, library, common, sizeof common / sizeof *common) &&
         (!library->allocate || export_all(env, to, library, own_memory, sizeof own_memory / sizeof *own_memory));
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
