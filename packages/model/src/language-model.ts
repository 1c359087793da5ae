import type { AttentionLayer, LayerCache } from './attention-layer.js';
import type { Device } from './device.js';
import { documentStarts } from './document-starts.js';
import type { GptConfig } from './gpt.js';
import type { Embedding } from './layers.js';
import type { LlamaConfig } from './llama.js';
import { Module } from './module.js';
import type { Tensor } from './tensor.js';
import type { Trace } from './trace.js';

/** The architectures and their sizes, as plain JSON. */
export type ModelConfig = GptConfig | LlamaConfig;

/** What a model has read so far, one entry for each layer. */
export interface KvCache {
  readonly layers: readonly LayerCache[];
  /** Position of the token that the next step reads; one i32. Every sequence of the batch is at the same position. */
  readonly position: Tensor;
  /** Positions the cache can hold. */
  readonly nCtx: number;
}

/** One layer of a model: attention and what follows it. */
export interface Block extends Module {
  readonly attn: AttentionLayer;
  /** x BTD → BTD; `starts` as attention layers take it. */
  forward(x: Tensor, trace: Trace, starts?: Tensor): Tensor;
}

/** What a training step takes its gradient of. */
export interface TrainingOutput {
  readonly logits: Tensor;
  /** To be added to the loss of each token, [B·T], in nats; undefined where nothing is. */
  readonly penalty: Tensor | undefined;
}

/** Anything that predicts the next token. */
export abstract class LanguageModel extends Module {
  abstract readonly config: ModelConfig;
  abstract readonly device: Device;
  abstract readonly embed: Embedding;
  abstract readonly blocks: readonly Block[];
  /** Next-token logits BTV of tokens ids [B, T] (i32), in nats up to a per-row constant. */
  abstract forward(ids: Tensor, trace?: Trace): Tensor;
  /** Where the document of each of ids [B, T] begins, i32 [B, T]; undefined in a model that does not tell documents apart. */
  documentStarts(ids: Tensor): Tensor | undefined {
    const { documentSeparator } = this.config;
    return documentSeparator === undefined ? undefined : documentStarts(ids, documentSeparator);
  }
  /** What training computes, for tokens ids [B, T]: the logits of `forward`, and what is added to the loss. */
  forwardTraining(ids: Tensor): TrainingOutput {
    return { logits: this.forward(ids), penalty: undefined };
  }
  /** Logits [B, V] after one more token for each sequence, ids [B] (i32). Extends the cache at `cache.position`. */
  abstract step(ids: Tensor, cache: KvCache): Tensor;
  /**
   * An empty cache for `nBatch` sequences of up to `nCtx` tokens. It may hold results of the present weights.
   *
   * @throws PhyslmError 'config' when the model sees both sides of a token, so that no cache can serve it.
   */
  cache(nBatch: number, nCtx: number): KvCache {
    return {
      layers: this.blocks.map(({ attn }) => attn.cache(nBatch, nCtx)),
      position: this.device.zeros([1], 'i32'),
      nCtx,
    };
  }
}
