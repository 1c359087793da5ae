// What probes need: columns of a matrix taken out and put back, and the multi-head linear position probe's mixing of
// positions (arXiv:2305.13673, equations 4.2 and 4.3).
//
// positionMix: mixed[b][i] = Σ_r Σ_k w[r][i][k]·f[b][k][r], w = softmax over k < length[b] (and |k − i| <= reach when that is
// not negative) of <p[i][r], p[k][r]>. The weights of a head differ between sentences by their denominators only, so a head
// is one product e·F over all sentences, e[i][k] = exp(score − shift[i]) and F zero behind the end of each sentence.
// Scratch floats: 2·T·T + 2·T·B·C and less (all positions), H·T·(B + 4·reach + 3) (near ones), at most.

static int32_t last_axis(const physlm_tensor& x, double at) {
  if (at == x.rank - 1) return PHYSLM_OK;
  return physlm_fail(PHYSLM_BAD_ARGUMENT, "[axis] expected the last, %d, got %g", x.rank - 1, at);
}

/** narrow = columns [start, …) of wide, or with `back` wide = narrow among zeros. */
static int32_t move_columns(const physlm_tensor& wide, const physlm_tensor& narrow, double at, double from, bool back) {
  const int64_t R = leading(wide, 1), W = axis(wide, 1), N = axis(narrow, 1), start = (int64_t)from;
  if (int32_t status = last_axis(wide, at)) return status;
  if (start < 0 || start + N > W)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[start] expected 0 <= start <= %lld, got %lld", (long long)(W - N),
                       (long long)start);
  float* const w = (float*)wide.data;
  float* const n = (float*)narrow.data;
  parallel((double)R * (back ? W : N), R, [&](int part, int parts) {
    const Range mine = share(R, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      float* const row = w + r * W;
      if (back) {
        for (int64_t i = 0; i < start; i++) row[i] = 0.0f;
        for (int64_t i = 0; i < N; i++) row[start + i] = n[r * N + i];
        for (int64_t i = start + N; i < W; i++) row[i] = 0.0f;
      } else {
        for (int64_t i = 0; i < N; i++) n[r * N + i] = row[start + i];
      }
    }
  });
  return PHYSLM_OK;
}

static int32_t slice_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                             physlm_stream*) {
  return move_columns(in[0], out[0], attrs[0], attrs[1], false);
}

static int32_t pad_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                           physlm_stream*) {
  return move_columns(out[0], in[0], attrs[0], attrs[1], true);
}

/** Scores this far above those of earlier positions are the largest that are told apart, above the shift. */
constexpr float kMixRange = 60.0f;

struct Mix {
  int64_t B, T, H, C, K, V, reach;
  const float* p;
  const float* f;
  const int32_t* lengths;

  int64_t length(int64_t b) const { return most(0, least(lengths[b], T)); }
  /** Positions that i looks at: [from, to), before the end of the sentence cuts them. */
  int64_t from(int64_t i) const { return reach < 0 ? 0 : most(0, i - reach); }
  int64_t to(int64_t i) const { return reach < 0 ? T : least(T, i + reach + 1); }
};

static Mix mix_of(const physlm_tensor* in, double reach) {
  const int64_t* const f = in[1].shape;
  return {f[0], f[1], f[2], f[3], in[0].shape[2], in[0].shape[0], (int64_t)reach, floats(in[0]), floats(in[1]),
          (const int32_t*)in[2].data};
}

static int32_t check_mix(const physlm_tensor* in, const Mix& mix) {
  if (in[0].rank != 3 || in[1].rank != 4 || mix.V < mix.T)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[p] expected [V >= %lld, H, K] and f [B, T, H, C], got V=%lld",
                       (long long)mix.T, (long long)mix.V);
  return PHYSLM_OK;
}

