// Attention that sees positions alone (Allen-Zhu and Li 2023, arXiv:2305.13673, GPT_pos and GPT_uni): B batch, T position,
// H head, K head width, N distances. The pattern of a head is a Toeplitz matrix, w(t − s) up to a factor for each row, the
// same for every sequence: a product's tile reads it straight from the vector w, rows being one element apart backwards.
// No scores are stored, no exponential is taken but for w itself. GPT_uni's windows are sums that slide.

constexpr int64_t kToeplitzPad = kMR + kVL;   // zeros on both sides of w: what a tile sees beyond the diagonal
constexpr float kSegmentRange = 30.0f;        // nats by which the largest score so far may rise within a segment

/**
 * Rows [begin, end) whose weights share a factor: w(d) = exp(score(d) − top), with `top` the largest score up to distance
 * end − 1. Rows of one segment have totals between e^−30 and T, so nothing under- or overflows. Usually there is one.
 */
struct Segment {
  int64_t begin, end;
  float top;
};

/** Scores by distance of one head, one for each of T distances; beyond the table the last one holds. */
static void spread_scores(const float* table, int64_t N, int64_t T, float* scores) {
  for (int64_t d = 0; d < T; d++) scores[d] = table[least(d, N - 1)];
}

static Segment next_segment(const float* scores, int64_t T, const Segment& before) {
  Segment next = {before.end, before.end, before.top};
  if (scores[next.begin] > next.top || next.begin == 0) next.top = scores[next.begin];
  const float limit = next.top + kSegmentRange;
  while (next.end < T && !(scores[next.end] > limit)) {
    if (scores[next.end] > next.top) next.top = scores[next.end];
    next.end++;
  }
  return next;
}

/** w of a segment between zeros, at the returned place of `to` (T + 2·kToeplitzPad + kVL floats); `reversed`: w(d) at T − 1 − d. */
static float* segment_weights(const float* scores, int64_t T, const Segment& segment, bool reversed, float* to) {
  float* const w = to + kToeplitzPad;
  const vf top = splat(segment.top);
  each_vector(0, segment.end, [&](int64_t d, auto some) { store(w + d, exponential(load(scores + d, some) - top), some); });
  for (int64_t i = 1; i <= kToeplitzPad; i++) w[-i] = 0.0f;
  for (int64_t i = segment.end; i < T + kToeplitzPad; i++) w[i] = 0.0f;
  if (reversed)
    for (int64_t i = 0, j = T - 1; i < j; i++, j--) {
      const float kept = w[i];
      w[i] = w[j];
      w[j] = kept;
    }
  return w;
}

static int32_t expect_heads(int64_t Q, int64_t H) {
  if (H >= 1 && Q % H == 0) return PHYSLM_OK;
  return physlm_fail(PHYSLM_BAD_ARGUMENT, "[v] expected a multiple of %lld heads, got %lld columns", (long long)H, (long long)Q);
}

