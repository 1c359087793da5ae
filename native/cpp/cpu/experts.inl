// A mixture of experts with one expert for each row: rows are sorted by expert, and each expert takes its own rows through all
// its products while they are in the first-level cache, whole experts on one thread. Sorting keeps the order of rows, so nothing
// depends on threads.
// Scratch floats: 3R + E + 1; each thread's, for the n rows of an expert, n·(2D + 2F) forward and n·(3D + 3F + 1) backward.

/** Where the rows go. */
struct Routes {
  int64_t R, E, group, capacity;
  float* gate;      // [R], probability of the expert chosen; 0 for rows that no expert takes
  int32_t* expert;  // [R], the expert that takes the row, or -1
  int32_t* order;   // rows by expert, each expert's ascending
  int32_t* begin;   // [E + 1], where each expert's rows begin in `order`
};
INLINE int64_t route_floats(int64_t R, int64_t E) { return 3 * R + E + 1; }

/** 0, −1, −2, …: the larger, the earlier. */
static const float kEarlier[16] = {0, -1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12, -13, -14, -15};

/** The first of the largest; 0 when there are NaNs only. No branch depends on x. */
INLINE int64_t argmax(const float* x, int64_t n) {
  const vf none = splat(-__builtin_inff());
  vf tops = none;
  each_vector(0, n, [&](int64_t i, auto some) {
    vf v = load(x + i, some);
    if constexpr (sizeof(some) == sizeof(Some)) v = keep(v, 0, (int)least(kVL, n - i), none);
    tops = larger(v, tops);
  });
  const vf top = splat(largest(tops)), lanes = load(kEarlier);
  vf first = none;
  each_vector(0, n, [&](int64_t i, auto some) {
    vf found = load(x + i, some) == top ? lanes - splat((float)i) : none;
    if constexpr (sizeof(some) == sizeof(Some)) found = keep(found, 0, (int)least(kVL, n - i), none);
    first = larger(found, first);
  });
  const float earliest = largest(first);
  return earliest > -__builtin_inff() ? (int64_t)-earliest : 0;
}

/** exp(x − max) over a row and its sum. */
INLINE float exponentials(const float* x, int64_t n, float top, float* e) {
  vf total = {};
  each_vector(0, n, [&](int64_t i, auto some) {
    const vf v = exponential(load(x + i, some) - splat(top));
    store(e + i, v, some);
    if constexpr (sizeof(some) == sizeof(Some))
      total += keep(v, 0, (int)least(kVL, n - i), vf{});
    else
      total += v;
  });
  return sum(total);
}

/** Σ a·b. */
INLINE float dot(const float* a, const float* b, int64_t n) {
  vf total = {};
  each_vector(0, n, [&](int64_t i, auto some) { total = fma(load(a + i, some), load(b + i, some), total); });
  return sum(total);
}

/**
 * Chooses an expert for every row; exp(logits − max) goes to `exps` [R, E], of rows that no expert takes zero, unless null.
 * `local` memory of 2E floats for each thread must be reserved.
 */
static Routes route(const float* logits, int64_t R, int64_t E, const double* attrs, float* room, float* exps) {
  Routes a = {R, E, (int64_t)attrs[0], (int64_t)attrs[1], room, (int32_t*)(room + R), (int32_t*)(room + 2 * R),
              (int32_t*)(room + 3 * R)};
  parallel(20.0 * R * E, R / a.group, [&](int part, int parts) {
    const Range groups = share(R / a.group, part, parts);
    float* const e = physlm_local();
    int32_t* const taken = (int32_t*)(e + round_up(E, kVL));
    for (int64_t g = groups.begin; g < groups.end; g++) {
      for (int64_t i = 0; i < E; i++) taken[i] = 0;
      for (int64_t r = g * a.group; r < (g + 1) * a.group; r++) {
        const float* const row = logits + r * E;
        const int64_t best = argmax(row, E);
        const bool fits = taken[best]++ < a.capacity;
        a.expert[r] = fits ? (int32_t)best : -1;
        float* const to = exps ? exps + r * E : e;
        a.gate[r] = fits ? 1.0f / exponentials(row, E, row[best], to) : 0.0f;
        if (exps && !fits) each_vector(0, E, [&](int64_t i, auto some) { store(to + i, vf{}, some); });
      }
    }
  });
  for (int64_t i = 0; i <= E; i++) a.begin[i] = 0;
  for (int64_t r = 0; r < R; r++)
    if (a.expert[r] >= 0) a.begin[a.expert[r] + 1]++;
  for (int64_t i = 0; i < E; i++) a.begin[i + 1] += a.begin[i];
  for (int64_t r = 0; r < R; r++)
    if (a.expert[r] >= 0) a.order[a.begin[a.expert[r]]++] = (int32_t)r;
  for (int64_t i = E; i > 0; i--) a.begin[i] = a.begin[i - 1];
  a.begin[0] = 0;
  return a;
}

