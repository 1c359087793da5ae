// Disentangled attention (He et al. 2021, arXiv:2006.03654, Eq. 2-4): score(t, s) = scale·(q_t·k_s + q_t·kp[t−s] + k_s·qp[s−t]),
// B batch, T position, H head, K head width, N rows of the tables. The two position terms are products with tables by
// distance whose results must be read along diagonals. A product that is written with rows one element further apart than
// they are read has its diagonals turned into columns, so q·kp lands on the scores directly. k·qp lands on a band by key
// and is transposed from there, because both cannot be diagonal in one layout. The backward pass reads the slope of the
// scores by the same skewed strides. Scores exist for one block of query rows only: memory grows with T, not T². Tables
// are spread to one row for each distance that occurs, so that clipped distances need no case of their own.

constexpr int64_t kQueryBlock = kMR * (kVL == 16 ? 8 : 16);  // query rows whose scores exist together
constexpr int64_t kKeyGroup = 48;                            // keys of one band; whole tiles on every instruction set
constexpr int64_t kSkewBefore = 48;                          // what a skewed tile may write in front of its row
constexpr int64_t kSkewAfter = 16;                           // and behind it
static_assert(kSkewBefore >= kNR + kMR && kSkewAfter >= kMR, "a skewed tile stays in its margins");

struct Relative {
  int64_t B, T, P, H, K, N, Q;
  float scale;
  bool causal;
  int64_t M() const { return causal ? T : 2 * T - 1; }        // distances that occur
  int64_t zero() const { return causal ? 0 : T - 1; }         // index of distance 0 in a spread table
  int64_t width() const { return round_up(T, kVL) + kSkewBefore + 2 * kSkewAfter; }  // floats between rows of scores
  int64_t score_floats() const { return kSkewBefore + kQueryBlock * width() + kSkewBefore; }
  int64_t blocks() const { return ceil_div(T, kQueryBlock); }
  int64_t block_start(int64_t i) const { return T * i / blocks(); }
};
constexpr int64_t kBandWidth = kSkewBefore + ((kQueryBlock + kVL - 1) / kVL) * kVL + kSkewAfter;
constexpr int64_t kBandFloats = kKeyGroup * kBandWidth + kSkewBefore;

static int32_t read_relative(Relative& r, const physlm_tensor& qkv, const physlm_tensor& table, const double* attrs) {
  r = {leading(qkv, 2), axis(qkv, 2), axis(qkv, 1), (int64_t)attrs[0], (int64_t)attrs[1], leading(table, 1), axis(table, 1),
       (float)attrs[2], attrs[3] != 0};
  if (r.H < 1 || r.K < 1 || r.Q != r.H * r.K || r.P != 3 * r.Q)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[qkv] expected 3·nHead·dHead = %lld columns, tables of a third, got %lld and %lld",
                       (long long)(3 * r.H * r.K), (long long)r.P, (long long)r.Q);
  if (r.N < 1 || (!r.causal && r.N % 2 == 0))
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[keyPositions] expected %s rows, got %lld", r.causal ? "at least 1" : "an odd number of",
                       (long long)r.N);
  return PHYSLM_OK;
}

/** Row of a table that stands for the distance t − s, from a key's view or (`query`) from a query's. */
INLINE int64_t distance_row(const Relative& r, int64_t distance, bool query) {
  if (r.causal) return least(most(distance, 0), r.N - 1);
  const int64_t reach = (r.N - 1) / 2;
  return reach + most(-reach, least(reach, query ? -distance : distance));
}
/** The distance of row i of a spread table: queries' upwards from −zero, keys' downwards to it. */
INLINE int64_t spread_distance(const Relative& r, int64_t i, bool query) { return query ? i - r.zero() : r.T - 1 - i; }

/** One head's rows [K] of a table, one for each distance: [M, K]. */
static void spread(const Relative& r, const float* table, bool query, float* to) {
  for (int64_t i = 0; i < r.M(); i++) {
    const float* const from = table + distance_row(r, spread_distance(r, i, query), query) * r.Q;
    each_vector(0, r.K, [&](int64_t k, auto some) { store(to + i * r.K + k, load(from + k, some), some); });
  }
}

/** The same panels from row `from` on. */
INLINE Panels panels_from(Panels all, int64_t from) {
  all.full += from * all.bs;
  all.last += from * all.last_bs;
  return all;
}

