// Cross-entropy of rows of logits against target tokens, in nats; the softmax is recomputed from its log-sum-exp.

static int32_t check_targets(const int32_t* targets, int64_t R, int64_t V, double ignored) {
  if (all_ids_below(targets, R, V, (int32_t)ignored)) return PHYSLM_OK;
  for (int64_t r = 0; r < R; r++)
    if ((targets[r] < 0 || targets[r] >= V) && targets[r] != ignored)
      return physlm_fail(PHYSLM_BAD_ARGUMENT, "[targets] expected 0 <= target < %lld or %lld, got %d in row %lld",
                         (long long)V, (long long)ignored, targets[r], (long long)r);
  return PHYSLM_OK;
}

/** Σ f(x) over the row, f on vectors; what f makes of the lanes past its end is left out. */
template <class F>
INLINE float row_sum(const float* x, int64_t n, F f) {
  vf a = {}, b = {};
  int64_t i = 0;
  for (; i + 2 * kVL <= n; i += 2 * kVL) {
    a += f(load(x + i));
    b += f(load(x + i + kVL));
  }
  for (; i < n; i += kVL) {
    const int lanes = (int)least(kVL, n - i);
    a += keep(f(load(x + i, lanes)), 0, lanes, vf{});
  }
  return sum(a + b);
}

/**
 * Sets `total` and returns m such that log Σ e^x = m + log(total); NaN if any x is. Almost every row of logits lies where
 * Σ e^x is neither tiny nor huge: then m = 0 and one pass does, with an error below that of rounding the result.
 */
INLINE float sum_exponentials(const float* x, int64_t n, float* total) {
  constexpr float kTiny = 0x1p-40f, kHuge = 0x1p100f;
  *total = row_sum(x, n, [](vf v) { return exp2_or_zero(v * splat(kLog2E)); });
  if (*total > kTiny && *total < kHuge) return 0.0f;
  vf top = splat(-__builtin_inff());
  each_vector(0, n, [&](int64_t i, auto some) {
    vf v = load(x + i, some);
    if constexpr (sizeof(some) == sizeof(Some)) v = keep(v, 0, (int)least(kVL, n - i), splat(-__builtin_inff()));
    top = larger(v, top);
  });
  const float m = largest(top);
  *total = row_sum(x, n, [m](vf v) { return exp2_or_zero((v - splat(m)) * splat(kLog2E)); });
  return m;
}

static int32_t crossEntropy_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                    int32_t, physlm_stream*) {
  const int64_t R = leading(in[0], 1), V = axis(in[0], 1);
  const float* const logits = floats(in[0]);
  const int32_t* const targets = (const int32_t*)in[1].data;
  float* const loss = floats(out[0]);
  float* const lse = floats(out[1]);
  if (int32_t status = check_targets(targets, R, V, attrs[0])) return status;
  parallel(12.0 * R * V, ceil_div(R, kVL), [&](int part, int parts) {
    const Range mine = share(ceil_div(R, kVL), part, parts);
    for (int64_t r0 = mine.begin * kVL; r0 < least(R, mine.end * kVL); r0 += kVL) {
      // One logarithm for a vector of rows.
      const int rows = (int)least(kVL, R - r0);
      float shifts[kVL] = {}, totals[kVL] = {}, lses[kVL];
      for (int i = 0; i < rows; i++) shifts[i] = sum_exponentials(logits + (r0 + i) * V, V, totals + i);
      store(lses, load(shifts) + logarithm(load(totals)));
      for (int i = 0; i < rows; i++) {
        const int64_t r = r0 + i;
        if (loss) loss[r] = targets[r] == attrs[0] ? 0.0f : lses[i] - logits[r * V + targets[r]];
        if (lse) lse[r] = lses[i];
      }
    }
  });
  return PHYSLM_OK;
}

static int32_t crossEntropy_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                     int32_t, physlm_stream*) {
  const int64_t R = leading(in[0], 1), V = axis(in[0], 1);
  const float* const logits = floats(in[0]);
  const int32_t* const targets = (const int32_t*)in[1].data;
  const float* const lse = floats(in[2]);
  const float* const dloss = floats(in[3]);
  float* const dlogits = floats(out[0]);
  if (!dlogits) return PHYSLM_OK;
  if (int32_t status = check_targets(targets, R, V, attrs[0])) return status;
  parallel(14.0 * R * V, R, [&](int part, int parts) {
    const Range mine = share(R, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      const float* const x = logits + r * V;
      float* const d = dlogits + r * V;
      if (targets[r] == attrs[0]) {
        each_vector(0, V, [&](int64_t i, auto some) { store(d + i, vf{}, some); });
        continue;
      }
      const vf total = splat(lse[r]), weight = splat(dloss[r]);
      each_vector(0, V, [&](int64_t i, auto some) {
        store(d + i, exp2_or_zero((load(x + i, some) - total) * splat(kLog2E)) * weight, some);
      });
      d[targets[r]] -= dloss[r];
    }
  });
  return PHYSLM_OK;
}
