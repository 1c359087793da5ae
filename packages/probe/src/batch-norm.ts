import { add, type Device, div, Module, matmul, mul, reshape, shift, sqrt, sub, type Tensor } from '@physlm/model';

// Axes: R rows, D width.

/** Share of a batch in the running averages. */
const MOMENTUM = 0.1;
const EPS = 1e-5;

/** What a training batch looked like, by column. */
export interface BatchStatistics {
  /** [1, D]. */
  readonly mean: Tensor;
  /** Σ weight·(x − mean)², [1, D]. */
  readonly variance: Tensor;
}

/**
 * Batch normalisation of rows: y = (x − mean)/√(variance + 1e-5)·gain + bias by column, over the rows of the batch in training
 * and with running averages (momentum 0.1, unbiased variance) afterwards.
 *
 * Composed of primitives: its matrices are a batch of single states, small beside the model that made them.
 *
 * @see Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithms 1 and 2.
 */
export class BatchNorm extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor;
  /** [1, D]; no parameters. */
  readonly runningMean: Tensor;
  readonly runningVariance: Tensor;

  constructor(device: Device, d: number) {
    super();
    this.weight = device.tensor(new Float32Array(d).fill(1), [d]);
    this.bias = device.zeros([d]);
    this.weight.requiresGrad = true;
    this.bias.requiresGrad = true;
    this.runningMean = device.zeros([1, d]);
    this.runningVariance = device.tensor(new Float32Array(d).fill(1), [1, d]);
  }

  /** Training: x [R, D]; `rowWeight` [R] sums to 1 and is 0 for rows of padding, which change nothing. */
  forwardBatch(x: Tensor, rowWeight: Tensor): { readonly y: Tensor } & BatchStatistics {
    const weights = reshape(rowWeight, [1, rowWeight.size]);
    const mean = matmul(weights, x);
    const centred = sub(x, mean);
    const variance = matmul(weights, mul(centred, centred));
    return { y: this.#affine(div(centred, sqrt(shift(variance, EPS)))), mean, variance };
  }

  /** Evaluation: by the running averages. */
  forward(x: Tensor): Tensor {
    return this.#affine(div(sub(x, this.runningMean), sqrt(shift(this.runningVariance, EPS))));
  }

  /** Takes a batch of `nRow` rows into the running averages. */
  observe({ mean, variance }: BatchStatistics, nRow: number): void {
    const unbiased = nRow > 1 ? nRow / (nRow - 1) : 1;
    for (const [running, batch, factor] of [
      [this.runningMean, mean, 1],
      [this.runningVariance, variance, unbiased],
    ] as const) {
      const [to, from] = [running.values(), batch.values()];
      for (let i = 0; i < to.length; i++) to[i] = (1 - MOMENTUM) * to[i]! + MOMENTUM * factor * from[i]!;
    }
  }

  #affine(x: Tensor): Tensor {
    const D = x.shape[1]!;
    return add(mul(x, reshape(this.weight, [1, D])), reshape(this.bias, [1, D]));
  }
}