/** The queries and keys of one head, and the panels that scores come from; depth K, one column for each key or distance. */
struct RelativeHead {
  const float* q;
  const float* k;
  Panels keys, key_positions, query_positions;
};

/**
 * Scores, before scaling, of query rows [q0, q1): row t at scores + (t − q0)·width. Where a key is not seen there may be
 * anything. `band`: kBandFloats.
 */
static void relative_scores(const Relative& r, const RelativeHead& head, int64_t q0, int64_t q1, float* scores, float* band) {
  const int64_t T = r.T, K = r.K, P = r.P, M = r.M(), zero = r.zero(), W = r.width(), key_end = r.causal ? q1 : T;
  for (int64_t g0 = 0; g0 < key_end; g0 += kKeyGroup) {
    const int64_t g1 = least(g0 + kKeyGroup, key_end), t0 = r.causal ? most(q0, g0) : q0, tiles = tile_count(g1 - g0);
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t s0 = g0 + (g1 - g0) * i / tiles, s1 = g0 + (g1 - g0) * (i + 1) / tiles;
      const int64_t n0 = most(0, t0 - s1 + 1 + zero) / kNR * kNR;
      tile_row((int)(s1 - s0), n0, q1 - s0 + zero, M, K, head.k + s0 * P, P, false, head.query_positions,
               band + (s0 - g0) * kBandWidth + kSkewBefore + n0 - zero + s0 - t0, kBandWidth + 1, nullptr, kFromZero);
    }
    pack_transposed(band + kSkewBefore, kBandWidth, g1 - g0, round_up(g1 - g0, kVL), q1 - t0, scores + (t0 - q0) * W + g0, W);
  }
  const int64_t tiles = tile_count(q1 - q0);
  for (int64_t i = 0; i < tiles; i++) {
    const int64_t r0 = q0 + (q1 - q0) * i / tiles, r1 = q0 + (q1 - q0) * (i + 1) / tiles;
    float* const row = scores + (r0 - q0) * W;
    const int64_t n0 = (T - r1) / kNR * kNR;
    tile_row((int)(r1 - r0), n0, r.causal ? T : 2 * T - 1 - r0, M, K, head.q + r0 * P, P, false, head.key_positions,
             row + n0 - (T - 1) + r0, W + 1, nullptr, kFromC);
    tile_row((int)(r1 - r0), 0, r.causal ? r1 : T, T, K, head.q + r0 * P, P, false, head.keys, row, W, nullptr, kFromC);
  }
}

/** Softmax weights, up to their total, of the first n scores of a row; zeros up to `width`, whole vectors. */
INLINE void soften_scores(float* scores, int64_t n, int64_t width, vf by, float* top, float* total) {
  const vf lowest = splat(-__builtin_inff());
  const int64_t whole = n / kVL * kVL;
  const int rest = (int)(n - whole);
  vf peak = lowest;
  for (int64_t i = 0; i < whole; i += kVL) peak = larger(load(scores + i) * by, peak);
  if (rest) peak = larger(keep(load(scores + whole) * by, 0, rest, lowest), peak);
  *top = largest(peak);
  const vf down = splat(-*top);
  vf sums = {};
  int64_t i = 0;
  for (; i < whole; i += kVL) {
    const vf p = power_of_two(fma(load(scores + i), by, down));
    store(scores + i, p);
    sums += p;
  }
  if (rest) {
    const vf p = keep(power_of_two(fma(load(scores + i), by, down)), 0, rest, vf{});
    store(scores + i, p);
    sums += p;
    i += kVL;
  }
  for (; i < width; i += kVL) store(scores + i, vf{});
  *total = sum(sums);
}

