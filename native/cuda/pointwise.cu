// Ops on elements, and sums over rows that other kernels share. Any output may be exactly an input's memory where the op is
// declared in place: each thread reads its elements before it writes them. Traffic: each tensor once.
#include "kernel.h"

namespace {

constexpr int kBlock = 256;

/** f(offset) for every pack of V elements below n. */
template <int V, class F>
__global__ void each_pack(F f, int64_t n) {
  const int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * V;
  if (i < n) f(i);
}

template <int V, class F>
void pointwise(const F& f, int64_t n) {
  if (n > 0) start(each_pack<V, F>, dim3((unsigned)ceil_div(n, (int64_t)kBlock * V)), kBlock, 0, f, n);
}

template <int V>
struct Add {
  Floats a, b, c;
  __device__ void operator()(int64_t i) const {
    float x[V], y[V];
    load(a, i, x);
    load(b, i, y);
    for (int j = 0; j < V; j++) x[j] += y[j];
    store(c, i, x);
  }
};

template <int V>
struct Fill {
  Floats c;
  float value;
  __device__ void operator()(int64_t i) const {
    float x[V];
    for (int j = 0; j < V; j++) x[j] = value;
    store(c, i, x);
  }
};

template <int V>
struct Cast {
  Floats a, c;
  __device__ void operator()(int64_t i) const {
    float x[V];
    load(a, i, x);
    store(c, i, x);
  }
};

template <int V>
struct Gelu {
  Floats x, y;
  __device__ void operator()(int64_t i) const {
    float v[V];
    load(x, i, v);
    for (int j = 0; j < V; j++) v[j] = gelu(v[j]);
    store(y, i, v);
  }
};

template <int V>
struct GeluBackward {
  Floats x, dy, dx;
  __device__ void operator()(int64_t i) const {
    float v[V], d[V];
    load(x, i, v);
    load(dy, i, d);
    for (int j = 0; j < V; j++) v[j] = d[j] * gelu_slope(v[j]);
    store(dx, i, v);
  }
};

/** y[r][f] = silu(x[r][f])·x[r][F+f]; i runs over y. */
template <int V>
struct SiluGate {
  Floats x, y;
  int64_t F;
  __device__ void operator()(int64_t i) const {
    const int64_t r = i / F, at = i + r * F;
    float a[V], b[V];
    load(x, at, a);
    load(x, at + F, b);
    for (int j = 0; j < V; j++) a[j] = a[j] / (1.0f + expf(-a[j])) * b[j];
    store(y, i, a);
  }
};

template <int V>
struct SiluGateBackward {
  Floats x, dy, dx;
  int64_t F;
  __device__ void operator()(int64_t i) const {
    const int64_t r = i / F, at = i + r * F;
    float a[V], b[V], d[V];
    load(x, at, a);
    load(x, at + F, b);
    load(dy, i, d);
    for (int j = 0; j < V; j++) {
      const float s = 1.0f / (1.0f + expf(-a[j]));
      const float slope = s * (1.0f + a[j] * (1.0f - s));  // d(a·σ(a))/da
      const float up = b[j];
      b[j] = d[j] * a[j] * s;
      a[j] = d[j] * up * slope;
    }
    store(dx, at, a);
    store(dx, at + F, b);
  }
};

/** Columns start … of rows of W as rows of N; i runs over the narrow ones. */
template <int V>
struct Slice {
  Floats wide, narrow;
  int64_t W, N, first;
  __device__ void operator()(int64_t i) const {
    float x[V];
    load(wide, i / N * W + first + i % N, x);
    store(narrow, i, x);
  }
};

/** The same put back among zeros; i runs over the wide rows. */
template <int V>
struct Pad {
  Floats wide, narrow;
  int64_t W, N, first;
  __device__ void operator()(int64_t i) const {
    const int64_t column = i % W - first;
    float x[V] = {};
    if (column >= 0 && column < N) load(narrow, i / W * N + column, x);
    store(wide, i, x);
  }
};

/** total[i] = Σ g[s][i] in order of s. */
template <int V>
struct SumSlices {
  Floats g, total;
  int64_t n, n_slices;
  __device__ void operator()(int64_t i) const {
    float sum[V], x[V];
    load(g, i, sum);
    for (int64_t s = 1; s < n_slices; s++) {
      load(g, s * n + i, x);
      for (int j = 0; j < V; j++) sum[j] += x[j];
    }
    store(total, i, sum);
  }
};

template <template <int> class F, class... Fields>
void over(bool eights, int64_t n, Fields... fields) {
  if (eights)
    pointwise<8>(F<8>{fields...}, n);
  else
    pointwise<1>(F<1>{fields...}, n);
}

int32_t gate_width(const physlm_tensor& wide, int64_t F) {
  if (axis(wide, 1) == 2 * F) return PHYSLM_OK;
  return physlm_fail(PHYSLM_BAD_ARGUMENT, "[x] expected %lld columns, twice the output's, got %lld", (long long)(2 * F),
                     (long long)axis(wide, 1));
}

/** Whether `narrow` is columns [first, …) of `wide`, on the last axis. */
int32_t columns_within(const physlm_tensor& wide, const physlm_tensor& narrow, double at, int64_t first) {
  if (at != wide.rank - 1)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[axis] expected the last, %d, got %g", wide.rank - 1, at);
  if (first >= 0 && first + axis(narrow, 1) <= axis(wide, 1)) return PHYSLM_OK;
  return physlm_fail(PHYSLM_BAD_ARGUMENT, "[start] expected 0 <= start <= %lld, got %lld",
                     (long long)(axis(wide, 1) - axis(narrow, 1)), (long long)first);
}

/** Whether eight columns of both lie together, in both. */
bool columns_in_eights(const physlm_tensor& wide, const physlm_tensor& narrow, int64_t first) {
  return in_eights(wide, axis(wide, 1)) && in_eights(narrow, axis(narrow, 1)) && first % 8 == 0;
}

// --- sums over rows --------------------------------------------------------------------------------------------------------

constexpr int kColumns = 32, kGroups = 8;  // a block: 32 columns, eight groups of rows
constexpr int64_t kChunkRows = 256;        // rows of one partial sum; part of the bits

/** A column's chunks by eight groups in order, then the groups in order. */
__global__ void add_chunks_kernel(const float* partial, int64_t n_chunks, int64_t stride, Floats out, int64_t n) {
  float* const room = gpu::shared<float>();
  const int column = threadIdx.x % kColumns, group = threadIdx.x / kColumns;
  const int64_t i = (int64_t)blockIdx.x * kColumns + column;
  const int64_t depth = (n_chunks + kGroups - 1) / kGroups;
  const int64_t from = group * depth, to = from + depth < n_chunks ? from + depth : n_chunks;
  float total = 0;
  if (i < n)
    for (int64_t c = from; c < to; c++) total += partial[c * stride + i];
  room[group * kColumns + column] = total;
  gpu::sync();
  if (group > 0 || i >= n) return;
  for (int g = 1; g < kGroups; g++) total += room[g * kColumns + column];
  store_one(out, i, total);
}

/** partial[chunk][width]: sums of 256 rows, V columns a thread, by eight groups in order. */
template <int V>
__global__ void sum_rows_kernel(Floats x, int64_t rows, int64_t width, float* partial) {
  float* const room = gpu::shared<float>();
  const int lane = threadIdx.x % kColumns, group = threadIdx.x / kColumns;
  const int64_t i = ((int64_t)blockIdx.x * kColumns + lane) * V;
  constexpr int64_t kDepth = kChunkRows / kGroups;
  const int64_t from = blockIdx.y * kChunkRows + group * kDepth, to = from + kDepth < rows ? from + kDepth : rows;
  float total[V] = {};
  if (i < width)
    for (int64_t r = from; r < to; r++) {
      float v[V];
      load(x, r * width + i, v);
#pragma unroll
      for (int j = 0; j < V; j++) total[j] += v[j];
    }
#pragma unroll
  for (int j = 0; j < V; j++) room[(group * V + j) * kColumns + lane] = total[j];
  gpu::sync();
  if (group > 0 || i >= width) return;
#pragma unroll
  for (int j = 0; j < V; j++) {
    for (int g = 1; g < kGroups; g++) total[j] += room[(g * V + j) * kColumns + lane];
    partial[blockIdx.y * width + i + j] = total[j];
  }
}

}  // namespace

