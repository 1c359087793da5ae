// Softmax attention over packed rows: the ops, and the arithmetic in f32. See Dao 2023, arXiv:2307.08691. The
// pattern never exists in memory; backward recomputes it from the log-sum-exp. Backward is two kernels, one for the
// gradients of keys and values and one for those of queries: every gradient has one owner that adds in a fixed order, so
// results are bitwise reproducible. Scratch: B·H·T floats.
//
// With documents (Zhao et al. 2024, arXiv:2402.13991) a query sees keys from the start of its document on. Starts never fall,
// so a tile of queries begins with the tile of keys in which the document of its first query begins, and a tile of keys ends
// with the last tile of queries whose first query sees one of its keys: tiles between documents are not visited.
#include "attention.h"
#include "rotary.h"

OP(rotary_backward);

namespace {

constexpr int kTile = 32;      // queries and keys of a block
constexpr int kBlock = 256;    // eight threads a row
constexpr int kWidest = 256;   // head
constexpr int kOwn = kWidest / 8;

/** Rows first… of a head into to[row][K+1]; zeros behind the last position. */
DEVICE void bring(const Floats& x, int64_t base, int64_t stride, int64_t first, int64_t T, int64_t K, float* to) {
  for (int64_t at = threadIdx.x; at < kTile * K; at += kBlock) {
    const int64_t row = at / K, k = at % K;
    to[row * (K + 1) + k] = first + row < T ? load_one(x, base + (first + row) * stride + k) : 0.0f;
  }
}

DEVICE float dot(const float* a, const float* b, int64_t K) {
  float total = 0;
  for (int64_t k = 0; k < K; k++) total += a[k] * b[k];
  return total;
}

DEVICE int64_t head_base(const Attention& a, int64_t b, int64_t column) { return b * a.T * a.P + column * a.K; }

/** Where the first tile of keys lies that the queries from q0 on see. */
DEVICE int64_t first_key(const Attention& a, int64_t b, int64_t q0) { return a.starts ? start_of(a, b, q0) / kTile * kTile : 0; }

__global__ void forward(Attention a) {
  const int64_t K = a.K, pitch = K + 1, b = blockIdx.z, h = blockIdx.y, g = h * a.G / a.H, q0 = (int64_t)blockIdx.x * kTile;
  float* const q = gpu::shared<float>();
  float* const k = q + kTile * pitch;
  float* const v = k + kTile * pitch;
  float* const s = v + kTile * pitch;  // [32][33]
  const int row = threadIdx.x / 8, part = threadIdx.x % 8;
  const int64_t t = q0 + row, seen = a.causal ? t + 1 : a.T;
  bring(a.qkv, head_base(a, b, h), a.P, q0, a.T, K, q);
  const int64_t start = a.starts && t < a.T ? start_of(a, b, t) : 0;
  float own[kOwn] = {}, top = -3e38f, total = 0;
  const int64_t last = a.causal && q0 + kTile < a.T ? q0 + kTile : a.T;
  for (int64_t k0 = first_key(a, b, q0); k0 < last; k0 += kTile) {
    gpu::sync();
    bring(a.qkv, head_base(a, b, a.H + g), a.P, k0, a.T, K, k);
    bring(a.qkv, head_base(a, b, a.H + a.G + g), a.P, k0, a.T, K, v);
    gpu::sync();
    float score[4], peak = top;
    for (int j = 0; j < 4; j++) {
      const int key = part + 8 * j;
      const bool sees = k0 + key >= start && k0 + key < seen && k0 + key < a.T;
      score[j] = sees ? dot(q + row * pitch, k + key * pitch, K) * a.scale : -INFINITY;
      peak = score[j] > peak ? score[j] : peak;
    }
    peak = octet_max(peak);
    float sum = 0;
    for (int j = 0; j < 4; j++) {
      const float p = expf(score[j] - peak);
      s[row * (kTile + 1) + part + 8 * j] = p;
      sum += p;
    }
    const float shrink = expf(top - peak);
    total = total * shrink + octet_sum(sum);
    top = peak;
    gpu::sync_warp();  // a row belongs to one warp
#pragma unroll
    for (int j = 0; j < kOwn; j++) own[j] *= shrink;
#pragma unroll 1
    for (int key = 0; key < kTile; key++) {
      const float p = s[row * (kTile + 1) + key];
#pragma unroll
      for (int j = 0; j < kOwn; j++)
        if (part + 8 * j < K) own[j] += p * v[key * pitch + part + 8 * j];
    }
  }
  if (t >= a.T) return;
  const int64_t to = (b * a.T + t) * a.H * K + h * K;
#pragma unroll
  for (int j = 0; j < kOwn; j++)
    if (part + 8 * j < K) store_one(a.o, to + part + 8 * j, own[j] / total);
  if (a.lse && part == 0) a.lse[(b * a.H + h) * a.T + t] = top + logf(total);
}

/** products[b][h][t] = Σ_k x·y over a head, a warp each. */
__global__ void multiply_heads(Floats x, Floats y, int64_t B, int64_t T, int64_t H, int64_t K, float* products) {
  const int64_t at = (int64_t)blockIdx.x * (kBlock / kWarp) + warp_index();
  if (at >= B * H * T) return;
  const int64_t t = at % T, h = at / T % H, b = at / T / H, from = (b * T + t) * H * K + h * K;
  float total = 0;
  for (int64_t k = lane_index(); k < K; k += kWarp) total += load_one(x, from + k) * load_one(y, from + k);
  total = warp_sum(total);
  if (lane_index() == 0) products[at] = total;
}

__global__ void backward_queries(Attention a) {
  const int64_t K = a.K, pitch = K + 1, b = blockIdx.z, h = blockIdx.y, g = h * a.G / a.H, q0 = (int64_t)blockIdx.x * kTile;
  float* const q = gpu::shared<float>();
  float* const d = q + kTile * pitch;
  float* const k = d + kTile * pitch;
  float* const v = k + kTile * pitch;
  float* const s = v + kTile * pitch;
  const int row = threadIdx.x / 8, part = threadIdx.x % 8;
  const int64_t t = q0 + row, seen = a.causal ? t + 1 : a.T;
  bring(a.qkv, head_base(a, b, h), a.P, q0, a.T, K, q);
  bring(a.dO, b * a.T * a.H * K + h * K, a.H * K, q0, a.T, K, d);
  const float lse = t < a.T ? a.lse[(b * a.H + h) * a.T + t] : 0.0f, delta = t < a.T ? a.delta[(b * a.H + h) * a.T + t] : 0.0f;
  const int64_t start = a.starts && t < a.T ? start_of(a, b, t) : 0;
  float own[kOwn] = {};
  const int64_t last = a.causal && q0 + kTile < a.T ? q0 + kTile : a.T;
  for (int64_t k0 = first_key(a, b, q0); k0 < last; k0 += kTile) {
    gpu::sync();
    bring(a.qkv, head_base(a, b, a.H + g), a.P, k0, a.T, K, k);
    bring(a.qkv, head_base(a, b, a.H + a.G + g), a.P, k0, a.T, K, v);
    gpu::sync();
    for (int j = 0; j < 4; j++) {
      const int key = part + 8 * j;
      const bool sees = t < a.T && k0 + key >= start && k0 + key < seen && k0 + key < a.T;
      const float p = sees ? expf(dot(q + row * pitch, k + key * pitch, K) * a.scale - lse) : 0.0f;
      s[row * (kTile + 1) + key] = p * (dot(d + row * pitch, v + key * pitch, K) - delta) * a.scale;
    }
    gpu::sync_warp();
#pragma unroll 1
    for (int key = 0; key < kTile; key++) {
      const float ds = s[row * (kTile + 1) + key];
#pragma unroll
      for (int j = 0; j < kOwn; j++)
        if (part + 8 * j < K) own[j] += ds * k[key * pitch + part + 8 * j];
    }
  }
  if (t >= a.T) return;
#pragma unroll
  for (int j = 0; j < kOwn; j++)
    if (part + 8 * j < K) store_one(a.dqkv, head_base(a, b, h) + t * a.P + part + 8 * j, own[j]);
}

__global__ void backward_keys(Attention a) {
  const int64_t K = a.K, pitch = K + 1, b = blockIdx.z, g = blockIdx.y, k0 = (int64_t)blockIdx.x * kTile;
  float* const k = gpu::shared<float>();
  float* const v = k + kTile * pitch;
  float* const q = v + kTile * pitch;
  float* const d = q + kTile * pitch;
  float* const p = d + kTile * pitch;  // [key][query]
  float* const s = p + kTile * (kTile + 1);
  float* const stats = s + kTile * (kTile + 1);  // lse, then delta
  const int row = threadIdx.x / 8, part = threadIdx.x % 8;
  const int64_t key = k0 + row;
  bring(a.qkv, head_base(a, b, a.H + g), a.P, k0, a.T, K, k);
  bring(a.qkv, head_base(a, b, a.H + a.G + g), a.P, k0, a.T, K, v);
  float dk[kOwn] = {}, dv[kOwn] = {};
  for (int64_t h = g * (a.H / a.G); h < (g + 1) * (a.H / a.G); h++) {
    for (int64_t q0 = a.causal ? k0 : 0; q0 < a.T; q0 += kTile) {
      if (a.starts && start_of(a, b, q0) >= k0 + kTile) break;
      gpu::sync();
      bring(a.qkv, head_base(a, b, h), a.P, q0, a.T, K, q);
      bring(a.dO, b * a.T * a.H * K + h * K, a.H * K, q0, a.T, K, d);
      if (threadIdx.x < 2 * kTile) {
        const int64_t t = q0 + threadIdx.x % kTile;
        const float* const from = threadIdx.x < kTile ? a.lse : a.delta;
        stats[threadIdx.x] = t < a.T ? from[(b * a.H + h) * a.T + t] : 0.0f;
      }
      gpu::sync();
      for (int j = 0; j < 4; j++) {
        const int query = part + 8 * j;
        const int64_t t = q0 + query;
        const bool seen = t < a.T && key < a.T && (!a.causal || key <= t) && (!a.starts || key >= start_of(a, b, t));
        const float e = seen ? expf(dot(q + query * pitch, k + row * pitch, K) * a.scale - stats[query]) : 0.0f;
        p[row * (kTile + 1) + query] = e;
        s[row * (kTile + 1) + query] = e * (dot(d + query * pitch, v + row * pitch, K) - stats[kTile + query]) * a.scale;
      }
      gpu::sync_warp();
#pragma unroll 1
      for (int query = 0; query < kTile; query++) {
        const float e = p[row * (kTile + 1) + query], ds = s[row * (kTile + 1) + query];
#pragma unroll
        for (int j = 0; j < kOwn; j++)
          if (part + 8 * j < K) {
            dv[j] += e * d[query * pitch + part + 8 * j];
            dk[j] += ds * q[query * pitch + part + 8 * j];
          }
      }
    }
  }
  if (key >= a.T) return;
#pragma unroll
  for (int j = 0; j < kOwn; j++) {
    if (part + 8 * j >= K) continue;
    store_one(a.dqkv, head_base(a, b, a.H + g) + key * a.P + part + 8 * j, dk[j]);
    store_one(a.dqkv, head_base(a, b, a.H + a.G + g) + key * a.P + part + 8 * j, dv[j]);
  }
}

/** starts[t] = the last position up to t that holds `separator`, or 0. A block does a sequence, kBlock positions at a time. */
__global__ void document_starts(const int32_t* ids, int32_t separator, int64_t T, int32_t* starts) {
  int32_t* const lasts = gpu::shared<int32_t>();  // of each warp
  const int64_t base = blockIdx.x * T;
  const int lane = lane_index(), warp = warp_index();
  int32_t before = 0;
  for (int64_t first = 0; first < T; first += kBlock) {
    const int64_t t = first + threadIdx.x;
    int32_t last = t < T && ids[base + t] == separator ? (int32_t)t : 0;
    for (int by = 1; by < kWarp; by *= 2) {
      const int32_t other = gpu::shuffle(last, (lane - by) & (kWarp - 1));
      last = lane >= by && other > last ? other : last;
    }
    if (lane == kWarp - 1) lasts[warp] = last;
    gpu::sync();
    for (int w = 0; w < kBlock / kWarp; w++) {
      if (w == warp && before > last) last = before;
      before = lasts[w] > before ? lasts[w] : before;
    }
    if (t < T) starts[base + t] = last;
    gpu::sync();
  }
}

// --- host --------------------------------------------------------------------------------------------------------------------

int32_t read_heads(Attention& a, const double* attrs) {
  a.H = (int64_t)attrs[0];
  a.G = (int64_t)attrs[1];
  a.K = (int64_t)attrs[2];
  a.scale = (float)attrs[3];
  if (a.H < 1 || a.G < 1 || a.K < 1 || a.H % a.G)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[nHead] expected a multiple of nKvHead, both positive, got %lld and %lld",
                       (long long)a.H, (long long)a.G);
  if (a.P != (a.H + 2 * a.G) * a.K)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[qkv] expected (nHead + 2·nKvHead)·dHead = %lld columns, got %lld",
                       (long long)((a.H + 2 * a.G) * a.K), (long long)a.P);
  if (a.K > kWidest || a.H > 65535 || a.B > 65535)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[qkv] expected heads up to %d wide, and up to 65535 heads and rows of a batch, "
                       "got %lld, %lld and %lld", kWidest, (long long)a.K, (long long)a.H, (long long)a.B);
  return PHYSLM_OK;
}