static int32_t relativeAttention_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                         int32_t, physlm_stream*) {
  Relative r;
  if (int32_t status = read_relative(r, in[0], in[1], attrs)) return status;
  const float* const qkv = floats(in[0]);
  float* const o = floats(out[0]);
  float* const lse = floats(out[1]);
  if (lse && axis(out[1], 2) != r.H)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[lse] expected H=%lld, got %lld", (long long)r.H, (long long)axis(out[1], 2));
  const int64_t T = r.T, P = r.P, H = r.H, K = r.K, Q = r.Q, M = r.M(), W = r.width();
  const int64_t by_keys = packed_floats(T, K), by_dims = packed_floats(K, T), by_distance = packed_floats(M, K);
  if (physlm_reserve_local(by_keys + by_dims + 2 * by_distance + M * K + r.score_floats() + kBandFloats))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for attention scores");
  const vf by = splat(r.scale * kLog2E);
  // Head by head, so that a thread spreads a head's tables once for all its sequences.
  parallel(8.0 * r.B * H * T * T * K, r.B * H, [&](int part, int parts) {
    const Range mine = share(r.B * H, part, parts);
    float* const keys = physlm_local();
    float* const values = keys + by_keys;
    float* const key_positions = values + by_dims;
    float* const query_positions = key_positions + by_distance;
    float* const rows = query_positions + by_distance;
    float* const scores = rows + M * K + kSkewBefore;
    float* const band = scores + r.score_floats() - kSkewBefore;
    for (int64_t u = mine.begin; u < mine.end; u++) {
      const int64_t h = u / r.B, b = u % r.B;
      if (u == mine.begin || b == 0) {
        spread(r, floats(in[1]) + h * K, false, rows);
        pack_panels({rows, K, true}, 0, K, 0, M, key_positions);
        spread(r, floats(in[2]) + h * K, true, rows);
        pack_panels({rows, K, true}, 0, K, 0, M, query_positions);
      }
      const float* const row = qkv + b * T * P + h * K;
      pack_panels({row + Q, P, true}, 0, K, 0, T, keys);
      pack_panels({row + 2 * Q, P, false}, 0, T, 0, K, values);
      const RelativeHead head = {row, row + Q, packed_panels(keys, T, K), packed_panels(key_positions, M, K),
                                 packed_panels(query_positions, M, K)};
      for (int64_t block = 0; block < r.blocks(); block++) {
        const int64_t q0 = r.block_start(block), q1 = r.block_start(block + 1), tiles = tile_count(q1 - q0);
        relative_scores(r, head, q0, q1, scores, band);
        for (int64_t i = 0; i < tiles; i++) {
          const int64_t r0 = q0 + (q1 - q0) * i / tiles, r1 = q0 + (q1 - q0) * (i + 1) / tiles, seen = r.causal ? r1 : T;
          float tops[kMR + kVL], totals[kMR + kVL];
          for (int64_t t = r0; t < r1; t++)
            soften_scores(scores + (t - q0) * W, r.causal ? t + 1 : T, round_up(seen, kVL), by, tops + (t - r0), totals + (t - r0));
          if (lse)
            each_vector(0, r1 - r0, [&](int64_t x, auto some) {
              store(lse + (b * H + h) * T + r0 + x, fma(load(tops + x, some), splat(kLn2), logarithm(load(totals + x, some))), some);
            });
          float* const to = o + (b * T + r0) * Q + h * K;
          tile_row((int)(r1 - r0), 0, K, K, seen, scores + (r0 - q0) * W, W, false, packed_panels(values, K, T), to, Q, nullptr,
                   kFromZero);
          for (int64_t t = 0; t < r1 - r0; t++) {
            const vf inverse = splat(1.0f / totals[t]);
            each_vector(0, K, [&](int64_t x, auto some) { store(to + t * Q + x, load(to + t * Q + x, some) * inverse, some); });
          }
        }
      }
    }
  });
  return PHYSLM_OK;
}

/** What the gradients of one head of one sequence are made from, and where they go. */
struct RelativeSlope {
  const float* weights;  // softmax weights and dscore·scale of query rows [q0, q1), rows `width` apart; the slope's margins
  float* slope;          // of kSkewAfter floats on both sides, and what is not seen, are zero
  float* band;
  const float *q, *grad;  // rows of the block, packed: depth q1 − q0
  Panels keys, key_positions, query_positions;  // packed along T and M
  float *dq, *dk, *dv;    // rows P apart
  float *d_key_positions, *d_query_positions;   // spread, [M, K]; null when not wanted
};