void add_chunks(const float* partial, int64_t n_chunks, int64_t stride, Floats out, int64_t n) {
  start(add_chunks_kernel, dim3((unsigned)ceil_div(n, kColumns)), kColumns * kGroups, kColumns * kGroups * sizeof(float),
        partial, n_chunks, stride, out, n);
}

int32_t sum_rows(Floats x, int64_t rows, int64_t width, Floats out) {
  const int64_t chunks = most(1, ceil_div(rows, kChunkRows));
  if (chunks > 65535) return physlm_fail(PHYSLM_BAD_ARGUMENT, "[rows] expected at most 16 million, got %lld", (long long)rows);
  float* const partial = static_cast<float*>(scratch(kSlotPartial, chunks * width * sizeof(float)));
  if (!partial) return PHYSLM_OUT_OF_MEMORY;
  const bool eights = width % 8 == 0 && (uintptr_t)x.data % 16 == 0;
  const int V = eights ? 8 : 1;
  start(eights ? sum_rows_kernel<8> : sum_rows_kernel<1>,
        dim3((unsigned)ceil_div(width, (int64_t)kColumns * V), (unsigned)chunks), kColumns * kGroups,
        kColumns * kGroups * V * sizeof(float), x, rows, width, partial);
  add_chunks(partial, chunks, width, out, width);
  return PHYSLM_OK;
}


