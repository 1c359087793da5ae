// Plain float64 formulas of every op, forward and backward: the oracle of the kernels' tests.

const C = Math.sqrt(2 / Math.PI);

export type Matrix = { readonly rows: number; readonly columns: number; readonly at: (r: number, c: number) => number };

export function product(
  m: number,
  n: number,
  k: number,
  a: (i: number, k: number) => number,
  b: (k: number, j: number) => number,
): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let total = 0;
      for (let x = 0; x < k; x++) total += a(i, x) * b(x, j);
      out[i * n + j] = total;
    }
  return out;
}

export const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(C * (x + 0.044715 * x ** 3)));
export const geluSlope = (x: number): number => {
  const t = Math.tanh(C * (x + 0.044715 * x ** 3));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * C * (1 + 3 * 0.044715 * x * x);
};
export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

export function linear(
  x: Float64Array,
  w: Float64Array,
  R: number,
  I: number,
  O: number,
  b?: Float64Array,
): Float64Array {
  const y = product(
    R,
    O,
    I,
    (r, i) => x[r * I + i] as number,
    (i, o) => w[o * I + i] as number,
  );
  return b ? y.map((v, i) => v + (b[i % O] as number)) : y;
}

export function linearBackward(x: Float64Array, w: Float64Array, dy: Float64Array, R: number, I: number, O: number) {
  return {
    dx: product(
      R,
      I,
      O,
      (r, o) => dy[r * O + o] as number,
      (o, i) => w[o * I + i] as number,
    ),
    dw: product(
      O,
      I,
      R,
      (o, r) => dy[r * O + o] as number,
      (r, i) => x[r * I + i] as number,
    ),
    db: columnSums(dy, R, O),
  };
}

export function columnSums(x: Float64Array, R: number, O: number): Float64Array {
  const out = new Float64Array(O);
  for (let r = 0; r < R; r++) for (let o = 0; o < O; o++) out[o]! += x[r * O + o] as number;
  return out;
}

export function norm(x: Float64Array, g: Float64Array, b: Float64Array | undefined, R: number, D: number, eps: number) {
  const y = new Float64Array(R * D);
  const mean = new Float64Array(R);
  const rstd = new Float64Array(R);
  for (let r = 0; r < R; r++) {
    const row = x.subarray(r * D, r * D + D);
    const m = b ? row.reduce((a, v) => a + v, 0) / D : 0;
    const s = 1 / Math.sqrt(row.reduce((a, v) => a + (v - m) ** 2, 0) / D + eps);
    mean[r] = m;
    rstd[r] = s;
    for (let i = 0; i < D; i++) y[r * D + i] = ((row[i] as number) - m) * s * (g[i] as number) + (b?.[i] ?? 0);
  }
  return { y, mean, rstd };
}

export function normBackward(
  x: Float64Array,
  g: Float64Array,
  mean: Float64Array | undefined,
  rstd: Float64Array,
  dy: Float64Array,
  R: number,
  D: number,
) {
  const dx = new Float64Array(R * D);
  const dg = new Float64Array(D);
  const db = new Float64Array(D);
  for (let r = 0; r < R; r++) {
    const s = rstd[r] as number;
    let plain = 0;
    let along = 0;
    const n = (i: number): number => ((x[r * D + i] as number) - (mean?.[r] ?? 0)) * s;
    for (let i = 0; i < D; i++) {
      const d = dy[r * D + i] as number;
      plain += d * (g[i] as number);
      along += d * (g[i] as number) * n(i);
      dg[i]! += d * n(i);
      db[i]! += d;
    }
    for (let i = 0; i < D; i++) {
      const v = (dy[r * D + i] as number) * (g[i] as number);
      dx[r * D + i] = s * (v - (mean ? plain / D : 0) - (n(i) * along) / D);
    }
  }
  return { dx, dg, db };
}

export function rotary(
  x: Float64Array,
  positions: ArrayLike<number>,
  [B, T, P]: readonly [number, number, number],
  [nHead, K, D, base]: readonly number[],
  direction = 1,
): Float64Array {
  const y = Float64Array.from(x);
  for (let b = 0; b < B; b++)
    for (let t = 0; t < T; t++)
      for (let h = 0; h < (nHead as number); h++)
        for (let i = 0; i < (D as number) / 2; i++) {
          const angle = direction * (positions[t] as number) * (base as number) ** ((-2 * i) / (D as number));
          const lo = (b * T + t) * P + h * (K as number) + i;
          const hi = lo + (D as number) / 2;
          y[lo] = (x[lo] as number) * Math.cos(angle) - (x[hi] as number) * Math.sin(angle);
          y[hi] = (x[hi] as number) * Math.cos(angle) + (x[lo] as number) * Math.sin(angle);
        }
  return y;
}