bool aligned(const Floats& x) { return (uintptr_t)x.data % 16 == 0; }

/** Packed rows and, with documents, where they begin; attrs[4] says without them whether attention is causal. */
int32_t read_rows(const physlm_tensor* in, const double* attrs, bool documents, Attention& a) {
  a = {leading(in[0], 2), axis(in[0], 2), axis(in[0], 1)};
  a.causal = documents || attrs[4] != 0;
  a.starts = documents ? static_cast<const int32_t*>(in[1].data) : nullptr;
  a.qkv = floats(in[0]);
  return read_heads(a, attrs);
}

/** What the gradients of attention are computed from; a.B·a.T is 0 when there is nothing to do. */
int32_t read_backward(const physlm_tensor* in, physlm_tensor* out, const double* attrs, bool documents, Attention& a) {
  if (int32_t status = read_rows(in, attrs, documents, a)) return status;
  in += documents;
  if (int32_t status = expect("o columns", a.H * a.K, axis(in[1], 1))) return status;
  if (int32_t status = expect("lse heads", a.H, axis(in[2], 2))) return status;
  a.o = floats(in[1]);
  a.lse = static_cast<float*>(in[2].data);
  a.dO = floats(in[3]);
  a.dqkv = floats(out[0]);
  a.chunks = a.K % 8 == 0 && aligned(a.qkv) && aligned(a.dO);
  return PHYSLM_OK;
}

