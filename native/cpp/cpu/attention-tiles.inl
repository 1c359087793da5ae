// The pieces attention is made of: rows copied and turned on their side, the exponential of its weights, and tiles of
// scores with queries along the lanes (vectors of kVL, panels of kNR). K is the width of a head.

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

/** `count` rows of width K, `from` apart, one after another. */
static void copy_rows(const float* src, int64_t from, int64_t count, int64_t K, float* dst) {
  for (int64_t r = 0; r < count; r++) {
    __builtin_prefetch(src + (r + 16) * from);
    each_vector(0, K, [&](int64_t i, auto some) { store(dst + r * K + i, load(src + r * from + i, some), some); });
  }
}

/** Rows [0, count) of width K, on their side in panels of kNR, times `factor`: dst[panel][k][lane]; lanes behind are zero.
 */
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
struct RowReader {
  static constexpr int kGroups = (M + 2) / 3;
  const float* p[kGroups];
  int64_t step;
  inline __attribute__((always_inline)) RowReader(const float* from, int64_t step) : step(step) {
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
  RowReader<M> rows(keys, ks);
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
      if (kMasked)
        acc[r][v] = keep(acc[r][v], (int)most(0, least(kVL, hidden + r - v * kVL)), kVL, splat(-__builtin_inff()));
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
#define SCORE_TILES(NV, MASKED)                                                                                          \
  {                                                                                                                      \
    nullptr, score_tile<1, NV, MASKED>, score_tile<2, NV, MASKED>, score_tile<3, NV, MASKED>, score_tile<4, NV, MASKED>, \
        score_tile<5, NV, MASKED>, score_tile<6, NV, MASKED> SCORE_TILES_WIDE(NV, MASKED)                                \
  }
#if defined(__AVX512F__)
#define SCORE_TILES_WIDE(NV, MASKED)                                                                             \
  , score_tile<7, NV, MASKED>, score_tile<8, NV, MASKED>, score_tile<9, NV, MASKED>, score_tile<10, NV, MASKED>, \
      score_tile<11, NV, MASKED>, score_tile<12, NV, MASKED>, score_tile<13, NV, MASKED>, score_tile<14, NV, MASKED>
#else
#define SCORE_TILES_WIDE(NV, MASKED)
#endif
static const ScoreTile kScoreTiles[2][2][kMR + 1] = {{SCORE_TILES(1, false), SCORE_TILES(1, true)},
                                                     {SCORE_TILES(2, false), SCORE_TILES(2, true)}};

/** Rows from their sides: dst[r·to + k] = src[k·from + r] for r < count, k < K. `room`: count rows of whole vectors. */
static void turn_back(const float* src, int64_t from, int64_t count, int64_t K, float* dst, int64_t to, float* room) {
  if (K % kVL == 0) return pack_transposed(src, from, K, K, count, dst, to);
  const int64_t row = round_up(K, kVL);
  pack_transposed(src, from, K, row, count, room, row);
  for (int64_t r = 0; r < count; r++)
    each_vector(0, K, [&](int64_t i, auto some) { store(dst + r * to + i, load(room + r * row + i), some); });
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
#define SLOPES_WIDE(NV, MASKED) , slopes<4, NV, MASKED>, slopes<5, NV, MASKED>, slopes<6, NV, MASKED>, slopes<7, NV, MASKED>
#else
constexpr int kSlopeRows = 3;
#define SLOPES_WIDE(NV, MASKED)
#endif
static const Slopes kSlopes[2][2][kSlopeRows + 1] = {{SLOPES(1, false), SLOPES(1, true)},
                                                     {SLOPES(2, false), SLOPES(2, true)}};

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
      acc[r] =
          fma((vf)_mm512_broadcastsd_pd(_mm_loadl_pd(_mm_setzero_pd(), (const double*)(a + r * as + 2 * i))), x, acc[r]);
  }
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0);
#pragma GCC unroll 16
  for (int r = 0; r < M; r++) {
    vf total = _mm512_permutexvar_ps(
        even, acc[r] + __builtin_shuffle(acc[r], (vi){1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14}));
    if (start == kFromC) total += load(c + r * ldc, K);
    store(c + r * ldc, total, K);
  }
}
typedef void (*PairTile)(int64_t, int, const float*, int64_t, const float*, float*, int64_t, Start);
static const PairTile kPairTiles[kMR + 1] = {nullptr,       pair_tile<1>,  pair_tile<2>,  pair_tile<3>,  pair_tile<4>,
                                             pair_tile<5>,  pair_tile<6>,  pair_tile<7>,  pair_tile<8>,  pair_tile<9>,
                                             pair_tile<10>, pair_tile<11>, pair_tile<12>, pair_tile<13>, pair_tile<14>};

/** Rows [0, count) of width K ≤ kVL/2 for pair_tile, times `factor`; a missing last row is zero. */
static void pair_rows(const float* src, int64_t from, int64_t count, int K, float factor, float* dst) {
  const __m512i mix = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  for (int64_t r = 0; r < count; r += 2, dst += kVL) {
    const vf a = load(src + r * from, K), b = r + 1 < count ? load(src + (r + 1) * from, K) : vf{};
    store(dst, (vf)_mm512_permutex2var_ps(a, mix, b) * splat(factor));
  }
}
#endif
