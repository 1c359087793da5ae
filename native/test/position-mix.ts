// The multi-head linear position probe's mixing in f64, with its gradients in closed form.

export interface MixSizes {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly C: number;
  readonly K: number;
  readonly V: number;
  readonly reach: number;
}

/** Outputs for p [V,H,K], f [B,T,H,C] and lengths [B], and gradients for dy [B,T,C]. */
export function positionMix(
  { B, T, H, C, K, V, reach }: MixSizes,
  p: Float64Array,
  f: Float64Array,
  lengths: ArrayLike<number>,
  dy: Float64Array,
): Record<'mixed' | 'heads' | 'lse' | 'dp' | 'df', Float64Array> {
  const mixed = new Float64Array(B * T * C);
  const heads = new Float64Array(H * T * B * C);
  const lse = new Float64Array(H * T * B);
  const dp = new Float64Array(V * H * K);
  const df = new Float64Array(B * T * H * C);
  for (let b = 0; b < B; b++) {
    const n = Math.min(T, lengths[b]!);
    for (let r = 0; r < H; r++) {
      const P = (i: number): number => (i * H + r) * K;
      const F = (k: number): number => ((b * T + k) * H + r) * C;
      for (let i = 0; i < n; i++) {
        const near = Array.from({ length: n }, (_, k) => k).filter((k) => reach < 0 || Math.abs(k - i) <= reach);
        const scores = near.map((k) => {
          let s = 0;
          for (let x = 0; x < K; x++) s += p[P(i) + x]! * p[P(k) + x]!;
          return s;
        });
        const top = Math.max(...scores);
        const z = scores.reduce((total, s) => total + Math.exp(s - top), 0);
        const weights = scores.map((s) => Math.exp(s - top) / z);
        lse[(r * T + i) * B + b] = top + Math.log(z);
        const at = ((r * T + i) * B + b) * C;
        const out = (b * T + i) * C;
        near.forEach((k, j) => {
          for (let c = 0; c < C; c++) heads[at + c]! += weights[j]! * f[F(k) + c]!;
        });
        for (let c = 0; c < C; c++) mixed[out + c]! += heads[at + c]!;
        near.forEach((k, j) => {
          let ds = 0;
          for (let c = 0; c < C; c++) {
            ds += weights[j]! * dy[out + c]! * (f[F(k) + c]! - heads[at + c]!);
            df[F(k) + c]! += weights[j]! * dy[out + c]!;
          }
          for (let x = 0; x < K; x++) {
            const [own, other] = [p[P(i) + x]!, p[P(k) + x]!];
            dp[P(i) + x]! += ds * other;
            dp[P(k) + x]! += ds * own;
          }
        });
      }
    }
  }
  return { mixed, heads, lse, dp, df };
}