/** Gradients of query rows: dq = dS·k + dS'·kp, with dS' the slope by distance. */
static void query_gradients(const Relative& r, const RelativeSlope& x, int64_t q0, int64_t q1) {
  const int64_t T = r.T, K = r.K, P = r.P, W = r.width(), tiles = tile_count(q1 - q0);
  for (int64_t i = 0; i < tiles; i++) {
    const int64_t r0 = q0 + (q1 - q0) * i / tiles, r1 = q0 + (q1 - q0) * (i + 1) / tiles;
    const float* const row = x.slope + (r0 - q0) * W;
    const int64_t c0 = T - r1, c1 = r.causal ? T : 2 * T - 1 - r0;
    tile_row((int)(r1 - r0), 0, K, K, r.causal ? r1 : T, row, W, false, x.keys, x.dq + r0 * P, P, nullptr, kFromZero);
    tile_row((int)(r1 - r0), 0, K, K, c1 - c0, row + c0 - (T - 1) + r0, W + 1, false, panels_from(x.key_positions, c0),
             x.dq + r0 * P, P, nullptr, kFromC);
  }
}

/** Adds to the gradients of keys and values what the block's queries say of keys [k0, k1). */
static void key_gradients(const Relative& r, const RelativeSlope& x, int64_t q0, int64_t q1, int64_t k0, int64_t k1,
                          Start start) {
  const int64_t K = r.K, P = r.P, W = r.width(), tiles = tile_count(k1 - k0);
  const Panels queries = packed_panels(x.q, K, q1 - q0), grads = packed_panels(x.grad, K, q1 - q0);
  for (int64_t i = 0; i < tiles; i++) {
    const int64_t s0 = k0 + (k1 - k0) * i / tiles, s1 = k0 + (k1 - k0) * (i + 1) / tiles;
    const int64_t from = (r.causal ? most(q0, s0) : q0) - q0;
    const int rows = (int)(s1 - s0);
    tile_row(rows, 0, K, K, q1 - q0 - from, x.weights + from * W + s0, W, true, panels_from(grads, from), x.dv + s0 * P, P,
             nullptr, start);
    tile_row(rows, 0, K, K, q1 - q0 - from, x.slope + from * W + s0, W, true, panels_from(queries, from), x.dk + s0 * P, P,
             nullptr, start);
  }
}

/** Adds dkp[distance] = Σ_t dS(t, t − distance)·q_t over the block. */
static void key_position_gradients(const Relative& r, const RelativeSlope& x, int64_t q0, int64_t q1) {
  const int64_t T = r.T, K = r.K, W = r.width(), begin = T - q1, end = r.causal ? T : 2 * T - 1 - q0;
  const int64_t tiles = tile_count(end - begin);
  const Panels queries = packed_panels(x.q, K, q1 - q0);
  for (int64_t i = 0; i < tiles; i++) {
    const int64_t c0 = begin + (end - begin) * i / tiles, c1 = begin + (end - begin) * (i + 1) / tiles;
    const int64_t from = most(q0, T - c1), to = least(q1, 2 * T - 1 - c0);
    tile_row((int)(c1 - c0), 0, K, K, to - from, x.slope + (from - q0) * W + c0 - (T - 1) + from, W + 1, true,
             panels_from(queries, from - q0), x.d_key_positions + c0 * K, K, nullptr, kFromC);
  }
}

/** Adds, over the block: dk_s += Σ dS(s + distance, s)·qp[distance], dqp[distance] += Σ_s dS(s + distance, s)·k_s. */
static void query_position_gradients(const Relative& r, const RelativeSlope& x, int64_t q0, int64_t q1) {
  const int64_t T = r.T, K = r.K, P = r.P, W = r.width(), zero = r.zero(), key_end = r.causal ? q1 : T;
  for (int64_t g0 = 0; g0 < key_end; g0 += kKeyGroup) {
    const int64_t g1 = least(g0 + kKeyGroup, key_end), t0 = r.causal ? most(q0, g0) : q0, n = q1 - t0, padded = round_up(n, kVL);
    float* const band = x.band + kSkewBefore;
    pack_transposed(x.slope + (t0 - q0) * W + g0, W, n, padded, g1 - g0, band, kBandWidth);
    for (int64_t s = 0; s < g1 - g0; s++)
      for (int64_t i = 0; i < kSkewAfter; i += kVL) {
        store(band + s * kBandWidth - kSkewAfter + i, vf{});
        store(band + s * kBandWidth + padded + i, vf{});
      }
    const int64_t key_tiles = tile_count(g1 - g0);
    for (int64_t i = 0; i < key_tiles; i++) {
      const int64_t s0 = g0 + (g1 - g0) * i / key_tiles, s1 = g0 + (g1 - g0) * (i + 1) / key_tiles;
      const int64_t e0 = most(0, t0 - s1 + 1 + zero), e1 = q1 - s0 + zero;
      tile_row((int)(s1 - s0), 0, K, K, e1 - e0, band + (s0 - g0) * kBandWidth + e0 - zero + s0 - t0, kBandWidth + 1, false,
               panels_from(x.query_positions, e0), x.dk + s0 * P, P, nullptr, kFromC);
    }
    if (!x.d_query_positions) continue;
    const int64_t begin = most(0, t0 - g1 + 1 + zero), end = q1 - g0 + zero, tiles = tile_count(end - begin);
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t e0 = begin + (end - begin) * i / tiles, e1 = begin + (end - begin) * (i + 1) / tiles;
      const int64_t s0 = most(g0, t0 + zero - e1 + 1), s1 = least(g1, q1 + zero - e0);
      if (s0 >= s1) continue;
      tile_row((int)(e1 - e0), 0, K, K, s1 - s0, band + (s0 - g0) * kBandWidth + e0 - zero + s0 - t0, kBandWidth + 1, true,
               panels_from(x.keys, s0), x.d_query_positions + e0 * K, K, nullptr, kFromC);
    }
  }
}

