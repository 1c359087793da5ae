// Products in f32 whose weights are computed where they are needed: y[row] = Σ_s weight(row, s)·value(s) for each unit (a head
// of a sequence), and for each head the slopes of such weights, summed over the sequences. One owner for each output, sums in
// the order of s and of the sequences. A job says what weights, values and slopes are; see attention_position.cu.
#ifndef PHYSLM_CUDA_BLEND_H
#define PHYSLM_CUDA_BLEND_H

#include "kernel.h"

namespace blend {

constexpr int kTile = 32;     // rows of a block, and values or columns that it takes at once
constexpr int kBlock = 256;   // eight threads a row
constexpr int kWide = 64;     // columns that are in shared memory at once
constexpr int kPitch = kWide + 1;
constexpr int kSquare = kTile * (kTile + 1);

/** Rows first … of n and columns c0 … of C into to[row][kPitch]; zeros beyond. value(row, column). */
template <class Value>
DEVICE void bring(const Value& value, int count, int64_t first, int64_t n, int64_t c0, int64_t C, float* to) {
#pragma unroll 4
  for (int at = threadIdx.x; at < count * kWide; at += kBlock) {
    const int64_t row = first + at / kWide, column = c0 + at % kWide;
    to[at / kWide * kPitch + at % kWide] = row >= 0 && row < n && column < C ? value(row, column) : 0.0f;
  }
}

DEVICE float dot(const float* a, const float* b) {
  float total = 0;
#pragma unroll 8
  for (int c = 0; c < kWide; c++) total += a[c] * b[c];
  return total;
}

/** Grid: tiles of rows of all units × chunks of columns. */
template <class Job>
__global__ void mix(Job job) {
  float* const weights = gpu::shared<float>();
  float* const values = weights + kSquare;
  const int row = threadIdx.x / 8, part = threadIdx.x % 8;
  const int64_t T = job.rows(), C = job.columns(), tiles = (T + kTile - 1) / kTile, unit = blockIdx.x / tiles;
  const int64_t row0 = blockIdx.x % tiles * kTile, c0 = (int64_t)blockIdx.y * kWide;
  const int64_t begin = job.begin(unit, row0), end = job.end(unit, row0);
  float own[kWide / 8] = {};
  for (int64_t s0 = begin; s0 < end; s0 += kTile) {
    gpu::sync();
    for (int j = 0; j < 4; j++) {
      const int s = part + 8 * j;
      weights[row * (kTile + 1) + s] = row0 + row < T && s0 + s < end ? job.weight(unit, row0 + row, s0 + s) : 0.0f;
    }
    bring([&](int64_t s, int64_t c) { return job.value(unit, s, c); }, kTile, s0, end, c0, C, values);
    gpu::sync();
    for (int s = 0; s < kTile; s++) {
      const float w = weights[row * (kTile + 1) + s];
#pragma unroll
      for (int j = 0; j < kWide / 8; j++) own[j] += w * values[s * kPitch + part + 8 * j];
    }
  }
  if (row0 + row >= T) return;
#pragma unroll
  for (int j = 0; j < kWide / 8; j++)
    if (c0 + part + 8 * j < C) job.put(unit, row0 + row, c0 + part + 8 * j, own[j]);
}

/** Grid: pairs of tiles (rows t, columns s) of all heads. job.finish gets Σ over sequences of slope(…, <left[t], right[s]>). */
template <class Job>
__global__ void slopes(Job job) {
  float* const left = gpu::shared<float>();
  float* const right = left + kTile * kPitch;
  const int row = threadIdx.x / 8, part = threadIdx.x % 8;
  const int64_t T = job.rows(), C = job.columns(), tiles = (T + kTile - 1) / kTile, h = blockIdx.x / (tiles * tiles);
  const int64_t row0 = blockIdx.x / tiles % tiles * kTile, s0 = blockIdx.x % tiles * kTile;
  float total[4] = {};
  for (int64_t b = 0; b < (job.meet(row0, s0) ? job.sequences() : 0); b++) {
    float dots[4] = {};
    for (int64_t c0 = 0; c0 < C; c0 += kWide) {
      gpu::sync();
      bring([&](int64_t t, int64_t c) { return job.left(b, h, t, c); }, kTile, row0, T, c0, C, left);
      bring([&](int64_t s, int64_t c) { return job.right(b, h, s, c); }, kTile, s0, T, c0, C, right);
      gpu::sync();
      for (int j = 0; j < 4; j++) dots[j] += dot(left + row * kPitch, right + (part + 8 * j) * kPitch);
    }
    for (int j = 0; j < 4; j++) {
      const int64_t t = row0 + row, s = s0 + part + 8 * j;
      if (t < T && s < T) total[j] += job.slope(b, h, t, s, dots[j]);
    }
  }
  gpu::sync();
  float* const square = left;
  for (int j = 0; j < 4; j++) square[row * (kTile + 1) + part + 8 * j] = total[j];
  gpu::sync();
  job.finish(h, row0, s0, square);
}

template <class Job>
void start_mix(const Job& job, int64_t units) {
  const int64_t blocks = units * ceil_div(job.rows(), kTile);
  if (blocks > 0 && job.columns() > 0)
    start(mix<Job>, dim3((unsigned)blocks, (unsigned)ceil_div(job.columns(), kWide)), kBlock,
          (kSquare + kTile * kPitch) * sizeof(float), job);
}

template <class Job>
void start_slopes(const Job& job, int64_t heads) {
  const int64_t tiles = ceil_div(job.rows(), kTile);
  if (heads * tiles > 0) start(slopes<Job>, dim3((unsigned)(heads * tiles * tiles)), kBlock, 2 * kTile * kPitch * sizeof(float), job);
}

}  // namespace blend

#endif
