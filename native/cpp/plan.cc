#include "plan.h"

#include <stdint.h>

#include <string>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "command-list.h"
#include "dispatch.h"
#include "runtime.h"

namespace {

constexpr napi_type_tag kPlanTag = {0x7068797360c0ffeeULL, 0x6c6d20706c616e31ULL};

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
      plan.lane_calls.push_back({command.kernel, command.n_sets,
                                 plan.lane_tensors.data() + lane * plan.tensors.size() + command.tensors,
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

// One slice of one plan.
struct Task {
  Plan* plan;
  int slice;
};

// What went wrong while tasks ran.
struct Failure {
  int32_t status = PHYSLM_OK;
  int task = -1;  // the first one that failed, so that the same input gives the same message
  int32_t call = -1;
  std::string reason;
};

// Tasks on several threads at a time, each task on one.
struct Lanes {
  const Task* tasks;
  pthread_mutex_t mutex;
  Failure* failure;
};

void run_lane(void* context, int part, int) {
  Lanes& lanes = *static_cast<Lanes*>(context);
  const Task& task = lanes.tasks[part];
  Plan& plan = *task.plan;
  int32_t failed = -1;
  const physlm_call* calls = place(plan, physlm_slot_index(), task.slice);
  const int32_t status = plan.library->run(calls, (int32_t)plan.calls.size(), nullptr, &failed);
  if (status == PHYSLM_OK) return;
  pthread_mutex_lock(&lanes.mutex);
  Failure& known = *lanes.failure;
  if (known.task < 0 || part < known.task) known = {status, part, failed, plan.library->last_error()};
  pthread_mutex_unlock(&lanes.mutex);
}

// Runs all commands of each task. Lanes are threads of this process: only the CPU's kernels run in them, where every plan has them.
Failure run_tasks(const std::vector<Task>& tasks) {
  Failure failure;
  int lanes = tasks[0].plan->lanes;
  bool side_by_side = tasks.size() > 1 && physlm_threads() > 1;
  for (const Task& task : tasks) {
    if (task.plan->lanes < lanes) lanes = task.plan->lanes;
    side_by_side = side_by_side && task.plan->library == physlm_cpu_library();
  }
  if (side_by_side && lanes > 1) {
    Lanes all = {tasks.data(), PTHREAD_MUTEX_INITIALIZER, &failure};
    physlm_parallel_lanes((int)tasks.size(), lanes, run_lane, &all);
    return failure;
  }
  for (size_t i = 0; i < tasks.size() && failure.status == PHYSLM_OK; i++) {
    Plan& plan = *tasks[i].plan;
    int32_t failed = -1;
    const int32_t status =
        plan.library->run(place(plan, 0, tasks[i].slice), (int32_t)plan.calls.size(), nullptr, &failed);
    if (status != PHYSLM_OK) failure = {status, (int)i, failed, plan.library->last_error()};
  }
  return failure;
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

// The plan behind a handle, with its buffers still where they were. NULL: an error is thrown.
Plan* open_plan(napi_env env, napi_value handle) {
  bool ours = false;
  void* data;
  if (napi_check_object_type_tag(env, handle, &kPlanTag, &ours) != napi_ok || !ours ||
      napi_unwrap(env, handle, &data) != napi_ok) {
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

}  // namespace

// The handle holds the buffers, and the plan only watches them: a finalizer waits for the event loop, and buffers that a plan
// held would pile up in code that compiles plan after plan without letting it turn.
napi_value compile(napi_env env, napi_callback_info info) {
  napi_value args[3];
  const double* words = nullptr;
  size_t count = 0;
  if (!arguments(env, info, args, 2) || !read_words(env, args[0], &words, &count)) return nullptr;
  Plan* plan = new Plan;
  plan->library = library_of(env, info);
  std::vector<napi_value> values;
  napi_value out = nullptr;
  napi_value held = nullptr;
  bool ready = napi_create_array(env, &held) == napi_ok && read_buffers(env, args[1], *plan, &values) &&
               (is_undefined(env, args[2]) || read_slices(env, args[2], *plan)) && parse(env, *plan, words, count);
  if (ready && plan->sliced()) make_lanes(*plan);
  for (size_t i = 0; ready && i < values.size(); i++) {
    if (!plan->library->allocate) advise(plan->buffers[i]);
    ready = napi_create_reference(env, values[i], 0, &plan->buffers[i].keep) == napi_ok &&
            napi_set_element(env, held, (uint32_t)i, values[i]) == napi_ok;
  }
  const napi_property_descriptor buffers = {"buffers", nullptr, nullptr, nullptr, nullptr, held, napi_default, nullptr};
  if (!ready || napi_create_object(env, &out) != napi_ok || napi_define_properties(env, out, 1, &buffers) != napi_ok ||
      napi_wrap(env, out, plan, drop_plan, nullptr, nullptr) != napi_ok) {
    drop_plan(env, plan, nullptr);
    return fail(env, "[compile] the plan could not be made");
  }
  napi_type_tag_object(env, out, &kPlanTag);
  return out;
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
      static thread_local std::vector<Task> tasks;  // keeps its memory from call to call
      tasks.clear();
      for (int slice = first; slice < first + count; slice++) tasks.push_back({plan, slice});
      failure = run_tasks(tasks);
    } else {
      failure.status =
          plan->library->run(plan->calls.data(), (int32_t)plan->calls.size(), &plan->replay, &failure.call);
      if (failure.status) failure.reason = plan->library->last_error();
    }
  }
  return failure.status ? fail_call(env, *plan, failure.call, failure.reason.c_str()) : nullptr;
}

napi_value run_each(napi_env env, napi_callback_info info) {
  napi_value args[2];
  bool ours = false;
  uint32_t count = 0, slices = 0;
  if (!arguments(env, info, args)) return nullptr;
  if (napi_is_array(env, args[0], &ours) != napi_ok || !ours || napi_is_array(env, args[1], &ours) != napi_ok || !ours ||
      napi_get_array_length(env, args[0], &count) != napi_ok || napi_get_array_length(env, args[1], &slices) != napi_ok ||
      count != slices || count == 0)
    return fail(env, "[runEach] expected as many plans as slices, at least one, got %u and %u", count, slices);
  std::vector<Task> tasks;
  for (uint32_t i = 0; i < count; i++) {
    napi_value handle, slice, one;
    int at, n;
    if (napi_get_element(env, args[0], i, &handle) != napi_ok || napi_get_element(env, args[1], i, &slice) != napi_ok ||
        napi_create_int32(env, 1, &one) != napi_ok)
      return fail(env, "[runEach] expected task %u, got none", i);
    Plan* plan = open_plan(env, handle);
    if (!plan) return nullptr;
    if (!plan->sliced()) return fail(env, "[runEach] expected a plan of slices in task %u, got one without", i);
    if (!slice_range(env, *plan, slice, one, &at, &n)) return nullptr;
    tasks.push_back({plan, at});
  }
  Failure failure;
  {
    Turn turn;
    failure = run_tasks(tasks);
  }
  return failure.status ? fail_call(env, *tasks[failure.task].plan, failure.call, failure.reason.c_str()) : nullptr;
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