static int32_t positionAttention_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                         physlm_stream*) {
  const int64_t B = leading(in[0], 2), T = axis(in[0], 2), Q = axis(in[0], 1), H = leading(in[1], 1), N = axis(in[1], 1);
  if (int32_t status = expect_heads(Q, H)) return status;
  const int64_t K = Q / H, by_dims = packed_floats(K, T), padded = T + 2 * kToeplitzPad + kVL;
  const float* const v = floats(in[0]);
  float* const o = floats(out[0]);
  float* const lse = floats(out[1]);
  if (physlm_reserve_local(by_dims + 3 * padded)) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for attention by position");
  parallel(1.0 * B * H * T * T * K, B * H, [&](int part, int parts) {
    const Range mine = share(B * H, part, parts);
    float* const values = physlm_local();
    float* const scores = values + by_dims;
    float* const totals = scores + padded;
    float* const weights = totals + padded;
    // A head's sequences follow each other, segment by segment, so that w is made once for all of them.
    for (int64_t u = mine.begin; u < mine.end;) {
      const int64_t h = u / B, b0 = u % B, b1 = least(B, b0 + mine.end - u);
      spread_scores(floats(in[1]) + h * N, N, T, scores);
      for (Segment segment = next_segment(scores, T, {}); segment.begin < T; segment = next_segment(scores, T, segment)) {
        const float* w = segment_weights(scores, T, segment, false, weights);
        double total = 0;
        for (int64_t d = 0; d < segment.end; d++) totals[d] = (float)(total += w[d]);
        if (lse && b0 == 0)
          each_vector(segment.begin, segment.end, [&](int64_t t, auto some) {
            store(lse + h * T + t, splat(segment.top) + logarithm(load(totals + t, some)), some);
          });
        w = segment_weights(scores, T, segment, true, weights);
        const int64_t tiles = tile_count(segment.end - segment.begin);
        for (int64_t b = b0; b < b1; b++) {
          pack_panels({v + b * T * Q + h * K, Q, false}, 0, segment.end, 0, K, values);
          const Panels panels = packed_panels(values, K, segment.end);
          for (int64_t i = 0; i < tiles; i++) {
            const int64_t r0 = segment.begin + (segment.end - segment.begin) * i / tiles;
            const int64_t r1 = segment.begin + (segment.end - segment.begin) * (i + 1) / tiles;
            float* const to = o + (b * T + r0) * Q + h * K;
            tile_row((int)(r1 - r0), 0, K, K, r1, w + T - 1 - r0, -1, false, panels, to, Q, nullptr, kFromZero);
            for (int64_t r = 0; r < r1 - r0; r++) {
              const vf inverse = splat(1.0f / totals[r0 + r]);
              each_vector(0, K, [&](int64_t k, auto some) { store(to + r * Q + k, load(to + r * Q + k, some) * inverse, some); });
            }
          }
        }
        if (segment.end == T) break;
      }
      u += b1 - b0;
    }
  });
  return PHYSLM_OK;
}

/**
 * With g_t = do_t·exp(top − lse_t): dv_s = Σ_{t ≥ s} w(t − s)·g_t, and for the score of a distance
 * w(d)·Σ_{t ≥ d} (g_t·v_{t−d} − g_t·o_t). One thread does one head of a chunk of sequences; chunks follow from the shape and
 * are added in order.
 */
