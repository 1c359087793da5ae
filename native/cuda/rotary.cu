// Rotary positions (Su et al. 2021, arXiv:2104.09864), GPT-NeoX halves: in each of the first nHead heads of a packed row,
// dims i and i + dRotary/2 turn by position·base^(−2i/dRotary). A first kernel writes the table of cosines and sines from
// doubles (scratch: T·dRotary floats), a second turns the rows and passes everything else through.
#include "rotary.h"

namespace {

constexpr int kBlock = 256;

__global__ void rotary_table(const int32_t* positions, int64_t T, int64_t half, double log2_base, float* table) {
  const int64_t at = (int64_t)blockIdx.x * kBlock + threadIdx.x;
  if (at >= T * half) return;
  const int64_t t = at / half, i = at % half;
  const double angle = positions[t] * exp2(-(double)i / (double)half * log2_base);
  table[2 * at] = (float)cos(angle);
  table[2 * at + 1] = (float)sin(angle);
}

/** A block does a row: first the pairs that turn, head by head, then (unless in place) what passes through. */
__global__ void rotate(Floats x, const float* table, Floats y, int T, int P, int heads, int K, int half, float direction,
                       int in_place) {
  const int64_t row = (int64_t)blockIdx.x * P;
  const float* const turns = table + (int64_t)(blockIdx.x % T) * half * 2;
  for (int i = threadIdx.x; i < heads * half; i += kBlock) {
    const int h = i / half, pair = i % half;
    const int64_t lo = row + h * K + pair;
    const float c = turns[2 * pair], s = turns[2 * pair + 1] * direction, a = load_one(x, lo), b = load_one(x, lo + half);
    store_one(y, lo, a * c - b * s);
    store_one(y, lo + half, b * c + a * s);
  }
  if (in_place) return;
  for (int i = threadIdx.x; i < P; i += kBlock)
    if (i >= heads * K || i % K >= 2 * half) store_one(y, row + i, load_one(x, row + i));
}

int32_t turn(const physlm_tensor& x, const physlm_tensor& positions, physlm_tensor& y, const double* attrs, float direction) {
  const int64_t heads = (int64_t)attrs[0], K = (int64_t)attrs[1], D = (int64_t)attrs[2];
  const int64_t T = axis(x, 2), P = axis(x, 1), R = leading(x, 1), half = D / 2;
  if (heads < 0 || K < 1 || heads * K > P)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[nHead] expected nHead·dHead at most %lld, got %lld·%lld", (long long)P,
                       (long long)heads, (long long)K);
  if (D < 0 || D > K || D % 2)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[dRotary] expected an even number up to dHead %lld, got %lld", (long long)K,
                       (long long)D);
  float* const table = rotary_turns(static_cast<const int32_t*>(positions.data), T, half, attrs[3]);
  if (!table) return PHYSLM_OUT_OF_MEMORY;
  if (R > 0 && P > 0)
    start(rotate, dim3((unsigned)R), kBlock, 0, floats(x), (const float*)table, floats(y), (int)T, (int)P, (int)heads, (int)K,
          (int)half, direction, (int)(x.data == y.data));
  return PHYSLM_OK;
}

}  // namespace

float* rotary_turns(const int32_t* positions, int64_t T, int64_t half, double base) {
  float* const table = static_cast<float*>(scratch(kSlotTurns, most(1, T * half) * 2 * sizeof(float)));
  if (table && T * half > 0)
    start(rotary_table, dim3((unsigned)ceil_div(T * half, kBlock)), kBlock, 0, positions, T, half, log2(base), table);
  return table;
}

OP(rotary_forward) { return turn(in[0], in[1], out[0], attrs, 1.0f); }
OP(rotary_backward) { return out[0].data ? turn(in[1], in[0], out[0], attrs, -1.0f) : PHYSLM_OK; }
