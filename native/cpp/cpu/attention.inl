// Softmax attention over a packed row of q heads, then k heads, then v heads (B batch, T position, H query head, G kv head,
// K head width). One thread does a whole (batch, head): K and V of the head are packed once and stay in L2, scores exist
// for one tile of query rows (forward) or one block of keys (backward) only. Each tile computes its causal part, no more.
// The pattern is recomputed from the log-sum-exp in the backward pass. See Dao et al. 2022, arXiv:2205.14135, and
// Dao 2023, arXiv:2307.08691; here the whole row of scores fits the cache, so no rescaling is needed.

constexpr int64_t kScorePad = 16;          // keeps rows of scores out of one cache set
constexpr int64_t kKeyBlock = kMR * (kVL == 16 ? 4 : 8);  // keys whose gradients are in flight together

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

/**
 * Softmax weights of a tile, up to normalisation: exp(s·scale − max) in place over the first seen(r) of `width` scores of
 * row r, zero behind. Every row sees at least the first `full` scores, whole vectors; the loops are the same for all rows,
 * so that their ends are predicted. `tops` gets each row's maximum in units of log 2, `totals` its sum; both hold whole
 * vectors.
 */
template <class Seen>
INLINE void soften(float* scores, int64_t stride, int rows, Seen seen, int64_t full, int64_t width, float scale, float* tops,
                   float* totals) {
  const vf by = splat(scale * kLog2E), least_value = splat(-__builtin_inff());
  auto visible = [&](int64_t n, int64_t i) { return (int)most(0, least(kVL, n - i)); };
  for (int first_row = 0; first_row < rows; first_row += kVL) {
    const int count = (int)least(kVL, rows - first_row);
    vf each[kVL];
    for (int r = 0; r < count; r++) {
      const float* const s = scores + (first_row + r) * stride;
      const int64_t n = seen(first_row + r);
      vf m = least_value, m2 = m;
      int64_t i = 0;
      for (; i + 2 * kVL <= full; i += 2 * kVL) {
        m = larger(load(s + i) * by, m);
        m2 = larger(load(s + i + kVL) * by, m2);
      }
      if (i < full) {
        m = larger(load(s + i) * by, m);
        i += kVL;
      }
      for (; i < width; i += kVL) m2 = larger(keep(load(s + i) * by, 0, visible(n, i), least_value), m2);
      each[r] = larger(m, m2);
    }
    for (int r = count; r < kVL; r++) each[r] = vf{};
    store(tops + first_row, reduce_rows(each, [](vf a, vf b) { return larger(a, b); }));
    for (int r = 0; r < count; r++) {
      float* const s = scores + (first_row + r) * stride;
      const int64_t n = seen(first_row + r);
      const vf down = splat(-tops[first_row + r]);
      vf a = {}, b = {};
      int64_t i = 0;
      for (; i + 2 * kVL <= full; i += 2 * kVL) {
        const vf p = power_of_two(fma(load(s + i), by, down)), q = power_of_two(fma(load(s + i + kVL), by, down));
        store(s + i, p);
        store(s + i + kVL, q);
        a += p;
        b += q;
      }
      if (i < full) {
        const vf p = power_of_two(fma(load(s + i), by, down));
        store(s + i, p);
        a += p;
        i += kVL;
      }
      for (; i < width; i += kVL) {
        const vf p = keep(power_of_two(fma(load(s + i), by, down)), 0, visible(n, i), vf{});
        store(s + i, p);
        b += p;
      }
      each[r] = a + b;
    }
    for (int r = count; r < kVL; r++) each[r] = splat(1.0f / kVL);
    store(totals + first_row, reduce_rows(each, [](vf a, vf b) { return a + b; }));
  }
}
constexpr int kTileLanes = (kMR + kVL - 1) / kVL * kVL;

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
  const int64_t T = heads.T, P = heads.P, H = heads.H, G = heads.G, K = heads.K, tiles = tile_count(T);
  const int64_t width = round_up(T, kVL) + kScorePad, key_floats = packed_floats(T, K), value_floats = packed_floats(K, T);
  if (physlm_reserve_local(key_floats + value_floats + kMR * width))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for attention scores");
  parallel(4.0 * heads.B * H * T * T * K, heads.B * H, [&](int part, int parts) {
    const Range mine = share(heads.B * H, part, parts);
    float* const keys = physlm_local();
    float* const values = keys + key_floats;
    float* const scores = values + value_floats;
    for (int64_t u = mine.begin; u < mine.end; u++) {
      const int64_t b = u / H, h = u % H, g = h * G / H;
      const float* const row = qkv + b * T * P;
      const float* const q = row + h * K;
      if (u == mine.begin || h == 0 || g != (h - 1) * G / H) {
        pack_panels({row + (H + g) * K, P, true}, 0, K, 0, T, keys);
        pack_panels({row + (H + G + g) * K, P, false}, 0, T, 0, K, values);
      }
      const Panels key_panels = packed_panels(keys, T, K), value_panels = packed_panels(values, K, T);
      for (int64_t t = 0; t < tiles; t++) {
        const int64_t r0 = T * t / tiles, r1 = T * (t + 1) / tiles;
        const int64_t seen = heads.causal ? r1 : T;
        tile_row((int)(r1 - r0), 0, round_up(seen, kVL) < T ? round_up(seen, kVL) : T, T, K, q + r0 * P, P, false, key_panels,
                 scores, width, nullptr, kFromZero);
        float tops[kTileLanes], totals[kTileLanes], inverse[kTileLanes];
        const int64_t full = (heads.causal ? r0 + 1 : T) / kVL * kVL;
        soften(
            scores, width, (int)(r1 - r0), [&](int r) { return heads.causal ? r0 + r + 1 : T; }, full, seen, heads.scale, tops,
            totals);
        each_vector(0, r1 - r0, [&](int64_t i, auto some) {
          const vf total = load(totals + i);
          store(inverse + i, splat(1.0f) / total);
          if (lse) store(lse + (b * H + h) * T + r0 + i, fma(load(tops + i), splat(kLn2), logarithm(total)), some);
        });
        float* const to = o + (b * T + r0) * H * K + h * K;
        tile_row((int)(r1 - r0), 0, K, K, seen, scores, width, false, value_panels, to, H * K, nullptr, kFromZero);
        for (int64_t r = 0; r < r1 - r0; r++)
          each_vector(0, K, [&](int64_t i, auto some) {
            store(to + r * H * K + i, load(to + r * H * K + i, some) * splat(inverse[r]), some);
          });
      }
    }
  });
  return PHYSLM_OK;
}

