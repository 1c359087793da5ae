// Ops on elements: each output depends on the inputs at its own place, so any split gives the same bits.

INLINE int64_t elements(const physlm_tensor& t) { return leading(t, 0); }

/** f(offset, lanes) over [0, n), cut into contiguous ranges of whole vectors. */
template <class F>
static void pointwise(int64_t n, double work, const F& f) {
  parallel(work * n, ceil_div(n, kVL), [&](int part, int parts) {
    const Range mine = share(ceil_div(n, kVL), part, parts);
    each_vector(mine.begin * kVL, least(n, mine.end * kVL), f);
  });
}

static int32_t gelu_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                            physlm_stream*) {
  const float* x = floats(in[0]);
  float* y = floats(out[0]);
  pointwise(elements(in[0]), 20, [=](int64_t i, auto some) { store(y + i, gelu(load(x + i, some)), some); });
  return PHYSLM_OK;
}

static int32_t gelu_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                             physlm_stream*) {
  const float* x = floats(in[0]);
  const float* dy = floats(in[1]);
  float* dx = floats(out[0]);
  if (!dx) return PHYSLM_OK;
  pointwise(elements(in[0]), 25, [=](int64_t i, auto some) {
    store(dx + i, load(dy + i, some) * gelu_slope(load(x + i, some)), some);
  });
  return PHYSLM_OK;
}

static int32_t gate_width(const physlm_tensor& wide, int64_t F) {
  if (axis(wide, 1) == 2 * F) return PHYSLM_OK;
  return physlm_fail(PHYSLM_BAD_ARGUMENT, "[x] expected %lld columns, twice the output's, got %lld", (long long)(2 * F),
                     (long long)axis(wide, 1));
}

static int32_t siluGate_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                physlm_stream*) {
  const int64_t R = leading(in[0], 1), F = axis(out[0], 1);
  if (int32_t status = gate_width(in[0], F)) return status;
  const float* const x = floats(in[0]);
  float* const y = floats(out[0]);
  parallel(20.0 * R * F, R, [&](int part, int parts) {
    const Range mine = share(R, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      const float* const a = x + r * 2 * F;
      each_vector(0, F, [&](int64_t i, auto some) {
        const vf gate = load(a + i, some);
        store(y + r * F + i, gate * logistic(gate) * load(a + F + i, some), some);
      });
    }
  });
  return PHYSLM_OK;
}

static int32_t siluGate_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                 physlm_stream*) {
  const int64_t R = leading(in[0], 1), F = axis(in[1], 1);
  if (int32_t status = gate_width(in[0], F)) return status;
  const float* const x = floats(in[0]);
  const float* const dy = floats(in[1]);
  float* const dx = floats(out[0]);
  if (!dx) return PHYSLM_OK;
  parallel(30.0 * R * F, R, [&](int part, int parts) {
    const Range mine = share(R, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      const float* const a = x + r * 2 * F;
      float* const da = dx + r * 2 * F;
      each_vector(0, F, [&](int64_t i, auto some) {
        const vf gate = load(a + i, some), up = load(a + F + i, some), d = load(dy + r * F + i, some);
        const vf s = logistic(gate);
        // d(g·σ)/dg = σ·(1 + g·(1−σ))
        store(da + i, d * up * (s * fma(gate, splat(1.0f) - s, splat(1.0f))), some);
        store(da + F + i, d * (gate * s), some);
      });
    }
  });
  return PHYSLM_OK;
}

static int32_t add_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                           physlm_stream*) {
  const float* a = floats(in[0]);
  const float* b = floats(in[1]);
  float* c = floats(out[0]);
  pointwise(elements(in[0]), 1, [=](int64_t i, auto some) { store(c + i, load(a + i, some) + load(b + i, some), some); });
  return PHYSLM_OK;
}

static int32_t fill_forward(const physlm_tensor*, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                            physlm_stream*) {
  float* c = floats(out[0]);
  const float value = (float)attrs[0];
  pointwise(elements(out[0]), 0.5, [=](int64_t i, auto some) { store(c + i, splat(value), some); });
  return PHYSLM_OK;
}

static int32_t embedding_ids(const int32_t* ids, int64_t R, int64_t V) {
  if (all_ids_below(ids, R, V, 0)) return PHYSLM_OK;
  for (int64_t r = 0; r < R; r++)
    if (ids[r] < 0 || ids[r] >= V)
      return physlm_fail(PHYSLM_BAD_ARGUMENT, "[ids] expected 0 <= id < %lld, got %d in row %lld", (long long)V, ids[r],
                         (long long)r);
  return PHYSLM_OK;
}

static int32_t embedding_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                 physlm_stream*) {
  const int32_t* const ids = (const int32_t*)in[0].data;
  const float* const w = floats(in[1]);
  float* const y = floats(out[0]);
  const int64_t R = elements(in[0]), V = leading(in[1], 1), D = axis(in[1], 1);
  if (int32_t status = embedding_ids(ids, R, V)) return status;
  parallel((double)R * D, R, [&](int part, int parts) {
    const Range mine = share(R, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      const float* const from = w + ids[r] * D;
      each_vector(0, D, [&](int64_t i, auto some) { store(y + r * D + i, load(from + i, some), some); });
    }
  });
  return PHYSLM_OK;
}

