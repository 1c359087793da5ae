// Completions of many prompts: the same for any batch size, and from any place in the list.
import { complaint, PhyslmError, type Rng } from '@physlm/base';
import { generate, type LanguageModel } from '@physlm/model';

/** How prompts are completed. */
export interface CompletionOptions {
  /** Ends a completion; not part of it. */
  readonly eos: number;
  /** Most tokens to add. */
  readonly nNew: number;
  /** 0 takes the likeliest token. */
  readonly temperature: number;
  /** Completion i draws from `rng.at(i)`. */
  readonly rng: Rng;
  /** Prompts that are completed at once; no result depends on it. */
  readonly batchSize?: number;
  /** First prompt to complete: earlier ones are known already. */
  readonly from?: number;
}

/** One completion. */
export interface Completion {
  /** Index of its prompt. */
  readonly index: number;
  /** The new tokens, without EOS. */
  readonly tokens: Int32Array;
  /** Whether EOS came within nNew tokens. */
  readonly ended: boolean;
}

/** Products of fewer rows than this may round differently from larger ones; smaller batches are filled up. */
const LEAST_ROWS = 16;

/**
 * Completes prompts 0 … n − 1 in order, batch by batch, so that memory does not grow with n and a caller that keeps what it
 * has seen can go on from there.
 *
 * @throws PhyslmError 'config' when a prompt is empty or does not leave room for nNew tokens in the model's context.
 */
export function* completions(
  model: LanguageModel,
  n: number,
  prompt: (index: number) => ArrayLike<number>,
  { eos, nNew, temperature, rng, batchSize = 128, from = 0 }: CompletionOptions,
): Generator<Completion> {
  if (!(Number.isInteger(batchSize) && batchSize > 0)) {
    throw new PhyslmError('config', complaint('completions.batchSize', 'a positive integer', String(batchSize)));
  }
  for (let start = from; start < n; start += batchSize) {
    const size = Math.min(batchSize, n - start);
    const prompts = Array.from({ length: size }, (_, b) => prompt(start + b));
    while (prompts.length < LEAST_ROWS) prompts.push(prompts[0]!);
    // One token more than asked for shows whether the completion would have ended.
    const options = { nNew: nNew + 1, eos, temperature, rng, firstIndex: start };
    const added = generate(model, prompts, options);
    for (let b = 0; b < size; b++) {
      const tokens = added[b]!;
      const ended = tokens.length <= nNew;
      yield { index: start + b, tokens: ended ? tokens : tokens.subarray(0, nNew), ended };
    }
  }
}
