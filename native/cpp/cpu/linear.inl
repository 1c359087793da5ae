// Products with weights w[O,I]: y = x·wᵀ, and what follows from dy: dx = dy·w, dw = dyᵀ·x, db = Σ_r dy.

/** Rows whose gradients are summed together before chunks are added in order; part of the bits, not of the thread split. */
constexpr int64_t kChunkRows = 64;

static int32_t matmul_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                              physlm_stream*) {
  const bool ta = attrs[0] != 0, tb = attrs[1] != 0;
  const int64_t* a = in[0].shape;
  const int64_t* b = in[1].shape;
  const int64_t* c = out[0].shape;
  const int64_t M = a[ta], K = a[!ta], N = b[!tb];
  if (in[0].rank != 2 || in[1].rank != 2 || out[0].rank != 2 || b[tb] != K || c[0] != M || c[1] != N)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[c] expected matrices with %lld,%lld · %lld,%lld = %lld,%lld", (long long)M,
                       (long long)K, (long long)b[tb], (long long)N, (long long)c[0], (long long)c[1]);
  return gemm(M, N, K, {(const float*)in[0].data, a[1], ta}, {(const float*)in[1].data, b[1], tb}, (float*)out[0].data, N,
              nullptr, nullptr, 0);
}

INLINE const float* floats(const physlm_tensor& t) { return (const float*)t.data; }
INLINE float* floats(physlm_tensor& t) { return (float*)t.data; }
/** Product of all axes but the last `n`. */
INLINE int64_t leading(const physlm_tensor& t, int n) {
  int64_t size = 1;
  for (int i = 0; i < t.rank - n; i++) size *= t.shape[i];
  return size;
}
/** Axis counted from the end: 1 is the last. */
INLINE int64_t axis(const physlm_tensor& t, int from_end) { return t.shape[t.rank - from_end]; }

static int32_t linear_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                              physlm_stream*) {
  const int64_t R = leading(in[0], 1), I = axis(in[0], 1), O = leading(in[1], 1);
  return gemm(R, O, I, {floats(in[0]), I, false}, {floats(in[1]), I, true}, floats(out[0]), O, nullptr, nullptr, 0);
}

static int32_t linearBias_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                  physlm_stream*) {
  const int64_t R = leading(in[0], 1), I = axis(in[0], 1), O = leading(in[1], 1);
  return gemm(R, O, I, {floats(in[0]), I, false}, {floats(in[1]), I, true}, floats(out[0]), O, floats(in[2]), nullptr, 0);
}

static int32_t linearBiasGelu_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                      physlm_stream*) {
  const int64_t R = leading(in[0], 1), I = axis(in[0], 1), O = leading(in[1], 1);
  float* y = floats(out[0]);
  float* pre = out[1].data ? floats(out[1]) : y;
  return gemm(R, O, I, {floats(in[0]), I, false}, {floats(in[1]), I, true}, pre, O, floats(in[2]), y, O);
}

/** out[n] = Σ_c chunks[c][n], in order of c. */
static void add_chunks(const float* chunks, int64_t n_chunks, int64_t stride, float* out, int64_t n) {
  parallel((double)n * n_chunks, ceil_div(n, 4 * kVL), [&](int part, int parts) {
    const Range strips = share(ceil_div(n, kVL), part, parts);
    each_vector(strips.begin * kVL, least(n, strips.end * kVL), [&](int64_t i, auto some) {
      vf total = load(chunks + i, some);
      for (int64_t c = 1; c < n_chunks; c++) total += load(chunks + c * stride + i, some);
      store(out + i, total, some);
    });
  });
}

/** db[o] = Σ_r dy[r][o]. */
static int32_t sum_rows(const float* dy, int64_t R, int64_t O, float* db) {
  const int64_t chunks = most(1, ceil_div(R, kChunkRows));
  float* partial = physlm_scratch(PHYSLM_SLOT_PARTIAL, chunks * O);
  if (!partial) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for a sum over rows");
  parallel((double)R * O, chunks, [&](int part, int parts) {
    const Range mine = share(chunks, part, parts);
    for (int64_t c = mine.begin; c < mine.end; c++) {
      const int64_t r0 = c * kChunkRows, r1 = least(R, r0 + kChunkRows);
      each_vector(0, O, [&](int64_t i, auto some) {
        vf total = {};
        for (int64_t r = r0; r < r1; r++) total += load(dy + r * O + i, some);
        store(partial + c * O + i, total, some);
      });
    }
  });
  add_chunks(partial, chunks, O, db, O);
  return PHYSLM_OK;
}

/** dx = dy·w and dw = dyᵀ·x, each unless null. */
static int32_t linear_gradients(const float* x, const float* w, const float* dy, int64_t R, int64_t I, int64_t O, float* dx,
                                float* dw) {
  int32_t status = PHYSLM_OK;
  if (dx) status = gemm(R, I, O, {dy, O, false}, {w, I, false}, dx, I, nullptr, nullptr, 0);
  if (!status && dw) status = gemm(O, I, R, {dy, O, true}, {x, I, false}, dw, I, nullptr, nullptr, 0);
  return status;
}

static int32_t linear_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                               physlm_stream*) {
  const int64_t R = leading(in[0], 1), I = axis(in[0], 1), O = leading(in[1], 1);
  return linear_gradients(floats(in[0]), floats(in[1]), floats(in[2]), R, I, O, floats(out[0]), floats(out[1]));
}

static int32_t linearBias_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                   physlm_stream*) {
  const int64_t R = leading(in[0], 1), I = axis(in[0], 1), O = leading(in[1], 1);
  if (out[2].data) {
    const int32_t status = sum_rows(floats(in[2]), R, O, floats(out[2]));
    if (status) return status;
  }
  return linear_gradients(floats(in[0]), floats(in[1]), floats(in[2]), R, I, O, floats(out[0]), floats(out[1]));
}

static int32_t linearBiasGelu_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                       physlm_stream*) {
  const int64_t R = leading(in[0], 1), I = axis(in[0], 1), O = leading(in[1], 1);
  const float* const pre = floats(in[2]);
  const float* const dy = floats(in[3]);
  float* const db = floats(out[2]);
  const int64_t chunks = most(1, ceil_div(R, kChunkRows));
  float* const dpre = physlm_scratch(PHYSLM_SLOT_VALUES, R * O);
  float* const partial = physlm_scratch(PHYSLM_SLOT_PARTIAL, chunks * O);
  if (!dpre || !partial) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for the gradient of gelu");
  parallel(25.0 * R * O, chunks, [&](int part, int parts) {
    const Range mine = share(chunks, part, parts);
    for (int64_t c = mine.begin; c < mine.end; c++) {
      const int64_t r0 = c * kChunkRows, r1 = least(R, r0 + kChunkRows);
      float* const total = partial + c * O;
      for (int64_t i = 0; i < O; i++) total[i] = 0.0f;
      for (int64_t r = r0; r < r1; r++)
        each_vector(0, O, [&](int64_t i, auto some) {
          const vf d = load(dy + r * O + i, some) * gelu_slope(load(pre + r * O + i, some));
          store(dpre + r * O + i, d, some);
          store(total + i, load(total + i, some) + d, some);
        });
    }
  });
  if (db) add_chunks(partial, chunks, O, db, O);
  return linear_gradients(floats(in[0]), floats(in[1]), dpre, R, I, O, floats(out[0]), floats(out[1]));
}
