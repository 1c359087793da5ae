// LayerNorm (Ba et al. 2016, arXiv:1607.06450) and RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467), over the last axis.

// Rows go in blocks, so that the reductions, roots and divisions of a block share vectors; inside, a few rows pass together,
// because each is one chain. A row's bits depend on the tensor's shape alone.

/** A block has kVL rows, or kVL/2 for gradients; of rows longer than this, kTogether, so that it stays in the first-level cache. */
constexpr int64_t kShortRow = 256;

/**
 * Rows of a block that pass together; in tensors of more elements than this, which lie far, a block is one row: hardware
 * fetches ahead what is read and written in order and without pause.
 */
constexpr int kTogether = kVL < 8 ? 2 : 4;
constexpr int64_t kNearElements = 1 << 18;

INLINE vf sums_of_rows(vf* totals) {
  return reduce_rows(totals, [](vf a, vf b) { return a + b; });
}

/** A number of rows as a type. */
template <int N>
struct Rows {
  static constexpr int count = N;
};

/** Calls f(r, Rows<kTogether>) for groups of the n rows, and f(r, Rows<1>) for each of the rest. */
template <class F>
INLINE void each_group(int n, F f) {
  int r = 0;
  for (; r + kTogether <= n; r += kTogether) f(r, Rows<kTogether>{});
  for (; r < n; r++) f(r, Rows<1>{});
}

/** totals[r] = step(… step(step(0, r, 0), r, kVL) …) along each of n rows of length D; 0 for the rest of kVL rows. */
template <class F>
INLINE void along_rows(int n, int64_t D, vf* totals, F step) {
  each_group(n, [&](int r, auto group) {
    constexpr int N = decltype(group)::count;
    vf chain[N] = {};
    each_vector(0, D, [&](int64_t i, auto some) {
#pragma GCC unroll 4
      for (int k = 0; k < N; k++) chain[k] = step(chain[k], r + k, i, some);
    });
#pragma GCC unroll 4
    for (int k = 0; k < N; k++) totals[r + k] = chain[k];
  });
  for (int r = n; r < kVL; r++) totals[r] = vf{};
}

/** n rows from x: y = (x − mean)·rstd·g + b; RMSNorm has mean 0 and no b. */
template <bool kCentred>
static void norm_block(const float* x, const float* g, const float* b, int n, int64_t D, float eps, float* y, float* means,
                       float* rstds) {
  const vf scale = splat(1.0f / (float)D);
  float mean[kVL], rstd[kVL];
  vf totals[kVL];
  if (kCentred) {
    along_rows(n, D, totals, [&](vf sum, int r, int64_t i, auto some) { return sum + load(x + r * D + i, some); });
    store(mean, sums_of_rows(totals) * scale);
  }
  along_rows(n, D, totals, [&](vf sum, int r, int64_t i, auto some) {
    vf d = load(x + r * D + i, some);
    if (kCentred) d = d - splat(mean[r]);
    if constexpr (kCentred && sizeof(some) == sizeof(Some)) d = keep(d, 0, (int)(D - i), vf{});
    return fma(d, d, sum);
  });
  store(rstd, splat(1.0f) / root(fma(sums_of_rows(totals), scale, splat(eps))));
  each_group(n, [&](int r, auto group) {
    constexpr int N = decltype(group)::count;
    vf centre[N], by[N];
#pragma GCC unroll 4
    for (int k = 0; k < N; k++) {
      centre[k] = splat(kCentred ? mean[r + k] : 0.0f);
      by[k] = splat(rstd[r + k]);
      if (kCentred && means) means[r + k] = mean[r + k];
      if (rstds) rstds[r + k] = rstd[r + k];
    }
    each_vector(0, D, [&](int64_t i, auto some) {
      const vf gain = load(g + i, some), bias = kCentred ? load(b + i, some) : vf{};
#pragma GCC unroll 4
      for (int k = 0; k < N; k++) {
        const vf v = load(x + (r + k) * D + i, some), normal = (kCentred ? v - centre[k] : v) * by[k];
        store(y + (r + k) * D + i, kCentred ? fma(normal, gain, bias) : normal * gain, some);
      }
    });
  });
}

