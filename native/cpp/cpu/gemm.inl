// C = A·B in single precision. Every element of C is one chain of fused multiply-adds over k in increasing order, from
// the bias or from zero (or, when a long K is cut into chunks by shape, a fixed-order sum of such chains): which tile or
// thread it falls to does not matter, so the bits do not depend on the number of threads.
//
// A is read as it lies, row by row (or column by column), in tiles of at most kMR rows; B comes in panels of kNR columns,
// packed unless it is used too little to pay for that. Rows outside, panels inside: A and C stream once, B stays in L2.
// See Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication"; the loops are ordered for the
// tall, narrow products of small models.

constexpr int kMR = kVL == 16 ? 14 : 6;
constexpr int kNR = 2 * kVL;
constexpr int64_t kBlockK = 512;                 // depth of a packed block of B
constexpr int64_t kBlockFloats = 136 * 1024;     // size of a packed block of B: about half of L2
constexpr int64_t kSplitElements = 32 * 1024;    // products this small with a long K are cut along K
constexpr int64_t kSplitK = 1024;

/** Element (row, column) of the operand is p[row*ld + column], or p[column*ld + row] when transposed. */
struct Operand {
  const float* p;
  int64_t ld;
  bool transposed;
};

enum Start { kFromZero, kFromBias, kFromC };

/** One tile: M rows of A, NV vectors of B. A(i,k) at a[i*as+k], or a[k*as+i] for kColumns. `last`: lanes of the last vector. */
template <int M, int NV, bool kColumns>
static void tile(int64_t K, const float* a, int64_t as, const float* b, int64_t bs, float* c, int64_t ldc, const float* bias,
                 int last, Start start) {
  vf acc[M][NV];
  if (start == kFromC) {
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
#pragma GCC unroll 2
      for (int v = 0; v < NV; v++)
        acc[i][v] = v == NV - 1 && last < kVL ? load(c + i * ldc + v * kVL, last) : load(c + i * ldc + v * kVL);
    }
  } else {
    vf from[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; v++)
      from[v] = start == kFromBias ? (v == NV - 1 && last < kVL ? load(bias + v * kVL, last) : load(bias + v * kVL)) : vf{};
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
#pragma GCC unroll 2
      for (int v = 0; v < NV; v++) acc[i][v] = from[v];
    }
  }
  if (kColumns) {
    for (int64_t k = 0; k < K; k++) {
      vf x[NV];
#pragma GCC unroll 2
      for (int v = 0; v < NV; v++) x[v] = load(b + v * kVL);
#pragma GCC unroll 16
      for (int i = 0; i < M; i++) {
        const vf y = splat(a[i]);
#pragma GCC unroll 2
        for (int v = 0; v < NV; v++) acc[i][v] = fma(y, x[v], acc[i][v]);
      }
      a += as;
      b += bs;
    }
  } else {
    // One pointer for each three rows: x86 addresses p, p+as and p+2·as without further registers.
    constexpr int G = (M + 2) / 3;
    const float* p[G];
#pragma GCC unroll 8
    for (int g = 0; g < G; g++) {
      p[g] = a + 3 * g * as;
      __asm__("" : "+r"(p[g]));  // or the compiler derives one from another again, and runs out of registers
    }
    int64_t k = 0;
    for (; k + 4 <= K; k += 4) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; u++) {
        vf x[NV];
#pragma GCC unroll 2
        for (int v = 0; v < NV; v++) x[v] = load(b + v * kVL);
        b += bs;
#pragma GCC unroll 16
        for (int i = 0; i < M; i++) {
          const vf y = splat(p[i / 3][(i % 3) * as + u]);
#pragma GCC unroll 2
          for (int v = 0; v < NV; v++) acc[i][v] = fma(y, x[v], acc[i][v]);
        }
      }
