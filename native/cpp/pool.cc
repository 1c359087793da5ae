// One pool of threads for the process. Every thread owns an equal run of a job's parts, and takes over parts of others when
// done with its own: usually the split is the static one (the same rows stay in the same core's cache from op to op), yet a
// thread that the system has put aside holds up at most one part. Which thread runs a part never changes a result.
// Workers spin for a short while after a job, then sleep. The pool is never destroyed: workers sleep through the end of
// the process, and the library stays mapped (nodelete).
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <atomic>

#include "runtime.h"

// The oldest version of a symbol that does the work, so that a build on a new system runs on an old one.
#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))
#if defined(__x86_64__)
#define PHYSLM_OLDEST "GLIBC_2.2.5"
#else
#define PHYSLM_OLDEST "GLIBC_2.17"
#endif
__asm__(".symver pthread_create,pthread_create@" PHYSLM_OLDEST);
__asm__(".symver pthread_detach,pthread_detach@" PHYSLM_OLDEST);
__asm__(".symver pthread_sigmask,pthread_sigmask@" PHYSLM_OLDEST);
#endif

namespace {

// About 100 µs of waiting: longer than the gap between two kernels, shorter than anything a person would notice.
constexpr int kSpins = 4000;
// Past this many spins the thread we wait for is probably not running: give it our core.
constexpr int kSpinsBeforeYield = 4000;

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Claims: the number of the job (upper bits), then how many of the owner's parts are taken. Before a job's description is
// overwritten, all claims of the last one are closed; so a compare-and-swap that succeeds proves that the description read
// before it belongs to the job claimed, however late the thread comes.
constexpr int kClaimBits = 16;
constexpr uint64_t kClaimMask = (uint64_t{1} << kClaimBits) - 1;

struct alignas(128) Slot {
  std::atomic<uint64_t> claims{0};
  std::atomic<int> asleep{0};
  int index = 0;
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
};

struct Pool {
  std::atomic<physlm_part> run{nullptr};
  std::atomic<void*> context{nullptr};
  std::atomic<int> parts{0};
  std::atomic<int> owners{0};
  alignas(128) std::atomic<int> pending{0};
  uint64_t job = 0;
  int workers = 0;
  std::atomic<int> threads{0};
  Slot slot[PHYSLM_MAX_THREADS];
};

Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

thread_local int t_slot = 0;
thread_local bool t_in_lane = false;

// What physlm_parallel_lanes was asked to run.
struct LaneJob {
  physlm_part run;
  void* context;
};

void run_in_lane(void* context, int part, int n_parts) {
  const LaneJob& job = *static_cast<LaneJob*>(context);
  t_in_lane = true;
  job.run(job.context, part, n_parts);
  t_in_lane = false;
}

// Takes and runs parts of `job` until none is left: first those of slot `self`, then of the others in turn.
void run_parts(Pool& p, uint64_t job, int self) {
  const int owners = p.owners.load(std::memory_order_acquire);
  if (self >= owners) return;
  for (int i = 0; i < owners; i++) {
    const int owner = (self + i) % owners;
    std::atomic<uint64_t>& claims = p.slot[owner].claims;
    uint64_t seen = claims.load(std::memory_order_acquire);
    while (seen >> kClaimBits == job) {
      const physlm_part run = p.run.load(std::memory_order_acquire);
      void* const context = p.context.load(std::memory_order_acquire);
      const int parts = p.parts.load(std::memory_order_acquire);
      const int begin = (int)((int64_t)parts * owner / owners), end = (int)((int64_t)parts * (owner + 1) / owners);
      const int part = begin + (int)(seen & kClaimMask);
      if (part >= end) break;
      if (!claims.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      run(context, part, parts);
      p.pending.fetch_sub(1, std::memory_order_acq_rel);
      seen = claims.load(std::memory_order_acquire);
    }
  }
}

void* work(void* argument) {
  Pool& p = pool();
  Slot& self = *static_cast<Slot*>(argument);
  t_slot = self.index;
  uint64_t last = 0;
  for (;;) {
    uint64_t job = self.claims.load(std::memory_order_acquire) >> kClaimBits;
    for (int i = 0; job == last && i < kSpins; i++) {
      relax();
      job = self.claims.load(std::memory_order_acquire) >> kClaimBits;
    }
    if (job == last) {
      pthread_mutex_lock(&self.mutex);
      self.asleep.store(1, std::memory_order_seq_cst);
      while ((job = self.claims.load(std::memory_order_seq_cst) >> kClaimBits) == last)
        pthread_cond_wait(&self.wake, &self.mutex);
      self.asleep.store(0, std::memory_order_relaxed);
      pthread_mutex_unlock(&self.mutex);
    }
    last = job;
    run_parts(p, job, self.index);
  }
  return nullptr;
}

bool spawn(Slot& slot) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals belong to Node's threads
  pthread_t thread;
  const bool started = pthread_create(&thread, nullptr, work, &slot) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (started) pthread_detach(thread);
  return started;
}

// Cores this process may use; two hardware threads of one core count once.
int available_cores() {
#ifdef __linux__
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    int cores = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      char path[96];
      snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
      bool first = true;
      if (FILE* file = fopen(path, "r")) {
        int sibling;
        if (fscanf(file, "%d", &sibling) == 1 && sibling < cpu && sibling >= 0 && CPU_ISSET(sibling, &allowed)) first = false;
        fclose(file);
      }
      cores += first;
    }
    if (cores > 0) return cores;
  }
