// Softmax attention over a packed row of q heads, then k heads, then v heads (B batch, T position, H query head, G kv head,
// K head width). Queries lie along the lanes: scores are computed as S^T = k·q^T, so that every lane is full whatever K
// is, maximum and sum of a query are vector operations, and keys and values are read by broadcast as they lie. A block of
// scores never leaves the first-level cache; the pattern is recomputed from the log-sum-exp in the backward pass. See Dao
// et al. 2022, arXiv:2205.14135, and Dao 2023, arXiv:2307.08691.

constexpr int64_t kForwardKeys = kVL == 16 ? 8 * kMR : 16 * kMR;  // keys between two updates of a query's maximum
constexpr int64_t kBackwardQueries = 128;                         // a block of queries, and of keys, backward
constexpr int64_t kPatternFloats = 4096;                          // of the pattern in flight; its slope takes as much
constexpr int64_t kPatternPad = 16;                               // keeps its rows out of one cache set
constexpr int64_t kBackwardTasks = 8;                             // few heads are cut until there are so many tasks

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
                   const Keys& at, float* scores) {
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
  score(0, j0, j1);
  if (NV == 2) score(1, j1, j2);
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
  float* const to = panel.values;
  if (panel.started)
    for (int64_t i = 0; i < K; i++)
#pragma GCC unroll 2
      for (int v = 0; v < NV; v++) store(to + i * kNR + v * kVL, load(to + i * kNR + v * kVL) * factor[v]);
  product<NV, true>(K, j1 - j0, at.values + j0 * at.step, 1, at.step, scores, kNR, to, kNR,
                    panel.started ? kFromC : kFromZero);
  if (NV == 2 && j2 > j1)
    product<1, true>(K, j2 - j1, at.values + j1 * at.step, 1, at.step, scores + (j1 - j0) * kNR + kVL, kNR, to + kVL, kNR,
                     kFromC);
  panel.started = true;
}

/** Floats of a copy of a head's keys and values: 0 unless they are used often, or lie in few of the cache's sets. */
INLINE int64_t copied_floats(const Heads& heads) { return heads.T > 256 || heads.P % 512 == 0 ? 2 * heads.T * heads.K : 0; }

/** The keys and values of a head, copied to `room` when copied_floats() asks for it and they are not there yet. */
INLINE Keys keys_of(const Heads& heads, const float* qkv, int64_t b, int64_t g, float* room, bool there) {
  const int64_t T = heads.T, K = heads.K;
  const float* const keys = qkv + b * T * heads.P + (heads.H + g) * K;
  const float* const values = keys + heads.G * K;
  if (copied_floats(heads) == 0) return {keys, values, heads.P};
  if (!there) {
    copy_rows(keys, heads.P, T, K, room);
    copy_rows(values, heads.P, T, K, room + T * K);
  }
  return {room, room + T * K, K};
}

/** The i-th of n blocks of queries in an order whose halves cost about the same: first, last, second, last but one, … */
INLINE int64_t folded(int64_t i, int64_t n) { return i % 2 ? n - 1 - i / 2 : i / 2; }

/** All heads of some sequences. The log-sum-exps of a head, unless null, are `lse_step` behind those of the head before. */
static int32_t attend_all(const Heads& heads, const float* qkv, float* o, float* lse, int64_t lse_step) {
  const int64_t T = heads.T, P = heads.P, H = heads.H, G = heads.G, K = heads.K;
  const int64_t blocks = ceil_div(T, kNR), row = round_up(K, kVL);
  if (physlm_reserve_local(copied_floats(heads) + 2 * K * kNR + (kForwardKeys + kNR) * kNR + kNR * row))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for attention scores");
  parallel(4.0 * heads.B * H * T * T * K, heads.B * H * blocks, [&](int part, int parts) {
    const Range mine = share(heads.B * H * blocks, part, parts);
    float* const q = physlm_local();
    float* const weighted = q + K * kNR;
    float* const scores = weighted + K * kNR;
    float* const turned = scores + (kForwardKeys + kNR) * kNR;
    float* const copied = turned + kNR * row;
    for (int64_t u = mine.begin; u < mine.end; u++) {
      const int64_t bh = u / blocks, b = bh / H, h = bh % H, g = h * G / H;
      const float* const from = qkv + b * T * P;
      const bool same = u > mine.begin && (u % blocks > 0 || (h > 0 && g == (h - 1) * G / H));
      const Keys at = keys_of(heads, qkv, b, g, copied, same);
      const int64_t q0 = folded(u % blocks, blocks) * kNR, count = least(kNR, T - q0);
      turn_rows(from + q0 * P + h * K, P, count, K, heads.scale * kLog2E, q);
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
          attend<2>(panel, q0, j0, j1, i == steps - 1 ? end : j1, heads.causal, K, q, at, scores);
        else
          attend<1>(panel, q0, j0, j1, j1, heads.causal, K, q, at, scores);
      }
      for (int v = 0; v * kVL < count; v++) {
        const int some = (int)least(kVL, count - v * kVL);
        if (lse)
          store(lse + bh * lse_step + q0 + v * kVL, fma(load(panel.top + v * kVL), splat(kLn2), logarithm(panel.total[v])), some);
        const vf inverse = splat(1.0f) / panel.total[v];
        float* const w = weighted + v * kVL;
        for (int64_t i = 0; i < K; i++) store(w + i * kNR, load(w + i * kNR) * inverse);
      }
      turn_back(weighted, kNR, count, K, o + ((b * T + q0) * H + h) * K, H * K, turned);
    }
  });
  return PHYSLM_OK;
}