#pragma GCC unroll 8
      for (int g = 0; g < G; g++) p[g] += 4;
    }
    for (; k < K; k++) {
      vf x[NV];
#pragma GCC unroll 2
      for (int v = 0; v < NV; v++) x[v] = load(b + v * kVL);
      b += bs;
#pragma GCC unroll 16
      for (int i = 0; i < M; i++) {
        const vf y = splat(p[i / 3][(i % 3) * as]);
#pragma GCC unroll 2
        for (int v = 0; v < NV; v++) acc[i][v] = fma(y, x[v], acc[i][v]);
      }
#pragma GCC unroll 8
      for (int g = 0; g < G; g++) p[g] += 1;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
#pragma GCC unroll 2
    for (int v = 0; v < NV; v++) {
      if (v == NV - 1 && last < kVL)
        store(c + i * ldc + v * kVL, acc[i][v], last);
      else
        store(c + i * ldc + v * kVL, acc[i][v]);
    }
  }
}

typedef void (*Tile)(int64_t, const float*, int64_t, const float*, int64_t, float*, int64_t, const float*, int, Start);
#define TILES(NV, COLUMNS)                                                                                       \
  {                                                                                                              \
    nullptr, tile<1, NV, COLUMNS>, tile<2, NV, COLUMNS>, tile<3, NV, COLUMNS>, tile<4, NV, COLUMNS>,             \
        tile<5, NV, COLUMNS>, tile<6, NV, COLUMNS> TILES_WIDE(NV, COLUMNS)                                       \
  }
#if defined(__AVX512F__)
#define TILES_WIDE(NV, COLUMNS)                                                                                   \
  , tile<7, NV, COLUMNS>, tile<8, NV, COLUMNS>, tile<9, NV, COLUMNS>, tile<10, NV, COLUMNS>, tile<11, NV, COLUMNS>, \
      tile<12, NV, COLUMNS>, tile<13, NV, COLUMNS>, tile<14, NV, COLUMNS>
#else
#define TILES_WIDE(NV, COLUMNS)
#endif
static const Tile kTiles[2][2][kMR + 1] = {{TILES(1, false), TILES(1, true)}, {TILES(2, false), TILES(2, true)}};

/** B as panels of kNR columns: panel p at full + p*step with k stride `bs`; a ragged last one may lie elsewhere. */
struct Panels {
  const float* full;
  int64_t step, bs;
  const float* last;
  int64_t last_bs;
};

/** `rows` (at most kMR) rows of A against columns [n0, n1) of the panels; n0 a multiple of kNR. C at column n0. */
static void tile_row(int rows, int64_t n0, int64_t n1, int64_t N, int64_t K, const float* a, int64_t as, bool columns,
                     const Panels& b, float* c, int64_t ldc, const float* bias, Start start) {
  const Tile wide = kTiles[1][columns][rows];
  for (int64_t n = n0; n < n1; n += kNR) {
    const int64_t width = least(kNR, n1 - n);
    const bool whole = n + kNR <= N;
    const float* panel = whole ? b.full + n / kNR * b.step : b.last;
    const int64_t bs = whole ? b.bs : b.last_bs;
    if (width > kVL)
      wide(K, a, as, panel, bs, c + (n - n0), ldc, bias + (n - n0), (int)(width - kVL), start);
    else
      kTiles[0][columns][rows](K, a, as, panel, bs, c + (n - n0), ldc, bias + (n - n0), (int)width, start);
  }
}

