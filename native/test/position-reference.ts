// Float64 formulas of the attentions whose scores know positions: relative (content and distance), position (distance alone),
// uniform (a window). One formula serves all three: scores, softmax, and the slopes of both.

export interface Sizes {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly K: number;
  readonly causal: boolean;
}

interface Mixed {
  readonly o: Float64Array;
  readonly lse: Float64Array;
}

/** Softmax over `score(b, h, t, s)` of `value(b, s, h, k)`; calls `slope` with dL/dscore and `flow` with the weight of each pair. */
export function mix(
  { B, T, H, K, causal }: Sizes,
  score: (b: number, h: number, t: number, s: number) => number,
  value: (b: number, s: number, h: number, k: number) => number,
  grad?: Float64Array,
  slope?: (b: number, h: number, t: number, s: number, d: number) => void,
  flow?: (b: number, h: number, t: number, s: number, weight: number) => void,
): Mixed {
  const o = new Float64Array(B * T * H * K);
  const lse = new Float64Array(B * H * T);
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++)
      for (let t = 0; t < T; t++) {
        const n = causal ? t + 1 : T;
        const scores = Float64Array.from({ length: n }, (_, s) => score(b, h, t, s));
        const top = Math.max(...scores);
        const total = scores.reduce((sum, x) => sum + Math.exp(x - top), 0);
        lse[(b * H + h) * T + t] = top + Math.log(total);
        const p = scores.map((x) => Math.exp(x - top) / total);
        const at = ((b * T + t) * H + h) * K;
        p.forEach((weight, s) => {
          for (let k = 0; k < K; k++) o[at + k]! += weight * value(b, s, h, k);
        });
        if (!grad) continue;
        const dp = p.map((_, s) => {
          let sum = 0;
          for (let k = 0; k < K; k++) sum += grad[at + k]! * value(b, s, h, k);
          return sum;
        });
        const delta = dp.reduce((sum, x, s) => sum + x * p[s]!, 0);
        p.forEach((weight, s) => {
          slope?.(b, h, t, s, weight * (dp[s]! - delta));
          flow?.(b, h, t, s, weight);
        });
      }
  return { o, lse };
}

/** Relative attention and its gradients. x: packed rows [B, T, 3·H·K]; tables [N, H·K]. */
export function relativeAttention(
  sizes: Sizes,
  N: number,
  scale: number,
  x: Float64Array,
  kp: Float64Array,
  qp: Float64Array,
  grad: Float64Array,
) {
  const { T, H, K, causal } = sizes;
  const Q = H * K;
  const reach = (N - 1) / 2;
  const clip = (d: number): number => (causal ? Math.min(d, N - 1) : reach + Math.min(reach, Math.max(-reach, d)));
  const query = (b: number, t: number, h: number, k: number): number => (b * T + t) * 3 * Q + h * K + k;
  const key = (...at: [number, number, number, number]): number => query(...at) + Q;
  const keyRow = (t: number, s: number): number => clip(t - s) * Q;
  const queryRow = (t: number, s: number): number => clip(causal ? t - s : s - t) * Q;
  const [dx, dkp, dqp] = [new Float64Array(x.length), new Float64Array(N * Q), new Float64Array(N * Q)];
  const { o, lse } = mix(
    sizes,
    (b, h, t, s) => {
      let sum = 0;
      for (let k = 0; k < K; k++) {
        const [q, c] = [x[query(b, t, h, k)]!, x[key(b, s, h, k)]!];
        sum += q * c + q * kp[keyRow(t, s) + h * K + k]! + c * qp[queryRow(t, s) + h * K + k]!;
      }
      return sum * scale;
    },
    (b, s, h, k) => x[query(b, s, h, k) + 2 * Q]!,
    grad,
    (b, h, t, s, slope) => {
      for (let k = 0; k < K; k++) {
        const [i, j] = [query(b, t, h, k), key(b, s, h, k)];
        const [m, n] = [keyRow(t, s) + h * K + k, queryRow(t, s) + h * K + k];
        dx[i]! += scale * slope * (x[j]! + kp[m]!);
        dx[j]! += scale * slope * (x[i]! + qp[n]!);
        dkp[m]! += scale * slope * x[i]!;
        dqp[n]! += scale * slope * x[j]!;
      }
    },
    (b, h, t, s, weight) => {
      for (let k = 0; k < K; k++) dx[query(b, s, h, k) + 2 * Q]! += weight * grad[((b * T + t) * H + h) * K + k]!;
    },
  );
  return { o, lse, dx, dkp, dqp };
}

