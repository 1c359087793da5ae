import {
  backward,
  crossEntropy,
  type Device,
  ignoreIndex,
  linearBias,
  type Recorded,
  type Tensor,
} from '@physlm/model';
import { minimise, type Slope } from './l-bfgs.js';

// Axes: R rows of one chunk, I features, O classes.

/** Floats in the largest tensor of a chunk: 16 MB. */
const CHUNK_SIZE = 2 ** 22;
/** Where accuracies stop moving; single-precision gradients still resolve it. */
const TOLERANCE = 1e-4;

/** How a fit went. */
export interface Fit {
  /** Mean −ln p(label) over the rows plus penalty, in nats. */
  readonly loss: number;
  readonly nStep: number;
  /** False when the steps ran out first. */
  readonly converged: boolean;
}

/**
 * Multinomial logistic regression, p(c | x) = softmax(W·x + b)_c, on a device.
 *
 * `fit` minimises mean −ln p(label | x) + l2/2·‖W‖² from W = 0 over all rows at once: the problem is strictly convex in
 * W, so what is fitted is a property of the rows and not of a training recipe. Products run on the device in single
 * precision, in chunks of rows; sums over chunks and the optimiser are in double precision. Deterministic.
 */
export class SoftmaxRegression {
  readonly #x_RI: Tensor;
  readonly #labels_R: Tensor;
  readonly #seed_R: Tensor;
  readonly #w_OI: Tensor;
  readonly #b_O: Tensor;
  readonly #slope: Recorded<{ loss: Tensor }>;
  readonly #scores: Recorded<{ logits: Tensor }>;

  /** `nRow`: most rows to run at once; very wide ones run in smaller chunks. */
  constructor(
    device: Device,
    private readonly d: number,
    nClass: number,
    nRow: number,
  ) {
    const nChunkRow = Math.max(1, Math.min(nRow, Math.floor(CHUNK_SIZE / Math.max(d, nClass))));
    this.#x_RI = device.zeros([nChunkRow, d]);
    this.#labels_R = device.zeros([nChunkRow], 'i32');
    this.#seed_R = device.zeros([nChunkRow]);
    this.#w_OI = trainable(device, [nClass, d]);
    this.#b_O = trainable(device, [nClass]);
    const logits = (): Tensor => linearBias({ x: this.#x_RI, w: this.#w_OI, b: this.#b_O }, {}).y;
    this.#slope = device.withGrad(() =>
      device.record(() => {
        const { loss } = crossEntropy({ logits: logits(), targets: this.#labels_R }, { ignore: ignoreIndex });
        backward(loss, this.#seed_R);
        return { loss };
      }),
    );
    this.#scores = device.withoutGrad(() => device.record(() => ({ logits: logits() })));
  }

  /** Fits rows x [R, I] to labels [R]. `l2` in nats; `nStep`: most optimiser steps. */
  fit(x: Float32Array, labels: Int32Array, { l2, nStep }: { readonly l2: number; readonly nStep: number }): Fit {
    const [w, b] = [this.#w_OI, this.#b_O];
    const start = new Float64Array(w.size + b.size);
    this.#seed_R.values().fill(1 / labels.length);
    const minimum = minimise((at) => this.#evaluate(at, x, labels, l2), start, {
      nStep,
      tolerance: TOLERANCE,
      precision: 2 ** -23,
    });
    this.#setWeights(minimum.x);
    return { loss: minimum.value, nStep: minimum.nStep, converged: minimum.converged };
  }

  /** The likeliest class of each row of x [R, I]; of equals the smallest. */
  predict(x: Float32Array): Int32Array<ArrayBuffer> {
    const nRow = x.length / this.d;
    const predicted = new Int32Array(nRow);
    const nClass = this.#b_O.size;
    this.#forEachChunk(x, (first, n) => {
      this.#scores.run();
      const logits = this.#scores.results.logits.values();
      for (let r = 0; r < n; r++) {
        let best = 0;
        for (let c = 1; c < nClass; c++) if (logits[r * nClass + c]! > logits[r * nClass + best]!) best = c;
        predicted[first + r] = best;
      }
    });
    return predicted;
  }

  #evaluate(weights: Float64Array, x: Float32Array, labels: Int32Array, l2: number): Slope {
    this.#setWeights(weights);
    const nWeight = this.#w_OI.size;
    const gradient = new Float64Array(weights.length);
    let lossSum = 0;
    this.#forEachChunk(x, (first, n) => {
      this.#labels_R
        .values()
        .fill(ignoreIndex)
        .set(labels.subarray(first, first + n));
      this.#slope.run();
      for (const loss of this.#slope.results.loss.values()) lossSum += loss;
      const [dw, db] = [this.#w_OI.grad!.values(), this.#b_O.grad!.values()];
      for (let i = 0; i < nWeight; i++) gradient[i]! += dw[i]!;
      for (let i = 0; i < db.length; i++) gradient[nWeight + i]! += db[i]!;
    });
    let square = 0;
    for (let i = 0; i < nWeight; i++) {
      square += weights[i]! ** 2;
      gradient[i]! += l2 * weights[i]!;
    }
    return { value: lossSum / labels.length + (l2 / 2) * square, gradient };
  }

  #setWeights(weights: Float64Array): void {
    const nWeight = this.#w_OI.size;
    this.#w_OI.values().set(weights.subarray(0, nWeight));
    this.#b_O.values().set(weights.subarray(nWeight));
  }

  /** Puts chunk after chunk of rows on the device. What is behind a short last chunk is left over and must be ignored. */
  #forEachChunk(x: Float32Array, run: (firstRow: number, nRow: number) => void): void {
    const values = this.#x_RI.values();
    for (let start = 0; start < x.length; start += values.length) {
      const chunk = x.subarray(start, start + values.length);
      values.set(chunk);
      run(start / this.d, chunk.length / this.d);
    }
  }
}

function trainable(device: Device, shape: readonly number[]): Tensor {
  const tensor = device.zeros(shape);
  tensor.requiresGrad = true;
  tensor.grad = device.zeros(shape);
  return tensor;
}