int32_t attend(const physlm_tensor* in, physlm_tensor* out, const double* attrs, bool documents) {
  Attention a;
  if (int32_t status = read_rows(in, attrs, documents, a)) return status;
  if (int32_t status = expect("o columns", a.H * a.K, axis(out[0], 1))) return status;
  if (out[1].data)
    if (int32_t status = expect("lse heads", a.H, axis(out[1], 2))) return status;
  a.o = floats(out[0]);
  a.lse = static_cast<float*>(out[1].data);
  a.chunks = a.K % 8 == 0 && aligned(a.qkv);
  if (a.B * a.T == 0) return PHYSLM_OK;
  if (suits_sm90(a)) return attend_sm90(a);
  return a.qkv.half && a.K <= 128 ? attend_bf16(a) : attend_f32(a);
}

int32_t attend_backward(const physlm_tensor* in, physlm_tensor* out, const double* attrs, bool documents) {
  if (!out[0].data) return PHYSLM_OK;
  Attention a;
  if (int32_t status = read_backward(in, out, attrs, documents, a)) return status;
  if (a.B * a.T == 0) return PHYSLM_OK;
  if (suits_backward_sm90(a)) return attend_backward_sm90(a);
  a.delta = static_cast<float*>(scratch(kSlotValues, a.B * a.H * a.T * sizeof(float)));
  if (!a.delta) return PHYSLM_OUT_OF_MEMORY;
  head_products(a.dO, a.o, a.B, a.T, a.H, a.K, a.delta);
  return a.qkv.half && a.K <= 128 ? attend_backward_bf16(a) : attend_backward_f32(a);
}

