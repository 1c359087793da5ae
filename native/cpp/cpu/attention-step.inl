// Attention of one new token per sequence over the key/value cache: decoding. Bound by reading the cache once, so a thread
// goes through a sequence's cache row by row, all heads of a row together, as it lies in memory.

constexpr int64_t kStepRows = kVL;  // cached rows that one pass over the heads takes

/** Dot products of q [K] with `rows` rows of keys, `stride` apart; lanes beyond `rows` are 0. */
INLINE vf key_scores(const float* q, const float* keys, int64_t stride, int rows, int64_t K) {
  vf totals[kVL] = {};
#pragma GCC unroll 16
  for (int r = 0; r < kVL; r++) {
    if (r >= rows) break;
    vf total = {};
    const char* const ahead = (const char*)(keys + (r + kStepRows) * stride);
    for (int64_t i = 0; i < K * 4; i += 64) __builtin_prefetch(ahead + i);
    each_vector(0, K, [&](int64_t i, auto some) { total = fma(load(q + i, some), load(keys + r * stride + i, some), total); });
    totals[r] = total;
  }
  return reduce_rows(totals, [](vf a, vf b) { return a + b; });
}

/** o [K] += weights · values over `rows` rows, in order. */
INLINE void add_values(const float* weights, const float* values, int64_t stride, int64_t rows, int64_t K, float* o) {
  int64_t i = 0;
  for (; i + 4 * kVL <= K; i += 4 * kVL) {
    vf a = load(o + i), b = load(o + i + kVL), c = load(o + i + 2 * kVL), d = load(o + i + 3 * kVL);
    for (int64_t r = 0; r < rows; r++) {
      const vf w = splat(weights[r]);
      const float* const v = values + r * stride + i;
      for (int64_t c = 0; c < 4; c++) __builtin_prefetch(v + kStepRows * stride + c * kVL);
      a = fma(w, load(v), a);
      b = fma(w, load(v + kVL), b);
      c = fma(w, load(v + 2 * kVL), c);
      d = fma(w, load(v + 3 * kVL), d);
    }
    store(o + i, a);
    store(o + i + kVL, b);
    store(o + i + 2 * kVL, c);
    store(o + i + 3 * kVL, d);
  }
  each_vector(i, K, [&](int64_t at, auto some) {
    vf total = load(o + at, some);
    for (int64_t r = 0; r < rows; r++) total = fma(splat(weights[r]), load(values + r * stride + at, some), total);
    store(o + at, total, some);
  });
}

/** scores [n], of `width` floats in whole vectors, become softmax(scores·by / log2 e). */
INLINE void soften_row(float* scores, int64_t n, int64_t width, vf by) {
  const vf lowest = splat(-__builtin_inff());
  const int rest = (int)(n - (width - kVL));  // lanes of the last vector that count
  store(scores + width - kVL, keep(load(scores + width - kVL), 0, rest, lowest));
  vf top = lowest;
  for (int64_t i = 0; i < width; i += kVL) top = larger(load(scores + i) * by, top);
  const vf down = splat(-largest(top));
  vf total = {};
  for (int64_t i = 0; i < width; i += kVL) {
    vf p = power_of_two(fma(load(scores + i), by, down));
    if (i + kVL == width) p = keep(p, 0, rest, vf{});
    store(scores + i, p);
    total += p;
  }
  const vf inverse = splat(1.0f / sum(total));
  for (int64_t i = 0; i < width; i += kVL) store(scores + i, load(scores + i) * inverse);
}

/** One new token per sequence: writes its k and v at row `position` of the caches, attends over rows 0..position. */
static int32_t attentionStep_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                     int32_t, physlm_stream*) {
  Heads heads = {leading(in[0], 1), 1, axis(in[0], 1), 0, 0, 0, 0, true};
  if (int32_t status = read_heads(heads, attrs)) return status;
  if (int32_t status = expect_columns("o", axis(out[0], 1), heads)) return status;
  const int64_t B = heads.B, P = heads.P, H = heads.H, G = heads.G, K = heads.K, S = axis(in[1], 3);
  const int64_t position = ((const int32_t*)in[3].data)[0];
  if (axis(in[1], 2) != G || axis(in[1], 1) != K)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[kCache] expected G,K=%lld,%lld, got %lld,%lld", (long long)G, (long long)K,
                       (long long)axis(in[1], 2), (long long)axis(in[1], 1));
  if (position < 0 || position >= S)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[position] expected 0 <= position < %lld, got %lld", (long long)S,
                       (long long)position);
  for (int c = 1; c <= 2; c++)
    if (out[c].data != in[c].data) __builtin_memcpy(out[c].data, in[c].data, elements(in[c]) * sizeof(float));
  const float* const qkv = floats(in[0]);
  float* const o = floats(out[0]);
  float* const k_cache = floats(out[1]);
  float* const v_cache = floats(out[2]);
  const int64_t n = position + 1, width = round_up(n, kVL), per_group = H / G, stride = G * K;
  if (physlm_reserve_local(H * width)) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for scores");
  const vf by = splat(heads.scale * kLog2E);
  parallel(4.0 * B * H * n * K, B * G, [&](int part, int parts) {
    const Range mine = share(B * G, part, parts);
    float* const scores = physlm_local();
    for (int64_t b = mine.begin / G; b * G < mine.end; b++) {
      const int64_t g0 = most(mine.begin - b * G, 0), g1 = least(mine.end - b * G, G);
      const float* const q = qkv + b * P;
      float* const keys = k_cache + b * S * stride;
      float* const values = v_cache + b * S * stride;
      each_vector(g0 * K, g1 * K, [&](int64_t i, auto some) {
        store(keys + position * stride + i, load(q + H * K + i, some), some);
        store(values + position * stride + i, load(q + (H + G) * K + i, some), some);
      });
      for (int64_t j = 0; j < n; j += kStepRows) {
        const int rows = (int)least(kStepRows, n - j);
        for (int64_t g = g0; g < g1; g++)
          for (int64_t h = g * per_group; h < (g + 1) * per_group; h++)
            store(scores + h * width + j, key_scores(q + h * K, keys + j * stride + g * K, stride, rows, K));
      }
      float* const to = o + b * H * K;
      for (int64_t h = g0 * per_group; h < g1 * per_group; h++) {
        soften_row(scores + h * width, n, width, by);
        each_vector(h * K, (h + 1) * K, [&](int64_t i, auto some) { store(to + i, vf{}, some); });
      }
      for (int64_t j = 0; j < n; j += kStepRows) {
        const int64_t rows = least(kStepRows, n - j);
        for (int64_t g = g0; g < g1; g++)
          for (int64_t h = g * per_group; h < (g + 1) * per_group; h++)
            add_values(scores + h * width + j, values + j * stride + g * K, stride, rows, K, to + h * K);
      }
    }
  });
  return PHYSLM_OK;
}
