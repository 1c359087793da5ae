// bf16 tiles in shared memory, and the pieces of them that mma wants. A tile lies there row by row as in global memory, its
// 16-byte chunks permuted as place() says.
#ifndef PHYSLM_CUDA_TILES_H
#define PHYSLM_CUDA_TILES_H

#include "kernel.h"
#include "tile_maps.h"

/**
 * The 16×16 piece at (i, k) as the A operand of mma; as the B operand, {r0, r1} and {r2, r3} are columns 0-7 and 8-15.
 * i is a row of A or a column of B. Turned: the tile's rows are k, else they are i.
 */
template <bool kTurned, bool kAsB, int kChunks>
DEVICE void fragment(const char* tile, int i, int k, uint32_t (&r)[4]) {
  const int lane = lane_index(), low = lane / 8 & 1, high = lane / 16, line = lane % 8;
  const int di = 8 * (kAsB ? high : low), dk = 8 * (kAsB ? low : high);
  if (kTurned)
    gpu::load_matrices_transposed(r, tile + place<kChunks>(k + dk + line, (i + di) / 8));
  else
    gpu::load_matrices(r, tile + place<kChunks>(i + di + line, (k + dk) / 8));
}

/** Two neighbouring 16×8 results as the 16×16 A operand of the next product. */
DEVICE void as_operand(const float (&left)[4], const float (&right)[4], uint32_t (&a)[4]) {
  a[0] = gpu::pack_bf16(left[0], left[1]);
  a[1] = gpu::pack_bf16(left[2], left[3]);
  a[2] = gpu::pack_bf16(right[0], right[1]);
  a[3] = gpu::pack_bf16(right[2], right[3]);
}

#endif
