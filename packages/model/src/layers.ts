import type { Rng } from '@physlm/base';
import type { Device } from './device.js';
import type { LowRankEmbedding, LowRankProjection } from './low-rank.js';
import { Module } from './module.js';
import { embedding } from './ops/embedding.js';
import { linear, linearBias, linearBiasGelu } from './ops/linear.js';
import { layerNorm, rmsNorm } from './ops/norm.js';
import { add, reshape } from './primitives.js';
import { type Shape, sizeOf, type Tensor } from './tensor.js';

// Axes: any leading axes, then I input or O output features.

/** A trainable tensor drawn from N(0, std²); std 0 gives zeros. */
export function normalParameter(device: Device, shape: Shape, std: number, rng: Rng): Tensor {
  const size = sizeOf(shape);
  const values = std === 0 ? new Float32Array(size) : Float32Array.from({ length: size }, () => std * rng.normal());
  return parameter(device, values, shape);
}

function parameter(device: Device, values: ArrayLike<number>, shape: Shape): Tensor {
  const tensor = device.tensor(values, shape);
  tensor.requiresGrad = true;
  return tensor;
}

/** Runs an op on rows: leading axes become one, and come back. */
function byRow(x: Tensor, op: (rows: Tensor) => Tensor): Tensor {
  const rows = op(reshape(x, [x.size / x.shape.at(-1)!, x.shape.at(-1)!]));
  return reshape(rows, x.shape.with(-1, rows.shape[1]!));
}

/** How a linear layer starts. */
export interface LinearOptions {
  readonly bias: boolean;
  /** Standard deviation of the initial weights; biases start at 0. */
  readonly initStd: number;
}

/** y = x·wᵀ + b, weight [O, I]. */
export class Linear extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | undefined;
  /** What a finetune adds to `forward`: see `addLowRank`. */
  update: LowRankProjection | undefined;
  /** Sees what the layer is given, and says what it takes instead: for calibration. */
  intercept: ((x: Tensor) => Tensor) | undefined;
  /** `tiedTo`: a weight [nOut, nIn] of another layer to share. */
  constructor(device: Device, nIn: number, nOut: number, { bias, initStd }: LinearOptions, rng: Rng, tiedTo?: Tensor) {
    super();
    this.weight = tiedTo ?? normalParameter(device, [nOut, nIn], initStd, rng.fork('weight'));
    this.bias = bias ? parameter(device, new Float32Array(nOut), [nOut]) : undefined;
  }
  forward(x: Tensor): Tensor {
    const { weight: w, bias: b, update } = this;
    return byRow(this.intercept?.(x) ?? x, (rows) => {
      const { y } = b === undefined ? linear({ x: rows, w }, {}) : linearBias({ x: rows, w, b }, {});
      return update === undefined ? y : add(y, update.forward(rows));
    });
  }
  /** gelu(x·wᵀ + b) in one op; needs a bias. */
  forwardGelu(x: Tensor): Tensor {
    return byRow(this.intercept?.(x) ?? x, (rows) => linearBiasGelu({ x: rows, w: this.weight, b: this.bias! }, {}).y);
  }
}

/** Token embedding [V, D]. */
export class Embedding extends Module {
  readonly weight: Tensor;
  /** What a finetune adds: see `addLowRank`. */
  update: LowRankEmbedding | undefined;
  constructor(device: Device, dVocab: number, dModel: number, initStd: number, rng: Rng) {
    super();
    this.weight = normalParameter(device, [dVocab, dModel], initStd, rng.fork('weight'));
  }
  /** ids of any shape → the same shape with D behind. */
  forward(ids: Tensor): Tensor {
    const { weight: w, update } = this;
    const flat = ids.view([ids.size]);
    const { y } = embedding({ ids: flat, w }, {});
    const rows = update === undefined ? y : add(y, update.forward(flat));
    return reshape(rows, [...ids.shape, w.shape[1]!]);
  }
}

/** (x − mean)/√(var + eps)·gain + bias. */
export class LayerNorm extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor;
  constructor(
    device: Device,
    dModel: number,
    private readonly eps: number,
  ) {
    super();
    this.weight = parameter(device, new Float32Array(dModel).fill(1), [dModel]);
    this.bias = parameter(device, new Float32Array(dModel), [dModel]);
  }
  forward(x: Tensor): Tensor {
    return byRow(x, (rows) => layerNorm({ x: rows, g: this.weight, b: this.bias }, { eps: this.eps }).y);
  }
}

/** x/√(mean(x²) + eps)·gain. */
export class RmsNorm extends Module {
  readonly weight: Tensor;
  constructor(
    device: Device,
    dModel: number,
    private readonly eps: number,
  ) {
    super();
    this.weight = parameter(device, new Float32Array(dModel).fill(1), [dModel]);
  }
  forward(x: Tensor): Tensor {
    return byRow(x, (rows) => rmsNorm({ x: rows, g: this.weight }, { eps: this.eps }).y);
  }
}