static int32_t positionAttention_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                          physlm_stream*) {
  const int64_t B = leading(in[0], 2), T = axis(in[0], 2), Q = axis(in[0], 1), H = leading(in[1], 1), N = axis(in[1], 1);
  if (int32_t status = expect_heads(Q, H)) return status;
  const float* const v = floats(in[0]);
  const float* const o = floats(in[2]);
  const float* const lse = floats(in[3]);
  const float* const grad = floats(in[4]);
  float* const dv = floats(out[0]);
  float* const dtable = floats(out[1]);
  const int64_t K = Q / H, by_dims = packed_floats(K, T), by_keys = packed_floats(T, K), padded = T + 2 * kToeplitzPad + kVL;
  constexpr int64_t kBefore = kNR + kMR;  // what a skewed tile may write in front of its row
  const int64_t W = round_up(T, kVL) + kBefore + 2 * kVL, chunks = least(B, ceil_div(16, H));
  float* const partial = dtable ? physlm_scratch(PHYSLM_SLOT_PARTIAL, chunks * H * T) : nullptr;
  if ((dtable && !partial) || physlm_reserve_local(by_dims + by_keys + 2 * T * K + 4 * padded + kBefore + kMR * W))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for gradients of attention by position");
  parallel(2.0 * B * H * T * T * K, chunks * H, [&](int part, int parts) {
    const Range mine = share(chunks * H, part, parts);
    float* const grads = physlm_local();
    float* const reversed = grads + by_dims;
    float* const g = reversed + by_keys;
    float* const turned = g + T * K;
    float* const scores = turned + T * K;
    float* const weights = scores + padded;
    float* const deltas = weights + padded;
    float* const by_distance = deltas + padded;
    float* const products = by_distance + padded + kBefore;
    for (int64_t u = mine.begin; u < mine.end; u++) {
      const int64_t h = u / chunks, chunk = u % chunks;
      float* const total = dtable ? partial + (chunk * H + h) * T : nullptr;
      if (total) each_vector(0, T, [&](int64_t d, auto some) { store(total + d, vf{}, some); });
      spread_scores(floats(in[1]) + h * N, N, T, scores);
      for (int64_t b = B * chunk / chunks; b < B * (chunk + 1) / chunks; b++) {
        const int64_t at = b * T * Q + h * K;
        if (dtable) {
          for (int64_t s = 0; s < T; s++)
            each_vector(0, K, [&](int64_t k, auto some) {
              store(turned + (T - 1 - s) * K + k, load(v + at + s * Q + k, some), some);
            });
          pack_panels({turned, K, true}, 0, K, 0, T, reversed);
        }
        for (Segment segment = next_segment(scores, T, {});; segment = next_segment(scores, T, segment)) {
          const int64_t t0 = segment.begin, t1 = segment.end;
          const float* const w = segment_weights(scores, T, segment, false, weights);
          each_vector(t0, t1, [&](int64_t t, auto some) {
            store(deltas + t, exponential(splat(segment.top) - load(lse + h * T + t, some)), some);
          });
          for (int64_t t = t0; t < t1; t++) {
            const vf factor = splat(deltas[t]);
            vf dot = {};
            each_vector(0, K, [&](int64_t k, auto some) {
              const vf x = load(grad + at + t * Q + k, some) * factor;
              store(g + t * K + k, x, some);
              dot = fma(x, load(o + at + t * Q + k, some), dot);
            });
            deltas[t] = sum(dot);
          }
          if (dv) {
            pack_panels({g + t0 * K, K, false}, 0, t1 - t0, 0, K, grads);
            const Panels panels = packed_panels(grads, K, t1 - t0);
            auto keys = [&](int64_t k0, int64_t k1, Start start) {
              const int64_t tiles = tile_count(k1 - k0);
              for (int64_t i = 0; i < tiles; i++) {
                const int64_t s0 = k0 + (k1 - k0) * i / tiles, s1 = k0 + (k1 - k0) * (i + 1) / tiles, from = most(t0, s0);
                tile_row((int)(s1 - s0), 0, K, K, t1 - from, w + from - s0, -1, false, panels_from(panels, from - t0),
                         dv + at + s0 * Q, Q, nullptr, start);
              }
            };
            keys(0, t0, kFromC);
            keys(t0, t1, kFromZero);
          }
          if (dtable) {
            each_vector(0, t1, [&](int64_t d, auto some) { store(by_distance + d, vf{}, some); });
            const int64_t tiles = tile_count(t1 - t0);
            for (int64_t i = 0; i < tiles; i++) {
              const int64_t r0 = t0 + (t1 - t0) * i / tiles, r1 = t0 + (t1 - t0) * (i + 1) / tiles;
              // g_t·v_{t−d} at products[t − r0][d]: rows are written one element further apart than they are read.
              for (int64_t r = 0; r < r1 - r0; r++)
                for (int64_t z = r0 + 1; z < r1; z += kVL) store(products + r * W + z, vf{});
              const int64_t n0 = (T - r1) / kNR * kNR;
              tile_row((int)(r1 - r0), n0, T, T, K, g + r0 * K, K, false, packed_panels(reversed, T, K),
                       products + r0 - (T - 1) + n0, W + 1, nullptr, kFromZero);
              each_vector(0, r1, [&](int64_t d, auto some) {
                vf all = load(by_distance + d, some);
                for (int64_t r = 0; r < r1 - r0; r++) all += load(products + r * W + d, some);
                store(by_distance + d, all, some);
              });
            }
            double rest = 0;  // Σ_{t ≥ d} g_t·o_t
            for (int64_t d = t1 - 1; d >= 0; d--) {
              if (d >= t0) rest += deltas[d];
              total[d] += w[d] * (float)(by_distance[d] - rest);
            }
          }
          if (t1 == T) break;
        }
      }
    }
  });
  if (!dtable) return PHYSLM_OK;
  for (int64_t h = 0; h < H; h++)
    for (int64_t n = 0; n < N; n++) {
      float sum = 0;
      for (int64_t c = 0; c < chunks; c++)
        for (int64_t d = n; d < (n == N - 1 ? T : least(T, n + 1)); d++) sum += partial[(c * H + h) * T + d];
      dtable[h * N + n] = sum;
    }
  return PHYSLM_OK;
}

