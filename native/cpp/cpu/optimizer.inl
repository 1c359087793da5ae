// Gradient norm and AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with clipping, one pass over the parameters.

constexpr int64_t kNormChunk = 8192;

/** Σg² in double, in eight vectors of sums: squares of floats are exact in double, so only the additions round. */
static double sum_of_squares(const float* g, int64_t n) {
  constexpr int kLanes = kVL / 2, kSums = 8;
  typedef float half __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
  typedef double wide __attribute__((vector_size(kLanes * 8)));
  wide sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums * kLanes <= n; i += kSums * kLanes)
#pragma GCC unroll 8
    for (int k = 0; k < kSums; k++) {
      const wide v = __builtin_convertvector(*(const half*)(g + i + k * kLanes), wide);
      sums[k] += v * v;
    }
  double total = 0;
  for (; i < n; i++) total += (double)g[i] * g[i];
  const wide all = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  for (int l = 0; l < kLanes; l++) total += all[l];
  return total;
}

/** √Σg², summed in double: fixed chunks, added in order. */
static int32_t gradNorm_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                physlm_stream*) {
  const int64_t n = elements(in[0]), chunks = ceil_div(n, kNormChunk);
  const float* const g = floats(in[0]);
  double* const partial = (double*)physlm_scratch(PHYSLM_SLOT_PARTIAL, 2 * (chunks + 1));
  if (!partial) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for a norm");
  parallel(2.0 * n, chunks, [&](int part, int parts) {
    const Range mine = share(chunks, part, parts);
    for (int64_t c = mine.begin; c < mine.end; c++) {
      partial[c] = sum_of_squares(g + c * kNormChunk, least(kNormChunk, n - c * kNormChunk));
    }
  });
  double total = 0;
  for (int64_t c = 0; c < chunks; c++) total += partial[c];
  floats(out[0])[0] = (float)__builtin_sqrt(total);
  return PHYSLM_OK;
}

// Gradients of the slices of a batch [S, N], added in order.
static int32_t sumSlices_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                 physlm_stream*) {
  const int64_t slices = in[0].shape[0], n = in[0].shape[1];
  const float* const g = floats(in[0]);
  float* const total = floats(out[0]);
  pointwise(n, slices + 1, [=](int64_t i, auto some) {
    vf sum = load(g + i, some);
    for (int64_t s = 1; s < slices; s++) sum += load(g + s * n + i, some);
    store(total + i, sum, some);
  });
  return PHYSLM_OK;
}

static int32_t adamW_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                             physlm_stream*) {
  const float* const w = floats(in[0]);
  const float* const g = floats(in[1]);
  const float* const m = floats(in[2]);
  const float* const v = floats(in[3]);
  float* const w1 = floats(out[0]);
  float* const m1 = floats(out[1]);
  float* const v1 = floats(out[2]);
  const float norm = floats(in[4])[0];
  const float* const hyper = floats(in[5]);
  const float lr = hyper[0], beta1 = hyper[1], beta2 = hyper[2], eps = hyper[3], decay = hyper[4], max_norm = hyper[7];
  float clip = 1.0f;
  if (max_norm > 0.0f) {
    clip = max_norm / (norm + 1e-6f);
    if (clip > 1.0f) clip = 1.0f;  // a NaN norm stays NaN
  }
  const vf rate1 = splat(1.0f - beta1), rate2 = splat(1.0f - beta2), keep1 = splat(beta1), keep2 = splat(beta2);
  const vf unbias1 = splat(1.0f / hyper[5]), unbias2 = splat(1.0f / hyper[6]);
  const int64_t n = elements(in[0]), n_decay = most(0, least(n, (int64_t)attrs[0]));
  pointwise(n, 12, [=](int64_t i, auto some) {
    const vf old = load(w + i, some), d = load(g + i, some) * splat(clip);
    const vf first_moment = fma(keep1, load(m + i, some), rate1 * d);
    const vf second_moment = fma(keep2, load(v + i, some), rate2 * (d * d));
    const int decaying = (int)most(0, least(kVL, n_decay - i));
    const vf shrink = decaying == kVL ? old * splat(decay) : keep(old * splat(decay), 0, decaying, vf{});
    const vf step = first_moment * unbias1 / (root(second_moment * unbias2) + splat(eps)) + shrink;
    store(m1 + i, first_moment, some);
    store(v1 + i, second_moment, some);
    store(w1 + i, fnma(splat(lr), step, old), some);
  });
  return PHYSLM_OK;
}