/** What both directions check: heads, columns of o and the heads of lse, unless null. */
static int32_t check_heads(Heads& heads, const double* attrs, const physlm_tensor& o, const physlm_tensor& lse) {
  if (int32_t status = read_heads(heads, attrs)) return status;
  if (int32_t status = expect_columns("o", axis(o, 1), heads)) return status;
  if (lse.data && axis(lse, 2) != heads.H)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[lse] expected H=%lld, got %lld", (long long)heads.H, (long long)axis(lse, 2));
  return PHYSLM_OK;
}

static int32_t attention_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                                 physlm_stream*) {
  Heads heads = {leading(in[0], 2), axis(in[0], 2), axis(in[0], 1), 0, 0, 0, 0, attrs[4] != 0};
  if (int32_t status = check_heads(heads, attrs, out[0], out[1])) return status;
  return attend_all(heads, floats(in[0]), floats(out[0]), floats(out[1]), heads.T);
}

/** P^T and dS^T of keys [j0, j0 + rows) and one panel of queries, or one vector of it: strips of what kSlopes does. */
INLINE void slope_rows(bool two, int rows, int64_t K, const Keys& at, int64_t j0, const float* q, const float* d,
                       const float* less, const float* mean, float* pattern, float* slope, int64_t width, int64_t hidden) {
  const int strips = (int)ceil_div(rows, kSlopeRows);
  for (int strip = 0; strip < strips; strip++) {
    const int r = rows * strip / strips, count = rows * (strip + 1) / strips - r;
    const int64_t from = (j0 + r) * at.step;
    kSlopes[two][hidden + r + count > 1][count](K, at.keys + from, at.values + from, at.step, q, d, less, mean,
                                                pattern + r * width, slope + r * width, width, hidden + r);
  }
}

/** δ = Σ d·a and −lse in units of log 2 of `count` rows; zero up to the next whole vector. */
static void row_terms(const float* d, const float* a, int64_t step, const float* lse, int64_t count, int64_t K, float* delta,
                      float* minus_lse) {
  for (int64_t r = 0; r < count; r += kVL) {
    vf each[kVL];
    for (int64_t i = 0; i < kVL; i++) {
      each[i] = vf{};
      if (r + i < count)
        each_vector(0, K, [&](int64_t k, auto some) {
          __builtin_prefetch(a + (r + i + 16) * step + k);
          each[i] = fma(load(d + (r + i) * step + k, some), load(a + (r + i) * step + k, some), each[i]);
        });
    }
    store(delta + r, reduce_rows(each, [](vf x, vf y) { return x + y; }));
    store(minus_lse + r, load(lse + r, (int)least(kVL, count - r)) * splat(-kLog2E));
  }
}

/** Key blocks in the tasks of one head: the i-th and the i-th last to one task, so that all cost about the same. */
INLINE bool takes(int64_t task, int64_t tasks, int64_t block, int64_t blocks) {
  return least(block, blocks - 1 - block) % tasks == task;
}

/** dq += the partial dq of the other tasks, [task][B][H][T][K], in order. */
static void add_partial(const Heads& heads, int64_t tasks, const float* partial, float* dqkv) {
  const int64_t T = heads.T, H = heads.H, K = heads.K, rows = heads.B * H * T;
  parallel((double)tasks * rows * K, rows, [&](int part, int parts) {
    const Range mine = share(rows, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      const int64_t b = r / T / H, h = r / T % H, t = r % T;
      float* const dq = dqkv + (b * T + t) * heads.P + h * K;
      each_vector(0, K, [&](int64_t i, auto some) {
        vf total = load(dq + i, some);
        for (int64_t task = 0; task < tasks - 1; task++) total += load(partial + (task * rows + r) * K + i, some);
        store(dq + i, total, some);
      });
    }
  });
}

