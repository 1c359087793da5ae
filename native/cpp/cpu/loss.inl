// Cross-entropy of rows of logits against target tokens, in nats; the softmax is recomputed from its log-sum-exp.

static int32_t check_targets(const int32_t* targets, int64_t R, int64_t V, double ignored) {
  for (int64_t r = 0; r < R; r++)
    if ((targets[r] < 0 || targets[r] >= V) && targets[r] != ignored)
      return physlm_fail(PHYSLM_BAD_ARGUMENT, "[targets] expected 0 <= target < %lld or %lld, got %d in row %lld",
                         (long long)V, (long long)ignored, targets[r], (long long)r);
  return PHYSLM_OK;
}

/** log Σ e^x, stable. NaN if any x is. */
INLINE float log_sum_exp(const float* x, int64_t n) {
  vf top = splat(-__builtin_inff());
  each_vector(0, n, [&](int64_t i, auto some) {
    vf v = load(x + i, some);
    if constexpr (sizeof(some) == sizeof(Some)) v = keep(v, 0, (int)least(kVL, n - i), splat(-__builtin_inff()));
    top = larger(v, top);
  });
  const float m = largest(top);
  vf a = {}, b = {};
  int64_t i = 0;
  for (; i + 2 * kVL <= n; i += 2 * kVL) {
    a += exponential(load(x + i) - splat(m));
    b += exponential(load(x + i + kVL) - splat(m));
  }
  for (; i < n; i += kVL) {
    const int lanes = (int)least(kVL, n - i);
    a += keep(exponential(load(x + i, lanes) - splat(m)), 0, lanes, vf{});
  }
  return m + __builtin_logf(sum(a + b));
}

static int32_t crossEntropy_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                    int32_t, physlm_stream*) {
  const int64_t R = leading(in[0], 1), V = axis(in[0], 1);
  const float* const logits = floats(in[0]);
  const int32_t* const targets = (const int32_t*)in[1].data;
  float* const loss = floats(out[0]);
  float* const lse = floats(out[1]);
  if (int32_t status = check_targets(targets, R, V, attrs[0])) return status;
  parallel(20.0 * R * V, R, [&](int part, int parts) {
    const Range mine = share(R, part, parts);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      const float total = log_sum_exp(logits + r * V, V);
      if (loss) loss[r] = targets[r] == attrs[0] ? 0.0f : total - logits[r * V + targets[r]];
      if (lse) lse[r] = total;
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
  parallel(18.0 * R * V, R, [&](int part, int parts) {
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
        store(d + i, exponential(load(x + i, some) - total) * weight, some);
      });
      d[targets[r]] -= dloss[r];
    }
  });
  return PHYSLM_OK;
}