/** Position of the new token, its value written to the cache, and everything else copied there if it lies elsewhere. */
static int32_t extend_values(const physlm_tensor& v, const physlm_tensor& cache, const physlm_tensor& position,
                             physlm_tensor& next, int64_t* at) {
  const int64_t B = leading(v, 1), Q = axis(v, 1), S = axis(cache, 3);
  *at = ((const int32_t*)position.data)[0];
  if (Q != axis(cache, 2) * axis(cache, 1))
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[v] expected %lld columns, got %lld", (long long)(axis(cache, 2) * axis(cache, 1)),
                       (long long)Q);
  if (*at < 0 || *at >= S)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[position] expected 0 <= position < %lld, got %lld", (long long)S, (long long)*at);
  if (next.data != cache.data) __builtin_memcpy(next.data, cache.data, elements(cache) * sizeof(float));
  for (int64_t b = 0; b < B; b++)
    __builtin_memcpy(floats(next) + (b * S + *at) * Q, floats(v) + b * Q, Q * sizeof(float));
  return PHYSLM_OK;
}

/** o[b, h] = Σ_s weights[h][s − first(h)]·cache[b, s, h] over first(h) ≤ s < n; `weights` [H], `width` floats apart. */
template <class First>
static void mix_values(const float* cache, int64_t B, int64_t S, int64_t H, int64_t K, int64_t n, const float* weights,
                       int64_t width, First first, float* o) {
  const int64_t Q = H * K;
  parallel(2.0 * B * n * Q, B, [&](int part, int parts) {
    const Range mine = share(B, part, parts);
    for (int64_t b = mine.begin; b < mine.end; b++) {
      each_vector(0, Q, [&](int64_t i, auto some) { store(o + b * Q + i, vf{}, some); });
      for (int64_t s = 0; s < n; s += kStepRows)
        for (int64_t h = 0; h < H; h++) {
          const int64_t begin = most(s, first(h)), end = least(n, s + kStepRows);
          if (begin < end)
            add_values(weights + h * width + begin - first(h), cache + (b * S + begin) * Q + h * K, Q, end - begin, K,
                       o + b * Q + h * K);
        }
    }
  });
}

static int32_t positionAttentionStep_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*,
                                             int32_t, physlm_stream*) {
  const int64_t B = leading(in[0], 1), H = leading(in[1], 1), N = axis(in[1], 1), S = axis(in[2], 3), K = axis(in[2], 1);
  int64_t position;
  if (int32_t status = extend_values(in[0], in[2], in[3], out[1], &position)) return status;
  const int64_t n = position + 1, width = round_up(n, kVL);
  float* const scores = physlm_scratch(PHYSLM_SLOT_VALUES, H * width);
  if (!scores) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for scores");
  for (int64_t h = 0; h < H; h++) {
    for (int64_t s = 0; s < n; s++) scores[h * width + s] = floats(in[1])[h * N + least(position - s, N - 1)];
    soften_row(scores + h * width, n, width, splat(kLog2E));
  }
  mix_values(floats(out[1]), B, S, H, K, n, scores, width, [](int64_t) { return (int64_t)0; }, floats(out[0]));
  return PHYSLM_OK;
}

/** Tokens that head h averages over, out of `n`. */
INLINE int64_t uniform_width(int64_t h, int64_t n) { return h >= 40 ? n : least(n, ((int64_t)2 << h) - 1); }