/**
 * One thread does a (batch, kv head) with all its query heads in order. Tiles of keys against all their queries:
 * P^T = exp(k·q^T·scale − lse), dP^T = v·do^T, dS^T = P^T·(dP^T − δ)·scale with δ = Σ do·o; then dv = P^T·do and
 * dk = dS^T·q whole, and dq += dS·k one block of keys at a time.
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
  const int64_t wide = round_up(T, kVL), width = wide + kScorePad;
  const int64_t by_rows = packed_floats(T, K), by_dims = packed_floats(K, T);
  const int64_t need = 2 * by_rows + 3 * by_dims + 2 * kKeyBlock * width + 2 * wide;
  if (physlm_reserve_local(need))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for attention gradients");
  parallel(10.0 * heads.B * H * T * T * K, heads.B * G, [&](int part, int parts) {
    const Range mine = share(heads.B * G, part, parts);
    float* const q_turned = physlm_local();
    float* const grad_turned = q_turned + by_rows;
    float* const q_panels = grad_turned + by_rows;
    float* const grad_panels = q_panels + by_dims;
    float* const key_panels = grad_panels + by_dims;
    float* const pattern = key_panels + by_dims;
    float* const slope = pattern + kKeyBlock * width;
    float* const delta = slope + kKeyBlock * width;
    float* const minus_lse = delta + wide;
    const Panels q_t = packed_panels(q_turned, T, K), grad_t = packed_panels(grad_turned, T, K);
    const Panels keys = packed_panels(key_panels, K, T);
    for (int64_t u = mine.begin; u < mine.end; u++) {
      const int64_t b = u / G, g = u % G;
      const float* const row = qkv + b * T * P;
      float* const drow = dqkv + b * T * P;
      const float* const k = row + (H + g) * K;
      const float* const v = row + (H + G + g) * K;
      float* const dk = drow + (H + g) * K;
      float* const dv = drow + (H + G + g) * K;
      pack_panels({k, P, false}, 0, T, 0, K, key_panels);
      bool first_head = true;
      for (int64_t h = g * (H / G); h < (g + 1) * (H / G); h++, first_head = false) {
        const float* const q = row + h * K;
        float* const dq = drow + h * K;
        const float* const d = grad + b * T * H * K + h * K;
        const float* const a = o + b * T * H * K + h * K;
        pack_panels({q, P, true}, 0, K, 0, T, q_turned);
        pack_panels({d, H * K, true}, 0, K, 0, T, grad_turned);
        pack_panels({q, P, false}, 0, T, 0, K, q_panels);
        pack_panels({d, H * K, false}, 0, T, 0, K, grad_panels);
        for (int64_t t = 0; t < T; t++) {
          vf total = {};
          each_vector(0, K, [&](int64_t i, auto some) {
            total = fma(load(d + t * H * K + i, some), load(a + t * H * K + i, some), total);
          });
          delta[t] = sum(total);
          minus_lse[t] = -kLog2E * lse[(b * H + h) * T + t];
        }
        for (int64_t t = T; t < wide; t++) delta[t] = minus_lse[t] = 0.0f;
        const int64_t blocks = ceil_div(T, kKeyBlock);
        for (int64_t block = 0; block < blocks; block++) {
          const int64_t block0 = T * block / blocks, block1 = T * (block + 1) / blocks;
          const int64_t block_from = heads.causal ? block0 / kVL * kVL : 0;
          const int64_t tiles = tile_count(block1 - block0);
          for (int64_t t = 0; t < tiles; t++) {
            const int64_t j0 = block0 + (block1 - block0) * t / tiles, j1 = block0 + (block1 - block0) * (t + 1) / tiles;
            const int rows = (int)(j1 - j0);
            // Queries before `from` see none of these keys. Panels start at whole kNR, vectors at whole kVL.
            const int64_t from = heads.causal ? j0 / kVL * kVL : 0;
            float* const pt = pattern + (j0 - block0) * width;
            float* const st = slope + (j0 - block0) * width;
            const int64_t n0 = from / kNR * kNR;
            tile_row(rows, n0, T, T, K, k + j0 * P, P, false, q_t, pt + n0, width, nullptr, kFromZero);
            tile_row(rows, n0, T, T, K, v + j0 * P, P, false, grad_t, st + n0, width, nullptr, kFromZero);
            for (int64_t j = j0; j < j1; j++) {
              float* const p = pt + (j - j0) * width;
              float* const s = st + (j - j0) * width;
              for (int64_t i = block_from; i < from; i += kVL) store(s + i, vf{});
              auto gradient = [&](int64_t i, vf e) {
                store(p + i, e);
                store(s + i, e * splat(heads.scale) * (load(s + i) - load(delta + i)));
              };
              auto weight = [&](int64_t i) { return power_of_two(fma(load(p + i), splat(heads.scale * kLog2E), load(minus_lse + i))); };
              int64_t i = from;
              const int64_t diagonal = heads.causal ? least(round_up(j1, kVL), wide) : 0;
              for (; i < diagonal; i += kVL) {
                const int hi = (int)least(kVL, T - i), lo = (int)most(0, least(hi, j - i));
                const vf e = keep(weight(i), lo, hi, vf{});
                store(p + i, e);
                store(s + i, keep(e * splat(heads.scale) * (load(s + i) - load(delta + i)), lo, hi, vf{}));
              }
              for (; i + kVL <= T; i += kVL) gradient(i, weight(i));
              for (; i < wide; i += kVL) {
                const int hi = (int)(T - i);
                const vf e = keep(weight(i), 0, hi, vf{});
                store(p + i, e);
                store(s + i, keep(e * splat(heads.scale) * (load(s + i) - load(delta + i)), 0, hi, vf{}));
              }
            }
            const Start start = first_head ? kFromZero : kFromC;
            const Panels grads = packed_panels(grad_panels, K, T), queries = packed_panels(q_panels, K, T);
            auto rest = [&](Panels all) {  // the same panels from row `from` on
              all.full += from * all.bs;
              all.last += from * all.last_bs;
              return all;
            };
            tile_row(rows, 0, K, K, T - from, pt + from, width, false, rest(grads), dv + j0 * P, P, nullptr, start);
            tile_row(rows, 0, K, K, T - from, st + from, width, false, rest(queries), dk + j0 * P, P, nullptr, start);
          }
          // dq of every row that sees this block.
          const int64_t first_row = heads.causal ? block0 : 0;
          const int64_t row_tiles = tile_count(T - first_row);
          Panels some_keys = keys;
          some_keys.full += block0 * keys.bs;
          some_keys.last += block0 * keys.last_bs;
          for (int64_t t = 0; t < row_tiles; t++) {
            const int64_t r0 = first_row + (T - first_row) * t / row_tiles;
            const int64_t r1 = first_row + (T - first_row) * (t + 1) / row_tiles;
            const int64_t n_keys = heads.causal ? least(block1, r1) - block0 : block1 - block0;
            tile_row((int)(r1 - r0), 0, K, K, n_keys, slope + r0, width, true, some_keys, dq + r0 * P, P, nullptr,
                     block == 0 ? kFromZero : kFromC);
          }
        }
      }
    }
  });
  return PHYSLM_OK;
}
