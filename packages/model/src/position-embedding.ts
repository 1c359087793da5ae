import type { Rng } from '@physlm/base';
import type { Device } from './device.js';
import { ShapeError } from './error.js';
import { normalParameter } from './layers.js';
import { Module } from './module.js';
import { embedding } from './ops/embedding.js';
import { linear } from './ops/linear.js';
import { positionsUpTo } from './positions.js';
import { reshape } from './primitives.js';
import type { Tensor } from './tensor.js';

// Axes: B batch, T position, D dModel, C nCtx.

/** Learned absolute positions: one row [D] for each position of the context, added to the tokens' embedding. */
export class PositionEmbedding extends Module {
  /** [C, D]. */
  readonly weight: Tensor;

  constructor(device: Device, nCtx: number, dModel: number, initStd: number, rng: Rng) {
    super();
    this.weight = normalParameter(device, [nCtx, dModel], initStd, rng.fork('weight'));
  }

  /**
   * The rows of positions 0 … T − 1, for each of B sequences: BTD.
   *
   * @throws ShapeError when T exceeds the context.
   */
  forward(nBatch: number, T: number): Tensor {
    const [nCtx, D] = this.weight.shape as [number, number];
    if (T > nCtx) throw new ShapeError('positions', `at most nCtx=${nCtx} tokens`, String(T));
    const ids = positionsUpTo(this.weight.device, T, nBatch);
    return reshape(embedding({ ids, w: this.weight }, {}).y, [nBatch, T, D]);
  }

  /** The row of one position, for each of B sequences: BD. */
  step(nBatch: number, position: Tensor): Tensor {
    const { device, shape } = this.weight;
    const row = embedding({ ids: position, w: this.weight }, {}).y;
    // 1·row repeats the row without changing a bit.
    const ones = device.tensor(new Float32Array(nBatch).fill(1), [nBatch, 1]);
    return linear({ x: ones, w: reshape(row, [shape[1]!, 1]) }, {}).y;
  }
}