/** e[k − from] = exp(s[k − from] − shift) of row i, in place; returns the shift. Positions up to i are never lost to it. */
INLINE float mix_row(float* s, int64_t i, int64_t from, int64_t to) {
  float early = s[0], top;
  for (int64_t k = 1; k <= i - from; k++) early = s[k] > early ? s[k] : early;
  top = early;
  for (int64_t k = i - from + 1; k < to - from; k++) top = s[k] > top ? s[k] : top;
  const float shift = top > early + kMixRange ? early + kMixRange : top;
  each_vector(0, to - from, [&](int64_t k, auto some) {
    store(s + k, exponential(smaller(load(s + k, some) - splat(shift), splat(kMixRange))), some);
  });
  return shift;
}

/** order[0..B) = sentences by length, shortest first. */
static void by_length(const Mix& mix, int32_t* order) {
  for (int64_t b = 0; b < mix.B; b++) {
    int64_t at = b;
    for (; at > 0 && mix.length(order[at - 1]) > mix.length(b); at--) order[at] = order[at - 1];
    order[at] = (int32_t)b;
  }
}

// --- all positions: products ------------------------------------------------------------------------------------------

/** e [T,T] of head r and shift [T]. */
static int32_t mix_scores(const Mix& mix, int64_t r, float* e, float* shift) {
  const float* const p = mix.p + r * mix.K;
  const int64_t ld = mix.H * mix.K;
  const int32_t status = gemm(mix.T, mix.T, mix.K, {p, ld, false}, {p, ld, true}, e, mix.T, nullptr, nullptr, 0);
  if (status) return status;
  parallel(20.0 * mix.T * mix.T, mix.T, [&](int part, int parts) {
    const Range mine = share(mix.T, part, parts);
    for (int64_t i = mine.begin; i < mine.end; i++) shift[i] = mix_row(e + i * mix.T, i, 0, mix.T);
  });
  return PHYSLM_OK;
}

/** said[k][b][c] = f[b][k][r][c], 0 behind the end of a sentence. */
static void mix_gather(const Mix& mix, int64_t r, float* said) {
  parallel((double)mix.T * mix.B * mix.C, mix.T, [&](int part, int parts) {
    const Range mine = share(mix.T, part, parts);
    for (int64_t k = mine.begin; k < mine.end; k++)
      for (int64_t b = 0; b < mix.B; b++) {
        float* const to = said + (k * mix.B + b) * mix.C;
        const float* const from = mix.f + ((b * mix.T + k) * mix.H + r) * mix.C;
        const bool there = k < mix.length(b);
        each_vector(0, mix.C, [&](int64_t c, auto some) { store(to + c, there ? load(from + c, some) : vf{}, some); });
      }
  });
}

static int32_t mix_all_forward(const Mix& mix, float* mixed, float* heads, float* lse) {
  const int64_t T = mix.T, B = mix.B, C = mix.C, N = B * C;
  const int64_t e_floats = round_up(T * T, 16), said_floats = round_up(T * N, 16), row_floats = round_up(T, 16);
  float* const e = physlm_scratch(PHYSLM_SLOT_VALUES, e_floats + 2 * said_floats + row_floats + B);
  if (!e) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory to mix positions");
  float* const said = e + e_floats;
  float* const own = said + said_floats;
  float* const shift = own + said_floats;
  int32_t* const order = (int32_t*)(shift + row_floats);
  by_length(mix, order);
  for (int64_t r = 0; r < mix.H; r++) {
    float* const head = heads ? heads + r * T * N : own;
    if (int32_t status = mix_scores(mix, r, e, shift)) return status;
    mix_gather(mix, r, said);
    if (int32_t status = gemm(T, N, T, {e, T, false}, {said, N, false}, head, N, nullptr, nullptr, 0)) return status;
    parallel(2.0 * T * (N + T), T, [&](int part, int parts) {
      const Range mine = share(T, part, parts);
      for (int64_t i = mine.begin; i < mine.end; i++) {
        double z = 0;
        int64_t k = 0;
        for (int64_t rank = 0; rank < B; rank++) {
          const int64_t b = order[rank], end = mix.length(b);
          for (; k < end; k++) z += e[i * T + k];
          const bool there = i < end;
          if (lse) lse[(r * T + i) * B + b] = there ? shift[i] + __builtin_logf((float)z) : 0.0f;
          const vf inverse = splat(there ? (float)(1 / z) : 0.0f);
          float* const u = head + (i * B + b) * C;
          float* const y = mixed + (b * T + i) * C;
          each_vector(0, C, [&](int64_t c, auto some) {
            const vf term = load(u + c, some) * inverse;
            store(u + c, term, some);
            store(y + c, r ? load(y + c, some) + term : term, some);
          });
        }
      }
    });
  }
  return PHYSLM_OK;
}