/** to[i] = factor·from[rows[i]] for n rows of `width` floats; 1 when `factor` is null. */
static void gather_rows(const float* from, const int32_t* rows, int64_t n, int64_t width, const float* factor, float* to) {
  for (int64_t i = 0; i < n; i++) {
    const vf by = splat(factor ? factor[rows[i]] : 1.0f);
    const float* const row = from + rows[i] * width;
    each_vector(0, width, [&](int64_t k, auto some) { store(to + i * width + k, load(row + k, some) * by, some); });
  }
}

/** to[rows[i]] = factor·from[i]. */
static void scatter_rows(const float* from, const int32_t* rows, int64_t n, int64_t width, const float* factor, float* to) {
  for (int64_t i = 0; i < n; i++) {
    const vf by = splat(factor ? factor[rows[i]] : 1.0f);
    float* const row = to + rows[i] * width;
    each_vector(0, width, [&](int64_t k, auto some) { store(row + k, load(from + i * width + k, some) * by, some); });
  }
}

/** Zeros in the rows that no expert takes. */
static void clear_left(const Routes& a, int64_t width, float* to) {
  if (a.begin[a.E] == a.R) return;
  parallel(2.0 * a.R * width, a.R, [&](int part, int parts) {
    const Range mine = share(a.R, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++)
      if (a.expert[r] < 0) each_vector(r * width, (r + 1) * width, [&](int64_t i, auto some) { store(to + i, vf{}, some); });
  });
}

template <class F>
struct EachExpert {
  const Routes* a;
  const F* f;
  int32_t status[PHYSLM_MAX_THREADS];
};

/** f(expert, its first place, its rows) for every expert, whole experts on one thread; f returns a status. */
template <class F>
static int32_t each_expert(const Routes& a, const F& f) {
  EachExpert<F> job = {&a, &f, {}};
  const auto run = [](void* context, int part, int) {
    EachExpert<F>& job = *(EachExpert<F>*)context;
    const Routes& a = *job.a;
    const int32_t status = (*job.f)((int64_t)part, (int64_t)a.begin[part], (int64_t)(a.begin[part + 1] - a.begin[part]));
    if (status) job.status[physlm_slot_index()] = status;
  };
  if (physlm_in_lane())
    for (int e = 0; e < (int)a.E; e++) run(&job, e, (int)a.E);
  else
    physlm_parallel_lanes((int)a.E, physlm_threads(), run, &job);
  for (int32_t status : job.status)
    if (status) return status;
  return PHYSLM_OK;
}

/** Asks for the weights of the next expert, which nobody else has read lately, while this one is at work. */
INLINE void fetch_ahead(const float* weights, int64_t n, int64_t e, int64_t E) {
  constexpr int64_t kLine = 16, kMost = 64 * 1024;  // floats
  if (!weights || e + 1 >= E || n > kMost) return;
  for (int64_t i = 0; i < n; i += kLine) __builtin_prefetch(weights + (e + 1) * n + i, 0, 2);
}

static int32_t check_experts(int64_t R, int64_t E, const double* attrs) {
  const int64_t group = (int64_t)attrs[0];
  if (group < 1 || R % group != 0)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[group] expected a divisor of R=%lld, got %lld", (long long)R, (long long)group);
  if (E < 1 || E > 65535) return physlm_fail(PHYSLM_BAD_ARGUMENT, "[logits] expected 1 <= E <= 65535, got %lld", (long long)E);
  return PHYSLM_OK;
}