/** Each part owns a range of tokens and reads all ids: rows of one token are added in order of r for any split. */
static int32_t embedding_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double*, int32_t,
                                  physlm_stream*) {
  const int32_t* const ids = (const int32_t*)in[0].data;
  const float* const dy = floats(in[1]);
  float* const dw = floats(out[0]);
  if (!dw) return PHYSLM_OK;
  const int64_t R = elements(in[0]), V = leading(out[0], 1), D = axis(out[0], 1);
  if (int32_t status = embedding_ids(ids, R, V)) return status;
  parallel((double)(R + V) * D, V, [&](int part, int parts) {
    const Range mine = share(V, part, parts);
    each_vector(mine.begin * D, mine.end * D, [&](int64_t i, auto some) { store(dw + i, vf{}, some); });
    for (int64_t r = 0; r < R; r++) {
      if (ids[r] < mine.begin || ids[r] >= mine.end) continue;
      float* const to = dw + ids[r] * D;
      each_vector(0, D, [&](int64_t i, auto some) {
        store(to + i, load(to + i, some) + load(dy + r * D + i, some), some);
      });
    }
  });
  return PHYSLM_OK;
}

/** GPT-NeoX rotation: within a head, dims i and i + dRotary/2 turn by position·base^(−2i/dRotary). Su et al. 2021, arXiv:2104.09864. */
static int32_t rotate(const physlm_tensor& x, const physlm_tensor& positions, physlm_tensor& y, const double* attrs,
                      float direction) {
  const int64_t heads = (int64_t)attrs[0], K = (int64_t)attrs[1], D = (int64_t)attrs[2];
  const int64_t T = axis(x, 2), P = axis(x, 1), R = leading(x, 1), half = D / 2;
  if (heads < 0 || K < 1 || heads * K > P)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[nHead] expected nHead·dHead at most %lld, got %lld·%lld", (long long)P,
                       (long long)heads, (long long)K);
  if (D < 0 || D > K || D % 2)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[dRotary] expected an even number up to dHead %lld, got %lld", (long long)K,
                       (long long)D);
  physlm_rotary table;
  if (physlm_rotary_table((const int32_t*)positions.data, T, D, attrs[3], &table))
    return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for rotary angles");
  const bool narrow = D == K && D > 0 && kVL % D == 0;
  vi swap = {}, repeat = {};
  vf sign = {};
  for (int i = 0; narrow && i < kVL; i++) {
    swap[i] = i ^ (int)half;
    repeat[i] = i & (int)(half - 1);
    sign[i] = i & half ? direction : -direction;
  }
  const float* const from = floats(x);
  float* const to = floats(y);
  parallel(3.0 * R * P, R, [&](int part, int parts) {
    const Range mine = share(R, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      const float* const cos = table.cos + r % T * half;
      const float* const sin = table.sin + r % T * half;
      const float* const a = from + r * P;
      float* const b = to + r * P;
      if (narrow) {
        // Whole heads share a vector: y = x·cos + (x with its halves swapped)·(∓sin). Pieces of a vector would be slow in
        // place: a masked load waits for the masked store before it.
        const vf by_cos = __builtin_shuffle(load(cos, (int)half), repeat);
        const vf by_sin = __builtin_shuffle(load(sin, (int)half), repeat) * sign;
        each_vector(0, heads * K, [&](int64_t i, auto some) {
          const vf x = load(a + i, some);
          store(b + i, fma(__builtin_shuffle(x, swap), by_sin, x * by_cos), some);
        });
      } else {
        for (int64_t h = 0; h < heads; h++) {
          const int64_t lo = h * K, hi = lo + half;
          each_vector(0, half, [&](int64_t i, auto some) {
            const vf c = load(cos + i, some), s = load(sin + i, some) * splat(direction);
            const vf p = load(a + lo + i, some), q = load(a + hi + i, some);
            store(b + lo + i, fnma(q, s, p * c), some);
            store(b + hi + i, fma(p, s, q * c), some);
          });
          if (a != b)
            each_vector(lo + D, lo + K, [&](int64_t i, auto some) { store(b + i, load(a + i, some), some); });
        }
      }
      if (a != b)
        each_vector(heads * K, P, [&](int64_t i, auto some) { store(b + i, load(a + i, some), some); });
    }
  });
  return PHYSLM_OK;
}

static int32_t rotary_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                              physlm_stream*) {
  return rotate(in[0], in[1], out[0], attrs, 1.0f);
}

static int32_t rotary_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs, int32_t,
                               physlm_stream*) {
  if (!out[0].data) return PHYSLM_OK;
  return rotate(in[1], in[0], out[0], attrs, -1.0f);
}