static int32_t mix_all_backward(const Mix& mix, const float* heads, const float* lse, const float* dy, float* dp, float* df) {
  const int64_t T = mix.T, B = mix.B, C = mix.C, H = mix.H, K = mix.K, N = B * C;
  const int64_t e_floats = round_up(T * T, 16), said_floats = round_up(T * N, 16), row_floats = round_up(T, 16),
                p_floats = round_up(T * K, 16), take_floats = round_up(T * B, 16);
  float* const e = physlm_scratch(PHYSLM_SLOT_VALUES,
                                  2 * e_floats + 2 * said_floats + row_floats + 2 * p_floats + take_floats + B);
  if (!e) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory to mix positions backward");
  float* const de = e + e_floats;
  float* const said = de + e_floats;
  float* const dsaid = said + said_floats;
  float* const shift = dsaid + said_floats;
  float* const dp1 = shift + row_floats;
  float* const dp2 = dp1 + p_floats;
  float* const take = dp2 + p_floats;
  int32_t* const order = (int32_t*)(take + take_floats);
  by_length(mix, order);
  for (int64_t r = 0; r < H; r++) {
    if (int32_t status = mix_scores(mix, r, e, shift)) return status;
    // dsaid = dy/z, and take = Σ_c dy·head / z: what the denominator takes from every e of the row.
    parallel(4.0 * T * N, T, [&](int part, int parts) {
      const Range mine = share(T, part, parts);
      for (int64_t i = mine.begin; i < mine.end; i++)
        for (int64_t b = 0; b < B; b++) {
          const float inverse = i < mix.length(b) ? __builtin_expf(shift[i] - lse[(r * T + i) * B + b]) : 0.0f;
          const float* const g = dy + (b * T + i) * C;
          const float* const u = heads + ((r * T + i) * B + b) * C;
          vf dot = {};
          each_vector(0, C, [&](int64_t c, auto some) {
            const vf d = load(g + c, some);
            dot += d * load(u + c, some);
            store(dsaid + (i * B + b) * C + c, d * splat(inverse), some);
          });
          take[i * B + b] = sum(dot) * inverse;
        }
    });
    if (df) {
      // `said` holds the gradient first, what was said afterwards.
      if (int32_t status = gemm(T, N, T, {e, T, true}, {dsaid, N, false}, said, N, nullptr, nullptr, 0)) return status;
      parallel((double)T * N, T, [&](int part, int parts) {
        const Range mine = share(T, part, parts);
        for (int64_t k = mine.begin; k < mine.end; k++)
          for (int64_t b = 0; b < B; b++) {
            const float* const from = said + (k * B + b) * C;
            float* const to = df + ((b * T + k) * H + r) * C;
            const bool there = k < mix.length(b);
            each_vector(0, C, [&](int64_t c, auto some) { store(to + c, there ? load(from + c, some) : vf{}, some); });
          }
      });
    }
    if (!dp) continue;
    mix_gather(mix, r, said);
    if (int32_t status = gemm(T, T, N, {dsaid, N, false}, {said, N, true}, de, T, nullptr, nullptr, 0)) return status;
    parallel(3.0 * T * (T + B), T, [&](int part, int parts) {
      const Range mine = share(T, part, parts);
      for (int64_t i = mine.begin; i < mine.end; i++) {
        float* const d = de + i * T;
        double taken = 0;
        int64_t k = T;
        for (int64_t rank = B - 1; rank >= 0; rank--) {
          const int64_t b = order[rank], end = mix.length(b);
          for (; k > end; k--) d[k - 1] = e[i * T + k - 1] * (float)(d[k - 1] - taken);
          taken += take[i * B + b];
        }
        for (; k > 0; k--) d[k - 1] = e[i * T + k - 1] * (float)(d[k - 1] - taken);
      }
    });
    const float* const p = mix.p + r * K;
    const int64_t ld = H * K;
    if (int32_t status = gemm(T, K, T, {de, T, false}, {p, ld, false}, dp1, K, nullptr, nullptr, 0)) return status;
    if (int32_t status = gemm(T, K, T, {de, T, true}, {p, ld, false}, dp2, K, nullptr, nullptr, 0)) return status;
    for (int64_t i = 0; i < T; i++)
      each_vector(0, K, [&](int64_t k, auto some) {
        store(dp + (i * H + r) * K + k, load(dp1 + i * K + k, some) + load(dp2 + i * K + k, some), some);
      });
  }
  return PHYSLM_OK;
}