/** The same for rows that rotary positions turned, with the gradients turned back; the last attributes: dRotary and base. */
int32_t attend_backward_of_rotary(const physlm_tensor* in, physlm_tensor* out, const double* attrs, bool documents) {
  if (!out[0].data) return PHYSLM_OK;
  const physlm_tensor& positions = in[documents ? 5 : 4];
  const double *const rotary = attrs + (documents ? 4 : 5), dRotary = rotary[0], base = rotary[1];
  Attention a;
  if (int32_t status = read_backward(in, out, attrs, documents, a)) return status;
  if (int32_t status = expect("positions", a.T, elements(positions))) return status;
  if (a.B * a.T == 0) return PHYSLM_OK;
  a.half = (int)dRotary / 2;
  if (a.half > 0 && suits_backward_sm90(a)) {
    a.turns = rotary_turns(static_cast<const int32_t*>(positions.data), a.T, a.half, base);
    return a.turns ? attend_backward_sm90(a) : PHYSLM_OUT_OF_MEMORY;
  }
  if (int32_t status = attend_backward(in, out, attrs, documents)) return status;
  const physlm_tensor turned[2] = {positions, out[0]};
  const double turn[4] = {(double)(a.H + a.G), (double)a.K, dRotary, base};
  return rotary_backward_cuda(turned, 2, out, 1, turn, 4, nullptr);
}

}  // namespace