/** Adds rows [M, K] of a spread gradient to the rows of their distances: to[N, K], rows Q apart. */
static void gather_spread(const Relative& r, const float* from, bool query, float* to) {
  for (int64_t n = 0; n < r.N; n++)
    each_vector(0, r.K, [&](int64_t k, auto some) { store(to + n * r.Q + k, vf{}, some); });
  for (int64_t i = 0; i < r.M(); i++) {
    float* const row = to + distance_row(r, spread_distance(r, i, query), query) * r.Q;
    each_vector(0, r.K, [&](int64_t k, auto some) { store(row + k, load(row + k, some) + load(from + i * r.K + k, some), some); });
  }
}

/**
 * One thread does one head of a chunk of sequences, in order, block after block of query rows; chunks follow from the shape.
 * The tables' gradients are kept by chunk and added in order.
 */
static int32_t relativeAttention_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                          int32_t, physlm_stream*) {
  Relative r;
  if (int32_t status = read_relative(r, in[0], in[1], attrs)) return status;
  if (axis(in[4], 2) != r.H)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[lse] expected H=%lld, got %lld", (long long)r.H, (long long)axis(in[4], 2));
  const float* const qkv = floats(in[0]);
  const float* const o = floats(in[3]);
  const float* const lse = floats(in[4]);
  const float* const grad = floats(in[5]);
  const int64_t B = r.B, T = r.T, P = r.P, H = r.H, K = r.K, N = r.N, Q = r.Q, M = r.M(), W = r.width();
  const int64_t chunks = least(B, ceil_div(16, H));
  const bool tables = out[1].data || out[2].data;
  float* const dqkv = out[0].data ? floats(out[0]) : physlm_scratch(PHYSLM_SLOT_VALUES, B * T * P);
  float* const partial = tables ? physlm_scratch(PHYSLM_SLOT_PARTIAL, chunks * 2 * N * Q) : nullptr;
  const int64_t by_keys = packed_floats(T, K), by_dims = packed_floats(K, T), by_distance = packed_floats(M, K);
  const int64_t by_block = packed_floats(K, kQueryBlock), table_dims = packed_floats(K, M);
  const int64_t need = 2 * by_keys + by_dims + 2 * by_distance + 2 * table_dims + 3 * M * K + 2 * by_block +
                       2 * r.score_floats() + kBandFloats;
  if (!dqkv || (tables && !partial) || physlm_reserve_local(need))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for attention gradients");
  const vf by = splat(r.scale * kLog2E), scale = splat(r.scale);
  parallel(22.0 * B * H * T * T * K, chunks * H, [&](int part, int parts) {
    const Range mine = share(chunks * H, part, parts);
    float* free = physlm_local();
    auto take = [&](int64_t n) {
      float* const taken = free;
      free += n;
      return taken;
    };
    float* const keys_t = take(by_keys);
    float* const values_t = take(by_keys);
    float* const keys_s = take(by_dims);
    float* const key_positions_t = take(by_distance);
    float* const query_positions_t = take(by_distance);
    float* const key_positions_s = take(table_dims);
    float* const query_positions_s = take(table_dims);
    float* const rows = take(M * K);
    float* const d_key_positions = take(M * K);
    float* const d_query_positions = take(M * K);
    float* const block_q = take(by_block);
    float* const block_grad = take(by_block);
    float* const weights = take(r.score_floats()) + kSkewBefore;
    float* const slope = take(r.score_floats()) + kSkewBefore;
    float* const band = take(kBandFloats);
    for (int64_t u = mine.begin; u < mine.end; u++) {
      const int64_t h = u / chunks, chunk = u % chunks;
      spread(r, floats(in[1]) + h * K, false, rows);
      pack_panels({rows, K, true}, 0, K, 0, M, key_positions_t);
      pack_panels({rows, K, false}, 0, M, 0, K, key_positions_s);
      spread(r, floats(in[2]) + h * K, true, rows);
      pack_panels({rows, K, true}, 0, K, 0, M, query_positions_t);
      pack_panels({rows, K, false}, 0, M, 0, K, query_positions_s);
      if (tables) each_vector(0, 2 * M * K, [&](int64_t i, auto some) { store(d_key_positions + i, vf{}, some); });
      for (int64_t b = B * chunk / chunks; b < B * (chunk + 1) / chunks; b++) {
        const float* const row = qkv + b * T * P + h * K;
        float* const drow = dqkv + b * T * P + h * K;
        const float* const d = grad + b * T * Q + h * K;
        const float* const a = o + b * T * Q + h * K;
        pack_panels({row + Q, P, true}, 0, K, 0, T, keys_t);
        pack_panels({row + Q, P, false}, 0, T, 0, K, keys_s);
        pack_panels({row + 2 * Q, P, true}, 0, K, 0, T, values_t);
        const RelativeHead head = {row, row + Q, packed_panels(keys_t, T, K), packed_panels(key_positions_t, M, K),
                                   packed_panels(query_positions_t, M, K)};
        const RelativeSlope all = {weights, slope, band, block_q, block_grad, packed_panels(keys_s, K, T),
                                   packed_panels(key_positions_s, K, M), packed_panels(query_positions_s, K, M),
                                   drow, drow + Q, drow + 2 * Q, tables ? d_key_positions : nullptr,
                                   tables ? d_query_positions : nullptr};
        for (int64_t block = 0; block < r.blocks(); block++) {
          const int64_t q0 = r.block_start(block), q1 = r.block_start(block + 1), tiles = tile_count(q1 - q0);
          pack_panels({row + q0 * P, P, false}, 0, q1 - q0, 0, K, block_q);
          pack_panels({d + q0 * Q, Q, false}, 0, q1 - q0, 0, K, block_grad);
          relative_scores(r, head, q0, q1, weights, band);
          for (int64_t i = 0; i < kSkewAfter; i += kVL) store(slope - kSkewAfter + i, vf{});
          for (int64_t i = 0; i < tiles; i++) {
            const int64_t r0 = q0 + (q1 - q0) * i / tiles, r1 = q0 + (q1 - q0) * (i + 1) / tiles, seen = r.causal ? r1 : T;
            tile_row((int)(r1 - r0), 0, seen, T, K, d + r0 * Q, Q, false, packed_panels(values_t, T, K), slope + (r0 - q0) * W, W,
                     nullptr, kFromZero);
            for (int64_t t = r0; t < r1; t++) {
              float* const p = weights + (t - q0) * W;
              float* const s = slope + (t - q0) * W;
              vf dots = {};
              each_vector(0, K, [&](int64_t k, auto some) { dots = fma(load(d + t * Q + k, some), load(a + t * Q + k, some), dots); });
              const vf delta = splat(sum(dots)), down = splat(-kLog2E * lse[(b * H + h) * T + t]);
              const int64_t n = r.causal ? t + 1 : T, whole = n / kVL * kVL;
              int64_t j = 0;
              for (; j < whole; j += kVL) {
                const vf e = power_of_two(fma(load(p + j), by, down));
                store(p + j, e);
                store(s + j, e * scale * (load(s + j) - delta));
              }
              if (j < n) {
                const vf e = keep(power_of_two(fma(load(p + j), by, down)), 0, (int)(n - j), vf{});
                store(p + j, e);
                store(s + j, keep(e * scale * (load(s + j) - delta), 0, (int)(n - j), vf{}));
                j += kVL;
              }
              // Tiles of keys look up to one tile beyond the diagonal, the band a whole group.
              for (int64_t z = j; z < n + kMR; z += kVL) store(p + z, vf{});
              for (; j < n + (r.causal ? kKeyGroup : kMR); j += kVL) store(s + j, vf{});
              for (int64_t z = W - kSkewAfter; z < W; z += kVL) store(s + z, vf{});
            }
          }
          query_gradients(r, all, q0, q1);
          for (int64_t before = 0; before < (r.causal ? block + 1 : r.blocks()); before++)
            key_gradients(r, all, q0, q1, r.block_start(before), r.block_start(before + 1),
                          block == (r.causal ? before : 0) ? kFromZero : kFromC);
          if (tables) key_position_gradients(r, all, q0, q1);
          query_position_gradients(r, all, q0, q1);
        }
      }
      if (tables) {
        gather_spread(r, d_key_positions, false, partial + chunk * 2 * N * Q + h * K);
        gather_spread(r, d_query_positions, true, partial + (chunk * 2 + 1) * N * Q + h * K);
      }
    }
  });
  if (out[1].data) add_chunks(partial, chunks, 2 * N * Q, floats(out[1]), N * Q);
  if (out[2].data) add_chunks(partial + N * Q, chunks, 2 * N * Q, floats(out[2]), N * Q);
  return PHYSLM_OK;
}

