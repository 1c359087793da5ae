// Softmax attention over a packed row of q heads, then k heads, then v heads (B batch, T position, H query head, G kv head,
// K head width). Queries lie along the lanes: scores are computed as S^T = k·q^T, so that every lane is full whatever K
// is, maximum and sum of a query are vector operations, and keys and values are read by broadcast as they lie. A block of
// scores never leaves the first-level cache; the pattern is recomputed from the log-sum-exp in the backward pass. See Dao
// et al. 2022, arXiv:2205.14135, and Dao 2023, arXiv:2307.08691.

constexpr int64_t kForwardKeys = kVL == 16 ? 8 * kMR : 16 * kMR;  // keys between two updates of a query's maximum
constexpr int64_t kBackwardQueries = 128;                         // queries it is in flight with
constexpr int64_t kPatternFloats = 4096;                          // of the pattern in flight: with its slope, half of L1
constexpr int64_t kPatternPad = 16;                               // keeps its rows out of one cache set
constexpr int64_t kBackwardTasks = 8;                              // few heads are cut until there are so many tasks

struct Heads {
  int64_t B, T, P, H, G, K;
  float scale;
  bool causal;
};

static int32_t read_heads(Heads& heads, const double* attrs) {
  heads.H = (int64_t)attrs[0];
  heads.G = (int64_t)attrs[1];
  heads.K = (int64_t)attrs[2];
  heads.scale = (float)attrs[3];
  if (heads.H < 1 || heads.G < 1 || heads.K < 1 || heads.H % heads.G)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[nHead] expected a multiple of nKvHead, both positive, got %lld and %lld",
                       (long long)heads.H, (long long)heads.G);
  if (heads.P != (heads.H + 2 * heads.G) * heads.K)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[qkv] expected (nHead + 2·nKvHead)·dHead = %lld columns, got %lld",
                       (long long)((heads.H + 2 * heads.G) * heads.K), (long long)heads.P);
  return PHYSLM_OK;
}

static int32_t expect_columns(const char* name, int64_t got, const Heads& heads) {
  if (got == heads.H * heads.K) return PHYSLM_OK;
  return physlm_fail(PHYSLM_BAD_ARGUMENT, "[%s] expected nHead·dHead = %lld columns, got %lld", name,
                     (long long)(heads.H * heads.K), (long long)got);
}

// 2^r = 1 + r·(…) on [-1/2, 1/2], least relative error: 1e-7 before rounding.
constexpr float kWeight[6] = {1.3264727e-3f, 9.6715130e-3f, 5.5507336e-2f, 2.4022242e-1f, 6.9314700e-1f, 1.0f};

/** 2^x for x up to 127, to about 2 ulp; 0 at -inf, NaN stays NaN. */
INLINE vf weight_of(vf x) {
#if defined(__AVX512F__)
  x = larger(splat(-151.0f), x);  // a NaN is the second operand, so it comes through
  const vf n = _mm512_roundscale_ps(x, 8);
  const vf r = x - n;
#else
  x = larger(splat(-127.0f), x);                 // where the factor below is 0
  const vf magic = splat(12582912.0f + 127.0f);  // 1.5 * 2^23: adding it rounds, and leaves exponent bits behind
  const vf shifted = x + magic;
  const vf r = x - (shifted - magic);
#endif
  vf p = splat(kWeight[0]);
#pragma GCC unroll 5
  for (int i = 1; i < 6; i++) p = fma(p, r, splat(kWeight[i]));
#if defined(__AVX512F__)
  return _mm512_scalef_ps(p, n);
#else
  return p * (vf)((vi)shifted << 23);
#endif
}

/**
 * Rows that are wanted soon, brought near the core a few at a time while it computes: the heads of one sequence lie far
 * apart, which the hardware does not follow.
 */
struct Ahead {
  struct Part {
    const float* p;
    int64_t step;
  } part[5];
  int parts;
  int64_t width, rows, pace;

  inline __attribute__((always_inline)) void few() {
    for (int64_t n = least(pace, rows); n > 0; n--, rows--)
      for (int i = 0; i < parts; i++) {
        for (int64_t k = 0; k < width; k += kLine) __builtin_prefetch(part[i].p + k, 0, 2);
        part[i].p += part[i].step;
      }
  }
  static constexpr int64_t kLine = 16;
};

/** Lines that will be written. */
INLINE void expect_rows(float* to, int64_t step, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t k = 0; k < width; k += Ahead::kLine) __builtin_prefetch(to + r * step + k, 1, 3);
}

/** `count` rows of width K, `from` apart, one after another; those up to `padded` are zero. */
static void copy_rows(const float* src, int64_t from, int64_t count, int64_t K, float* dst) {
  for (int64_t r = 0; r < count; r++) {
    __builtin_prefetch(src + (r + 16) * from);
    each_vector(0, K, [&](int64_t i, auto some) { store(dst + r * K + i, load(src + r * from + i, some), some); });
  }
}

