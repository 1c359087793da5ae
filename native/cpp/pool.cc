// One pool of threads for the process. Workers spin for a short while after a job, then sleep; the caller takes part 0.
// The pool is never destroyed: workers sleep through the end of the process, and the library stays mapped (nodelete).
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include "runtime.h"

// The oldest version of a symbol that does the work, so that a build on a new system runs on an old one.
#if defined(__GLIBC__) && defined(__x86_64__)
__asm__(".symver pthread_create,pthread_create@GLIBC_2.2.5");
__asm__(".symver pthread_detach,pthread_detach@GLIBC_2.2.5");
__asm__(".symver pthread_sigmask,pthread_sigmask@GLIBC_2.2.5");
#endif

namespace {

// About 100 µs of waiting: longer than the gap between two kernels, shorter than anything a person would notice.
constexpr int kSpins = 4000;
// Past this many spins the thread we wait for is probably not running: give it our core.
constexpr int kSpinsBeforeYield = 20000;

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

struct alignas(128) Worker {
  std::atomic<uint64_t> ticket{0};
  std::atomic<int> asleep{0};
  int part = 0;
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
};

struct Pool {
  physlm_part run = nullptr;
  void* context = nullptr;
  int parts = 0;
  alignas(128) std::atomic<int> pending{0};
  uint64_t tickets = 0;
  int workers = 0;
  std::atomic<int> threads{0};
  Worker worker[PHYSLM_MAX_THREADS];
};

Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

void* work(void* argument) {
  Pool& p = pool();
  Worker& self = *static_cast<Worker*>(argument);
  uint64_t seen = 0;
  for (;;) {
    uint64_t ticket = self.ticket.load(std::memory_order_acquire);
    for (int i = 0; ticket == seen && i < kSpins; i++) {
      relax();
      ticket = self.ticket.load(std::memory_order_acquire);
    }
    if (ticket == seen) {
      pthread_mutex_lock(&self.mutex);
      self.asleep.store(1, std::memory_order_seq_cst);
      while ((ticket = self.ticket.load(std::memory_order_seq_cst)) == seen) pthread_cond_wait(&self.wake, &self.mutex);
      self.asleep.store(0, std::memory_order_relaxed);
      pthread_mutex_unlock(&self.mutex);
    }
    seen = ticket;
    p.run(p.context, self.part, p.parts);
    p.pending.fetch_sub(1, std::memory_order_acq_rel);
  }
  return nullptr;
}

bool spawn(Worker& worker) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals belong to Node's threads
  pthread_t thread;
  const bool started = pthread_create(&thread, nullptr, work, &worker) == 0;
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

}  // namespace

int physlm_threads(void) {
  Pool& p = pool();
  int n = p.threads.load(std::memory_order_relaxed);
  if (n == 0) {
    n = clamp_threads(available_cores());
    p.threads.store(n, std::memory_order_relaxed);
  }
  return n;
}

void physlm_set_threads(int n) { pool().threads.store(clamp_threads(n), std::memory_order_relaxed); }

void physlm_parallel(int n_parts, physlm_part run, void* context) {
  if (n_parts <= 1) {
    run(context, 0, 1);
    return;
  }
  Pool& p = pool();
  while (p.workers < n_parts - 1) {
    p.worker[p.workers].part = p.workers + 1;
    if (!spawn(p.worker[p.workers])) break;
    p.workers++;
  }
  const int helpers = p.workers < n_parts - 1 ? p.workers : n_parts - 1;
  p.run = run;
  p.context = context;
  p.parts = n_parts;
  p.pending.store(helpers, std::memory_order_relaxed);
  const uint64_t ticket = ++p.tickets;
  for (int i = 0; i < helpers; i++) {
    Worker& worker = p.worker[i];
    worker.ticket.store(ticket, std::memory_order_seq_cst);
    if (worker.asleep.load(std::memory_order_seq_cst)) {
      pthread_mutex_lock(&worker.mutex);
      pthread_cond_signal(&worker.wake);
      pthread_mutex_unlock(&worker.mutex);
    }
  }
  run(context, 0, n_parts);
  // Parts that have no thread (the system refused one) are done here: the split is the same, so the bits are.
  for (int part = helpers + 1; part < n_parts; part++) run(context, part, n_parts);
  for (int i = 0; p.pending.load(std::memory_order_acquire) != 0; i++) {
    if (i < kSpinsBeforeYield)
      relax();
    else
      sched_yield();
  }
}