/** The same for one row alone. */
template <bool kCentred>
INLINE void norm_row(const float* x, const float* g, const float* b, int, int64_t D, float eps, float* y, float* means,
                     float* rstds) {
  const float scale = 1.0f / (float)D;
  vf even = {}, odd = {};
  int64_t i = 0;
  for (; kCentred && i + 2 * kVL <= D; i += 2 * kVL) {
    even += load(x + i);
    odd += load(x + i + kVL);
  }
  if (kCentred) each_vector(i, D, [&](int64_t j, auto some) { even += load(x + j, some); });
  const float mean = kCentred ? sum(even + odd) * scale : 0.0f;
  vf squares = {};
  each_vector(0, D, [&](int64_t j, auto some) {
    vf d = load(x + j, some);
    if (kCentred) d = d - splat(mean);
    if constexpr (kCentred && sizeof(some) == sizeof(Some)) d = keep(d, 0, (int)(D - j), vf{});
    squares = fma(d, d, squares);
  });
  const float rstd = 1.0f / __builtin_sqrtf(sum(squares) * scale + eps);
  each_vector(0, D, [&](int64_t j, auto some) {
    const vf v = load(x + j, some), normal = (kCentred ? v - splat(mean) : v) * splat(rstd), gain = load(g + j, some);
    store(y + j, kCentred ? fma(normal, gain, load(b + j, some)) : normal * gain, some);
  });
  if (kCentred && means) *means = mean;
  if (rstds) *rstds = rstd;
}

template <bool kCentred>
static void norm_rows(const float* x, const float* g, const float* b, int64_t R, int64_t D, float eps, float* y, float* means,
                      float* rstds) {
  const bool near = R * D <= kNearElements;
  const int rows = !near ? 1 : D <= kShortRow ? kVL : kTogether;
  const auto block = near ? norm_block<kCentred> : norm_row<kCentred>;
  parallel(8.0 * R * D, ceil_div(R, rows), [&](int part, int parts) {
    const Range mine = share(ceil_div(R, rows), part, parts);
    for (int64_t r = mine.begin * rows; r < least(R, mine.end * rows); r += rows)
      block(x + r * D, g, b, (int)least(rows, R - r), D, eps, y + r * D, means ? means + r : nullptr, rstds ? rstds + r : nullptr);
  });
}

static int32_t layerNorm_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                                 physlm_stream*) {
  norm_rows<true>(floats(in[0]), floats(in[1]), floats(in[2]), leading(in[0], 1), axis(in[0], 1), (float)attrs[0],
                  floats(out[0]), floats(out[1]), floats(out[2]));
  return PHYSLM_OK;
}

static int32_t rmsNorm_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                               physlm_stream*) {
  norm_rows<false>(floats(in[0]), floats(in[1]), nullptr, leading(in[0], 1), axis(in[0], 1), (float)attrs[0], floats(out[0]),
                   nullptr, floats(out[1]));
  return PHYSLM_OK;
}

/** What both norms' gradients read and write; dx, dg and db may be null. `gains` and `biases`: sums over a chunk of rows. */
struct NormGradients {
  const float *x, *g, *means, *rstds, *dy;
  int64_t D;
  float *dx, *gains, *biases;
};

/**
 * Sums over N rows from row r: along[k] = Σ v·n and plain[k] = Σ v with v = dy·g, n = (x − mean)·rstd; adds dy·n to the gains
 * and dy to the biases, row after row.
 */
template <bool kCentred, int N>
INLINE void norm_gradient_sums(const NormGradients& of, int64_t r, vf* along, vf* plain) {
  const int64_t D = of.D;
  const float* const x = of.x + r * D;
  const float* const dy = of.dy + r * D;
  vf mean[N], rstd[N], vn[N] = {}, v1[N] = {};
#pragma GCC unroll 4
  for (int k = 0; k < N; k++) {
    mean[k] = splat(kCentred ? of.means[r + k] : 0.0f);
    rstd[k] = splat(of.rstds[r + k]);
  }
  each_vector(0, D, [&](int64_t i, auto some) {
    const vf gain = load(of.g + i, some);
    vf gains = load(of.gains + i, some), biases = kCentred ? load(of.biases + i, some) : vf{};
#pragma GCC unroll 4
    for (int k = 0; k < N; k++) {
      const vf a = load(x + k * D + i, some), n = (kCentred ? a - mean[k] : a) * rstd[k];
      const vf d = load(dy + k * D + i, some), v = d * gain;
      vn[k] = fma(v, n, vn[k]);  // beyond the row's end v is 0 and n finite unless the row is not
      gains = fma(d, n, gains);
      if (kCentred) v1[k] += v, biases += d;
    }
    store(of.gains + i, gains, some);
    if (kCentred) store(of.biases + i, biases, some);
  });
#pragma GCC unroll 4
  for (int k = 0; k < N; k++) {
    along[k] = vn[k];
    plain[k] = v1[k];
  }
}