static int32_t expertMlp_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                                 physlm_stream*) {
  const int64_t R = leading(in[0], 1), D = axis(in[0], 1), E = axis(in[1], 1), F = axis(in[3], 1);
  if (int32_t status = check_experts(R, E, attrs)) return status;
  float* const room = physlm_scratch(PHYSLM_SLOT_VALUES, route_floats(R, E));
  if (!room || physlm_reserve_local(2 * round_up(E, kVL)))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for rows sorted by expert");
  const Routes a = route(floats(in[1]), R, E, attrs, room, nullptr);
  const float *const x = floats(in[0]), *const up = floats(in[2]), *const up_bias = floats(in[3]), *const down = floats(in[4]),
              *const down_bias = floats(in[5]);
  float *const y = floats(out[0]), *const pre = out[1].data ? floats(out[1]) : nullptr;
  const int32_t status = each_expert(a, [&](int64_t e, int64_t s, int64_t n) -> int32_t {
    fetch_ahead(up, F * D, e, E);
    fetch_ahead(down, D * F, e, E);
    if (n == 0) return PHYSLM_OK;
    float* const xs = physlm_scratch(PHYSLM_SLOT_ROWS, n * (2 * D + 2 * F));
    if (!xs) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for the rows of an expert");
    float *const p = xs + n * D, *const hidden = p + n * F, *const said = hidden + n * F;
    const int32_t* const rows = a.order + s;
    gather_rows(x, rows, n, D, nullptr, xs);
    if (int32_t status = gemm(n, F, D, {xs, D, false}, {up + e * F * D, D, true}, p, F, up_bias + e * F, hidden, F)) return status;
    if (pre) scatter_rows(p, rows, n, F, nullptr, pre);
    if (int32_t status = gemm(n, D, F, {hidden, F, false}, {down + e * D * F, F, true}, said, D, down_bias + e * D, nullptr, 0))
      return status;
    scatter_rows(said, rows, n, D, a.gate, y);
    return PHYSLM_OK;
  });
  if (status) return status;
  clear_left(a, D, y);
  if (pre) clear_left(a, F, pre);
  return PHYSLM_OK;
}

/** to[i] = Σ over n rows of from[·][i], in order. */
static void add_rows(const float* from, int64_t n, int64_t width, float* to) {
  each_vector(0, width, [&](int64_t i, auto some) {
    vf total = {};
    for (int64_t r = 0; r < n; r++) total += load(from + r * width + i, some);
    store(to + i, total, some);
  });
}

/** dw[e] = aᵀ·b over n rows and db[e] = Σ a, each unless null; zero without rows. */
static int32_t expert_gradients(const float* a, const float* b, int64_t n, int64_t O, int64_t I, float* dw, float* db) {
  if (db) add_rows(a, n, O, db);
  if (!dw) return PHYSLM_OK;
  if (n > 0) return gemm(O, I, n, {a, O, true}, {b, I, false}, dw, I, nullptr, nullptr, 0);
  each_vector(0, O * I, [&](int64_t i, auto some) { store(dw + i, vf{}, some); });
  return PHYSLM_OK;
}

static int32_t expertMlp_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                                  physlm_stream*) {
  const int64_t R = leading(in[0], 1), D = axis(in[0], 1), E = axis(in[1], 1), F = axis(in[5], 1);
  if (int32_t status = check_experts(R, E, attrs)) return status;
  float* const room = physlm_scratch(PHYSLM_SLOT_VALUES, route_floats(R, E));
  if (!room || physlm_reserve_local(2 * round_up(E, kVL)))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for rows sorted by expert");
  const float *const x = floats(in[0]), *const logits = floats(in[1]), *const up = floats(in[2]), *const down = floats(in[3]),
              *const down_bias = floats(in[4]), *const pre = floats(in[5]), *const dy = floats(in[6]);
  float *const dx = out[0].data ? floats(out[0]) : nullptr, *const dlogits = out[1].data ? floats(out[1]) : nullptr,
        *const dup = out[2].data ? floats(out[2]) : nullptr, *const dup_bias = out[3].data ? floats(out[3]) : nullptr,
        *const ddown = out[4].data ? floats(out[4]) : nullptr, *const ddown_bias = out[5].data ? floats(out[5]) : nullptr;
  const Routes a = route(logits, R, E, attrs, room, dlogits);
  const int32_t status = each_expert(a, [&](int64_t e, int64_t s, int64_t n) -> int32_t {
    float* const xs = physlm_scratch(PHYSLM_SLOT_ROWS, n * (3 * D + 3 * F) + 1);
    if (!xs) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for the rows of an expert");
    float *const d = xs + n * D /* gate·dy */, *const dxs = d + n * D, *const p = dxs + n * D, *const h = p + n * F,
                 *const dh = h + n * F;
    const int32_t* const rows = a.order + s;
    fetch_ahead(down, D * F, e, E);
    fetch_ahead(up, F * D, e, E);
    gather_rows(x, rows, n, D, nullptr, xs);
    gather_rows(dy, rows, n, D, a.gate, d);
    gather_rows(pre, rows, n, F, nullptr, p);
    each_vector(0, n * F, [&](int64_t i, auto some) {
      const Gelu g = gelu_both(load(p + i, some));
      store(h + i, g.value, some);
      store(p + i, g.slope, some);
    });
    if (int32_t status = expert_gradients(d, h, n, D, F, ddown ? ddown + e * D * F : nullptr,
                                          ddown_bias ? ddown_bias + e * D : nullptr))
      return status;
    if (int32_t status = gemm(n, F, D, {d, D, false}, {down + e * D * F, F, false}, dh, F, nullptr, nullptr, 0)) return status;
    if (dlogits)
      for (int64_t i = 0; i < n; i++) {
        // dp[e]/dlogits = p[e]·(1 at e − p). said = hidden·downᵀ + bias, so dy·said = ((gate·dy)·down·hidden + gate·dy·bias) / gate;
        // the gate is never 0 here.
        const int64_t r = rows[i];
        float* const to = dlogits + r * E;
        const float by = dot(dh + i * F, h + i * F, F) + dot(d + i * D, down_bias + e * D, D), scale = -by * a.gate[r];
        each_vector(0, E, [&](int64_t k, auto some) { store(to + k, load(to + k, some) * splat(scale), some); });
        to[e] += by;
      }
    each_vector(0, n * F, [&](int64_t i, auto some) { store(dh + i, load(dh + i, some) * load(p + i, some), some); });
    if (int32_t status = expert_gradients(dh, xs, n, F, D, dup ? dup + e * F * D : nullptr,
                                          dup_bias ? dup_bias + e * F : nullptr))
      return status;
    if (!dx) return PHYSLM_OK;
    if (int32_t status = gemm(n, D, F, {dh, F, false}, {up + e * F * D, D, false}, dxs, D, nullptr, nullptr, 0)) return status;
    scatter_rows(dxs, rows, n, D, nullptr, dx);
    return PHYSLM_OK;
  });
  if (status) return status;
  if (dx) clear_left(a, D, dx);
  return PHYSLM_OK;
}

