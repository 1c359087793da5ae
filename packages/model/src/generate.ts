import { complaint, PhyslmError, type Rng } from '@physlm/base';
import type { LanguageModel } from './language-model.js';

/** How to continue prompts. */
export interface GenerateOptions {
  /** Most tokens to add to each prompt. */
  readonly nNew: number;
  /** Stops a sequence; not part of the result. */
  readonly eos?: number;
  /** 0: always the likeliest token (ties: the smallest). Otherwise logits are divided by it before sampling. */
  readonly temperature?: number;
  /** Sample among this many likeliest tokens only. */
  readonly topK?: number;
  /** Needed for sampling: sequence b draws from `rng.at(firstIndex + b)`, so results do not depend on batch-mates. */
  readonly rng?: Rng;
  /** Index of the first prompt in a longer list that is continued batch by batch. */
  readonly firstIndex?: number;
}

/**
 * Continues each prompt, all in one batch over a key/value cache. Every sequence starts at position 0 and all advance
 * together; while a prompt lasts its own tokens are fed, so prompts of different lengths need no padding.
 *
 * @returns the new tokens of each sequence, without `eos`.
 * @throws PhyslmError 'config' when a prompt is empty or prompt and new tokens exceed the model's context.
 */
export function generate(
  model: LanguageModel,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions,
): Int32Array[] {
  const { nNew, eos, temperature = 0, topK, rng, firstIndex = 0 } = options;
  const longest = Math.max(0, ...prompts.map((prompt) => prompt.length));
  const nCtx = longest + nNew - 1;
  if (prompts.some((prompt) => prompt.length === 0)) {
    throw new PhyslmError('config', complaint('generate.prompts', 'at least one token each', 'an empty prompt'));
  }
  if (nCtx > model.config.nCtx) {
    const got = `${longest} + ${nNew} tokens`;
    throw new PhyslmError('config', complaint('generate', `prompt and new tokens within ${model.config.nCtx}`, got));
  }
  if (temperature > 0 && rng === undefined) {
    throw new PhyslmError('config', complaint('generate.rng', 'a random stream for a temperature above 0', 'none'));
  }
  if (prompts.length === 0 || nNew === 0) return prompts.map(() => new Int32Array(0));

  const { device } = model;
  const nBatch = prompts.length;
  const cache = model.cache(nBatch, nCtx);
  const ids = device.zeros([nBatch], 'i32', 'host');
  const step = device.withoutGrad(() => device.record(() => ({ logits: model.step(ids, cache) })));
  const streams = prompts.map((_, b) => rng?.at(firstIndex + b));
  const added: number[][] = prompts.map(() => []);
  const ended = prompts.map(() => false);
  const dVocab = model.config.dVocab;
  const idValues = ids.values();
  for (let t = 0; t < nCtx && !ended.every(Boolean); t++) {
    prompts.forEach((prompt, b) => {
      idValues[b] = t < prompt.length ? prompt[t]! : (added[b]![t - prompt.length] ?? prompt[0]!);
    });
    cache.position.values()[0] = t;
    step.run();
    const logits = step.results.logits.values();
    prompts.forEach((prompt, b) => {
      if (ended[b] || t < prompt.length - 1) return;
      const row = logits.subarray(b * dVocab, (b + 1) * dVocab) as Float32Array;
      const token = temperature === 0 ? argMax(row) : sample(row, temperature, topK ?? dVocab, streams[b]!);
      if (token === eos) ended[b] = true;
      else added[b]!.push(token);
      if (added[b]!.length === nNew) ended[b] = true;
    });
  }
  return added.map((tokens) => Int32Array.from(tokens));
}

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

/** A draw from softmax(row / temperature) over the topK largest entries, the smaller index first among equals. */
function sample(row: Float32Array, temperature: number, topK: number, rng: Rng): number {
  const order = topK < row.length ? largest(row, topK) : undefined;
  const n = order?.length ?? row.length;
  const at = (i: number): number => (order === undefined ? i : order[i]!);
  let peak = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < n; i++) peak = Math.max(peak, row[at(i)]!);
  let total = 0;
  for (let i = 0; i < n; i++) total += Math.exp((row[at(i)]! - peak) / temperature);
  let target = rng.uniform() * total;
  for (let i = 0; i < n; i++) {
    target -= Math.exp((row[at(i)]! - peak) / temperature);
    if (target < 0) return at(i);
  }
  return at(n - 1);
}

function largest(row: Float32Array, n: number): number[] {
  const order = Array.from(row.keys());
  order.sort((a, b) => row[b]! - row[a]! || a - b).length = n;
  return order;
}