/** dst[k*stride + j] = src[j*ld + k] for j < width, k < K; zero for width <= j < padded. */
static void pack_transposed(const float* src, int64_t ld, int64_t width, int64_t padded, int64_t K, float* dst,
                            int64_t stride) {
  typedef float v4 __attribute__((vector_size(16)));
  typedef float v4_unaligned __attribute__((vector_size(16), aligned(4), may_alias));
  typedef int32_t i4 __attribute__((vector_size(16)));
  int64_t k = 0;
#if defined(__AVX512F__)
  // 16×16 in registers: pairs of rows, pairs of pairs, then 128-bit quarters.
  for (; k + 16 <= K; k += 16)
    for (int64_t j = 0; j < padded; j += 16) {
      __m512 r[16], t[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++) {
        __builtin_prefetch(src + (j + i + 32) * ld + k);
        r[i] = j + i < width ? (__m512)load(src + (j + i) * ld + k) : _mm512_setzero_ps();
      }
#pragma GCC unroll 8
      for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 16; i += 4) {
        r[i] = (__m512)_mm512_unpacklo_pd((__m512d)t[i], (__m512d)t[i + 2]);
        r[i + 1] = (__m512)_mm512_unpackhi_pd((__m512d)t[i], (__m512d)t[i + 2]);
        r[i + 2] = (__m512)_mm512_unpacklo_pd((__m512d)t[i + 1], (__m512d)t[i + 3]);
        r[i + 3] = (__m512)_mm512_unpackhi_pd((__m512d)t[i + 1], (__m512d)t[i + 3]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        const __m512 a = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88), b = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
        const __m512 c = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88), d = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
        float* const to = dst + (k + i) * stride + j;
        store(to, _mm512_shuffle_f32x4(a, c, 0x88));
        store(to + 4 * stride, _mm512_shuffle_f32x4(b, d, 0x88));
        store(to + 8 * stride, _mm512_shuffle_f32x4(a, c, 0xdd));
        store(to + 12 * stride, _mm512_shuffle_f32x4(b, d, 0xdd));
      }
    }
#endif
  for (; k + 4 <= K; k += 4) {
    int64_t j = 0;
    for (; j + 4 <= width; j += 4) {
      const float* const s = src + j * ld + k;
      const v4 a = *(const v4_unaligned*)s, b = *(const v4_unaligned*)(s + ld);
      const v4 c = *(const v4_unaligned*)(s + 2 * ld), d = *(const v4_unaligned*)(s + 3 * ld);
      const v4 ab0 = __builtin_shuffle(a, b, (i4){0, 4, 1, 5}), ab1 = __builtin_shuffle(a, b, (i4){2, 6, 3, 7});
      const v4 cd0 = __builtin_shuffle(c, d, (i4){0, 4, 1, 5}), cd1 = __builtin_shuffle(c, d, (i4){2, 6, 3, 7});
      float* const t = dst + k * stride + j;
      *(v4_unaligned*)t = __builtin_shuffle(ab0, cd0, (i4){0, 1, 4, 5});
      *(v4_unaligned*)(t + stride) = __builtin_shuffle(ab0, cd0, (i4){2, 3, 6, 7});
      *(v4_unaligned*)(t + 2 * stride) = __builtin_shuffle(ab1, cd1, (i4){0, 1, 4, 5});
      *(v4_unaligned*)(t + 3 * stride) = __builtin_shuffle(ab1, cd1, (i4){2, 3, 6, 7});
    }
    for (int u = 0; u < 4; u++) {
      for (int64_t r = j; r < width; r++) dst[(k + u) * stride + r] = src[r * ld + k + u];
      for (int64_t r = width; r < padded; r++) dst[(k + u) * stride + r] = 0.0f;
    }
  }
  for (; k < K; k++) {
    for (int64_t r = 0; r < width; r++) dst[k * stride + r] = src[r * ld + k];
    for (int64_t r = width; r < padded; r++) dst[k * stride + r] = 0.0f;
  }
}

/** dst[k*stride + j] = src[k*ld + j] for j < width; zero for width <= j < padded (a multiple of kVL). */
static void pack_straight(const float* src, int64_t ld, int64_t width, int64_t padded, int64_t K, float* dst,
                          int64_t stride) {
  for (int64_t k = 0; k < K; k++)
    for (int64_t j = 0; j < padded; j += kVL) {
      __builtin_prefetch(src + (k + 24) * ld + j);
      store(dst + k * stride + j,
            j + kVL <= width ? load(src + k * ld + j) : load(src + k * ld + j, (int)most(0, width - j)));
    }
}

