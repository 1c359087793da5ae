// Products with weights w[O,I]: y = x·wᵀ, and what follows from dy: dx = dy·w, dw = dyᵀ·x, db = Σ_r dy.
#include "gemm.h"

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

int32_t forward(const physlm_tensor& x, const physlm_tensor& w, const float* bias, Floats c, Floats y) {
  const int64_t R = leading(x, 1), I = axis(x, 1), O = leading(w, 1);
  return multiply({R, O, I, {floats(x), I, 0}, {floats(w), I, 0}, bias, c, y});
}

/** dx = dy·w and dw = dyᵀ·x, each unless null. */
int32_t gradients(const physlm_tensor& x, const physlm_tensor& w, Floats dy, physlm_tensor& dx, physlm_tensor& dw) {
  const int64_t R = leading(x, 1), I = axis(x, 1), O = leading(w, 1);
  int32_t status = PHYSLM_OK;
  if (dx.data) status = multiply({R, I, O, {dy, O, 0}, {floats(w), I, 1}, nullptr, floats(dx), {}});
  if (!status && dw.data) status = multiply({O, I, R, {dy, O, 1}, {floats(x), I, 1}, nullptr, floats(dw), {}});
  return status;
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

OP(linearBias_backward) {
  if (out[2].data)
    if (int32_t status = sum_rows(floats(in[2]), leading(in[2], 1), axis(in[2], 1), floats(out[2]))) return status;
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
