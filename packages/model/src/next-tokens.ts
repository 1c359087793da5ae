import type { JsKernel } from './js-kernels.js';
import type { Tensor } from './tensor.js';

// Choosing tokens where the logits are, so that a decoding step needs nothing from the host.
// Axes: B sequence, V dVocab, S position.

/** What a step of generation reads and writes; all in place. */
export interface Script {
  /** Tokens by position [B, S], i32: those of the prompts, −1 where one is to be chosen. */
  readonly tokens: Tensor;
  /** Uniform numbers in [0, 1) by position [B, S] for sampling. */
  readonly draws: Tensor;
  /** What the next step reads [B], i32. */
  readonly ids: Tensor;
  /** Position of the token that was read last, one i32; the next one afterwards. */
  readonly position: Tensor;
}

/** How tokens are chosen: see `GenerateOptions`. */
export interface Choice {
  readonly temperature: number;
  readonly topK: number;
}

/**
 * Ends a decoding step: where `tokens` has none for the next position, one is chosen from logits [B, V] and written there; all
 * next tokens go to `ids` and the position moves on. Temperature 0 takes the likeliest (ties: the smallest). Otherwise the draw
 * falls into softmax(logits / temperature) over the topK largest (ties: the smaller tokens), laid out by token.
 */
export function nextTokens(logits: Tensor, { tokens, draws, ids, position }: Script, choice: Choice): void {
  const { device } = logits;
  const native = device.kernelIndex('nextTokens_forward') !== undefined && logits.dtype === 'f32';
  device.execute({
    kernel: 'nextTokens_forward',
    inputs: [logits, tokens, draws, position],
    outputs: [ids, tokens, position],
    attrs: [choice.temperature, choice.topK],
    native,
  });
}

/** The definition of {@link nextTokens}. */
export const nextTokensKernel: JsKernel = ([logits, , draws], [ids, tokens, position], [temperature = 0, topK = 0]) => {
  const [nBatch, nPosition] = tokens!.shape as [number, number];
  const dVocab = logits!.shape[1]!;
  const next = position!.values[0]! + 1;
  position!.values[0] = next;
  if (next >= nPosition) return;
  for (let b = 0; b < nBatch; b++) {
    const at = b * nPosition + next;
    if (tokens!.values[at]! < 0) {
      const row = logits!.values.subarray(b * dVocab, (b + 1) * dVocab) as Float32Array;
      tokens!.values[at] = temperature === 0 ? argMax(row) : sample(row, temperature, topK, draws!.values[at]!);
    }
    ids!.values[b] = tokens!.values[at]!;
  }
};

function argMax(row: Float32Array): number {
  let best = 0;
  let peak = row[0]!;
  for (let i = 1; i < row.length; i++) {
    const value = row[i]!;
    if (value > peak) {
      peak = value;
      best = i;
    }
  }
  return best;
}

function sample(row: Float32Array, temperature: number, topK: number, draw: number): number {
  const chosen = topK < row.length ? largest(row, topK) : undefined;
  const n = chosen?.length ?? row.length;
  const at = (i: number): number => (chosen === undefined ? i : chosen[i]!);
  let peak = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < n; i++) peak = Math.max(peak, row[at(i)]!);
  let total = 0;
  for (let i = 0; i < n; i++) total += Math.exp((row[at(i)]! - peak) / temperature);
  let target = draw * total;
  for (let i = 0; i < n; i++) {
    target -= Math.exp((row[at(i)]! - peak) / temperature);
    if (target < 0) return at(i);
  }
  return at(n - 1);
}

/** The n largest entries' places, the smaller place first among equals, in order of place. */
function largest(row: Float32Array, n: number): number[] {
  const order = Array.from(row.keys());
  order.sort((a, b) => row[b]! - row[a]! || a - b).length = n;
  return order.sort((a, b) => a - b);
}