/** `count` whole panels side by side: rows of the source are read once. */
static void pack_straight_panels(const float* src, int64_t ld, int count, int64_t K, float* dst) {
  for (int64_t k = 0; k < K; k++, src += ld, dst += kNR)
    for (int p = 0; p < count; p++) {
      const float* const from = src + p * kNR;
      __builtin_prefetch(from + 12 * ld);
      __builtin_prefetch(from + 12 * ld + kVL);
      store(dst + p * K * kNR, load(from));
      store(dst + p * K * kNR + kVL, load(from + kVL));
    }
}

INLINE int64_t panel_width(int64_t width) { return width > kVL ? kNR : kVL; }

/** Packs columns [n0, n1) and rows [k0, k0+kc) of B; n0 a multiple of kNR; panel of column n at dst + n*kc. */
static void pack_panels(const Operand& B, int64_t k0, int64_t kc, int64_t n0, int64_t n1, float* dst) {
  constexpr int64_t kTogether = 4;
  int64_t n = n0;
  if (!B.transposed)
    for (; n + kTogether * kNR <= n1; n += kTogether * kNR)
      pack_straight_panels(B.p + k0 * B.ld + n, B.ld, kTogether, kc, dst + n * kc);
  for (; n < n1; n += kNR) {
    const int64_t width = least(kNR, n1 - n), padded = panel_width(width);
    if (B.transposed)
      pack_transposed(B.p + n * B.ld + k0, B.ld, width, padded, kc, dst + n * kc, padded);
    else
      pack_straight(B.p + k0 * B.ld + n, B.ld, width, padded, kc, dst + n * kc, padded);
  }
}

/** Panels over a packed block that holds columns [0, N) of depth K. */
INLINE Panels packed_panels(const float* packed, int64_t N, int64_t K) {
  const int64_t tail = N / kNR * kNR;
  return {packed, K * kNR, kNR, packed + tail * K, N > tail ? panel_width(N - tail) : kNR};
}

/** Floats that a packed block of N columns and depth K takes. */
INLINE int64_t packed_floats(int64_t N, int64_t K) { return round_up(N, kVL) * K + kNR; }

/** GELU of a strip of rows. */
static void gelu_rows(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; r++)
    each_vector(0, n, [&](int64_t i, auto some) { store(y + r * ldy + i, gelu(load(x + r * ldx + i, some)), some); });
}

INLINE int64_t tile_count(int64_t M) { return ceil_div(M, kMR); }

/**
 * What else is done with the rows of an A that is not transposed, tile by tile, while they are in cache: A = dy·gelu'(pre) is
 * written to `a`, or A is dy itself when `pre` and `a` are null; and sums[t][k] = Σ over the rows of tile t, unless null.
 * Everything has K columns.
 */
struct Prologue {
  const float *dy, *pre;
  float *a, *sums;
  int64_t K;
};

INLINE int64_t first_row(int64_t M, int64_t t) { return M * t / tile_count(M); }

/** Columns [k0, k1) of tile t. */
static void prologue_tile(const Prologue& of, int64_t M, int64_t t, int64_t k0, int64_t k1) {
  const int64_t r0 = first_row(M, t), r1 = first_row(M, t + 1);
  float* const sums = of.sums ? of.sums + t * of.K : nullptr;
  if (!of.pre) {
    if (!sums) return;
    int64_t i = k0;
    for (; i + 4 * kVL <= k1; i += 4 * kVL) {
      vf total[4] = {};
      for (int64_t r = r0; r < r1; r++)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) total[v] += load(of.dy + r * of.K + i + v * kVL);
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) store(sums + i + v * kVL, total[v]);
    }
    each_vector(i, k1, [&](int64_t i, auto some) {
      vf total = {};
      for (int64_t r = r0; r < r1; r++) total += load(of.dy + r * of.K + i, some);
      store(sums + i, total, some);
    });
    return;
  }
  for (int64_t r = r0; r < r1; r++)
    each_vector(k0, k1, [&](int64_t i, auto some) {
      const int64_t at = r * of.K + i;
      const vf d = load(of.dy + at, some) * gelu_slope(load(of.pre + at, some));
      store(of.a + at, d, some);
      if (sums) store(sums + i, r == r0 ? d : load(sums + i, some) + d, some);
    });
}