/** Rows [0, count) of width K, on their side in panels of kNR, times `factor`: dst[panel][k][lane]; lanes behind are zero. */
static void turn_rows(const float* src, int64_t from, int64_t count, int64_t K, float factor, float* dst) {
  const vf by = splat(factor);
  for (int64_t r = 0; r < count; r += kNR, dst += K * kNR) {
    pack_transposed(src + r * from, from, least(kNR, count - r), kNR, K, dst, kNR);
    if (factor != 1.0f)
      for (int64_t i = 0; i < K * kNR; i += kVL) store(dst + i, load(dst + i) * by);
  }
}

/**
 * M rows that lie `step` apart, read element by element: one pointer for each three, because x86 addresses p, p + step and
 * p + 2·step without further registers.
 */
template <int M>
struct Rows {
  static constexpr int kGroups = (M + 2) / 3;
  const float* p[kGroups];
  int64_t step;
  inline __attribute__((always_inline)) Rows(const float* from, int64_t step) : step(step) {
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; g++) {
      p[g] = from + 3 * g * step;
      __asm__("" : "+r"(p[g]));  // or the compiler derives one from another again, and runs out of registers
    }
  }
  inline __attribute__((always_inline)) vf at(int r, int k) const { return splat(p[r / 3][(r % 3) * step + k]); }
  inline __attribute__((always_inline)) void advance(int n) {
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; g++) p[g] += n;
  }
};

/** Calls f(k, offset) for k in [0, K) in groups of four; `advance(n)` moves what offsets count from. */
template <class F, class Advance>
INLINE void by_fours(int64_t K, F f, Advance advance) {
  int64_t k = 0;
  for (; k + 4 <= K; k += 4) {
    f(0);
    f(1);
    f(2);
    f(3);
    advance(4);
  }
  for (; k < K; k++) {
    f(0);
    advance(1);
  }
}

/** Rows [0, rows) of a, `row_step` apart, against NV vectors, in even tiles. */
template <int NV, bool kColumns>
INLINE void product(int64_t rows, int64_t depth, const float* a, int64_t row_step, int64_t as, const float* b, int64_t bs,
                    float* c, int64_t ldc, Start start) {
  const int64_t tiles = tile_count(rows);
  for (int64_t t = 0; t < tiles; t++) {
    const int64_t r0 = rows * t / tiles, r1 = rows * (t + 1) / tiles;
    kTiles[NV - 1][kColumns][r1 - r0](depth, a + r0 * row_step, as, b, bs, c + r0 * ldc, ldc, nullptr, kVL, start);
  }
}

/**
 * Scores of M keys and NV vectors of queries, q at [k][kNR], to s[key][kNR]; `top` becomes the larger of itself and them.
 * The r-th key is hidden from the first hidden + r lanes when `kMasked`.
 */
template <int M, int NV, bool kMasked>
static void score_tile(int64_t K, const float* keys, int64_t ks, const float* q, float* s, float* top, int64_t hidden) {
  vf acc[M][NV];
#pragma GCC unroll 16
  for (int r = 0; r < M; r++)
#pragma GCC unroll 2
    for (int v = 0; v < NV; v++) acc[r][v] = vf{};
  Rows<M> rows(keys, ks);
  by_fours(
      K,
      [&](int k) __attribute__((always_inline)) {
        vf x[NV];
#pragma GCC unroll 2
        for (int v = 0; v < NV; v++) x[v] = load(q + k * kNR + v * kVL);
#pragma GCC unroll 16
        for (int r = 0; r < M; r++) {
          const vf y = rows.at(r, k);
#pragma GCC unroll 2
          for (int v = 0; v < NV; v++) acc[r][v] = fma(y, x[v], acc[r][v]);
        }
      },
      [&](int n) __attribute__((always_inline)) {
        rows.advance(n);
        q += n * kNR;
      });
#pragma GCC unroll 2
  for (int v = 0; v < NV; v++) {
    vf m = load(top + v * kVL), m2 = m;
#pragma GCC unroll 16
    for (int r = 0; r < M; r++) {
      if (kMasked) acc[r][v] = keep(acc[r][v], (int)most(0, least(kVL, hidden + r - v * kVL)), kVL, splat(-__builtin_inff()));
      store(s + r * kNR + v * kVL, acc[r][v]);
      if (r % 2)
        m = larger(acc[r][v], m);
      else
        m2 = larger(acc[r][v], m2);
    }
    store(top + v * kVL, larger(m, m2));
  }
}
typedef void (*ScoreTile)(int64_t, const float*, int64_t, const float*, float*, float*, int64_t);
#define SCORE_TILES(NV, MASKED)                                                                                  \
  {                                                                                                              \
    nullptr, score_tile<1, NV, MASKED>, score_tile<2, NV, MASKED>, score_tile<3, NV, MASKED>,                    \
        score_tile<4, NV, MASKED>, score_tile<5, NV, MASKED>, score_tile<6, NV, MASKED> SCORE_TILES_WIDE(NV, MASKED) \
  }