#endif
  const long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (int)n : 1;
}

int clamp_threads(int n) { return n < 1 ? 1 : n > PHYSLM_MAX_THREADS ? PHYSLM_MAX_THREADS : n; }

// Runs the parts on at most `threads` threads.
void parallel(int n_parts, int threads, physlm_part run, void* context) {
  if (n_parts <= 1 || threads <= 1) {
    for (int part = 0; part < n_parts; part++) run(context, part, n_parts);
    return;
  }
  Pool& p = pool();
  const int wanted = (threads < n_parts ? threads : n_parts) - 1;
  while (p.workers < wanted) {
    Slot& slot = p.slot[p.workers + 1];
    slot.index = p.workers + 1;
    if (!spawn(slot)) break;  // the system refused: the threads there are share the parts
    p.workers++;
  }
  const int owners = 1 + (p.workers < wanted ? p.workers : wanted);
  const uint64_t closed = p.job << kClaimBits | kClaimMask;
  for (int i = 0; i <= p.workers; i++) p.slot[i].claims.store(closed, std::memory_order_seq_cst);
  const uint64_t job = ++p.job;
  p.run.store(run, std::memory_order_release);
  p.context.store(context, std::memory_order_release);
  p.parts.store(n_parts, std::memory_order_release);
  p.owners.store(owners, std::memory_order_release);
  p.pending.store(n_parts, std::memory_order_relaxed);
  for (int i = 0; i < owners; i++) p.slot[i].claims.store(job << kClaimBits, std::memory_order_seq_cst);
  for (int i = 1; i < owners; i++) {
    Slot& slot = p.slot[i];
    if (slot.asleep.load(std::memory_order_seq_cst)) {
      pthread_mutex_lock(&slot.mutex);
      pthread_cond_signal(&slot.wake);
      pthread_mutex_unlock(&slot.mutex);
    }
  }
  t_slot = 0;
  run_parts(p, job, 0);
  for (int i = 0; p.pending.load(std::memory_order_acquire) != 0; i++) {
    if (i < kSpinsBeforeYield)
      relax();
    else
      sched_yield();
  }
}

}  // namespace

int physlm_threads(void) {
  if (t_in_lane) return 1;
  Pool& p = pool();
  int n = p.threads.load(std::memory_order_relaxed);
  if (n == 0) {
    n = clamp_threads(available_cores());
    p.threads.store(n, std::memory_order_relaxed);
  }
  return n;
}

void physlm_set_threads(int n) { pool().threads.store(clamp_threads(n), std::memory_order_relaxed); }

int physlm_slot_index(void) { return t_slot; }

int physlm_in_lane(void) { return t_in_lane; }

void physlm_parallel(int n_parts, physlm_part run, void* context) { parallel(n_parts, physlm_threads(), run, context); }

void physlm_parallel_lanes(int n_parts, int lanes, physlm_part run, void* context) {
  LaneJob job = {run, context};
  const int threads = physlm_threads();
  parallel(n_parts, lanes < threads ? lanes : threads, run_in_lane, &job);
}