/** Whether A is copied first: its columns lie far apart or its rows fall into one cache set, and they are used often. */
INLINE bool copies_a(const Operand& A, int64_t K, int64_t N) {
  if (K < 64) return false;
  return A.transposed ? A.ld > 64 && N >= 4 * kNR : A.ld % 1024 == 0 && N >= 4 * kNR;
}
constexpr int64_t kCopyPad = 16;
constexpr int64_t kCopyColumns = (kMR + kVL - 1) / kVL * kVL;  // stride along k of a copied tile of a transposed A
constexpr int64_t kCopyTiles = 8;                              // tiles copied together, to read whole cache lines
constexpr int64_t kCopyAhead = 12;                             // rows prefetched: their stride defeats the hardware
INLINE int64_t copy_floats(int64_t K) { return kCopyTiles * kCopyColumns * (K + kCopyPad); }

/**
 * Tiles [t0, t1) of C's rows against columns [n0, n1) of the panels, depth K from k0 of A. C, bias and y are at column 0
 * of the panels. `local`: copy_floats(K) floats. `before` may be null.
 */
static void tile_rows(int64_t M, int64_t t0, int64_t t1, int64_t n0, int64_t n1, int64_t N, int64_t K, const Operand& A,
                      int64_t k0, const Panels& b, float* C, int64_t ldc, const float* bias, Start start, float* y,
                      int64_t ldy, float* local, const Prologue* before) {
  const bool copy = copies_a(A, K, n1 - n0);
  const int64_t tile_stride = (K + 1) * kCopyColumns;  // not a multiple of the cache's sets
  for (int64_t group = t0; group < t1; group += kCopyTiles) {
    const int64_t group_end = least(t1, group + kCopyTiles);
    if (before && before->pre)
      for (int64_t t = group; t < group_end; t++) prologue_tile(*before, M, t, k0, k0 + K);
    if (copy && A.transposed)
      for (int64_t k = 0; k < K; k++) {
        const float* const a = A.p + (k0 + k) * A.ld;
        float* to = local + k * kCopyColumns;
        for (int64_t t = group; t < group_end; t++, to += tile_stride) {
          const float* const from = a + first_row(M, t);
          if (k + kCopyAhead < K) __builtin_prefetch(from + kCopyAhead * A.ld);
          // A whole vector also takes the next columns, which is harmless as long as there are some.
          if (first_row(M, t) + kCopyColumns <= M)
            for (int64_t i = 0; i < kCopyColumns; i += kVL) store(to + i, load(from + i));
          else
            each_vector(0, M - first_row(M, t), [&](int64_t i, auto some) { store(to + i, load(from + i, some)); });
        }
      }
    for (int64_t t = group; t < group_end; t++) {
      const int64_t r0 = first_row(M, t);
      const int rows = (int)(first_row(M, t + 1) - r0);
      const float* a = A.transposed ? A.p + k0 * A.ld + r0 : A.p + r0 * A.ld + k0;
      int64_t as = A.ld;
      if (copy && A.transposed) {
        a = local + (t - group) * tile_stride;
        as = kCopyColumns;
      } else if (copy) {
        for (int i = 0; i < rows; i++)
          each_vector(0, K, [&](int64_t k, auto some) {
            store(local + i * (K + kCopyPad) + k, load(a + i * as + k, some), some);
          });
        a = local;
        as = K + kCopyPad;
      }
      float* c = C + r0 * ldc + n0;
      tile_row(rows, n0, n1, N, K, a, as, A.transposed, b, c, ldc, bias ? bias + n0 : nullptr, start);
      if (y) gelu_rows(c, ldc, y + r0 * ldy + n0, ldy, rows, n1 - n0);
      if (before && !before->pre) prologue_tile(*before, M, t, k0, k0 + K);  // after: the product has brought the rows near
    }
  }
}