// --- near positions: loops over a band of width 2·reach + 1, e[r][i][k − i + reach] ------------------------------------

static void mix_band_scores(const Mix& mix, float* e, float* shift) {
  const int64_t W = 2 * mix.reach + 1, H = mix.H, K = mix.K;
  parallel(2.0 * H * mix.T * W * (K + 20), mix.T, [&](int part, int parts) {
    const Range mine = share(mix.T, part, parts);
    for (int64_t i = mine.begin; i < mine.end; i++)
      for (int64_t r = 0; r < H; r++) {
        float* const row = e + (r * mix.T + i) * W;
        const int64_t from = mix.from(i), to = mix.to(i);
        for (int64_t k = from; k < to; k++) {
          vf dot = {};
          each_vector(0, K, [&](int64_t x, auto some) {
            dot += load(mix.p + (i * H + r) * K + x, some) * load(mix.p + (k * H + r) * K + x, some);
          });
          row[k - i + mix.reach] = sum(dot);
        }
        shift[r * mix.T + i] = mix_row(row + from - i + mix.reach, i, from, to);
      }
  });
}

static int32_t mix_band_forward(const Mix& mix, float* mixed, float* heads, float* lse) {
  const int64_t T = mix.T, B = mix.B, C = mix.C, H = mix.H, W = 2 * mix.reach + 1;
  float* const e = physlm_scratch(PHYSLM_SLOT_VALUES, H * T * (W + 1));
  if (!e) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory to mix positions");
  float* const shift = e + H * T * W;
  mix_band_scores(mix, e, shift);
  parallel(2.0 * T * B * H * W * C, T, [&](int part, int parts) {
    const Range mine = share(T, part, parts);
    for (int64_t i = mine.begin; i < mine.end; i++)
      for (int64_t b = 0; b < B; b++) {
        float* const y = mixed + (b * T + i) * C;
        const bool there = i < mix.length(b);
        const int64_t from = mix.from(i), to = least(mix.to(i), mix.length(b));
        for (int64_t r = 0; r < H; r++) {
          const float* const row = e + (r * T + i) * W - i + mix.reach;
          float z = 0;
          for (int64_t k = from; k < to; k++) z += row[k];
          if (lse) lse[(r * T + i) * B + b] = there ? shift[r * T + i] + __builtin_logf(z) : 0.0f;
          each_vector(0, C, [&](int64_t c, auto some) {
            vf term = {};
            if (there) {
              for (int64_t k = from; k < to; k++)
                term = fma(splat(row[k]), load(mix.f + ((b * T + k) * H + r) * C + c, some), term);
              term *= splat(1 / z);
            }
            if (heads) store(heads + ((r * T + i) * B + b) * C + c, term, some);
            store(y + c, r ? load(y + c, some) + term : term, some);
          });
        }
      }
  });
  return PHYSLM_OK;
}

