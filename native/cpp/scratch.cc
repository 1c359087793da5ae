#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "runtime.h"

namespace {

struct Block {
  float* data;
  size_t floats;
};

// By thread, because kernels in lanes run side by side; outside lanes the calling thread is number 0.
Block g_shared[PHYSLM_MAX_THREADS][PHYSLM_SLOTS];
Block g_local[PHYSLM_MAX_THREADS];

constexpr size_t kHugePage = size_t{2} << 20;

float* grow(Block& block, size_t floats) {
  if (block.floats >= floats && block.data) return block.data;
  free(block.data);
  block = {nullptr, 0};
  size_t bytes = (floats + floats / 8 + 64) * sizeof(float);
  const size_t alignment = bytes >= kHugePage ? kHugePage : 4096;
  bytes = (bytes + alignment - 1) / alignment * alignment;
  void* data = nullptr;
  if (posix_memalign(&data, alignment, bytes) != 0) return nullptr;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (alignment == kHugePage) madvise(data, bytes, MADV_HUGEPAGE);
#endif
  block = {static_cast<float*>(data), bytes / sizeof(float)};
  return block.data;
}

// The angles of a model's layers are the same in every layer and step, so a few tables serve a whole training.
struct Table {
  int64_t t, d;
  double base;
  int32_t* positions;
  float* values;
  uint64_t used;
};
constexpr int kTables = 8;
struct Tables {
  Table table[kTables];
  uint64_t uses;
};
Tables g_tables[PHYSLM_MAX_THREADS];  // by thread, as above

}  // namespace

float* physlm_scratch(enum physlm_slot slot, size_t floats) { return grow(g_shared[physlm_slot_index()][slot], floats); }

int physlm_reserve_local(size_t floats) {
  if (physlm_in_lane()) return grow(g_local[physlm_slot_index()], floats) == nullptr;
  for (int i = 0; i < physlm_threads(); i++)
    if (!grow(g_local[i], floats)) return 1;
  return 0;
}

float* physlm_local(void) { return g_local[physlm_slot_index()].data; }

int physlm_rotary_table(const int32_t* positions, int64_t t, int64_t d, double base, physlm_rotary* out) {
  const int64_t half = d / 2;
  Tables& tables = g_tables[physlm_slot_index()];
  Table* table = nullptr;
  for (Table& c : tables.table)
    if (c.values && c.t == t && c.d == d && c.base == base && memcmp(c.positions, positions, t * sizeof(int32_t)) == 0)
      table = &c;
  if (!table) {
    table = &tables.table[0];
    for (Table& c : tables.table)
      if (c.used < table->used) table = &c;
    free(table->positions);
    free(table->values);
    *table = Table{};
    int32_t* kept = static_cast<int32_t*>(malloc((t + 1) * sizeof(int32_t)));
    float* values = static_cast<float*>(malloc((2 * t * half + 1) * sizeof(float)));
    double* frequency = static_cast<double*>(malloc((half + 1) * sizeof(double)));
    if (!kept || !values || !frequency) {
      free(kept);
      free(values);
      free(frequency);
      return 1;
    }
    // powl, not pow: pow asks for a newer C library than Node does.
    for (int64_t i = 0; i < half; i++) frequency[i] = (double)powl(base, -2.0L * i / d);
    for (int64_t r = 0; r < t; r++)
      for (int64_t i = 0; i < half; i++) {
        const double angle = positions[r] * frequency[i];
        values[r * half + i] = (float)cos(angle);
        values[t * half + r * half + i] = (float)sin(angle);
      }
    free(frequency);
    memcpy(kept, positions, t * sizeof(int32_t));
    *table = Table{t, d, base, kept, values, 0};
  }
  table->used = ++tables.uses;
  out->cos = table->values;
  out->sin = table->values + t * half;
  return 0;
}