/**
 * The gradients of attend_all(). A task is a (batch, kv head) with all its query heads in order, or some blocks of keys of it. Blocks of queries outside,
 * tiles of keys inside: P^T = exp(k·q^T·scale − lse), dP^T = v·do^T, dS^T = P^T·(dP^T − δ) with δ = Σ do·o; then
 * dv += P^T·do, dk += dS^T·q·scale and dq^T += k^T·dS^T. Blocks of queries are added to dk and dv in order; when a head is
 * cut, which depends on the shape alone, its dq is the sum over the tasks in order.
 */
static int32_t slopes_of_all(const Heads& heads, const float* qkv, const float* o, const float* lse, int64_t lse_step,
                             const float* grad, float* dqkv) {
  const int64_t T = heads.T, P = heads.P, H = heads.H, G = heads.G, K = heads.K;
  if (heads.B * T == 0) return PHYSLM_OK;
  const int64_t size = round_up(ceil_div(T, ceil_div(T, kBackwardQueries)), kNR);  // of a block of queries, and of keys
  const int64_t blocks = ceil_div(T, size), width = size + kPatternPad;
  const int64_t group = kPatternFloats / (width * kMR);  // tiles of keys in flight together
  const int64_t tasks = least(ceil_div(blocks, 2), ceil_div(kBackwardTasks, heads.B * G));
  [[maybe_unused]] const bool pairs = kVL == 16 && K <= kVL / 2;
  const int64_t row = round_up(K, kVL), turned = K * size, straight = packed_floats(K, size);
  float* partial = nullptr;  // dq of all tasks but the first
  if (tasks > 1 && !(partial = physlm_scratch(PHYSLM_SLOT_PARTIAL, (tasks - 1) * heads.B * H * T * K)))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for attention gradients");
  if (physlm_reserve_local(2 * turned + 2 * straight + 2 * kPatternFloats + K * width + size * row + 2 * size +
                           copied_floats(heads)))
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
    float* const copied = minus_lse + size;
    for (int64_t u = mine.begin; u < mine.end; u++) {
      const int64_t b = u / tasks / G, g = u / tasks % G, task = u % tasks;
      const float* const from_row = qkv + b * T * P;
      float* const drow = dqkv + b * T * P;
      const Keys at = keys_of(heads, qkv, b, g, copied, false);
      float* const dk = drow + (H + g) * K;
      float* const dv = drow + (H + G + g) * K;
      for (int64_t h = g * (H / G); h < (g + 1) * (H / G); h++) {
        const bool first_head = h == g * (H / G);
        for (int64_t block = 0; block < blocks; block++) {
          const int64_t q0 = block * size, count = least(size, T - q0), wide = round_up(count, kVL);
          const float* const q = from_row + q0 * P + h * K;
          const float* const d = grad + ((b * T + q0) * H + h) * K;
          const float* const a = o + ((b * T + q0) * H + h) * K;
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
          row_terms(d, a, H * K, lse + (b * H + h) * lse_step + q0, count, K, delta, minus_lse);
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
                for (int64_t l = from; l < wide;) {
                  const int64_t lane = l % kNR, panel = (l - lane) * K + lane;
                  const bool two = lane == 0 && l + kVL < wide;
                  slope_rows(two, rows, K, at, j0, q_turned + panel, grad_turned + panel, minus_lse + l, delta + l, pt + l,
                             st + l, width, diagonal ? j0 - q0 - l : -rows);
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
                tile_row(rows, 0, K, K, count - from, st + from, width, false, rest(queries), dk + j0 * P, P, nullptr,
                         start);
              }
              for (int64_t l = block_from; l < wide;) {
                const bool two = l % kNR == 0 && l + kVL < wide;
                const int64_t seen = diagonal ? least(b1, q0 + l + (two ? kNR : kVL)) - b0 : b1 - b0;
                if (two)
                  product<2, true>(K, seen, at.keys + b0 * at.step, 1, at.step, slope + l, width, dq_turned + l, width,
                                   kFromC);
                else
                  product<1, true>(K, seen, at.keys + b0 * at.step, 1, at.step, slope + l, width, dq_turned + l, width,
                                   kFromC);
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
  if (tasks > 1) add_partial(heads, tasks, partial, dqkv);
  return PHYSLM_OK;
}

static int32_t attention_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                  int32_t, physlm_stream*) {
  if (!out[0].data) return PHYSLM_OK;
  Heads heads = {leading(in[0], 2), axis(in[0], 2), axis(in[0], 1), 0, 0, 0, 0, attrs[4] != 0};
  if (int32_t status = check_heads(heads, attrs, in[1], in[2])) return status;
  return slopes_of_all(heads, floats(in[0]), floats(in[1]), floats(in[2]), heads.T, floats(in[3]), floats(out[0]));
}
