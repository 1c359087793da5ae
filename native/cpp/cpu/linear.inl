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

/**
 * dx = a·w and dw = aᵀ·x, each unless null, for the gradient a of the product. With `before`, what it says is done on the way,
 * and db, unless null, is the sum over its tiles.
 */
static int32_t linear_gradients(const float* x, const float* w, const float* a, int64_t R, int64_t I, int64_t O, float* dx,
                                float* dw, float* db, Prologue* before) {
  const int64_t tiles = tile_count(R);
  if (db && !(before->sums = physlm_scratch(PHYSLM_SLOT_PARTIAL, tiles * O)))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for a sum over rows");
  int32_t status = PHYSLM_OK;
  if (dx)
    status = gemm(R, I, O, {a, O, false}, {w, I, false}, dx, I, nullptr, nullptr, 0, before);
  else if (before)
    prologue(*before, R);
  if (db) add_chunks(before->sums, tiles, O, db, O);
  if (!status && dw) status = gemm(O, I, R, {a, O, true}, {x, I, false}, dw, I, nullptr, nullptr, 0);
  return status;
}

static int32_t linear_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                               physlm_stream*) {
  const int64_t R = leading(in[0], 1), I = axis(in[0], 1), O = leading(in[1], 1);
  return linear_gradients(floats(in[0]), floats(in[1]), floats(in[2]), R, I, O, floats(out[0]), floats(out[1]), nullptr,
                          nullptr);
}

static int32_t linearBias_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                   physlm_stream*) {
  const int64_t R = leading(in[0], 1), I = axis(in[0], 1), O = leading(in[1], 1);
  const float* const dy = floats(in[2]);
  Prologue before = {dy, nullptr, nullptr, nullptr, O};
  return linear_gradients(floats(in[0]), floats(in[1]), dy, R, I, O, floats(out[0]), floats(out[1]), floats(out[2]), &before);
}

static int32_t linearBiasGelu_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                       physlm_stream*) {
  const int64_t R = leading(in[0], 1), I = axis(in[0], 1), O = leading(in[1], 1);
  float* const dpre = physlm_scratch(PHYSLM_SLOT_VALUES, R * O);
  if (!dpre) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for the gradient of gelu");
  Prologue before = {floats(in[3]), floats(in[2]), dpre, nullptr, O};
  return linear_gradients(floats(in[0]), floats(in[1]), dpre, R, I, O, floats(out[0]), floats(out[1]), floats(out[2]), &before);
}