/** Elements up to which A = dy·gelu'(pre) is made on the way; beyond, three arrays stream better in a pass of their own. */
constexpr int64_t kPrologueElements = 1 << 20;

/** All tiles, when no product does it on the way. */
static void prologue(const Prologue& of, int64_t M) {
  const int64_t tiles = tile_count(M);
  parallel((of.pre ? 16.0 : 1.0) * M * of.K, tiles, [&](int part, int parts) {
    const Range mine = share(tiles, part, parts);
    for (int64_t t = mine.begin; t < mine.end; t++) prologue_tile(of, M, t, 0, of.K);
  });
}

/** R rows of A against W rows of a transposed B: dot products, vectors along k. */
template <int R, int W>
INLINE void dots(int64_t K, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc,
                 const float* bias) {
  vf acc[W][R];
#pragma GCC unroll 4
  for (int j = 0; j < W; j++)
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) acc[j][r] = vf{};
  each_vector(0, K, [&](int64_t k, auto some) {
    vf x[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) x[r] = load(a + r * lda + k, some);
#pragma GCC unroll 4
    for (int j = 0; j < W; j++) {
      const vf w = load(b + j * ldb + k, some);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) acc[j][r] = fma(w, x[r], acc[j][r]);
    }
  });
#pragma GCC unroll 4
  for (int j = 0; j < W; j++)
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      const float d = sum(acc[j][r]);
      c[r * ldc + j] = bias ? bias[j] + d : d;
    }
}

/** R rows of A against rows [n0, n1) of a transposed B. */
template <int R>
static void dot_rows(int64_t n0, int64_t n1, int64_t K, const float* a, int64_t lda, const Operand& B, float* c, int64_t ldc,
                     const float* bias) {
  int64_t n = n0;
  for (; n + 4 <= n1; n += 4) dots<R, 4>(K, a, lda, B.p + n * B.ld, B.ld, c + n, ldc, bias ? bias + n : nullptr);
  for (; n < n1; n++) dots<R, 1>(K, a, lda, B.p + n * B.ld, B.ld, c + n, ldc, bias ? bias + n : nullptr);
}