/** One new token per sequence: writes its k and v at row `position` of the caches, attends over rows 0..position. */
static int32_t relativeAttentionStep_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                             int32_t, physlm_stream*) {
  const int64_t B = leading(in[0], 1), P = axis(in[0], 1), S = axis(in[1], 3), H = axis(in[1], 2), K = axis(in[1], 1);
  const int64_t N = leading(in[3], 1), Q = H * K, position = ((const int32_t*)in[5].data)[0];
  if (P != 3 * Q || axis(in[3], 1) != Q)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[qkv] expected %lld columns, tables of a third, got %lld and %lld", (long long)(3 * Q),
                       (long long)P, (long long)axis(in[3], 1));
  if (position < 0 || position >= S)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[position] expected 0 <= position < %lld, got %lld", (long long)S,
                       (long long)position);
  for (int c = 1; c <= 2; c++)
    if (out[c].data != in[c].data) __builtin_memcpy(out[c].data, in[c].data, elements(in[c]) * sizeof(float));
  const float* const key_positions = floats(in[3]);
  const float* const query_positions = floats(in[4]);
  const int64_t n = position + 1, width = round_up(n, kVL);
  if (physlm_reserve_local(H * width)) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for scores");
  const vf by = splat((float)attrs[0] * kLog2E);
  parallel(8.0 * B * Q * n, B, [&](int part, int parts) {
    const Range mine = share(B, part, parts);
    float* const scores = physlm_local();
    for (int64_t b = mine.begin; b < mine.end; b++) {
      const float* const q = floats(in[0]) + b * P;
      float* const keys = floats(out[1]) + b * S * Q;
      float* const values = floats(out[2]) + b * S * Q;
      each_vector(0, Q, [&](int64_t i, auto some) {
        store(keys + position * Q + i, load(q + Q + i, some), some);
        store(values + position * Q + i, load(q + 2 * Q + i, some), some);
      });
      for (int64_t s = 0; s < n; s++) {
        const int64_t distance = least(position - s, N - 1) * Q;
        for (int64_t h = 0; h < H; h++) {
          vf total = {};
          each_vector(h * K, (h + 1) * K, [&](int64_t i, auto some) {
            const vf k = load(keys + s * Q + i, some);
            total = fma(load(q + i, some), k + load(key_positions + distance + i, some), total);
            total = fma(k, load(query_positions + distance + i, some), total);
          });
          scores[h * width + s] = sum(total);
        }
      }
      float* const to = floats(out[0]) + b * Q;
      for (int64_t h = 0; h < H; h++) soften_row(scores + h * width, n, width, by);
      each_vector(0, Q, [&](int64_t i, auto some) { store(to + i, vf{}, some); });
      for (int64_t s = 0; s < n; s += kStepRows)
        for (int64_t h = 0; h < H; h++)
          add_values(scores + h * width + s, values + s * Q + h * K, Q, least(kStepRows, n - s), K, to + h * K);
    }
  });
  return PHYSLM_OK;
}
