import type { Linear } from './layers.js';
import { Module } from './module.js';
import type { Tensor } from './tensor.js';
import type { Trace } from './trace.js';

// What every attention of this package does, whatever its scheme of positions. One file for each scheme:
// dot-product-attention.ts, relative-attention-layer.ts, position-attention-layer.ts, uniform-attention-layer.ts.
// Axes: B batch, T position, S key position, D dModel, H head, K dHead.

/** What a decoding step keeps of a layer: values `v` [B, S, H, K], keys `k`, and what else the layer reads again. */
export type LayerCache = Readonly<Record<string, Tensor>>;

/** Which rows of one head's pattern to compute. */
export interface PatternRows {
  readonly sequence: number;
  readonly head: number;
  /** The first row; there are `rows.length / T`. */
  readonly row0: number;
  /** Where the probabilities go, [n, T]; every element is written. */
  readonly rows: Float32Array;
}

/** Queries, keys, values: what a token asks with, is found by, and says. */
export type Projection = 'q' | 'k' | 'v';

/** Where a layer computes a projection: outputs [start, start + size) of a linear map. */
export interface ProjectionPlace {
  readonly linear: Linear;
  readonly start: number;
  readonly size: number;
}

/** A layer through which positions read each other. */
export abstract class AttentionLayer extends Module {
  abstract readonly nHead: number;
  /** x BTD → BTD. With `starts` [B, T], i32, from {@link documentStarts}: each token sees its own document only. */
  abstract forward(x: Tensor, trace: Trace, starts?: Tensor): Tensor;
  /** One token of each sequence, x [B, D], against the layer's cache, which it extends at `position`. */
  abstract step(x: Tensor, cache: LayerCache, position: Tensor): Tensor;
  /** An empty cache for `nBatch` sequences of up to `nCtx` tokens. Holds what it needs of the present weights. */
  abstract cache(nBatch: number, nCtx: number): LayerCache;
  /** Where it projects its input; the projections that it has. */
  abstract projections(): Readonly<Partial<Record<Projection, ProjectionPlace>>>;
  /** Activation points, below this layer's path, that `patternRows` reads. */
  abstract patternPoints(): readonly string[];
  /** Attention probabilities of some rows, recomputed from activations of a forward pass. */
  abstract patternRows(activations: LayerCache, which: PatternRows): void;
}
