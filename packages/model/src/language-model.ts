import type { Device } from './device.js';
import type { GptConfig } from './gpt.js';
import type { LlamaConfig } from './llama.js';
import { Module } from './module.js';
import type { Tensor } from './tensor.js';
import type { Trace } from './trace.js';

/** The architectures and their sizes, as plain JSON. */
export type ModelConfig = GptConfig | LlamaConfig;

/** Keys and values of what has been read so far, one pair of tensors [B, S, G, K] for each layer. */
export interface KvCache {
  readonly layers: readonly { readonly k: Tensor; readonly v: Tensor }[];
  /** Position of the token that the next step reads; one i32. Every sequence of the batch is at the same position. */
  readonly position: Tensor;
  /** Positions the cache can hold. */
  readonly nCtx: number;
}

/** Anything that predicts the next token. */
export abstract class LanguageModel extends Module {
  abstract readonly config: ModelConfig;
  abstract readonly device: Device;
  /** Next-token logits BTV of tokens ids [B, T] (i32), in nats up to a per-row constant. */
  abstract forward(ids: Tensor, trace?: Trace): Tensor;
  /** Logits [B, V] after one more token for each sequence, ids [B] (i32). Extends the cache at `cache.position`. */
  abstract step(ids: Tensor, cache: KvCache): Tensor;
  /** An empty cache for `nBatch` sequences of up to `nCtx` tokens. */
  abstract cache(nBatch: number, nCtx: number): KvCache;
}

/** An empty key/value cache. */
export function emptyCache(
  device: Device,
  {
    nLayer,
    nBatch,
    nCtx,
    nKvHead,
    dHead,
  }: Readonly<Record<'nLayer' | 'nBatch' | 'nCtx' | 'nKvHead' | 'dHead', number>>,
): KvCache {
  const zeros = (): Tensor => device.zeros([nBatch, nCtx, nKvHead, dHead]);
  return {
    layers: Array.from({ length: nLayer }, () => ({ k: zeros(), v: zeros() })),
    position: device.zeros([1], 'i32'),
    nCtx,
  };
}
