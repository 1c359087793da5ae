import type { Rng } from '@physlm/base';
import { AttentionLayer, type LayerCache, type PatternRows, type ProjectionPlace } from './attention-layer.js';
import type { Device } from './device.js';
import { Linear, normalParameter } from './layers.js';
import { positionAttention, positionAttentionStep } from './ops/position-attention.js';
import type { Tensor } from './tensor.js';
import type { Trace } from './trace.js';

// Axes: B batch, T position, D dModel, S cached position, H head, K dHead, N distances.

/** Sizes of attention by position alone. */
export interface PositionConfig {
  readonly nLayer: number;
  readonly nHead: number;
  readonly dModel: number;
  /** Distances with a score of their own; greater ones share the last. */
  readonly nDistance: number;
  readonly initStd: number;
}

/**
 * Causal attention whose scores are a trainable table by head and distance: the pattern sees no content.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, GPT_pos.
 */
export class PositionAttention extends AttentionLayer {
  readonly value: Linear;
  /** Scores [H, N] by distance, in nats. */
  readonly scores: Tensor;
  readonly out: Linear;
  readonly nHead: number;

  constructor(device: Device, { nLayer, nHead, dModel, nDistance, initStd }: PositionConfig, rng: Rng) {
    super();
    this.nHead = nHead;
    this.value = new Linear(device, dModel, dModel, { bias: true, initStd }, rng.fork('value'));
    this.scores = normalParameter(device, [nHead, nDistance], initStd, rng.fork('scores'));
    const outStd = initStd / Math.sqrt(2 * nLayer);
    this.out = new Linear(device, dModel, dModel, { bias: true, initStd: outStd }, rng.fork('out'));
  }

  override forward(x_BTD: Tensor, trace: Trace): Tensor {
    const v = trace.tap('v', this.value.forward(x_BTD));
    const { o, lse } = positionAttention({ v, table: this.scores }, {});
    trace.tap('lse', lse);
    return this.out.forward(trace.tap('z', o));
  }

  override step(x_BD: Tensor, cache: LayerCache, position: Tensor): Tensor {
    const inputs = { v: this.value.forward(x_BD), table: this.scores, vCache: cache.v!, position };
    return this.out.forward(positionAttentionStep(inputs, {}).o);
  }

  override cache(nBatch: number, nCtx: number): LayerCache {
    const { device, shape } = this.value.weight;
    return { v: device.zeros([nBatch, nCtx, this.nHead, shape[0]! / this.nHead]) };
  }

  override projections(): { readonly v: ProjectionPlace } {
    return { v: { linear: this.value, start: 0, size: this.value.weight.shape[0]! } };
  }

  override patternPoints(): readonly string[] {
    return ['lse'];
  }

  override patternRows(activations: LayerCache, { head, row0, rows }: PatternRows): void {
    const T = activations.lse!.shape[1]!;
    const N = this.scores.shape[1]!;
    const [lse, scores] = [activations.lse!.values(), this.scores.values()];
    rows.fill(0);
    for (let r = 0; r < rows.length / T; r++) {
      const t = row0 + r;
      for (let s = 0; s <= t; s++) {
        rows[r * T + s] = Math.exp(scores[head * N + Math.min(t - s, N - 1)]! - lse[head * T + t]!);
      }
    }
  }
}