/** dx = rstd·(v − mean(v) − n·mean(v·n)) of up to kVL/2 rows from row r; RMSNorm has mean 0 and no second term. */
template <bool kCentred>
static void norm_gradient_block(const NormGradients& of, int64_t r0, int rows) {
  constexpr int kHalf = kVL / 2;
  const int64_t D = of.D;
  vf totals[kVL];
  each_group(rows, [&](int r, auto group) {
    norm_gradient_sums<kCentred, decltype(group)::count>(of, r0 + r, totals + r, totals + kHalf + r);
  });
  for (int r = rows; r < kHalf; r++) totals[r] = totals[kHalf + r] = vf{};
  if (!of.dx) return;
  float means[kVL];
  store(means, sums_of_rows(totals) * splat(1.0f / (float)D));
  const float* const x = of.x + r0 * D;
  const float* const dy = of.dy + r0 * D;
  float* const dx = of.dx + r0 * D;
  each_group(rows, [&](int r, auto group) {
    constexpr int N = decltype(group)::count;
    vf by[N], down[N], less[N], centre[N];
#pragma GCC unroll 4
    for (int k = 0; k < N; k++) {
      // rstd·v − (x − mean)·rstd²·mean(v·n) − rstd·mean(v)
      const float rstd = of.rstds[r0 + r + k];
      by[k] = splat(rstd);
      down[k] = splat(rstd * rstd * means[r + k]);
      less[k] = splat(-rstd * means[kHalf + r + k]);
      centre[k] = splat(kCentred ? of.means[r0 + r + k] : 0.0f);
    }
    each_vector(0, D, [&](int64_t i, auto some) {
      const vf gain = load(of.g + i, some);
#pragma GCC unroll 4
      for (int k = 0; k < N; k++) {
        const int64_t at = (r + k) * D + i;
        const vf a = load(x + at, some), v = load(dy + at, some) * gain;
        store(dx + at, fnma(kCentred ? a - centre[k] : a, down[k], kCentred ? fma(by[k], v, less[k]) : by[k] * v), some);
      }
    });
  });
}

/** The same for one row alone. */
template <bool kCentred>
INLINE void norm_gradient_row(const NormGradients& of, int64_t r, int) {
  vf along, plain;
  norm_gradient_sums<kCentred, 1>(of, r, &along, &plain);
  if (!of.dx) return;
  const int64_t D = of.D;
  const float scale = 1.0f / (float)D;
  const vf mean = splat(kCentred ? of.means[r] : 0.0f), rstd = splat(of.rstds[r]);
  const vf p = splat(kCentred ? sum(plain) * scale : 0.0f), q = splat(sum(along) * scale);
  each_vector(0, D, [&](int64_t i, auto some) {
    const vf n = (load(of.x + r * D + i, some) - mean) * rstd;
    const vf v = load(of.dy + r * D + i, some) * load(of.g + i, some) - p;
    store(of.dx + r * D + i, rstd * fnma(n, q, v), some);
  });
}

/** dx by row, dg = Σ_r dy·n and db = Σ_r dy over chunks of rows that are added in order. */
template <bool kCentred>
static int32_t norm_gradients(NormGradients of, int64_t R, float* dg, float* db) {
  const int64_t chunks = most(1, ceil_div(R, kChunkRows));
  const int64_t stride = 2 * round_up(of.D, kVL);
  const bool near = R * of.D <= kNearElements;
  const int rows = !near ? 1 : of.D <= kShortRow ? kVL / 2 : kTogether;
  const auto block = near ? norm_gradient_block<kCentred> : norm_gradient_row<kCentred>;
  float* const partial = physlm_scratch(PHYSLM_SLOT_PARTIAL, chunks * stride);
  if (!partial) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for the gradient of a norm");
  parallel(14.0 * R * of.D, chunks, [&](int part, int parts) {
    const Range mine = share(chunks, part, parts);
    for (int64_t c = mine.begin; c < mine.end; c++) {
      NormGradients here = of;
      here.gains = partial + c * stride;
      here.biases = here.gains + stride / 2;
      for (int64_t i = 0; i < stride; i += kVL) store(here.gains + i, vf{});
      int64_t r = c * kChunkRows;
      const int64_t end = least(R, r + kChunkRows);
      for (; r < end; r += rows) block(here, r, (int)least(rows, end - r));
    }
  });
  if (dg) add_chunks(partial, chunks, stride, dg, of.D);
  if (db) add_chunks(partial + stride / 2, chunks, stride, db, of.D);
  return PHYSLM_OK;
}

static int32_t layerNorm_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                  physlm_stream*) {
  return norm_gradients<true>({floats(in[0]), floats(in[1]), floats(in[2]), floats(in[3]), floats(in[4]), axis(in[0], 1),
                               floats(out[0]), nullptr, nullptr},
                              leading(in[0], 1), floats(out[1]), floats(out[2]));
}

static int32_t rmsNorm_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                physlm_stream*) {
  return norm_gradients<false>({floats(in[0]), floats(in[1]), nullptr, floats(in[2]), floats(in[3]), axis(in[0], 1),
                                floats(out[0]), nullptr, nullptr},
                               leading(in[0], 1), floats(out[1]), nullptr);
}
