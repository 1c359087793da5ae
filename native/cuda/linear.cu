// Products with weights w[O,I]: y = x·wᵀ, and what follows from dy: dx = dy·w, dw = dyᵀ·x, db = Σ_r dy.
#include <vector>

#include "gemm.h"
#include "rotary.h"

OP(siluGate_forward);
OP(rotary_forward);

namespace {

/** dpre = dy·gelu'(pre). */
__global__ void gelu_gradient(Floats pre, Floats dy, Floats dpre, int64_t n) {
  const int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
  if (i < n) store_one(dpre, i, load_one(dy, i) * gelu_slope(load_one(pre, i)));
}
__global__ void gelu_gradient_eights(Floats pre, Floats dy, Floats dpre, int64_t n) {
  const int64_t i = ((int64_t)blockIdx.x * 256 + threadIdx.x) * 8;
  if (i >= n) return;
  float x[8], d[8];
  load(pre, i, x);
  load(dy, i, d);
  for (int j = 0; j < 8; j++) x[j] = d[j] * gelu_slope(x[j]);
  store(dpre, i, x);
}

Product product_of(const physlm_tensor& x, const physlm_tensor& w, const float* bias, Floats c, Floats y) {
  const int64_t R = leading(x, 1), I = axis(x, 1), O = leading(w, 1);
  return {R, O, I, {floats(x), I, 0}, {floats(w), I, 0}, bias, c, y};
}

int32_t forward(const physlm_tensor& x, const physlm_tensor& w, const float* bias, Floats c, Floats y) {
  return multiply(product_of(x, w, bias, c, y));
}

/** y = x·wᵀ (+ bias) + r. */
int32_t forward_add(const physlm_tensor& x, const physlm_tensor& w, const float* bias, const physlm_tensor& r, physlm_tensor& y) {
  Product product = product_of(x, w, bias, floats(y), {});
  product.tail = kAdd;
  product.beside = floats(r);
  return multiply(product);
}

/** dx = dy·w with a tail, unless null. */
int32_t gradient_of_input(const physlm_tensor& w, Floats dy, physlm_tensor& dx, int64_t R, Tail tail = kPlain, Floats beside = {},
                          float* sums = nullptr) {
  const int64_t I = axis(w, 1), O = leading(w, 1);
  if (!dx.data) return PHYSLM_OK;
  return multiply({R, I, O, {dy, O, 0}, {floats(w), I, 1}, nullptr, floats(dx), {}, tail, beside, sums});
}

/** dw = dyᵀ·x. */
Product weight_gradient(const physlm_tensor& x, Floats dy, const physlm_tensor& dw) {
  const int64_t R = leading(x, 1), I = axis(x, 1), O = leading(dw, 1);
  return {O, I, R, {dy, O, 1}, {floats(x), I, 1}, nullptr, floats(dw), {}};
}
/** dw = dyᵀ·x, unless null. */
int32_t gradient_of_weight(const physlm_tensor& x, Floats dy, physlm_tensor& dw) {
  return dw.data ? multiply(weight_gradient(x, dy, dw)) : PHYSLM_OK;
}

/** db = Σ_r dy, unless null. */
int32_t gradient_of_bias(const physlm_tensor& dy, physlm_tensor& db) {
  return db.data ? sum_rows(floats(dy), leading(dy, 1), axis(dy, 1), floats(db)) : PHYSLM_OK;
}

int32_t gradients(const physlm_tensor& x, const physlm_tensor& w, Floats dy, physlm_tensor& dx, physlm_tensor& dw) {
  const int32_t status = gradient_of_input(w, dy, dx, leading(x, 1));
  return status ? status : gradient_of_weight(x, dy, dw);
}

/** y = x·wᵀ (+ bias) with rotary positions; attrs as those of rotary. */
int32_t forward_turn(const physlm_tensor& x, const physlm_tensor& w, const float* bias, const physlm_tensor& positions, physlm_tensor& y,
                     const double* attrs) {
  const int64_t R = leading(y, 1), T = elements(positions), O = axis(y, 1);
  if (T < 1 || R % T)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[x] expected rows of whole sequences of %lld, got %lld", (long long)T, (long long)R);
  Product product = product_of(x, w, bias, floats(y), {});
  product.tail = kTurn;
  product.turn = {nullptr, (int)T, (int)attrs[0], (int)attrs[1], (int)attrs[2] / 2};
  if (attrs[1] >= 1 && attrs[0] * attrs[1] <= (double)O && suits_sm90(product)) {
    product.turn.table = rotary_turns(static_cast<const int32_t*>(positions.data), T, product.turn.half, attrs[3]);
    return product.turn.table ? multiply_sm90(product) : PHYSLM_OUT_OF_MEMORY;
  }
  if (int32_t status = forward(x, w, bias, floats(y), {})) return status;
  physlm_tensor rows = {y.data, y.dtype, 3, {R / T, T, O}};
  const physlm_tensor in[2] = {rows, positions};
  return rotary_forward_cuda(in, 2, &rows, 1, attrs, 4, nullptr);
}

int32_t expect_double(const char* what, int64_t F, int64_t P) {
  if (P == 2 * F) return PHYSLM_OK;
  return physlm_fail(PHYSLM_BAD_ARGUMENT, "[%s] expected %lld columns, two gates of %lld, got %lld", what, (long long)(2 * F),
                     (long long)F, (long long)P);
}

}  // namespace

