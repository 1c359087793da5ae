#include "fibers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <stdexcept>

#if defined(__x86_64__)
extern "C" void physlm_switch(void** save, void* load);
// Saves what a call must preserve, changes stacks, restores the same. Callers see an ordinary function.
asm(R"(
.text
.globl physlm_switch
.hidden physlm_switch
.type physlm_switch,@function
physlm_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size physlm_switch,.-physlm_switch
)");
#elif defined(__aarch64__)
extern "C" void physlm_switch(void** save, void* load);
asm(R"(
.text
.globl physlm_switch
.hidden physlm_switch
.type physlm_switch,%function
physlm_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size physlm_switch,.-physlm_switch
)");
#else
#error "the emulator knows x86-64 and aarch64"
#endif

namespace emulate {
namespace {

constexpr size_t kStack = 64 << 10;
constexpr size_t kSharedMost = 232448;  // bytes a block of an H100 may use
constexpr size_t kGuard = 4096;
constexpr int kThreadsMost = 1024;

thread_local Block g_block;
thread_local void* g_scheduler = nullptr;
thread_local const std::function<void()>* g_body = nullptr;
thread_local unsigned char* g_stacks = nullptr;

void give_way() { physlm_switch(&g_block.current->stack_pointer, g_scheduler); }

extern "C" void physlm_fiber_entry() {
  (*g_body)();
  g_block.current->finished = true;
  give_way();
  abort();  // nobody resumes a finished fiber
}

void prepare(Fiber& fiber, size_t index) {
  unsigned char* top = g_stacks + (index + 1) * kStack;
  void** sp = reinterpret_cast<void**>(top);
#if defined(__x86_64__)
  *--sp = nullptr;  // keeps the stack aligned as after a call
  *--sp = reinterpret_cast<void*>(physlm_fiber_entry);
  for (int i = 0; i < 6; i++) *--sp = nullptr;
#else
  sp -= 20;
  memset(sp, 0, 160);
  sp[11] = reinterpret_cast<void*>(physlm_fiber_entry);  // x30
#endif
  fiber.stack_pointer = sp;
}

/** The order in which warps, or lanes, get their turn: any must give the same bits. */
std::vector<int> order_of(int n, uint64_t salt) {
  std::vector<int> order(n);
  for (int i = 0; i < n; i++) order[i] = i;
  const char* wish = getenv("PHYSLM_EMULATE_ORDER");
  if (!wish || !*wish || !strcmp(wish, "forward")) return order;
  if (!strcmp(wish, "backward")) {
    for (int i = 0; i < n; i++) order[i] = n - 1 - i;
    return order;
  }
  uint64_t state = strtoull(wish, nullptr, 10) * 0x9e3779b97f4a7c15ull + salt;
  for (int i = n - 1; i > 0; i--) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    std::swap(order[i], order[(state >> 33) % (i + 1)]);
  }
  return order;
}

[[noreturn]] void refuse(const std::string& why) {
  const Index& b = g_block.block;
  throw std::runtime_error(std::string("emulated block ") + std::to_string(b.x) + "," +
                           std::to_string(b.y) + "," + std::to_string(b.z) + ": " + why);
}

/** Begins the next phase when everyone has arrived and all bytes are here. */
void settle(Barrier* barrier) {
  if (barrier->pending > 0 || barrier->bytes != 0) return;
  barrier->pending = (int16_t)barrier->count;
  barrier->phase ^= 1;
}

/** A warp runs as far as it can before the next gets its turn: the furthest apart that barriers let warps drift. */
void run_block(const std::vector<int>& warps, const std::vector<int>& lanes) {
  Block& b = g_block;
  for (int left = (int)b.fibers.size(); left > 0;) {
    bool moved = false;
    for (int warp : warps) {
      for (bool going = true; going;) {
        going = false;
        for (int lane : lanes) {
          Fiber& fiber = b.fibers[warp * kWarp + lane];
          if (fiber.barrier && barrier(fiber.barrier)->phase != (uint32_t)fiber.parity)
            fiber.barrier = nullptr, fiber.waits_for = nullptr;
          if (fiber.finished || fiber.waits_for) continue;
          going = moved = true;
          b.current = &fiber;
          physlm_switch(&g_scheduler, fiber.stack_pointer);
          if (b.broken) refuse(b.broken);
          if (fiber.finished) left--;
        }
      }
    }
    if (!moved && !b.transfers.empty()) {
      const Transfer transfer = b.transfers.front();
      b.transfers.erase(b.transfers.begin());
      transfer.run();
      barrier(transfer.barrier)->bytes -= transfer.bytes;
      settle(barrier(transfer.barrier));
    } else if (!moved) {
      std::string waiting;
      for (const Fiber& fiber : b.fibers)
        if (!fiber.finished && waiting.size() < 200)
          waiting += " " + std::to_string(&fiber - b.fibers.data()) + " (" + fiber.waits_for + ")";
      refuse("no thread can go on; waiting:" + waiting);
    }
  }
}

void wait_for(const char* what) {
  g_block.current->waits_for = what;
  give_way();
}

}  // namespace

