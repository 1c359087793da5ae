// A mixture of experts with one expert for each row: rows are sorted by expert, each expert multiplies its own rows, and what
// it says goes back to where the rows were. Sorting keeps the order of rows, so nothing depends on threads.
// Scratch floats: 3R + E + 1, then R·(2D + F) for the forward pass and R·(3D + 3F + 1) for the backward pass.

/** Where the rows go. */
struct Routes {
  int64_t R, E, group, capacity;
  float* gate;      // [R], probability of the expert chosen; 0 for rows that no expert takes
  int32_t* expert;  // [R], the expert that takes the row, or -1
  int32_t* order;   // rows by expert, each expert's ascending
  int32_t* begin;   // [E + 1], where each expert's rows begin in `order`
};
INLINE int64_t route_floats(int64_t R, int64_t E) { return 3 * R + E + 1; }

/** The first of the largest; 0 when there are NaNs only. */
INLINE int64_t argmax(const float* x, int64_t n) {
  vf tops = splat(-__builtin_inff());
  each_vector(0, n, [&](int64_t i, auto some) {
    vf v = load(x + i, some);
    if constexpr (sizeof(some) == sizeof(Some)) v = keep(v, 0, (int)least(kVL, n - i), splat(-__builtin_inff()));
    tops = larger(v, tops);
  });
  const float top = largest(tops);
  for (int64_t e = 0; e < n; e++)
    if (x[e] == top) return e;
  return 0;
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

/** Chooses an expert for every row; `local` memory of E floats for each thread must be reserved. */
static Routes route(const float* logits, int64_t R, int64_t E, const double* attrs, float* room) {
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
        a.gate[r] = fits ? 1.0f / exponentials(row, E, row[best], e) : 0.0f;
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

/** f(place in `order`, row) for every row that an expert takes. */
template <class F>
static void each_taken(const Routes& a, double work, const F& f) {
  const int64_t n = a.begin[a.E];
  parallel(work * n, n, [&](int part, int parts) {
    const Range mine = share(n, part, parts);
    for (int64_t s = mine.begin; s < mine.end; s++) f(s, (int64_t)a.order[s]);
  });
}

/** to[s] = factor·from[row], `width` floats. */
static void gather_rows(const Routes& a, const float* from, int64_t width, const float* factor, float* to) {
  each_taken(a, 2.0 * width, [&](int64_t s, int64_t r) {
    const vf by = splat(factor ? factor[r] : 1.0f);
    each_vector(0, width, [&](int64_t i, auto some) { store(to + s * width + i, load(from + r * width + i, some) * by, some); });
  });
}

/** to[row] = factor·from[s], and zero for rows that no expert takes. */
static void scatter_rows(const Routes& a, const float* from, int64_t width, const float* factor, float* to) {
  parallel(2.0 * a.R * width, a.R, [&](int part, int parts) {
    const Range mine = share(a.R, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++)
      if (a.expert[r] < 0) each_vector(r * width, (r + 1) * width, [&](int64_t i, auto some) { store(to + i, vf{}, some); });
  });
  each_taken(a, 2.0 * width, [&](int64_t s, int64_t r) {
    const vf by = splat(factor ? factor[r] : 1.0f);
    each_vector(0, width, [&](int64_t i, auto some) { store(to + r * width + i, load(from + s * width + i, some) * by, some); });
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
  float* const room = physlm_scratch(PHYSLM_SLOT_VALUES, route_floats(R, E) + R * (2 * D + F) + 3 * kVL);
  if (!room || physlm_reserve_local(2 * round_up(E, kVL)))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for rows sorted by expert");
  const Routes a = route(floats(in[1]), R, E, attrs, room);
  float* const xs = room + round_up(route_floats(R, E), kVL);
  float* const hidden = xs + R * D;
  float* const said = hidden + R * F;
  const float *const up = floats(in[2]), *const up_bias = floats(in[3]), *const down = floats(in[4]),
              *const down_bias = floats(in[5]);
  gather_rows(a, floats(in[0]), D, nullptr, xs);
  int32_t status = each_expert(a, [&](int64_t e, int64_t s, int64_t n) {
    return gemm(n, F, D, {xs + s * D, D, false}, {up + e * F * D, D, true}, hidden + s * F, F, up_bias + e * F, nullptr, 0);
  });
  if (status) return status;
  if (out[1].data) scatter_rows(a, hidden, F, nullptr, floats(out[1]));
  const int64_t taken = a.begin[E];
  pointwise(taken * F, 20, [=](int64_t i, auto some) { store(hidden + i, gelu(load(hidden + i, some)), some); });
  status = each_expert(a, [&](int64_t e, int64_t s, int64_t n) {
    return gemm(n, D, F, {hidden + s * F, F, false}, {down + e * D * F, F, true}, said + s * D, D, down_bias + e * D, nullptr, 0);
  });
  if (status) return status;
  scatter_rows(a, said, D, a.gate, floats(out[0]));
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
  const int64_t routes = round_up(route_floats(R, E), kVL);
  float* const room = physlm_scratch(PHYSLM_SLOT_VALUES, routes + R * (3 * D + 3 * F + 1));
  if (!room || physlm_reserve_local(2 * round_up(E, kVL)))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for rows sorted by expert");
  const float *const logits = floats(in[1]), *const up = floats(in[2]), *const down = floats(in[3]),
              *const down_bias = floats(in[4]), *const dy = floats(in[6]);
  const Routes a = route(logits, R, E, attrs, room);
  float* const xs = room + routes;
  float* const dsaid = xs + R * D;  // gate·dy
  float* const dxs = dsaid + R * D;
  float* const pre = dxs + R * D;  // then its gradient
  float* const hidden = pre + R * F;
  float* const dhidden = hidden + R * F;
  float* const dgate = dhidden + R * F;
  gather_rows(a, floats(in[0]), D, nullptr, xs);
  gather_rows(a, dy, D, a.gate, dsaid);
  gather_rows(a, floats(in[5]), F, nullptr, pre);
  float *const dx = out[0].data ? floats(out[0]) : nullptr, *const dlogits = out[1].data ? floats(out[1]) : nullptr,
        *const dup = out[2].data ? floats(out[2]) : nullptr, *const dup_bias = out[3].data ? floats(out[3]) : nullptr,
        *const ddown = out[4].data ? floats(out[4]) : nullptr, *const ddown_bias = out[5].data ? floats(out[5]) : nullptr;
  const int32_t status = each_expert(a, [&](int64_t e, int64_t s, int64_t n) -> int32_t {
    float *const d = dsaid + s * D, *const h = hidden + s * F, *const dh = dhidden + s * F, *const p = pre + s * F;
    each_vector(0, n * F, [&](int64_t i, auto some) { store(h + i, gelu(load(p + i, some)), some); });
    if (int32_t status = expert_gradients(d, h, n, D, F, ddown ? ddown + e * D * F : nullptr,
                                          ddown_bias ? ddown_bias + e * D : nullptr))
      return status;
    if (int32_t status = gemm(n, F, D, {d, D, false}, {down + e * D * F, F, false}, dh, F, nullptr, nullptr, 0)) return status;
    // said = hidden·downᵀ + bias, so dy·said = ((gate·dy)·down·hidden + gate·dy·bias) / gate; the gate is never 0 here.
    if (dlogits)
      for (int64_t i = 0; i < n; i++)
        dgate[s + i] = (dot(dh + i * F, h + i * F, F) + dot(d + i * D, down_bias + e * D, D)) / a.gate[a.order[s + i]];
    each_vector(0, n * F, [&](int64_t i, auto some) { store(p + i, load(dh + i, some) * gelu_slope(load(p + i, some)), some); });
    if (int32_t status = expert_gradients(p, xs + s * D, n, F, D, dup ? dup + e * F * D : nullptr,
                                          dup_bias ? dup_bias + e * F : nullptr))
      return status;
    return dx ? gemm(n, D, F, {p, F, false}, {up + e * F * D, D, false}, dxs + s * D, D, nullptr, nullptr, 0) : PHYSLM_OK;
  });
  if (status) return status;
  if (dx) scatter_rows(a, dxs, D, nullptr, dx);
  if (!dlogits) return PHYSLM_OK;
  parallel(2.0 * R * E, R, [&](int part, int parts) {
    const Range mine = share(R, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++)
      if (a.expert[r] < 0)
        each_vector(r * E, (r + 1) * E, [&](int64_t i, auto some) { store(dlogits + i, vf{}, some); });
  });
  each_taken(a, 20.0 * E, [&](int64_t s, int64_t r) {
    // dp[e]/dlogits = p[e]·(1 at e − p)
    float* const to = dlogits + r * E;
    const int64_t e = a.expert[r];
    const float by = dgate[s] * a.gate[r];
    exponentials(logits + r * E, E, logits[r * E + e], to);
    each_vector(0, E, [&](int64_t i, auto some) { store(to + i, load(to + i, some) * splat(-by * a.gate[r]), some); });
    to[e] += by;
  });
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
