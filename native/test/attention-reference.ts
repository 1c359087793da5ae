// What attention kernels are compared with, in doubles.

export function attention(
  qkv: Float64Array,
  d: Float64Array,
  B: number,
  T: number,
  H: number,
  G: number,
  K: number,
  causal: boolean,
  /** The first key that query t of sequence b sees, at [b·T + t]. */
  starts?: ArrayLike<number>,
) {
  const P = (H + 2 * G) * K;
  const scale = 1 / Math.sqrt(K);
  const o = new Float64Array(B * T * H * K);
  const lse = new Float64Array(B * H * T);
  const grad = new Float64Array(B * T * P);
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++) {
      const g = Math.floor((h * G) / H);
      const at = (t: number, head: number): number => (b * T + t) * P + head * K;
      for (let t = 0; t < T; t++) {
        const first = starts?.[b * T + t] ?? 0;
        const seen = (causal ? t + 1 : T) - first;
        const s = Array.from({ length: seen }, (_, i) => {
          let sum = 0;
          for (let k = 0; k < K; k++) sum += qkv[at(t, h) + k]! * qkv[at(first + i, H + g) + k]!;
          return sum * scale;
        });
        const top = Math.max(...s);
        const total = s.reduce((sum, v) => sum + Math.exp(v - top), 0);
        lse[(b * H + h) * T + t] = top + Math.log(total);
        const p = s.map((v) => Math.exp(v - top) / total);
        const row = (b * T + t) * H * K + h * K;
        const dp = p.map((weight, i) => {
          const j = first + i;
          let sum = 0;
          for (let k = 0; k < K; k++) {
            o[row + k]! += weight * qkv[at(j, H + G + g) + k]!;
            sum += d[row + k]! * qkv[at(j, H + G + g) + k]!;
            grad[at(j, H + G + g) + k]! += weight * d[row + k]!;
          }
          return sum;
        });
        const mean = dp.reduce((sum, v, i) => sum + v * p[i]!, 0);
        p.forEach((weight, i) => {
          const j = first + i;
          const ds = weight * (dp[i]! - mean) * scale;
          for (let k = 0; k < K; k++) {
            grad[at(t, h) + k]! += ds * qkv[at(j, H + g) + k]!;
            grad[at(j, H + g) + k]! += ds * qkv[at(t, h) + k]!;
          }
        });
      }
    }
  return { o, lse, grad };
}

/** Relative distance in the Frobenius norm. */
export const distance = (a: Float64Array, b: Float64Array): number => {
  let [error, size] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    error += (a[i]! - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  return Math.sqrt(error / size);
};
