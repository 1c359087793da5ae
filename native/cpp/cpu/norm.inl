// LayerNorm (Ba et al. 2016, arXiv:1607.06450) and RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467), over the last axis.

INLINE float sum_of(const float* x, int64_t n) {
  vf a = {}, b = {};
  int64_t i = 0;
  for (; i + 2 * kVL <= n; i += 2 * kVL) {
    a += load(x + i);
    b += load(x + i + kVL);
  }
  each_vector(i, n, [&](int64_t j, auto some) { a += load(x + j, some); });
  return sum(a + b);
}

static int32_t layerNorm_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                                 physlm_stream*) {
  const int64_t R = leading(in[0], 1), D = axis(in[0], 1);
  const float* const x = floats(in[0]);
  const float* const g = floats(in[1]);
  const float* const b = floats(in[2]);
  float* const y = floats(out[0]);
  float* const means = floats(out[1]);
  float* const rstds = floats(out[2]);
  const float eps = (float)attrs[0], scale = 1.0f / (float)D;
  parallel(8.0 * R * D, R, [&](int part, int parts) {
    const Range mine = share(R, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      const float* const a = x + r * D;
      const float mean = sum_of(a, D) * scale;
      vf squares = {};
      int64_t i = 0;
      for (; i + kVL <= D; i += kVL) {
        const vf d = load(a + i) - splat(mean);
        squares = fma(d, d, squares);
      }
      if (i < D) {
        const vf d = keep(load(a + i, (int)(D - i)) - splat(mean), 0, (int)(D - i), vf{});
        squares = fma(d, d, squares);
      }
      const float rstd = 1.0f / __builtin_sqrtf(sum(squares) * scale + eps);
      each_vector(0, D, [&](int64_t j, auto some) {
        const vf n = (load(a + j, some) - splat(mean)) * splat(rstd);
        store(y + r * D + j, fma(n, load(g + j, some), load(b + j, some)), some);
      });
      if (means) means[r] = mean;
      if (rstds) rstds[r] = rstd;
    }
  });
  return PHYSLM_OK;
}

static int32_t rmsNorm_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                               physlm_stream*) {
  const int64_t R = leading(in[0], 1), D = axis(in[0], 1);
  const float* const x = floats(in[0]);
  const float* const g = floats(in[1]);
  float* const y = floats(out[0]);
  float* const rstds = floats(out[1]);
  const float eps = (float)attrs[0], scale = 1.0f / (float)D;
  parallel(5.0 * R * D, R, [&](int part, int parts) {
    const Range mine = share(R, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      const float* const a = x + r * D;
      vf squares = {};
      each_vector(0, D, [&](int64_t i, auto some) {
        const vf v = load(a + i, some);
        squares = fma(v, v, squares);
      });
      const float rstd = 1.0f / __builtin_sqrtf(sum(squares) * scale + eps);
      each_vector(0, D, [&](int64_t i, auto some) {
        store(y + r * D + i, load(a + i, some) * splat(rstd) * load(g + i, some), some);
      });
      if (rstds) rstds[r] = rstd;
    }
  });
  return PHYSLM_OK;
}

/**
 * Both norms: dx = rstd·(dy·g − mean(dy·g) − n·mean(dy·g·n)) with n = (x − mean)·rstd; RMSNorm has mean 0 and no second
 * term. dg = Σ_r dy·n and db = Σ_r dy go over chunks of rows.
 */
template <bool kCentred>
static int32_t norm_gradients(const float* x, const float* g, const float* means, const float* rstds, const float* dy,
                              int64_t R, int64_t D, float* dx, float* dg, float* db) {
  const int64_t chunks = most(1, ceil_div(R, kChunkRows));
  const int64_t stride = 2 * round_up(D, kVL);
  float* const partial = dg || db ? physlm_scratch(PHYSLM_SLOT_PARTIAL, chunks * stride) : nullptr;
  if ((dg || db) && !partial) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for the gradient of a norm");
  const float scale = 1.0f / (float)D;
  parallel(14.0 * R * D, chunks, [&](int part, int parts) {
    const Range mine = share(chunks, part, parts);
    for (int64_t c = mine.begin; c < mine.end; c++) {
      float* const gains = partial ? partial + c * stride : nullptr;
      float* const biases = partial ? gains + stride / 2 : nullptr;
      if (gains)
        for (int64_t i = 0; i < stride; i += kVL) store(gains + i, vf{});
      for (int64_t r = c * kChunkRows; r < least(R, (c + 1) * kChunkRows); r++) {
        const float* const a = x + r * D;
        const float* const d = dy + r * D;
        const vf mean = splat(kCentred ? means[r] : 0.0f), rstd = splat(rstds[r]);
        vf plain = {}, along = {};
        each_vector(0, D, [&](int64_t i, auto some) {
          const vf n = (load(a + i, some) - mean) * rstd, dn = load(d + i, some), v = dn * load(g + i, some);
          if (kCentred) plain += v;
          along = fma(v, n, along);  // beyond the row's end v is 0 and n finite unless the row is not
          if (gains) {
            store(gains + i, fma(dn, n, load(gains + i, some)), some);
            if (kCentred) store(biases + i, load(biases + i, some) + dn, some);
          }
        });
        if (dx) {
          const vf p = splat(kCentred ? sum(plain) * scale : 0.0f), q = splat(sum(along) * scale);
          each_vector(0, D, [&](int64_t i, auto some) {
            const vf n = (load(a + i, some) - mean) * rstd;
            const vf v = load(d + i, some) * load(g + i, some) - p;
            store(dx + r * D + i, rstd * fnma(n, q, v), some);
          });
        }
      }
    }
  });
  if (dg) add_chunks(partial, chunks, stride, dg, D);
  if (db) add_chunks(partial + stride / 2, chunks, stride, db, D);
  return PHYSLM_OK;
}

static int32_t layerNorm_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                  physlm_stream*) {
  const int64_t R = leading(in[0], 1), D = axis(in[0], 1);
  return norm_gradients<true>(floats(in[0]), floats(in[1]), floats(in[2]), floats(in[3]), floats(in[4]), R, D,
                              floats(out[0]), floats(out[1]), floats(out[2]));
}

static int32_t rmsNorm_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                physlm_stream*) {
  const int64_t R = leading(in[0], 1), D = axis(in[0], 1);
  return norm_gradients<false>(floats(in[0]), floats(in[1]), nullptr, floats(in[2]), floats(in[3]), R, D, floats(out[0]),
                               floats(out[1]), nullptr);
}