OP(add_forward) {
  const int64_t n = elements(in[0]);
  over<Add>(in_eights(in[0], n) && in_eights(in[1], n) && in_eights(out[0], n), n, floats(in[0]), floats(in[1]),
            floats(out[0]));
  return PHYSLM_OK;
}

OP(fill_forward) {
  const int64_t n = elements(out[0]);
  over<Fill>(in_eights(out[0], n), n, floats(out[0]), (float)attrs[0]);
  return PHYSLM_OK;
}

OP(cast_forward) {
  const int64_t n = elements(in[0]);
  over<Cast>(in_eights(in[0], n) && in_eights(out[0], n), n, floats(in[0]), floats(out[0]));
  return PHYSLM_OK;
}

OP(gelu_forward) {
  const int64_t n = elements(in[0]);
  over<Gelu>(in_eights(in[0], n) && in_eights(out[0], n), n, floats(in[0]), floats(out[0]));
  return PHYSLM_OK;
}

OP(gelu_backward) {
  if (!out[0].data) return PHYSLM_OK;
  const int64_t n = elements(in[0]);
  over<GeluBackward>(in_eights(in[0], n) && in_eights(in[1], n) && in_eights(out[0], n), n, floats(in[0]), floats(in[1]),
                     floats(out[0]));
  return PHYSLM_OK;
}

OP(siluGate_forward) {
  const int64_t F = axis(out[0], 1);
  if (int32_t status = gate_width(in[0], F)) return status;
  over<SiluGate>(in_eights(in[0], F) && in_eights(out[0], F), elements(out[0]), floats(in[0]), floats(out[0]), F);
  return PHYSLM_OK;
}

OP(siluGate_backward) {
  if (!out[0].data) return PHYSLM_OK;
  const int64_t F = axis(in[1], 1);
  if (int32_t status = gate_width(in[0], F)) return status;
  over<SiluGateBackward>(in_eights(in[0], F) && in_eights(in[1], F) && in_eights(out[0], F), elements(in[1]), floats(in[0]),
                         floats(in[1]), floats(out[0]), F);
  return PHYSLM_OK;
}

OP(slice_forward) {
  const int64_t first = (int64_t)attrs[1];
  if (int32_t status = columns_within(in[0], out[0], attrs[0], first)) return status;
  over<Slice>(columns_in_eights(in[0], out[0], first), elements(out[0]), floats(in[0]), floats(out[0]), axis(in[0], 1),
              axis(out[0], 1), first);
  return PHYSLM_OK;
}

OP(pad_forward) {
  const int64_t first = (int64_t)attrs[1];
  if (int32_t status = columns_within(out[0], in[0], attrs[0], first)) return status;
  over<Pad>(columns_in_eights(out[0], in[0], first), elements(out[0]), floats(out[0]), floats(in[0]), axis(out[0], 1),
            axis(in[0], 1), first);
  return PHYSLM_OK;
}

OP(sumSlices_forward) {
  const int64_t n = elements(out[0]), slices = in[0].shape[0];
  over<SumSlices>(in_eights(in[0], n) && in_eights(out[0], n), n, floats(in[0]), floats(out[0]), n, slices);
  return PHYSLM_OK;
}