/** The general product: B in packed blocks, A and C streamed. `onto`: C = C + A·B, each chain starting from C. */
static int32_t gemm_blocks(int64_t M, int64_t N, int64_t K, const Operand& A, const Operand& B, float* C, int64_t ldc,
                           const float* bias, float* y, int64_t ldy, bool onto, const Prologue* before) {
  const int threads = physlm_threads();
  const int64_t tiles = tile_count(M);
  const int64_t blocks_k = K <= kBlockK + kBlockK / 4 ? 1 : ceil_div(K, kBlockK);
  const int64_t depth = ceil_div(K, blocks_k);
  const int64_t widest = most(kNR, kBlockFloats / most(1, depth) / kNR * kNR);
  const int64_t block_n = round_up(ceil_div(N, ceil_div(N, widest)), kNR);
  const bool packs = B.transposed || N % kVL != 0 || tiles > 4;
  float* const packed = packs ? physlm_scratch(PHYSLM_SLOT_PACK, packed_floats(block_n, depth)) : nullptr;
  if ((packs && !packed) || physlm_reserve_local(copy_floats(depth)))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for packed weights");
  for (int64_t n0 = 0; n0 < N; n0 += block_n) {
    const int64_t nc = least(block_n, N - n0);
    for (int64_t s = 0; s < blocks_k; s++) {
      const int64_t k0 = K * s / blocks_k, kc = K * (s + 1) / blocks_k - k0;
      const Operand Bn = {B.transposed ? B.p + n0 * B.ld : B.p + n0, B.ld, B.transposed};
      const int64_t tail = nc / kNR * kNR;
      Panels b = {Bn.p + k0 * B.ld, kNR, B.ld, Bn.p + k0 * B.ld + tail, B.ld};
      const int64_t block_panels = ceil_div(nc, kNR);
      if (packs) {
        parallel(2.0 * nc * kc, block_panels, [&](int part, int parts) {
          const Range mine = share(block_panels, part, parts);
          pack_panels(Bn, k0, kc, mine.begin * kNR, least(nc, mine.end * kNR), packed);
        });
        b = packed_panels(packed, nc, kc);
      }
      const Start start = s > 0 || onto ? kFromC : bias ? kFromBias : kFromZero;
      float* const strip_y = y && s == blocks_k - 1 ? y + n0 : nullptr;
      const float* const strip_bias = bias ? bias + n0 : nullptr;
      // Along the dimension that splits more evenly; rows when equal, because then A and C stay apart.
      const bool by_rows = ceil_div(tiles, threads) * block_panels <= ceil_div(block_panels, threads) * tiles;
      if (before && s == 0 && n0 == 0 && (!by_rows || (before->pre && (blocks_k > 1 || M * K > kPrologueElements)))) {
        prologue(*before, M);
        before = nullptr;
      }
      parallel(2.0 * M * nc * kc, by_rows ? tiles : block_panels, [&](int part, int parts) {
        const Range mine = share(by_rows ? tiles : block_panels, part, parts);
        if (by_rows)
          tile_rows(M, mine.begin, mine.end, 0, nc, nc, kc, A, k0, b, C + n0, ldc, strip_bias, start, strip_y, ldy,
                    physlm_local(), n0 == 0 ? before : nullptr);
        else
          tile_rows(M, 0, tiles, mine.begin * kNR, least(nc, mine.end * kNR), nc, kc, A, k0, b, C + n0, ldc, strip_bias,
                    start, strip_y, ldy, physlm_local(), nullptr);
      });
    }
  }
  return PHYSLM_OK;
}

/** Up to this many rows against a weight, packing the weight costs more than turning the product on its side. */
constexpr int64_t kSidewaysRows = 64;

/**
 * C = A·B as (Bᵀ·Aᵀ)ᵀ: the weight is read as it lies and the few rows of A are packed instead. The chains over k are the
 * same, so are the bits. Returns a physlm_status.
 */
static int32_t gemm_sideways(int64_t M, int64_t N, int64_t K, const Operand& A, const Operand& B, float* C, int64_t ldc,
                             const float* bias, float* y, int64_t ldy) {
  float* const side = physlm_scratch(PHYSLM_SLOT_PARTIAL, N * M);
  if (!side) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for a product on its side");
  if (bias)
    for (int64_t n = 0; n < N; n++)
      each_vector(0, M, [&](int64_t r, auto some) { store(side + n * M + r, splat(bias[n]), some); });
  const int32_t status =
      gemm_blocks(N, M, K, {B.p, B.ld, false}, {A.p, A.ld, true}, side, M, nullptr, nullptr, 0, bias != nullptr, nullptr);
  if (status) return status;
  const int64_t blocks = ceil_div(N, kVL);
  parallel(4.0 * M * N, blocks, [&](int part, int parts) {
    const Range mine = share(blocks, part, parts);
    const int64_t n0 = mine.begin * kVL, n1 = least(N, mine.end * kVL);
    for (int64_t n = n0; n < n1; n += kVL)
      for (int64_t r = 0; r < M; r++)
        for (int64_t j = n; j < least(n1, n + kVL); j++) C[r * ldc + j] = side[j * M + r];
    if (y) gelu_rows(C + n0, ldc, y + n0, ldy, M, n1 - n0);
  });
  return PHYSLM_OK;
}

/** Up to this many rows, packing B costs more than the product. More rows: a row's bits do not depend on the others. */
constexpr int64_t kDotRows = 8;

/**
 * C[M,N] (+bias) = A[M,K]·B[K,N]; with `y`, also y = gelu(C). C may be y. `before`, if neither A nor B is transposed, is done
 * on the way. Returns a physlm_status.
 */