#if defined(__AVX512F__)
#define SCORE_TILES_WIDE(NV, MASKED)                                                                         \
  , score_tile<7, NV, MASKED>, score_tile<8, NV, MASKED>, score_tile<9, NV, MASKED>, score_tile<10, NV, MASKED>, \
      score_tile<11, NV, MASKED>, score_tile<12, NV, MASKED>, score_tile<13, NV, MASKED>, score_tile<14, NV, MASKED>
#else
#define SCORE_TILES_WIDE(NV, MASKED)
#endif
static const ScoreTile kScoreTiles[2][2][kMR + 1] = {{SCORE_TILES(1, false), SCORE_TILES(1, true)},
                                                     {SCORE_TILES(2, false), SCORE_TILES(2, true)}};

/** A panel of kNR queries on its way through the keys: maximum (log 2) and total so far of each, and the weighted values. */
struct QueryPanel {
  vf total[2];
  float top[kNR];
  float* values;  // [K][kNR]
  bool started;
};

/** Where the keys and values of one head lie: row j at p + j·step. */
struct Keys {
  const float *keys, *values;
  int64_t step;
};

/**
 * NV vectors of queries, the first of them q0, meet keys [j0, j1), and the second vector alone also keys [j1, j2). A query
 * sees nothing of the keys behind it when `causal`. q: [K][kNR]; scores: room for [j2 - j0][kNR].
 */
template <int NV>
static void attend(QueryPanel& panel, int64_t q0, int64_t j0, int64_t j1, int64_t j2, bool causal, int64_t K, const float* q,
                   const Keys& at, float* scores, Ahead& ahead) {
  const vf least_value = splat(-__builtin_inff());
  vf before[NV];
#pragma GCC unroll 2
  for (int v = 0; v < NV; v++) before[v] = load(panel.top + v * kVL);
  auto score = [&](int v, int64_t from, int64_t to) {
    const int64_t tiles = tile_count(to - from);
    for (int64_t t = 0; t < tiles; t++) {
      const int64_t a = from + (to - from) * t / tiles, b = from + (to - from) * (t + 1) / tiles;
      const int64_t hidden = causal ? a - q0 - v * kVL : -b;
      kScoreTiles[NV - 1 - v][hidden + b - a > 1][b - a](K, at.keys + a * at.step, at.step, q + v * kVL,
                                                         scores + (a - j0) * kNR + v * kVL, panel.top + v * kVL, hidden);
    }
  };
  ahead.few();
  score(0, j0, j1);
  if (NV == 2) score(1, j1, j2);
  ahead.few();
  vf factor[NV];
#pragma GCC unroll 2
  for (int v = 0; v < NV; v++) {
    const vf top = load(panel.top + v * kVL);
    // A query that has only seen -inf so far keeps weights of zero, not of NaN.
    const vf down = top == least_value ? vf{} : top;
    factor[v] = weight_of(before[v] - down);
    vf sums[4] = {panel.total[v] * factor[v], {}, {}, {}};
    float* s = scores + v * kVL;
    float* const end = s + ((v == 0 ? j1 : j2) - j0) * kNR;
    for (; s + 4 * kNR <= end; s += 4 * kNR) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; u++) {
        const vf p = weight_of(load(s + u * kNR) - down);
        store(s + u * kNR, p);
        sums[u] += p;
      }
    }
    for (; s < end; s += kNR) {
      const vf p = weight_of(load(s) - down);
      store(s, p);
      sums[0] += p;
    }
    panel.total[v] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
  ahead.few();
  float* const to = panel.values;
  if (panel.started)
    for (int64_t i = 0; i < K; i++)
#pragma GCC unroll 2
      for (int v = 0; v < NV; v++) store(to + i * kNR + v * kVL, load(to + i * kNR + v * kVL) * factor[v]);
  product<NV, true>(K, j1 - j0, at.values + j0 * at.step, 1, at.step, scores, kNR, to, kNR, panel.started ? kFromC : kFromZero);
  if (NV == 2 && j2 > j1)
    product<1, true>(K, j2 - j1, at.values + j1 * at.step, 1, at.step, scores + (j1 - j0) * kNR + kVL, kNR, to + kVL, kNR, kFromC);
  panel.started = true;
}