void head_products(Floats x, Floats y, int64_t B, int64_t T, int64_t H, int64_t K, float* products) {
  const int64_t n = B * H * T;
  if (n > 0) start(multiply_heads, dim3((unsigned)ceil_div(n, kBlock / kWarp)), kBlock, 0, x, y, B, T, H, K, products);
}

int32_t attend_f32(const Attention& a) {
  const size_t bytes = (3 * kTile * (a.K + 1) + kTile * (kTile + 1)) * sizeof(float);
  start(forward, dim3((unsigned)ceil_div(a.T, kTile), (unsigned)a.H, (unsigned)a.B), kBlock, bytes, a);
  return PHYSLM_OK;
}

int32_t attend_backward_f32(const Attention& a) {
  const size_t rows = 4 * kTile * (a.K + 1) * sizeof(float), square = kTile * (kTile + 1) * sizeof(float);
  const unsigned tiles = (unsigned)ceil_div(a.T, kTile);
  start(backward_keys, dim3(tiles, (unsigned)a.G, (unsigned)a.B), kBlock, rows + 2 * square + 2 * kTile * sizeof(float), a);
  start(backward_queries, dim3(tiles, (unsigned)a.H, (unsigned)a.B), kBlock, rows + square, a);
  return PHYSLM_OK;
}

OP(attention_forward) { return attend(in, out, attrs, false); }
OP(attention_backward) { return attend_backward(in, out, attrs, false); }
OP(attentionOfRotary_backward) { return attend_backward_of_rotary(in, out, attrs, false); }

OP(documentAttention_forward) { return attend(in, out, attrs, true); }
OP(documentAttention_backward) { return attend_backward(in, out, attrs, true); }
OP(documentAttentionOfRotary_backward) { return attend_backward_of_rotary(in, out, attrs, true); }

OP(documentStarts_forward) {
  const int64_t B = leading(in[0], 1), T = axis(in[0], 1);
  if (B * T > 0)
    start(document_starts, dim3((unsigned)B), kBlock, kBlock / kWarp * sizeof(int32_t), static_cast<const int32_t*>(in[0].data),
          (int32_t)attrs[0], T, static_cast<int32_t*>(out[0].data));
  return PHYSLM_OK;
}
