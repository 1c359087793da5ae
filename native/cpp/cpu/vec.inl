// A vector of kVL floats for the instruction set this file is compiled for. Every arithmetic step is written out (no
// contraction by the compiler), so that a value has the same bits in the body of a loop and in its ragged end.

#if defined(__AVX512F__)
constexpr int kVL = 16;
#elif defined(__AVX2__)
constexpr int kVL = 8;
#else
constexpr int kVL = 4;
#endif

typedef float vf __attribute__((vector_size(kVL * 4)));
typedef int32_t vi __attribute__((vector_size(kVL * 4)));
typedef float vf_unaligned __attribute__((vector_size(kVL * 4), aligned(4), may_alias));
typedef double vd __attribute__((vector_size(kVL * 8)));

#define INLINE static inline __attribute__((always_inline))

INLINE vf load(const float* p) { return *(const vf_unaligned*)p; }
INLINE void store(float* p, vf v) { *(vf_unaligned*)p = v; }
INLINE vf splat(float x) { return x - (vf){}; }

#if defined(__AVX512F__)

INLINE __mmask16 first(int n) { return (__mmask16)((1u << n) - 1u); }
/** The first n floats, zero beyond; reads nothing beyond. */
INLINE vf load(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
INLINE void store(float* p, vf v, int n) { _mm512_mask_storeu_ps(p, first(n), v); }
INLINE vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
/** The larger; the second operand when either is NaN. */
INLINE vf larger(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf smaller(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf root(vf a) { return _mm512_sqrt_ps(a); }
/** v in lanes from..to-1, `other` elsewhere. */
INLINE vf keep(vf v, int from, int to, vf other) {
  const __mmask16 mask = (__mmask16)(first(to) & ~(unsigned)first(from));
  return _mm512_mask_mov_ps(other, mask, v);
}

#elif defined(__AVX2__)

INLINE __m256i first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vf load(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
INLINE void store(float* p, vf v, int n) { _mm256_maskstore_ps(p, first(n), v); }
INLINE vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
INLINE vf larger(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf smaller(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vf root(vf a) { return _mm256_sqrt_ps(a); }
INLINE vf keep(vf v, int from, int to, vf other) {
  const __m256i mask = _mm256_andnot_si256(first(from), first(to));
  return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(mask));
}

#else

INLINE vf load(const float* p, int n) {
  vf v = {};
  for (int i = 0; i < kVL; i++)
    if (i < n) v[i] = p[i];
  return v;
}
INLINE void store(float* p, vf v, int n) {
  for (int i = 0; i < kVL; i++)
    if (i < n) p[i] = v[i];
}
#if defined(__ARM_FEATURE_FMA) && defined(__aarch64__)
INLINE vf fma(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE vf fnma(vf a, vf b, vf c) { return (vf)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
INLINE vf fma(vf a, vf b, vf c) { return a * b + c; }
INLINE vf fnma(vf a, vf b, vf c) { return c - a * b; }
#endif
INLINE vf larger(vf a, vf b) { return a > b ? a : b; }
INLINE vf smaller(vf a, vf b) { return a < b ? a : b; }
INLINE vf root(vf a) {
  for (int i = 0; i < kVL; i++) a[i] = __builtin_sqrtf(a[i]);
  return a;
}
INLINE vf keep(vf v, int from, int to, vf other) {
  const vi lane = {0, 1, 2, 3};
  const vi inside = (lane >= from) & (lane < to);
  return inside ? v : other;
}

#endif

/** Sum of the lanes, as a tree: lane i with i + half, and so on. */
INLINE float sum(vf v) {
#if defined(__AVX512F__)
  v += __builtin_shuffle(v, (vi){8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7});
  v += __builtin_shuffle(v, (vi){4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11});
  v += __builtin_shuffle(v, (vi){2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13});
  v += __builtin_shuffle(v, (vi){1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14});
#elif defined(__AVX2__)
  v += __builtin_shuffle(v, (vi){4, 5, 6, 7, 0, 1, 2, 3});
  v += __builtin_shuffle(v, (vi){2, 3, 0, 1, 6, 7, 4, 5});
  v += __builtin_shuffle(v, (vi){1, 0, 3, 2, 5, 4, 7, 6});
#else
  v += __builtin_shuffle(v, (vi){2, 3, 0, 1});
  v += __builtin_shuffle(v, (vi){1, 0, 3, 2});
#endif
  return v[0];
}

/** Largest lane; a NaN may be lost (every caller meets it again in the sum that follows). */
INLINE float largest(vf v) {
#if defined(__AVX512F__)
  v = larger(v, __builtin_shuffle(v, (vi){8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7}));
  v = larger(v, __builtin_shuffle(v, (vi){4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11}));
  v = larger(v, __builtin_shuffle(v, (vi){2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13}));
  v = larger(v, __builtin_shuffle(v, (vi){1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14}));
#elif defined(__AVX2__)
  v = larger(v, __builtin_shuffle(v, (vi){4, 5, 6, 7, 0, 1, 2, 3}));
  v = larger(v, __builtin_shuffle(v, (vi){2, 3, 0, 1, 6, 7, 4, 5}));
  v = larger(v, __builtin_shuffle(v, (vi){1, 0, 3, 2, 5, 4, 7, 6}));
#else
  v = larger(v, __builtin_shuffle(v, (vi){2, 3, 0, 1}));
  v = larger(v, __builtin_shuffle(v, (vi){1, 0, 3, 2}));
#endif
  return v[0];
}

constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

/** 2^x for x up to 129 (infinite from 128 on), to about 1 ulp; 0 at -inf, NaN stays NaN. */
INLINE vf power_of_two(vf x) {
  x = larger(splat(-151.0f), x);
#if defined(__AVX512F__)
  const vf n = _mm512_roundscale_ps(x, 8);
#else
  const vf magic = splat(12582912.0f);
  const vf shifted = x + magic;
  const vf n = shifted - magic;
#endif
  const vf r = x - n;
  vf p = splat(1.535336188319500e-4f);
  p = fma(p, r, splat(1.339887440266574e-3f));
  p = fma(p, r, splat(9.618437357674640e-3f));
  p = fma(p, r, splat(5.550332471162809e-2f));
  p = fma(p, r, splat(2.402264791363012e-1f));
  p = fma(p, r, splat(6.931472028550421e-1f));
  p = fma(p, r, splat(1.0f));
#if defined(__AVX512F__)
  return _mm512_scalef_ps(p, n);
#else
  const vi i = (vi)shifted - 0x4b400000;
  const vi half = i >> 1;
  return p * (vf)((half + 127) << 23) * (vf)((i - half + 127) << 23);
#endif
}

/** e^x for x up to 89; the relative error grows with |x|, about |x|/2 ulp. */
INLINE vf exponential(vf x) { return power_of_two(x * splat(kLog2E)); }

/**
 * 2^x to about 2 ulp for every x: 0 far below, infinite from 128 on, NaN stays NaN. What is smaller than the normal numbers
 * may be 0: cheaper than power_of_two, and as good in sums of exponentials and in 1 + 2^x.
 */
INLINE vf exp2_or_zero(vf x) {
#if defined(__AVX512F__)
  const vf r = _mm512_reduce_ps(x, 1);  // x − ⌊x⌋, 0 for the infinite
  vf p = splat(1.8671300698718104e-3f);
  p = fma(p, r, splat(9.017030322456846e-3f));
  p = fma(p, r, splat(5.579991310372307e-2f));
  p = fma(p, r, splat(2.4016445015509602e-1f));
  p = fma(p, r, splat(6.931513118046004e-1f));
  p = fma(p, r, splat(1.0f));
  return _mm512_scalef_ps(p, x);
#else
  x = larger(splat(-127.0f), smaller(splat(128.0f), x));
  // 1.5 * 2^23, and the bias of exponents: the sum's low bits shifted up are 2^n, which is 0 for n = -127.
  const vf magic = splat(12582912.0f + 127.0f);
  const vf shifted = x + magic;
  const vf r = x - (shifted - magic);
  vf p = splat(1.3276471992535747e-3f);
  p = fma(p, r, splat(9.675541334433577e-3f));
  p = fma(p, r, splat(5.550713273497861e-2f));
  p = fma(p, r, splat(2.4022119723840454e-1f));
  p = fma(p, r, splat(6.931469670647606e-1f));
  p = fma(p, r, splat(1.0000000716546849f));
  return p * (vf)((vi)shifted << 23);
#endif
}

// −2u·log2(e) = x·(c1 + c3·x²) with u = √(2/π)(x + 0.044715x³), the argument of tanh-GELU.
constexpr float kGelu1 = 2.0f * 0.7978845608028654f, kGelu3 = kGelu1 * 0.044715f;

/** 2^(−2u·log2(e)), so that 0.5(1 + tanh u) = σ(2u) is 1 over 1 more; xx = x². */
INLINE vf gelu_power(vf x, vf xx) {
  return exp2_or_zero(x * fma(xx, splat(-kGelu3 * kLog2E), splat(-kGelu1 * kLog2E)));
}

/** x·σ(2u) = 0.5x(1 + tanh u). Hendrycks and Gimpel 2016, arXiv:1606.08415. */
INLINE vf gelu(vf x) { return x / (splat(1.0f) + gelu_power(x, x * x)); }

INLINE vf gelu_slope(vf x) {
  const vf xx = x * x;
  const vf s = splat(1.0f) / (splat(1.0f) + gelu_power(x, xx));
  const vf du2 = fma(xx, splat(3.0f * kGelu3), splat(kGelu1));
  return fma(x * s * (splat(1.0f) - s), du2, s);
}

/** What gelu and gelu_slope give, with one power and one division for both. */
struct Gelu {
  vf value, slope;
};
INLINE Gelu gelu_both(vf x) {
  const vf xx = x * x;
  const vf s = splat(1.0f) / (splat(1.0f) + gelu_power(x, xx));
  const vf du2 = fma(xx, splat(3.0f * kGelu3), splat(kGelu1)), y = x * s;
  return {y, fma(y * (splat(1.0f) - s), du2, s)};
}

/** The logistic function, 1/(1 + e^(−x)). */
INLINE vf logistic(vf x) { return splat(1.0f) / (splat(1.0f) + exp2_or_zero(x * splat(-kLog2E))); }

/** Natural logarithm of normal positive numbers to about 1 ulp; Cephes' polynomial. Others as the C library has them. */
INLINE vf logarithm(vf x) {
  const vi bits = (vi)x;
  vf e = __builtin_convertvector((bits >> 23) - 126, vf);
  vf m = (vf)((bits & 0x007fffff) | 0x3f000000);  // in [0.5, 1)
  const vi small = m < splat(0.70710678118654752f);
  e = small ? e - splat(1.0f) : e;
  m = small ? m + m - splat(1.0f) : m - splat(1.0f);
  const vf z = m * m;
  vf p = splat(7.0376836292e-2f);
  p = fma(p, m, splat(-1.1514610310e-1f));
  p = fma(p, m, splat(1.1676998740e-1f));
  p = fma(p, m, splat(-1.2420140846e-1f));
  p = fma(p, m, splat(1.4249322787e-1f));
  p = fma(p, m, splat(-1.6668057665e-1f));
  p = fma(p, m, splat(2.0000714765e-1f));
  p = fma(p, m, splat(-2.4999993993e-1f));
  p = fma(p, m, splat(3.3333331174e-1f));
  p = p * m * z;
  p = fma(e, splat(-2.12194440e-4f), p);
  p = fma(z, splat(-0.5f), p);
  const vf normal = fma(e, splat(0.693359375f), m + p);
  // A sum of exponentials is normal and positive, or infinite, or NaN.
  return x < splat(__builtin_inff()) ? normal : x;
}

/** One level of reduce_rows: row r keeps the lanes whose bit `half` is 0, row r + half those where it is 1; each pair becomes one. */
template <int half, class Combine>
INLINE void fold_rows(vf* rows, Combine combine) {
  // Constants written out: from a loop, the compiler would build them anew each time.
#define LOW(i) ((i) & half ? kVL + ((i) ^ half) : (i))
#define HIGH(i) ((i) & half ? kVL + (i) : (i) ^ half)
#define LANES_4(F, i) F(i), F(i + 1), F(i + 2), F(i + 3)
#if defined(__AVX512F__)
#define LANES(F) {LANES_4(F, 0), LANES_4(F, 4), LANES_4(F, 8), LANES_4(F, 12)}
#elif defined(__AVX2__)
#define LANES(F) {LANES_4(F, 0), LANES_4(F, 4)}
#else
#define LANES(F) {LANES_4(F, 0)}
#endif
  const vi low = LANES(LOW), high = LANES(HIGH);
#undef LANES
#undef LANES_4
#undef HIGH
#undef LOW
#pragma GCC unroll 8
  for (int r = 0; r < half; r++) {
    const vf a = rows[r], b = rows[r + half];
    rows[r] = combine(__builtin_shuffle(a, b, low), __builtin_shuffle(a, b, high));
  }
}

/** Lane r of the result is the sum (or the largest) of the lanes of rows[r], in one fixed tree; kVL rows. */
template <class Combine>
INLINE vf reduce_rows(vf* rows, Combine combine) {
  if constexpr (kVL > 8) fold_rows<8>(rows, combine);
  if constexpr (kVL > 4) fold_rows<4>(rows, combine);
  fold_rows<2>(rows, combine);
  fold_rows<1>(rows, combine);
  return rows[0];
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

/** Whether all of n ids lie in [0, limit) or are `other`. */
INLINE bool all_ids_below(const int32_t* ids, int64_t n, int64_t limit, int32_t other) {
  const uint32_t bound = (uint32_t)least(limit, INT32_MAX);
  int outside = 0;
  for (int64_t i = 0; i < n; i++) outside |= ((uint32_t)ids[i] >= bound) & (ids[i] != other);  // no branch: whole vectors
  return !outside;
}

/** Calls `f(offset, Full{})` on whole vectors and `f(offset, Some{n})` on the rest of [begin, end). */
struct Full {};
struct Some {
  int n;
};
INLINE vf load(const float* p, Full) { return load(p); }
INLINE vf load(const float* p, Some s) { return load(p, s.n); }
INLINE void store(float* p, vf v, Full) { store(p, v); }
INLINE void store(float* p, vf v, Some s) { store(p, v, s.n); }
template <class F>
INLINE void each_vector(int64_t begin, int64_t end, F f) {
  int64_t i = begin;
  for (; i + kVL <= end; i += kVL) f(i, Full{});
  if (i < end) f(i, Some{(int)(end - i)});
}

/**
 * Runs f(part, parts) on up to all threads, fewer when `work` (about a flop each) does not pay for them; more parts than
 * threads when it is large, so that a thread that is put aside can be helped out.
 */
template <class F>
static void parallel(double work, int64_t most_parts, const F& f) {
  constexpr double kWorkPerThread = 40e3, kWorkPerPart = 400e3;
  constexpr int64_t kPartsPerThread = 4;
  const int64_t threads = physlm_threads();
  int64_t parts = 1;
  if (threads > 1) {
    parts = most(1, least(threads, (int64_t)(work / kWorkPerThread)));
    if (parts == threads) parts *= most(1, least(kPartsPerThread, (int64_t)(work / (kWorkPerPart * threads))));
    parts = most(1, least(parts, most_parts));
  }
  physlm_parallel(
      (int)parts, [](void* context, int part, int n) { (*(const F*)context)(part, n); }, (void*)&f);
}

/** The part's share of [0, n): contiguous, sizes differ by at most one. */
struct Range {
  int64_t begin, end;
};
INLINE Range share(int64_t n, int part, int parts) { return {n * part / parts, n * (part + 1) / parts}; }