/** Rows from their sides: dst[r·to + k] = src[k·from + r] for r < count, k < K. `room`: count rows of whole vectors. */
static void turn_back(const float* src, int64_t from, int64_t count, int64_t K, float* dst, int64_t to, float* room) {
  if (K % kVL == 0) return pack_transposed(src, from, K, K, count, dst, to);
  const int64_t row = round_up(K, kVL);
  pack_transposed(src, from, K, row, count, room, row);
  for (int64_t r = 0; r < count; r++)
    each_vector(0, K, [&](int64_t i, auto some) { store(dst + r * to + i, load(room + r * row + i), some); });
}

/** Whether keys and values are copied first: they are used often, or lie in few of the cache's sets. */
INLINE bool packs_keys(int64_t T, int64_t P) { return T > 256 || P % 512 == 0; }

/** Whether the call is too large to find its inputs in the core's own cache. */
INLINE bool is_far(const Heads& heads) { return heads.B * heads.T * heads.P > 128 * 1024; }

/** The i-th of n blocks of queries in an order whose halves cost about the same: first, last, second, last but one, … */
INLINE int64_t folded(int64_t i, int64_t n) { return i % 2 ? n - 1 - i / 2 : i / 2; }

static int32_t attention_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                                 physlm_stream*) {
  Heads heads = {leading(in[0], 2), axis(in[0], 2), axis(in[0], 1), 0, 0, 0, 0, attrs[4] != 0};
  if (int32_t status = read_heads(heads, attrs)) return status;
  if (int32_t status = expect_columns("o", axis(out[0], 1), heads)) return status;
  float* const lse = floats(out[1]);
  if (lse && axis(out[1], 2) != heads.H)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[lse] expected H=%lld, got %lld", (long long)heads.H,
                       (long long)axis(out[1], 2));
  const float* const qkv = floats(in[0]);
  float* const o = floats(out[0]);
  const int64_t T = heads.T, P = heads.P, H = heads.H, G = heads.G, K = heads.K;
  const int64_t blocks = ceil_div(T, kNR), row = round_up(K, kVL);
  const bool packs = packs_keys(T, P), far = is_far(heads);
  if (physlm_reserve_local(2 * T * K + 2 * K * kNR + (kForwardKeys + kNR) * kNR + kNR * row))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for attention scores");
  parallel(4.0 * heads.B * H * T * T * K, heads.B * H * blocks, [&](int part, int parts) {
    const Range mine = share(heads.B * H * blocks, part, parts);
    float* const q = physlm_local();
    float* const weighted = q + K * kNR;
    float* const scores = weighted + K * kNR;
    float* const turned = scores + (kForwardKeys + kNR) * kNR;
    float* const packed_keys = turned + kNR * row;
    float* const packed_values = packed_keys + T * K;
    int64_t packed = -1;
    Ahead ahead = {};
    for (int64_t u = mine.begin; u < mine.end; u++) {
      const int64_t bh = u / blocks, b = bh / H, h = bh % H, g = h * G / H;
      const float* const from = qkv + b * T * P;
      Keys at = {from + (H + g) * K, from + (H + G + g) * K, P};
      if (packs) {
        if (packed != b * G + g) {
          copy_rows(at.keys, P, T, K, packed_keys);
          copy_rows(at.values, P, T, K, packed_values);
          packed = b * G + g;
        }
        at = {packed_keys, packed_values, K};
      }
      if (far && u % blocks == 0 && bh + 1 < heads.B * H) {
        const int64_t next = (bh + 1) / H, next_head = (bh + 1) % H;
        const float* const to = qkv + next * T * P;
        const float* const next_keys = to + (H + next_head * G / H) * K;
        ahead = {{{to + next_head * K, P}, {next_keys, P}, {next_keys + G * K, P}}, 3, K, T, ceil_div(T, 3 * blocks)};
      }
      const int64_t q0 = folded(u % blocks, blocks) * kNR, count = least(kNR, T - q0);
      turn_rows(from + q0 * P + h * K, P, count, K, heads.scale * kLog2E, q);
      if (far) expect_rows(o + ((b * T + q0) * H + h) * K, H * K, count, K);
      QueryPanel panel;
      panel.total[0] = panel.total[1] = vf{};
      for (int i = 0; i < kNR; i++) panel.top[i] = -__builtin_inff();
      panel.values = weighted;
      panel.started = false;
      // Keys that the first vector of queries sees, and those that the second one does.
      const int64_t end = heads.causal ? least(T, q0 + kNR) : T, both = heads.causal ? least(T, q0 + kVL) : T;
      const int64_t steps = ceil_div(end, kForwardKeys);
      for (int64_t i = 0; i < steps; i++) {
        const int64_t j0 = both * i / steps, j1 = both * (i + 1) / steps;
        if (count > kVL)
          attend<2>(panel, q0, j0, j1, i == steps - 1 ? end : j1, heads.causal, K, q, at, scores, ahead);
        else
          attend<1>(panel, q0, j0, j1, j1, heads.causal, K, q, at, scores, ahead);
      }
      for (int v = 0; v * kVL < count; v++) {
        const int some = (int)least(kVL, count - v * kVL);
        if (lse)
          store(lse + bh * T + q0 + v * kVL, fma(load(panel.top + v * kVL), splat(kLn2), logarithm(panel.total[v])), some);
        const vf inverse = splat(1.0f) / panel.total[v];
        float* const w = weighted + v * kVL;
        for (int64_t i = 0; i < K; i++) store(w + i * kNR, load(w + i * kNR) * inverse);
      }
      turn_back(weighted, kNR, count, K, o + ((b * T + q0) * H + h) * K, H * K, turned);
    }
  });
  return PHYSLM_OK;
}

