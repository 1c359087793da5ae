import type { Rng } from '@physlm/base';
import { AttentionLayer, type LayerCache, type PatternRows, type ProjectionPlace } from './attention-layer.js';
import type { Device } from './device.js';
import { Linear } from './layers.js';
import { uniformAttention, uniformAttentionStep, uniformWidth } from './ops/uniform-attention.js';
import type { Tensor } from './tensor.js';
import type { Trace } from './trace.js';

// Axes: B batch, T position, D dModel, S cached position, H head, K dHead.

/** Sizes of uniform attention. */
export interface UniformConfig {
  readonly nLayer: number;
  readonly nHead: number;
  readonly dModel: number;
  readonly initStd: number;
}

/**
 * Fixed attention: head h = 1 … H averages the last 2^h − 1 tokens. Value and output projection are all it learns.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, GPT_uni (GPT_gau in versions 1 to 3).
 */
export class UniformAttention extends AttentionLayer {
  readonly value: Linear;
  readonly out: Linear;
  readonly nHead: number;

  constructor(device: Device, { nLayer, nHead, dModel, initStd }: UniformConfig, rng: Rng) {
    super();
    this.nHead = nHead;
    this.value = new Linear(device, dModel, dModel, { bias: true, initStd }, rng.fork('value'));
    const outStd = initStd / Math.sqrt(2 * nLayer);
    this.out = new Linear(device, dModel, dModel, { bias: true, initStd: outStd }, rng.fork('out'));
  }

  override forward(x_BTD: Tensor, trace: Trace): Tensor {
    const v = trace.tap('v', this.value.forward(x_BTD));
    const { o } = uniformAttention({ v }, { nHead: this.nHead });
    return this.out.forward(trace.tap('z', o));
  }

  override step(x_BD: Tensor, cache: LayerCache, position: Tensor): Tensor {
    return this.out.forward(uniformAttentionStep({ v: this.value.forward(x_BD), vCache: cache.v!, position }, {}).o);
  }

  override cache(nBatch: number, nCtx: number): LayerCache {
    const { device, shape } = this.value.weight;
    return { v: device.zeros([nBatch, nCtx, this.nHead, shape[0]! / this.nHead]) };
  }

  override projections(): { readonly v: ProjectionPlace } {
    return { v: { linear: this.value, start: 0, size: this.value.weight.shape[0]! } };
  }

  override patternPoints(): readonly string[] {
    return ['v'];
  }

  override patternRows(activations: LayerCache, { head, row0, rows }: PatternRows): void {
    const T = activations.v!.shape[1]!;
    rows.fill(0);
    for (let r = 0; r < rows.length / T; r++) {
      const n = Math.min(row0 + r + 1, uniformWidth(head));
      rows.fill(1 / n, r * T + row0 + r + 1 - n, r * T + row0 + r + 1);
    }
  }
}