/** Shares of experts among the rows of a group, by largest logit, and which each row chooses. */
static void expert_shares(const float* logits, int64_t group, int64_t E, float* shares, int32_t* chosen) {
  each_vector(0, E, [&](int64_t i, auto some) { store(shares + i, vf{}, some); });
  for (int64_t r = 0; r < group; r++) shares[chosen[r] = (int32_t)argmax(logits + r * E, E)] += 1.0f;
  each_vector(0, E, [&](int64_t i, auto some) { store(shares + i, load(shares + i, some) / splat((float)group), some); });
}

/** f(row, shares of experts in its group, exp(logits − max), their sum) for every row. */
template <class F>
static int32_t each_penalty(const physlm_tensor& x, const double* attrs, const F& f) {
  const int64_t R = leading(x, 1), E = axis(x, 1), group = (int64_t)attrs[0];
  if (int32_t status = check_experts(R, E, attrs)) return status;
  if (physlm_reserve_local(2 * round_up(E, kVL) + group))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for shares of experts");
  const float* const logits = floats(x);
  parallel(30.0 * R * E, R / group, [&](int part, int parts) {
    const Range groups = share(R / group, part, parts);
    float* const shares = physlm_local();
    float* const e = shares + round_up(E, kVL);
    int32_t* const chosen = (int32_t*)(e + round_up(E, kVL));
    for (int64_t g = groups.begin; g < groups.end; g++) {
      expert_shares(logits + g * group * E, group, E, shares, chosen);
      for (int64_t i = 0; i < group; i++) {
        const float* const row = logits + (g * group + i) * E;
        f(g * group + i, shares, e, exponentials(row, E, row[chosen[i]], e));
      }
    }
  });
  return PHYSLM_OK;
}

static int32_t balancePenalty_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                      int32_t, physlm_stream*) {
  const int64_t E = axis(in[0], 1);
  const float weight = (float)(attrs[1] * E);
  float* const penalty = floats(out[0]);
  return each_penalty(in[0], attrs, [=](int64_t r, const float* shares, const float* e, float total) {
    penalty[r] = weight * dot(shares, e, E) / total;
  });
}

static int32_t balancePenalty_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                       int32_t, physlm_stream*) {
  const int64_t E = axis(in[0], 1);
  const float weight = (float)(attrs[1] * E);
  const float* const dpenalty = floats(in[1]);
  float* const dlogits = floats(out[0]);
  if (!dlogits) return PHYSLM_OK;
  return each_penalty(in[0], attrs, [=](int64_t r, const float* shares, const float* e, float total) {
    const float mean = dot(shares, e, E) / total, by = dpenalty[r] * weight / total;
    each_vector(0, E, [&](int64_t i, auto some) {
      store(dlogits + r * E + i, splat(by) * load(e + i, some) * (load(shares + i, some) - splat(mean)), some);
    });
  });
}