/**
 * P^T and dS^T of M keys and NV vectors of queries: q and d at [k][kNR], `less` −lse in units of log 2, `mean` δ. The r-th
 * key is hidden from the first hidden + r lanes when `kMasked`.
 */
template <int M, int NV, bool kMasked>
static void slopes(int64_t K, const float* keys, const float* values, int64_t ks, const float* q, const float* d,
                   const float* less, const float* mean, float* pattern, float* slope, int64_t width, int64_t hidden) {
  vf s[M][NV], t[M][NV];
#pragma GCC unroll 8
  for (int r = 0; r < M; r++)
#pragma GCC unroll 2
    for (int v = 0; v < NV; v++) s[r][v] = t[r][v] = vf{};
  for (int64_t k = 0; k < K; k++) {
    vf x[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; v++) x[v] = load(q + k * kNR + v * kVL);
#pragma GCC unroll 8
    for (int r = 0; r < M; r++) {
      const vf y = splat(keys[r * ks + k]);
#pragma GCC unroll 2
      for (int v = 0; v < NV; v++) s[r][v] = fma(y, x[v], s[r][v]);
    }
#pragma GCC unroll 2
    for (int v = 0; v < NV; v++) x[v] = load(d + k * kNR + v * kVL);
#pragma GCC unroll 8
    for (int r = 0; r < M; r++) {
      const vf y = splat(values[r * ks + k]);
#pragma GCC unroll 2
      for (int v = 0; v < NV; v++) t[r][v] = fma(y, x[v], t[r][v]);
    }
  }
#pragma GCC unroll 2
  for (int v = 0; v < NV; v++) {
    const vf l = load(less + v * kVL), m = load(mean + v * kVL);
#pragma GCC unroll 8
    for (int r = 0; r < M; r++) {
      vf p = weight_of(s[r][v] + l), e = p * (t[r][v] - m);
      if (kMasked) {
        const int from = (int)most(0, least(kVL, hidden + r - v * kVL));
        p = keep(p, from, kVL, vf{});
        e = keep(e, from, kVL, vf{});
      }
      store(pattern + r * width + v * kVL, p);
      store(slope + r * width + v * kVL, e);
    }
  }
}
typedef void (*Slopes)(int64_t, const float*, const float*, int64_t, const float*, const float*, const float*, const float*,
                       float*, float*, int64_t, int64_t);
#define SLOPES(NV, MASKED) \
  { nullptr, slopes<1, NV, MASKED>, slopes<2, NV, MASKED>, slopes<3, NV, MASKED> SLOPES_WIDE(NV, MASKED) }
#if defined(__AVX512F__)
constexpr int kSlopeRows = 7;
#define SLOPES_WIDE(NV, MASKED) \
  , slopes<4, NV, MASKED>, slopes<5, NV, MASKED>, slopes<6, NV, MASKED>, slopes<7, NV, MASKED>
#else
constexpr int kSlopeRows = 3;
#define SLOPES_WIDE(NV, MASKED)
#endif
static const Slopes kSlopes[2][2][kSlopeRows + 1] = {{SLOPES(1, false), SLOPES(1, true)}, {SLOPES(2, false), SLOPES(2, true)}};

#if defined(__AVX512F__)
/**
 * c += a·b for K ≤ kVL/2, two terms at a time: b holds rows 2i and 2i + 1 as [k][parity] at b + i·kVL, so that no lane is
 * empty; the terms of even and of odd rows are two chains, added at the end.
 */