static int32_t gemm(int64_t M, int64_t N, int64_t K, const Operand& A, const Operand& B, float* C, int64_t ldc,
                    const float* bias, float* y, int64_t ldy, const Prologue* before = nullptr) {
  if (M == 0 || N == 0) return PHYSLM_OK;
  const double flops = 2.0 * M * N * K;
  const int64_t tiles = tile_count(M);

  if (M <= kDotRows && B.transposed && !A.transposed && K >= kVL) {
    parallel(flops, ceil_div(N, 4), [&](int part, int parts) {
      const Range quads = share(ceil_div(N, 4), part, parts);
      const int64_t n0 = quads.begin * 4, n1 = least(N, quads.end * 4);
      constexpr int64_t kColumns = 32;  // rows of B that stay near while all rows of A pass
      for (int64_t n = n0; n < n1; n += M > 4 ? kColumns : n1 - n0) {
        const int64_t end = M > 4 ? least(n1, n + kColumns) : n1;
        int64_t r = 0;
        for (; r + 4 <= M; r += 4) dot_rows<4>(n, end, K, A.p + r * A.ld, A.ld, B, C + r * ldc, ldc, bias);
        for (; r + 2 <= M; r += 2) dot_rows<2>(n, end, K, A.p + r * A.ld, A.ld, B, C + r * ldc, ldc, bias);
        for (; r < M; r++) dot_rows<1>(n, end, K, A.p + r * A.ld, A.ld, B, C + r * ldc, ldc, bias);
      }
      if (y) gelu_rows(C + n0, ldc, y + n0, ldy, M, n1 - n0);
    });
    return PHYSLM_OK;
  }

  if (A.transposed && K >= kSplitK && M * N <= kSplitElements) {
    // Weight gradients of small models: K is the tokens. Chunks by shape, each a product of its own, summed in order.
    const int64_t chunks = least(8, K / 256);
    const int64_t depth = ceil_div(K, chunks);
    const bool packs = B.transposed || tiles > 4 || N % kVL != 0;
    float* partial = physlm_scratch(PHYSLM_SLOT_PARTIAL, chunks * M * N);
    if (!partial || physlm_reserve_local(packed_floats(N, depth) + copy_floats(depth)))
      return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for partial products");
    parallel(flops, chunks, [&](int part, int parts) {
      const Range mine = share(chunks, part, parts);
      float* const local = physlm_local();
      for (int64_t s = mine.begin; s < mine.end; s++) {
        const int64_t k0 = K * s / chunks, kc = K * (s + 1) / chunks - k0;
        const int64_t tail = N / kNR * kNR;
        Panels b = {B.p + k0 * B.ld, kNR, B.ld, B.p + k0 * B.ld + tail, B.ld};
        if (packs) {
          pack_panels(B, k0, kc, 0, N, local);
          b = packed_panels(local, N, kc);
        }
        tile_rows(M, 0, tiles, 0, N, N, kc, A, k0, b, partial + s * M * N, N, nullptr, kFromZero, nullptr, 0,
                  local + packed_floats(N, depth), nullptr);
      }
    });
    parallel((double)M * N * chunks, ceil_div(M, 8), [&](int part, int parts) {
      const Range rows = share(M, part, parts);
      for (int64_t r = rows.begin; r < rows.end; r++)
        each_vector(0, N, [&](int64_t n, auto some) {
          const float* from = partial + r * N + n;
          vf total = load(from, some);
          for (int64_t s = 1; s < chunks; s++) total += load(from + s * M * N, some);
          if (bias) total += load(bias + n, some);
          store(C + r * ldc + n, total, some);
          if (y) store(y + r * ldy + n, gelu(total), some);
        });
    });
    return PHYSLM_OK;
  }

  if (M <= kSidewaysRows && B.transposed && !A.transposed && N >= 2 * M)
    return gemm_sideways(M, N, K, A, B, C, ldc, bias, y, ldy);
  return gemm_blocks(M, N, K, A, B, C, ldc, bias, y, ldy, false, before);
}