static int32_t uniformAttentionStep_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*,
                                            int32_t, physlm_stream*) {
  const int64_t B = leading(in[0], 1), S = axis(in[1], 3), H = axis(in[1], 2), K = axis(in[1], 1);
  int64_t position;
  if (int32_t status = extend_values(in[0], in[1], in[2], out[1], &position)) return status;
  const int64_t n = position + 1;
  float* const weights = physlm_scratch(PHYSLM_SLOT_VALUES, H * n);
  if (!weights) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for weights");
  for (int64_t h = 0; h < H; h++)
    for (int64_t s = 0; s < uniform_width(h, n); s++) weights[h * n + s] = 1.0f / (float)uniform_width(h, n);
  mix_values(floats(out[1]), B, S, H, K, n, weights, n, [&](int64_t h) { return n - uniform_width(h, n); }, floats(out[0]));
  return PHYSLM_OK;
}

/**
 * y[i] = after(i)·Σ of before(j)·x[j] over the last `width` j ≤ i: sums from each block's start and to its end, two additions
 * an element whatever the width, none of which is ever taken back. Rows are `step` apart. `tails`: (width + 1)·K floats.
 */
template <class Before, class After>
static void window_sums(const float* x, int64_t step, int64_t n, int64_t K, int64_t width, Before before, After after, float* y,
                        float* tails) {
  float* const head = tails + width * K;
  for (int64_t start = 0; start < n; start += width) {
    const int64_t end = least(n, start + width);
    for (int64_t i = start; i < end; i++) {
      const vf in = splat(before(i)), out = splat(after(i));
      const float* const tail = start > 0 && i - start + 1 < width ? tails + (i - start + 1) * K : nullptr;
      each_vector(0, K, [&](int64_t k, auto some) {
        vf total = load(x + i * step + k, some) * in;
        if (i > start) total += load(head + k, some);
        store(head + k, total, some);
        if (tail) total += load(tail + k, some);
        store(y + i * step + k, total * out, some);
      });
    }
    if (end == n) return;
    for (int64_t i = width - 1; i >= 1; i--)
      each_vector(0, K, [&](int64_t k, auto some) {
        vf total = load(x + (start + i) * step + k, some) * splat(before(start + i));
        if (i < width - 1) total += load(tails + (i + 1) * K + k, some);
        store(tails + i * K + k, total, some);
      });
  }
}

static int32_t uniformAttention_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                        int32_t, physlm_stream*) {
  const int64_t B = leading(in[0], 2), T = axis(in[0], 2), Q = axis(in[0], 1), H = (int64_t)attrs[0];
  if (int32_t status = expect_heads(Q, H)) return status;
  const int64_t K = Q / H;
  if (physlm_reserve_local((T + 1) * K)) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for sliding sums");
  parallel(4.0 * B * T * Q, B * H, [&](int part, int parts) {
    const Range mine = share(B * H, part, parts);
    for (int64_t u = mine.begin; u < mine.end; u++) {
      const int64_t at = u / H * T * Q + u % H * K, width = uniform_width(u % H, T);
      window_sums(
          floats(in[0]) + at, Q, T, K, width, [](int64_t) { return 1.0f; },
          [&](int64_t t) { return 1.0f / (float)least(t + 1, width); }, floats(out[0]) + at, physlm_local());
    }
  });
  return PHYSLM_OK;
}

/** dv_s = Σ do_t / min(t + 1, width) over the `width` positions from s on: the same sums, backwards. */
static int32_t uniformAttention_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                         int32_t, physlm_stream*) {
  if (!out[0].data) return PHYSLM_OK;
  const int64_t B = leading(in[0], 2), T = axis(in[0], 2), Q = axis(in[0], 1), H = (int64_t)attrs[0];
  if (int32_t status = expect_heads(Q, H)) return status;
  const int64_t K = Q / H;
  if (physlm_reserve_local((T + 1) * K)) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for sliding sums");
  parallel(4.0 * B * T * Q, B * H, [&](int part, int parts) {
    const Range mine = share(B * H, part, parts);
    for (int64_t u = mine.begin; u < mine.end; u++) {
      const int64_t at = (u / H * T + T - 1) * Q + u % H * K, width = uniform_width(u % H, T);
      window_sums(
          floats(in[0]) + at, -Q, T, K, width, [&](int64_t i) { return 1.0f / (float)least(T - i, width); },
          [](int64_t) { return 1.0f; }, floats(out[0]) + at, physlm_local());
    }
  });
  return PHYSLM_OK;
}