template <int M>
static void pair_tile(int64_t pairs, int K, const float* a, int64_t as, const float* b, float* c, int64_t ldc, Start start) {
  vf acc[M];
#pragma GCC unroll 16
  for (int r = 0; r < M; r++) acc[r] = vf{};
  for (int64_t i = 0; i < pairs; i++) {
    const vf x = load(b + i * kVL);
#pragma GCC unroll 16
    for (int r = 0; r < M; r++)
      acc[r] = fma((vf)_mm512_broadcastsd_pd(_mm_loadl_pd(_mm_setzero_pd(), (const double*)(a + r * as + 2 * i))), x, acc[r]);
  }
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0);
#pragma GCC unroll 16
  for (int r = 0; r < M; r++) {
    vf total = _mm512_permutexvar_ps(even, acc[r] + __builtin_shuffle(acc[r], (vi){1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14}));
    if (start == kFromC) total += load(c + r * ldc, K);
    store(c + r * ldc, total, K);
  }
}
typedef void (*PairTile)(int64_t, int, const float*, int64_t, const float*, float*, int64_t, Start);
static const PairTile kPairTiles[kMR + 1] = {nullptr, pair_tile<1>, pair_tile<2>, pair_tile<3>, pair_tile<4>,
  pair_tile<5>, pair_tile<6>, pair_tile<7>, pair_tile<8>, pair_tile<9>, pair_tile<10>, pair_tile<11>, pair_tile<12>,
  pair_tile<13>, pair_tile<14>};

/** Rows [0, count) of width K ≤ kVL/2 for pair_tile, times `factor`; a missing last row is zero. */
static void pair_rows(const float* src, int64_t from, int64_t count, int K, float factor, float* dst) {
  const __m512i mix = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  for (int64_t r = 0; r < count; r += 2, dst += kVL) {
    const vf a = load(src + r * from, K), b = r + 1 < count ? load(src + (r + 1) * from, K) : vf{};
    store(dst, (vf)_mm512_permutex2var_ps(a, mix, b) * splat(factor));
  }
}
#endif

/** Key blocks in the tasks of one head: the i-th and the i-th last to one task, so that all cost about the same. */
INLINE bool takes(int64_t task, int64_t tasks, int64_t block, int64_t blocks) {
  return least(block, blocks - 1 - block) % tasks == task;
}

/**
 * A task is a (batch, kv head) with all its query heads in order, or some blocks of keys of it. Blocks of queries outside,
 * tiles of keys inside: P^T = exp(k·q^T·scale − lse), dP^T = v·do^T, dS^T = P^T·(dP^T − δ) with δ = Σ do·o; then
 * dv += P^T·do, dk += dS^T·q·scale and dq^T += k^T·dS^T. Blocks of queries are added to dk and dv in order; when a head is
 * cut, which depends on the shape alone, its dq is the sum over the tasks in order.
 */