Block& block() { return g_block; }

void broken(const char* rule) {
  g_block.broken = rule;
  give_way();
}

void block_barrier() {
  Block& b = g_block;
  if (++b.arrived < (int)b.fibers.size()) return wait_for("the block's barrier");
  b.arrived = 0;
  for (Fiber& fiber : b.fibers) fiber.waits_for = nullptr;
}

void named_barrier(int id, int count, bool waits) {
  Block& b = g_block;
  static const char* const names[16] = {"", "barrier 1", "barrier 2", "barrier 3", "barrier 4", "barrier 5", "barrier 6"};
  if (++b.named[id] < count) return waits ? wait_for(names[id]) : void();
  b.named[id] = 0;
  for (Fiber& fiber : b.fibers)
    if (fiber.waits_for == names[id]) fiber.waits_for = nullptr;
}

void barrier_arrive(uint64_t* at, int expected_bytes) {
  Barrier* b = barrier(at);
  b->bytes += expected_bytes;
  if (--b->pending < 0) broken("more arrivals at an mbarrier than it was made for");
  settle(b);
}

void barrier_wait(uint64_t* at, int parity) {
  if (barrier(at)->phase != (uint32_t)parity) return;
  g_block.current->barrier = at;
  g_block.current->parity = parity;
  wait_for("an mbarrier");
}

const unsigned char (*exchange(const void* value, size_t bytes,
                               void (*complete)(unsigned char (*slots)[kSlotBytes])))[kSlotBytes] {
  Block& b = g_block;
  Warp& warp = b.warps[b.current->warp];
  auto& table = warp.slots[warp.turn];
  memcpy(table[b.current->lane], value, bytes);
  if (++warp.arrived < kWarp) {
    wait_for("its warp");
  } else {
    if (complete) complete(table);
    warp.arrived = 0;
    warp.turn ^= 1;
    Fiber* first = &b.fibers[b.current->warp * kWarp];
    for (int lane = 0; lane < kWarp; lane++) first[lane].waits_for = nullptr;
  }
  return table;
}

void run_grid(Index grid, Index size, size_t shared_bytes, const std::function<void()>& body) {
  Block& b = g_block;
  const int n = (int)(size.x * size.y * size.z);
  b.block = {};
  if (n % kWarp || n > kThreadsMost || n == 0) refuse("a block of " + std::to_string(n) + " threads");
  if (shared_bytes > kSharedMost) refuse(std::to_string(shared_bytes) + " bytes of shared memory");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535 || grid.x > 0x7fffffffu)
    refuse("a grid that no GPU takes");
  if (!g_stacks) {
    g_stacks = (unsigned char*)mmap(nullptr, kThreadsMost * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    b.shared = (unsigned char*)aligned_alloc(1024, (kSharedMost + kGuard + 1023) / 1024 * 1024);
  }
  b.size = size;
  b.grid = grid;
  b.fibers.assign(n, Fiber());
  b.warps.assign(n / kWarp, Warp());
  g_body = &body;
  uint64_t count = (uint64_t)grid.x * grid.y * grid.z;
  const char* wish = getenv("PHYSLM_EMULATE_ORDER");
  const bool backward = wish && *wish && strcmp(wish, "forward");
  for (uint64_t step = 0; step < count; step++) {
    const uint64_t at = backward ? count - 1 - step : step;
    b.block = {(unsigned)(at % grid.x), (unsigned)(at / grid.x % grid.y), (unsigned)(at / grid.x / grid.y)};
    memset(b.shared, 0xff, shared_bytes + kGuard);
    b.arrived = 0;
    memset(b.named, 0, sizeof b.named);
    b.transfers.clear();
    b.broken = nullptr;
    for (int i = 0; i < n; i++) {
      Fiber& fiber = b.fibers[i];
      fiber = Fiber();
      fiber.thread = {(unsigned)i % size.x, (unsigned)i / size.x % size.y, (unsigned)i / size.x / size.y};
      fiber.lane = i % kWarp;
      fiber.warp = i / kWarp;
      prepare(fiber, i);
    }
    for (Warp& warp : b.warps) warp.arrived = warp.turn = 0;
    run_block(order_of(n / kWarp, at), order_of(kWarp, ~at));
    for (const Fiber& fiber : b.fibers)
      if (!fiber.copies.empty() || !fiber.products.empty()) refuse("a thread ended with copies or products under way");
    if (!b.transfers.empty()) refuse("the block ended with fetches under way");
    for (size_t i = 0; i < kGuard; i++)
      if (b.shared[shared_bytes + i] != 0xff) refuse("a write behind its shared memory, at +" + std::to_string(i));
  }
}

}  // namespace emulate
