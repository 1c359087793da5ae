// Launches of one bf16 product on Hopper: see gemm_sm90.h.
#include "gemm_sm90.h"

namespace {

using namespace hopper_gemm;

/** A launch of one product. */
template <int kN, Tail kTail>
struct One {
  gpu::TensorMap map_a, map_b;
  Product p;
  float *partial, *tile_sums;
  int depth, jobs, wide;
  DEVICE TileJob job(int j) const {
    return tile_job(j, (int)p.M, kTail == kGate ? (int)p.N / 2 : (int)p.N, (int)p.K, depth, kM, kColumns<kN, kTail>, kK);
  }
  DEVICE const gpu::TensorMap& a(const TileJob&) const { return map_a; }
  DEVICE const gpu::TensorMap& b(const TileJob&) const { return map_b; }
  DEVICE const Product& product(const TileJob&) const { return p; }
  DEVICE float* chains(const TileJob&) const { return partial; }
};

/** Whether eight columns at a time can be stored, and read where a tail reads. */
bool in_eights(const Product& p) {
  const auto aligned = [](const Floats& x) { return (uintptr_t)x.data % 16 == 0; };
  // Partners are eight or sixteen columns apart, and heads begin where slices do.
  const Turn& t = p.turn;
  if (p.tail == kTurn && (t.width % kSlice || t.half % 8 || t.half > kSlice / 2 || t.half == 0)) return false;
  return p.N % (p.tail == kGate ? 16 : 8) == 0 && aligned(p.c) && aligned(p.y) && aligned(p.beside);
}

template <int kN, bool kTurnedA, bool kTurnedB, Tail kTail>
int32_t multiply_as(const Product& p) {
  One<kN, kTail> work;
  if (int32_t status = map_of(p.a, p.M, p.K, kM, &work.map_a)) return status;
  if (int32_t status = map_of(p.b, p.N, p.K, kColumns<kN, kTail>, &work.map_b)) return status;
  const int64_t N = kTail == kGate ? p.N / 2 : p.N, tiles_m = ceil_div(p.M, kM), tiles = tiles_m * ceil_div(N, kColumns<kN, kTail>);
  Splits splits = {1, most(kK, ceil_div(p.K, kK) * kK), nullptr};
  if (kTail != kGate && kTail != kTurn)
    if (int32_t status = split(p, tiles, kK, &splits)) return status;
  float* tile_sums = nullptr;
  if (p.sums && splits.count == 1) {
    tile_sums = static_cast<float*>(scratch(kSlotPartial, tiles_m * p.N * sizeof(float)));
    if (!tile_sums) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for sums of columns");
  }
  work.p = p;
  work.partial = splits.partial, work.tile_sums = tile_sums;
  work.depth = (int)splits.depth, work.jobs = (int)(tiles * splits.count), work.wide = in_eights(p);
  start(multiply_wgmma<One<kN, kTail>, kN, kTurnedA, kTurnedB, kTail>, dim3((unsigned)least(work.jobs, platform_multiprocessors())),
        kThreads, kSharedBytes<kN>, work);
  add_splits(p, splits);
  if (tile_sums) add_chunks(tile_sums, tiles_m, p.N, {p.sums, 0}, p.N);
  return p.sums && !tile_sums ? sum_rows(p.c, p.M, p.N, {p.sums, 0}) : PHYSLM_OK;
}

template <int kN>
int32_t multiply_by(const Product& p) {
  if (p.tail == kAdd) return multiply_as<kN, false, false, kAdd>(p);
  if (p.tail == kTurn) return multiply_as<kN, false, false, kTurn>(p);
  if (p.tail == kGate) return multiply_as<kN, false, false, kGate>(p);
  if (p.tail == kSlope) return multiply_as<kN, false, true, kSlope>(p);
  if (p.tail == kGateSlope) return multiply_as<kN, false, true, kGateSlope>(p);
  return p.a.turned ? p.b.turned ? multiply_as<kN, true, true, kPlain>(p) : multiply_as<kN, true, false, kPlain>(p)
         : p.b.turned ? multiply_as<kN, false, true, kPlain>(p)
                      : multiply_as<kN, false, false, kPlain>(p);
}

bool by_tma(const Operand& o) { return o.x.half && o.ld % 8 == 0 && (uintptr_t)o.x.data % 16 == 0; }

}  // namespace

bool suits_sm90(const Product& p) {
  // Tails are made for the layouts that need them: results of y = x·wᵀ, and of dx = dy·w.
  const bool slope = p.tail == kSlope || p.tail == kGateSlope, reads = p.tail == kAdd || slope;
  const bool tail = p.tail == kPlain || (hopper_for("epilogue") && in_eights(p) && (!reads || (p.beside.half && p.c.half)) && !p.a.turned && p.b.turned == slope);
  return hopper_for("gemm") && tail && by_tma(p.a) && by_tma(p.b) && p.M >= 64 && p.N >= 32 && p.K >= 16 && p.M < 1 << 30 &&
         p.N < 1 << 30 && p.K < 1 << 30;
}

int32_t multiply_sm90(const Product& p) {
  // The width that leaves fewer empty columns; the wider one reads less.
  return ceil_div(p.N, 192) * 192 <= ceil_div(p.N, 128) * 128 ? multiply_by<192>(p) : multiply_by<128>(p);
}