static int32_t attention_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                  int32_t, physlm_stream*) {
  if (!out[0].data) return PHYSLM_OK;
  Heads heads = {leading(in[0], 2), axis(in[0], 2), axis(in[0], 1), 0, 0, 0, 0, attrs[4] != 0};
  if (int32_t status = read_heads(heads, attrs)) return status;
  if (int32_t status = expect_columns("o", axis(in[1], 1), heads)) return status;
  if (axis(in[2], 2) != heads.H)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[lse] expected H=%lld, got %lld", (long long)heads.H, (long long)axis(in[2], 2));
  const float* const qkv = floats(in[0]);
  const float* const o = floats(in[1]);
  const float* const lse = floats(in[2]);
  const float* const grad = floats(in[3]);
  float* const dqkv = floats(out[0]);
  const int64_t T = heads.T, P = heads.P, H = heads.H, G = heads.G, K = heads.K;
  if (heads.B * T == 0) return PHYSLM_OK;
  const int64_t size = round_up(ceil_div(T, ceil_div(T, kBackwardQueries)), kNR);  // of a block of queries, and of keys
  const int64_t blocks = ceil_div(T, size), width = size + kPatternPad;
  const int64_t group = kPatternFloats / (width * kMR);  // tiles of keys in flight together
  const int64_t tasks = least(ceil_div(blocks, 2), ceil_div(kBackwardTasks, heads.B * G));
  const bool packs = packs_keys(T, P), far = is_far(heads);
  [[maybe_unused]] const bool pairs = kVL == 16 && K <= kVL / 2;
  const int64_t pace = ceil_div(T, ceil_div(most(1, blocks * (blocks + 1) / 2 / tasks) * (size / kMR + 1) * (size / kNR + 1), 2));
  const int64_t row = round_up(K, kVL), turned = K * size, straight = packed_floats(K, size);
  float* partial = nullptr;  // dq of all tasks but the first
  if (tasks > 1 && !(partial = physlm_scratch(PHYSLM_SLOT_PARTIAL, (tasks - 1) * heads.B * H * T * K)))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for attention gradients");
  if (physlm_reserve_local(2 * turned + 2 * straight + 2 * kPatternFloats + K * width + size * row + 2 * size + 2 * T * K))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for attention gradients");
  parallel(10.0 * heads.B * H * T * T * K, heads.B * G * tasks, [&](int part, int parts) {
    const Range mine = share(heads.B * G * tasks, part, parts);
    float* const q_turned = physlm_local();
    float* const grad_turned = q_turned + turned;
    float* const q_panels = grad_turned + turned;
    float* const grad_panels = q_panels + straight;
    float* const pattern = grad_panels + straight;
    float* const slope = pattern + kPatternFloats;
    float* const dq_turned = slope + kPatternFloats;
    float* const dq_rows = dq_turned + K * width;
    float* const delta = dq_rows + size * row;
    float* const minus_lse = delta + size;
    float* const packed_keys = minus_lse + size;
    float* const packed_values = packed_keys + T * K;
    for (int64_t u = mine.begin; u < mine.end; u++) {
      const int64_t b = u / tasks / G, g = u / tasks % G, task = u % tasks;
      const float* const from_row = qkv + b * T * P;
      float* const drow = dqkv + b * T * P;
      const float *keys = from_row + (H + g) * K, *values = keys + G * K;
      int64_t ks = P;
      if (packs) {
        copy_rows(keys, P, T, K, packed_keys);
        copy_rows(values, P, T, K, packed_values);
        keys = packed_keys;
        values = packed_values;
        ks = K;
      }
      float* const dk = drow + (H + g) * K;
      float* const dv = drow + (H + G + g) * K;
      for (int64_t h = g * (H / G); h < (g + 1) * (H / G); h++) {
        const bool first_head = h == g * (H / G);
        Ahead ahead = {};
        if (far && b * H + h + 1 < heads.B * H) {
          const int64_t next = (b * H + h + 1) / H, next_head = (b * H + h + 1) % H;
          const float* const to = qkv + next * T * P;
          const float* const next_keys = to + (H + next_head * G / H) * K;
          const int64_t there = (next * T * H + next_head) * K;
          ahead = {{{to + next_head * K, P}, {grad + there, H * K}, {o + there, H * K}, {next_keys, P}, {next_keys + G * K, P}},
                   5, K, T, pace};
        }
        for (int64_t block = 0; block < blocks; block++) {
          const int64_t q0 = block * size, count = least(size, T - q0), wide = round_up(count, kVL);
          const float* const q = from_row + q0 * P + h * K;
          const float* const d = grad + ((b * T + q0) * H + h) * K;
          const float* const a = o + ((b * T + q0) * H + h) * K;
          if (far && task == 0) expect_rows(drow + q0 * P + h * K, P, count, K);
          if (far && takes(task, tasks, block, blocks)) {
            expect_rows(dk + q0 * P, P, count, K);
            expect_rows(dv + q0 * P, P, count, K);
          }
          turn_rows(q, P, count, K, heads.scale * kLog2E, q_turned);
          turn_rows(d, H * K, count, K, 1.0f, grad_turned);
#if defined(__AVX512F__)
          if (pairs) {
            pair_rows(q, P, count, (int)K, heads.scale, q_panels);
            pair_rows(d, H * K, count, (int)K, 1.0f, grad_panels);
          } else
#endif
          {
            pack_panels({q, P, false}, 0, count, 0, K, q_panels);
            for (int64_t i = 0; i < round_up(K, kVL) * count; i += kVL)
              store(q_panels + i, load(q_panels + i) * splat(heads.scale));
            pack_panels({d, H * K, false}, 0, count, 0, K, grad_panels);
          }
          for (int64_t r = 0; r < wide; r += kVL) {
            vf each[kVL];
            for (int i = 0; i < kVL; i++) {
              each[i] = vf{};
              if (r + i < count)
                each_vector(0, K, [&](int64_t k, auto some) {
                  each[i] = fma(load(d + (r + i) * H * K + k, some), load(a + (r + i) * H * K + k, some), each[i]);
                });
            }
            store(delta + r, reduce_rows(each, [](vf x, vf y) { return x + y; }));
            store(minus_lse + r,
                  load(lse + (b * H + h) * T + q0 + r, (int)least(kVL, count - r)) * splat(-kLog2E));
          }
          for (int64_t i = 0; i < K; i++)
            for (int64_t l = 0; l < wide; l += kVL) store(dq_turned + i * width + l, vf{});
          const Panels grads = packed_panels(grad_panels, K, count), queries = packed_panels(q_panels, K, count);
          for (int64_t key_block = 0; key_block < (heads.causal ? block + 1 : blocks); key_block++) {
            if (!takes(task, tasks, key_block, blocks)) continue;
            const Start start = first_head && block == (heads.causal ? key_block : 0) ? kFromZero : kFromC;
            const bool diagonal = heads.causal && key_block == block;
            const int64_t k0 = key_block * size, n_keys = least(T, k0 + size) - k0, tiles = tile_count(n_keys);
            for (int64_t t0 = 0; t0 < tiles; t0 += group) {
              const int64_t t1 = least(tiles, t0 + group), b0 = k0 + n_keys * t0 / tiles, b1 = k0 + n_keys * t1 / tiles;
              const int64_t block_from = diagonal ? (b0 - q0) / kVL * kVL : 0;
              for (int64_t t = t0; t < t1; t++) {
                const int64_t j0 = k0 + n_keys * t / tiles, j1 = k0 + n_keys * (t + 1) / tiles;
                const int rows = (int)(j1 - j0);
                // Lanes before `from` see none of these keys.
                const int64_t from = diagonal ? (j0 - q0) / kVL * kVL : 0;
                float* const pt = pattern + (j0 - b0) * width;
                float* const st = slope + (j0 - b0) * width;
                for (int64_t l = block_from; l < from; l += kVL)
                  for (int r = 0; r < rows; r++) store(st + r * width + l, vf{});
                const int64_t strips = ceil_div(rows, kSlopeRows);
                for (int64_t l = from; l < wide;) {
                  const int64_t in_panel = l % kNR, panel = (l - in_panel) * K + in_panel;
                  const bool two = in_panel == 0 && l + kVL < wide;
                  ahead.few();
                  for (int64_t strip = 0; strip < strips; strip++) {
                    const int64_t r0 = rows * strip / strips, r1 = rows * (strip + 1) / strips;
                    const int64_t hidden = diagonal ? j0 + r0 - q0 - l : -rows;
                    kSlopes[two][hidden + r1 - r0 > 1][r1 - r0](
                        K, keys + (j0 + r0) * ks, values + (j0 + r0) * ks, ks, q_turned + panel, grad_turned + panel, minus_lse + l,
                        delta + l, pt + r0 * width + l, st + r0 * width + l, width, hidden);
                  }
                  l += two ? kNR : kVL;
                }
#if defined(__AVX512F__)
                if (pairs) {
                  const int64_t half = from / 2, some = ceil_div(count - from, 2);
                  kPairTiles[rows](some, (int)K, pt + from, width, grad_panels + half * kVL, dv + j0 * P, P, start);
                  kPairTiles[rows](some, (int)K, st + from, width, q_panels + half * kVL, dk + j0 * P, P, start);
                  continue;
                }
#endif
                auto rest = [&](Panels some) {  // the same panels from row `from` on
                  some.full += from * some.bs;
                  some.last += from * some.last_bs;
                  return some;
                };
                tile_row(rows, 0, K, K, count - from, pt + from, width, false, rest(grads), dv + j0 * P, P, nullptr, start);
                tile_row(rows, 0, K, K, count - from, st + from, width, false, rest(queries), dk + j0 * P, P, nullptr, start);
              }
              for (int64_t l = block_from; l < wide;) {
                const bool two = l % kNR == 0 && l + kVL < wide;
                const int64_t seen = diagonal ? least(b1, q0 + l + (two ? kNR : kVL)) - b0 : b1 - b0;
                if (two)
                  product<2, true>(K, seen, keys + b0 * ks, 1, ks, slope + l, width, dq_turned + l, width, kFromC);
                else
                  product<1, true>(K, seen, keys + b0 * ks, 1, ks, slope + l, width, dq_turned + l, width, kFromC);
                l += two ? kNR : kVL;
              }
            }
          }
          for (int64_t i = 0; i < K; i++)
            for (int64_t l = 0; l < wide; l += kVL)
              store(dq_turned + i * width + l, load(dq_turned + i * width + l) * splat(heads.scale));
          if (task == 0)
            turn_back(dq_turned, width, count, K, drow + q0 * P + h * K, P, dq_rows);
          else
            turn_back(dq_turned, width, count, K, partial + ((((task - 1) * heads.B + b) * H + h) * T + q0) * K, K, dq_rows);
        }
      }
    }
  });
  if (tasks > 1)
    parallel((double)tasks * heads.B * H * T * K, heads.B * H, [&](int part, int parts) {
      const Range mine = share(heads.B * H, part, parts);
      for (int64_t u = mine.begin; u < mine.end; u++)
        for (int64_t t = 0; t < T; t++) {
          float* const dq = dqkv + (u / H * T + t) * P + u % H * K;
          each_vector(0, K, [&](int64_t i, auto some) {
            vf total = load(dq + i, some);
            for (int64_t task = 1; task < tasks; task++)
              total += load(partial + (((task - 1) * heads.B * H + u) * T + t) * K + i, some);
            store(dq + i, total, some);
          });
        }
    });
  return PHYSLM_OK;
}
