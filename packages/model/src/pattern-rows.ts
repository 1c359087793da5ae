import type { PatternRows } from './attention-layer.js';
import type { Tensor } from './tensor.js';

// How attention layers turn queries, keys and log-sum-exps back into rows of their pattern.

/** Rows [row0, row0 + n) of one packed head of x BTP, as a matrix [n, dHead] of its own. */
export function headRows(x: Tensor, sequence: number, head: number, dHead: number, row0: number, n: number): Tensor {
  const [, T, P] = x.shape as [number, number, number];
  const from = x.values();
  const rows = new Float32Array(n * dHead);
  for (let r = 0; r < n; r++) {
    const at = (sequence * T + row0 + r) * P + head * dHead;
    rows.set(from.subarray(at, at + dHead), r * dHead);
  }
  return x.device.tensor(rows, [n, dHead]);
}

/**
 * Scores in `which.rows` become exp(scale·score − lse), in place; 0 after the row's own position when causal, and before its
 * document where `starts` says where that begins.
 */
export function scoresToPattern(
  lse_BHT: Tensor,
  which: PatternRows,
  T: number,
  scale: number,
  causal: boolean,
  starts_BT?: Tensor,
): void {
  const { sequence, head, row0, rows } = which;
  const H = lse_BHT.shape[1]!;
  const lse = lse_BHT.values();
  for (let r = 0; r < rows.length / T; r++) {
    const down = lse[(sequence * H + head) * T + row0 + r]!;
    const end = causal ? row0 + r + 1 : T;
    const begin = starts_BT?.values()[sequence * T + row0 + r] ?? 0;
    rows.fill(0, r * T, r * T + begin);
    for (let s = begin; s < end; s++) rows[r * T + s] = Math.exp(scale * rows[r * T + s]! - down);
    rows.fill(0, r * T + end, (r + 1) * T);
  }
}