OP(matmul_forward) {
  const bool ta = attrs[0] != 0, tb = attrs[1] != 0;
  const int64_t* a = in[0].shape;
  const int64_t* b = in[1].shape;
  const int64_t* c = out[0].shape;
  const int64_t M = a[ta], K = a[!ta], N = b[!tb];
  if (in[0].rank != 2 || in[1].rank != 2 || out[0].rank != 2 || b[tb] != K || c[0] != M || c[1] != N)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[c] expected matrices with %lld,%lld · %lld,%lld = %lld,%lld", (long long)M,
                       (long long)K, (long long)b[tb], (long long)N, (long long)c[0], (long long)c[1]);
  return multiply({M, N, K, {floats(in[0]), a[1], ta}, {floats(in[1]), b[1], !tb}, nullptr, floats(out[0]), {}});
}

OP(linear_forward) { return forward(in[0], in[1], nullptr, floats(out[0]), {}); }

OP(linearBias_forward) {
  return forward(in[0], in[1], static_cast<const float*>(in[2].data), floats(out[0]), {});
}

OP(linearBiasGelu_forward) {
  return forward(in[0], in[1], static_cast<const float*>(in[2].data), floats(out[1]), floats(out[0]));
}

OP(linear_backward) { return gradients(in[0], in[1], floats(in[2]), out[0], out[1]); }

// Sets of x, dy > dw, of any layers.
int32_t linearWeights_backward_cuda(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t n_out, const double*, int32_t,
                                    physlm_stream*) {
  std::vector<Product> products;
  for (int32_t i = 0; i < n_out; i++) products.push_back(weight_gradient(in[2 * i], floats(in[2 * i + 1]), out[i]));
  return multiply_all(products.data(), n_out);
}

OP(linearBias_backward) {
  if (int32_t status = gradient_of_bias(in[2], out[2])) return status;
  return gradients(in[0], in[1], floats(in[2]), out[0], out[1]);
}

OP(linearBiasGelu_backward) {
  const int64_t n = elements(in[3]), O = axis(in[3], 1);
  Floats dpre = {nullptr, in[3].dtype == PHYSLM_BF16};
  dpre.data = scratch(kSlotValues, most(1, n) * (dpre.half ? 2 : 4));
  if (!dpre.data) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for the gradient of gelu");
  if (n > 0) {
    const bool eights = in_eights(in[2], n) && in_eights(in[3], n);
    start(eights ? gelu_gradient_eights : gelu_gradient, dim3((unsigned)ceil_div(n, eights ? 2048 : 256)), 256, 0, floats(in[2]),
          floats(in[3]), dpre, n);
  }
  if (out[2].data)
    if (int32_t status = sum_rows(dpre, leading(in[3], 1), O, floats(out[2]))) return status;
  return gradients(in[0], in[1], dpre, out[0], out[1]);
}

// --- with what comes before or after: steps in bf16 are rewritten to these --------------------------------------------------

OP(linearAdd_forward) { return forward_add(in[0], in[1], nullptr, in[2], out[0]); }

OP(linearBiasAdd_forward) { return forward_add(in[0], in[1], static_cast<const float*>(in[2].data), in[3], out[0]); }

OP(linearRotary_forward) { return forward_turn(in[0], in[1], nullptr, in[2], out[0], attrs); }

OP(linearBiasRotary_forward) {
  return forward_turn(in[0], in[1], static_cast<const float*>(in[2].data), in[3], out[0], attrs);
}

// The gradients of y = gelu(pre)·wᵀ + b, and the sums of that of pre.
OP(linearBiasOfGelu_backward) {
  const int64_t R = leading(in[0], 1);
  if (int32_t status = gradient_of_bias(in[2], out[2])) return status;
  if (int32_t status = gradient_of_weight(in[0], floats(in[2]), out[1])) return status;
  return gradient_of_input(in[1], floats(in[2]), out[0], R, kSlope, floats(in[3]), static_cast<float*>(out[3].data));
}

// y = silu(a)·b and [a | b] = x·wᵀ.
OP(linearSiluGate_forward) {
  if (int32_t status = expect_double("w", axis(out[0], 1), leading(in[1], 1))) return status;
  Product product = product_of(in[0], in[1], nullptr, floats(out[1]), floats(out[0]));
  product.tail = kGate;
  if (product.M == 0 || product.N == 0) return PHYSLM_OK;
  if (suits_sm90(product)) return multiply_sm90(product);
  if (int32_t status = forward(in[0], in[1], nullptr, floats(out[1]), {})) return status;
  return siluGate_forward_cuda(out + 1, 1, out, 1, nullptr, 0, nullptr);
}

// The gradients of y = (silu(a)·b)·wᵀ with [a | b] kept.
OP(linearOfSiluGate_backward) {
  if (int32_t status = expect_double("gates", axis(in[0], 1), axis(in[3], 1))) return status;
  if (int32_t status = gradient_of_weight(in[0], floats(in[2]), out[1])) return status;
  return gradient_of_input(in[1], floats(in[2]), out[0], leading(in[0], 1), kGateSlope, floats(in[3]));
}
