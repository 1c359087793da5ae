// Runs one block of a kernel on the host: every thread of the block is a fiber that gives way at barriers. Warp collectives
// (shuffles, matrix products) are barriers of 32 fibers with a table of values. Checks what hardware would not say: a
// barrier that some thread never reaches, shared memory read before it was written (it starts as NaN), writes beyond it,
// results that depend on the order in which threads run (PHYSLM_EMULATE_ORDER = forward, backward or a number: a shuffle).
#ifndef PHYSLM_EMULATE_FIBERS_H
#define PHYSLM_EMULATE_FIBERS_H

#include <stddef.h>
#include <stdint.h>

#include <functional>
#include <string>
#include <vector>

namespace emulate {

struct Index {
  unsigned x, y, z;
};

/** A copy into shared memory that has not happened yet. */
struct Copy {
  void* to;
  const void* from;
  int group;
};

/** A product of a warp group that has not happened yet; d is this thread's share of the results. */
struct Product {
  int group, n;
  uint64_t a, b;
  bool turned_a, turned_b, accumulate;
  float* d;
  const uint32_t* held;  // this thread's share of a where a comes from registers, else null
  uint32_t own[4];       // what that was when the product began
  float rows[2][16];     // the two rows of a that this thread multiplies
};

/** A fetch by TMA that has not happened yet. */
struct Transfer {
  uint64_t* barrier;
  int bytes;
  std::function<void()> run;
};

/** What an mbarrier's 8 bytes hold here. */
struct Barrier {
  uint16_t count;
  int16_t pending;
  int32_t bytes : 31;
  uint32_t phase : 1;
};

constexpr int kWarp = 32;
constexpr int kSlotBytes = 64;

struct Fiber {
  void* stack_pointer = nullptr;
  bool running = false, finished = false;
  const char* waits_for = nullptr;
  Index thread{};
  int lane = 0, warp = 0;
  std::vector<Copy> copies;
  int groups = 0;
  std::vector<Product> products;
  int product_groups = 0;
  uint64_t* barrier = nullptr;  // waits for this one to leave the phase of this parity
  int parity = 0;
};

/** What the lanes of a warp show each other; two tables in turn, so that one barrier per exchange is enough. */
struct Warp {
  alignas(64) unsigned char slots[2][kWarp][kSlotBytes];
  int turn = 0, arrived = 0;
};

struct Block {
  Index block{}, grid{}, size{};
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  int arrived = 0;
  int named[16] = {};  // threads that arrived at each named barrier
  std::vector<Transfer> transfers;
  const char* broken = nullptr;  // the rule that a thread broke
  Fiber* current = nullptr;
  unsigned char* shared = nullptr;
};

/** The block that runs on this thread of the host. */
Block& block();
/** Ends the kernel: a thread broke this rule. */
void broken(const char* rule);
/** Gives way until all threads of the block are here. */
void block_barrier();
void named_barrier(int id, int count, bool waits);
inline Barrier* barrier(uint64_t* at) { return reinterpret_cast<Barrier*>(at); }
void barrier_arrive(uint64_t* barrier, int expected_bytes);
void barrier_wait(uint64_t* barrier, int parity);
/**
 * Shows `bytes` to the warp; returns the table of all lanes, valid until the exchange after the next. `complete` is called by
 * the last lane to come and may change the table.
 */
const unsigned char (*exchange(const void* value, size_t bytes,
                               void (*complete)(unsigned char (*slots)[kSlotBytes]) = nullptr))[kSlotBytes];
/** Runs `body` once for every thread of every block. Throws std::runtime_error when the kernel breaks a rule. */
void run_grid(Index grid, Index size, size_t shared_bytes, const std::function<void()>& body);

}  // namespace emulate
#endif