static int32_t mix_band_backward(const Mix& mix, const float* heads, const float* lse, const float* dy, float* dp,
                                 float* df) {
  const int64_t T = mix.T, B = mix.B, C = mix.C, H = mix.H, K = mix.K, W = 2 * mix.reach + 1;
  float* const e = physlm_scratch(PHYSLM_SLOT_VALUES, H * T * (2 * W + 1 + B));
  if (!e) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory to mix positions backward");
  float* const de = e + H * T * W;
  float* const shift = de + H * T * W;
  float* const inverse = shift + H * T;
  mix_band_scores(mix, e, shift);
  parallel(20.0 * H * T * B, H * T, [&](int part, int parts) {
    const Range mine = share(H * T, part, parts);
    for (int64_t row = mine.begin; row < mine.end; row++)
      for (int64_t b = 0; b < B; b++)
        inverse[row * B + b] = row % T < mix.length(b) ? __builtin_expf(shift[row] - lse[row * B + b]) : 0.0f;
  });
  if (df)
    parallel(2.0 * T * B * H * W * C, B * T, [&](int part, int parts) {
      const Range mine = share(B * T, part, parts);
      for (int64_t at = mine.begin; at < mine.end; at++) {
        const int64_t b = at / T, k = at % T;
        // Looking is mutual: those that k looks at look at k.
        const int64_t from = mix.from(k), to = k < mix.length(b) ? least(mix.to(k), mix.length(b)) : from;
        for (int64_t r = 0; r < H; r++)
          each_vector(0, C, [&](int64_t c, auto some) {
            vf total = {};
            for (int64_t i = from; i < to; i++) {
              const float w = e[(r * T + i) * W + k - i + mix.reach] * inverse[(r * T + i) * B + b];
              total = fma(splat(w), load(dy + (b * T + i) * C + c, some), total);
            }
            store(df + (at * H + r) * C + c, total, some);
          });
      }
    });
  if (!dp) return PHYSLM_OK;
  parallel(2.0 * T * B * H * W * C, H * T, [&](int part, int parts) {
    const Range mine = share(H * T, part, parts);
    for (int64_t row = mine.begin; row < mine.end; row++) {
      const int64_t r = row / T, i = row % T;
      float* const d = de + row * W - i + mix.reach;
      for (int64_t k = mix.from(i); k < mix.to(i); k++) d[k] = 0.0f;
      for (int64_t b = 0; b < B; b++) {
        const int64_t end = mix.length(b);
        if (i >= end) continue;
        for (int64_t k = mix.from(i); k < least(mix.to(i), end); k++) {
          vf dot = {};
          each_vector(0, C, [&](int64_t c, auto some) {
            const vf gap = load(mix.f + ((b * T + k) * H + r) * C + c, some) - load(heads + (row * B + b) * C + c, some);
            dot += load(dy + (b * T + i) * C + c, some) * gap;
          });
          d[k] += e[row * W + k - i + mix.reach] * inverse[row * B + b] * sum(dot);
        }
      }
    }
  });
  parallel(4.0 * T * H * W * K, T, [&](int part, int parts) {
    const Range mine = share(T, part, parts);
    for (int64_t i = mine.begin; i < mine.end; i++)
      for (int64_t r = 0; r < H; r++)
        each_vector(0, K, [&](int64_t x, auto some) {
          vf total = {};
          for (int64_t k = mix.from(i); k < mix.to(i); k++) {
            const float both = de[(r * T + i) * W + k - i + mix.reach] + de[(r * T + k) * W + i - k + mix.reach];
            total = fma(splat(both), load(mix.p + (k * H + r) * K + x, some), total);
          }
          store(dp + (i * H + r) * K + x, total, some);
        });
  });
  return PHYSLM_OK;
}

static int32_t positionMix_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                   int32_t, physlm_stream*) {
  const Mix mix = mix_of(in, attrs[0]);
  if (int32_t status = check_mix(in, mix)) return status;
  return (mix.reach < 0 ? mix_all_forward : mix_band_forward)(mix, floats(out[0]), floats(out[1]), floats(out[2]));
}

static int32_t positionMix_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                    int32_t, physlm_stream*) {
  const Mix mix = mix_of(in, attrs[0]);
  if (int32_t status = check_mix(in, mix)) return status;
  float* const dp = floats(out[0]);
  if (dp)
    for (int64_t i = mix.T * mix.H * mix.K; i < mix.V * mix.H * mix.K; i++) dp[i] = 0.0f;
  return (mix.reach < 0 ? mix_all_backward : mix_band_backward)(mix, floats(in[3]), floats(in[4]), floats(in[5]), dp,
                                                                floats(out[1]));
}