/** Attention by position and its gradients; lse [H, T]. v: [B, T, H·K], table [H, N]. */
export function positionAttention(sizes: Sizes, N: number, v: Float64Array, table: Float64Array, grad: Float64Array) {
  const { T, H, K } = sizes;
  const [dv, dtable] = [new Float64Array(v.length), new Float64Array(H * N)];
  const { o, lse } = mix(
    sizes,
    (_, h, t, s) => table[h * N + Math.min(t - s, N - 1)]!,
    (b, s, h, k) => v[((b * T + s) * H + h) * K + k]!,
    grad,
    (_, h, t, s, slope) => {
      dtable[h * N + Math.min(t - s, N - 1)]! += slope;
    },
    (b, h, t, s, weight) => {
      for (let k = 0; k < K; k++) dv[((b * T + s) * H + h) * K + k]! += weight * grad[((b * T + t) * H + h) * K + k]!;
    },
  );
  return { o, lse: lse.slice(0, H * T), dv, dtable };
}

/** Means of v over the last 2^(h+1) − 1 positions and their gradient. */
export function uniformAttention({ B, T, H, K }: Omit<Sizes, 'causal'>, v: Float64Array, grad: Float64Array) {
  const [o, dv] = [new Float64Array(v.length), new Float64Array(v.length)];
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++)
      for (let t = 0; t < T; t++) {
        const n = Math.min(t + 1, 2 ** (h + 1) - 1);
        for (let s = t - n + 1; s <= t; s++)
          for (let k = 0; k < K; k++) {
            const [i, j] = [((b * T + t) * H + h) * K + k, ((b * T + s) * H + h) * K + k];
            o[i]! += v[j]! / n;
            dv[j]! += grad[i]! / n;
          }
      }
  return { o, dv };
}

/** One step of each kind of attention over caches [B, S, H, K] at `position`; x: the new rows [B, 3·H·K]. */
export function attentionSteps(
  { B, S, H, K, N }: Record<'B' | 'S' | 'H' | 'K' | 'N', number>,
  position: number,
  scale: number,
  x: Float64Array,
  caches: readonly [Float64Array, Float64Array],
  kp: Float64Array,
  qp: Float64Array,
  table: Float64Array,
) {
  const Q = H * K;
  const next = caches.map((cache, part) => {
    const written = cache.slice();
    for (let b = 0; b < B; b++)
      written.set(x.subarray((3 * b + 1 + part) * Q, (3 * b + 2 + part) * Q), (b * S + position) * Q);
    return written;
  }) as [Float64Array, Float64Array];
  const distance = (s: number): number => Math.min(position - s, N - 1);
  const step = (score: (b: number, h: number, s: number) => number): Float64Array => {
    const value = (b: number, s: number, h: number, k: number): number => next[1][(b * S + s) * Q + h * K + k]!;
    const o = new Float64Array(B * Q);
    for (let b = 0; b < B; b++)
      for (let h = 0; h < H; h++) {
        const scores = Float64Array.from({ length: position + 1 }, (_, s) => score(b, h, s));
        const top = Math.max(...scores);
        const total = scores.reduce((sum, y) => sum + Math.exp(y - top), 0);
        scores.forEach((y, s) => {
          for (let k = 0; k < K; k++) o[b * Q + h * K + k]! += (Math.exp(y - top) / total) * value(b, s, h, k);
        });
      }
    return o;
  };
  const content = (b: number, h: number, s: number, positions: boolean): number => {
    let sum = 0;
    for (let k = 0; k < K; k++) {
      const [q, c] = [x[3 * b * Q + h * K + k]!, next[0][(b * S + s) * Q + h * K + k]!];
      const row = distance(s) * Q + h * K + k;
      sum += q * c + (positions ? q * kp[row]! + c * qp[row]! : 0);
    }
    return sum * scale;
  };
  return {
    next,
    plain: step((b, h, s) => content(b, h, s, false)),
    relative: step((b, h, s) => content(b, h, s, true)),
    position: step((_, h, s) => table[h * N + distance(s)]!),
    uniform: step((_, h, s) => (position - s < 2 ** (h + 1) - 1 ? 0 : Number.NEGATIVE_INFINITY)),
    values: Float64Array.from({ length: B * Q }, (_, i) => x[(3 * Math.floor(i / Q) + 2) * Q + (i % Q)]!),
  };
}