export interface Heads {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly G: number;
  readonly K: number;
  readonly scale: number;
  readonly causal: boolean;
}

const columns = ({ H, G, K }: Heads, h: number) => {
  const g = Math.floor((h * G) / H);
  return { q: h * K, k: (H + g) * K, v: (H + G + g) * K };
};

/** Pattern of one head, row t: weights of keys s. */
function pattern(x: Float64Array, heads: Heads, b: number, h: number): { p: Float64Array[]; lse: Float64Array } {
  const { T, H, G, K, scale, causal } = heads;
  const P = (H + 2 * G) * K;
  const at = columns(heads, h);
  const lse = new Float64Array(T);
  const p = Array.from({ length: T }, (_, t) => {
    const scores = new Float64Array(T).fill(Number.NEGATIVE_INFINITY);
    for (let s = 0; s < (causal ? t + 1 : T); s++) {
      let dot = 0;
      for (let i = 0; i < K; i++)
        dot += (x[(b * T + t) * P + at.q + i] as number) * (x[(b * T + s) * P + at.k + i] as number);
      scores[s] = dot * scale;
    }
    const top = scores.reduce((a, v) => Math.max(a, v), Number.NEGATIVE_INFINITY);
    const total = scores.reduce((a, v) => a + Math.exp(v - top), 0);
    lse[t] = top + Math.log(total);
    return scores.map((v) => Math.exp(v - (lse[t] as number)));
  });
  return { p, lse };
}

export function attention(x: Float64Array, heads: Heads): { o: Float64Array; lse: Float64Array } {
  const { B, T, H, G, K } = heads;
  const P = (H + 2 * G) * K;
  const o = new Float64Array(B * T * H * K);
  const lse = new Float64Array(B * H * T);
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++) {
      const at = columns(heads, h);
      const one = pattern(x, heads, b, h);
      lse.set(one.lse, (b * H + h) * T);
      for (let t = 0; t < T; t++)
        for (let s = 0; s < (heads.causal ? t + 1 : T); s++)
          for (let i = 0; i < K; i++)
            o[(b * T + t) * H * K + h * K + i]! +=
              (one.p[t]?.[s] as number) * (x[(b * T + s) * P + at.v + i] as number);
    }
  return { o, lse };
}

export function attentionBackward(x: Float64Array, grad: Float64Array, heads: Heads): Float64Array {
  const { B, T, H, G, K, scale } = heads;
  const P = (H + 2 * G) * K;
  const dx = new Float64Array(B * T * P);
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++) {
      const at = columns(heads, h);
      const { p } = pattern(x, heads, b, h);
      for (let t = 0; t < T; t++) {
        const d = (i: number): number => grad[(b * T + t) * H * K + h * K + i] as number;
        const n = heads.causal ? t + 1 : T;
        const dp = new Float64Array(n);
        let delta = 0;
        for (let s = 0; s < n; s++) {
          for (let i = 0; i < K; i++) {
            dp[s]! += d(i) * (x[(b * T + s) * P + at.v + i] as number);
            dx[(b * T + s) * P + at.v + i]! += (p[t]?.[s] as number) * d(i);
          }
          delta += (p[t]?.[s] as number) * (dp[s] as number);
        }
        for (let s = 0; s < n; s++) {
          const ds = (p[t]?.[s] as number) * ((dp[s] as number) - delta) * scale;
          for (let i = 0; i < K; i++) {
            dx[(b * T + t) * P + at.q + i]! += ds * (x[(b * T + s) * P + at.k + i] as number);
            dx[(b * T + s) * P + at.k + i]! += ds * (x[(b * T + t) * P + at.q + i] as number);
          }
        }
      }
    }
  return dx;
}

export function crossEntropy(logits: Float64Array, targets: ArrayLike<number>, R: number, V: number, ignored: number) {
  const loss = new Float64Array(R);
  const lse = new Float64Array(R);
  for (let r = 0; r < R; r++) {
    const row = logits.subarray(r * V, r * V + V);
    const top = row.reduce((a, v) => Math.max(a, v), Number.NEGATIVE_INFINITY);
    lse[r] = top + Math.log(row.reduce((a, v) => a + Math.exp(v - top), 0));
    loss[r] = targets[r] === ignored ? 0 : (lse[r] as number) - (row[targets[r] as number] as number);
  }
  return { loss, lse };
}
