// The trainable part of an embedding probe: the low-rank update of a frozen model's input embedding, rows of new tokens, and the
// normalisation and linear head on the state that is read.
import type { Rng } from '@physlm/base';
import {
  add,
  type Device,
  embedding,
  type LanguageModel,
  LayerNorm,
  Linear,
  linear,
  Module,
  reshape,
  type Tensor,
} from '@physlm/model';
import { BatchNorm } from './batch-norm.js';

// Axes: B sequences, T positions, V tokens (with new ones), K rank, D dModel.

/** Where a probe reads, and how it prepares what it reads. */
export interface EmbeddingReadout {
  /** Path of one activation whose first axes are BT; `norm`, the last hidden layer, unless said otherwise. */
  readonly layer?: string | undefined;
  /** Before the linear head: nothing, LayerNorm by state, or BatchNorm over the states of a step; gain and bias are trained. */
  readonly norm?: 'none' | 'layer' | 'batch' | undefined;
}

/** What a program is made for. */
export interface EmbeddingProgramOptions {
  readonly readout: EmbeddingReadout;
  /** Of the update. */
  readonly rank: number;
  /** Tokens beside the model's vocabulary. */
  readonly nNewToken: number;
  /** Outputs of each slot; a probe may use fewer. */
  readonly nClass: readonly number[];
  /** Sequences of a step. */
  readonly batchSize: number;
  /** Share of the read state's elements that training sets to 0; the others grow by 1/(1 − dropout). */
  readonly dropout: number;
  readonly weightDecay: number;
  readonly eps: number;
}

const EPS_LAYER_NORM = 1e-5;
/** An output that no class uses: its probability is 0 and it learns nothing. */
const CLOSED = -1e9;

/** Standard deviation of a token's frozen row, by element: the unit that the update is measured in. */
function rootMeanSquare(values: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i]! ** 2;
  return Math.sqrt(total / values.length) || 1;
}

/**
 * The trainable part. The row of token v becomes E[v] + s·A[v]·B, with A [V, K] = 0 and B [K, D] ~ N(0, 1) at the start and s the
 * root mean square of E, so that a learning rate means the same whatever the scale of the model's embedding. A new token has no
 * E[v]: its own row s·N [D], N ~ N(0, 1) at the start, is trained instead, and the update with it.
 */
export class EmbeddingProbeModule extends Module {
  /** A [V, K]; none of rank 0. */
  readonly tokens: Tensor | undefined;
  /** Bᵀ [D, K]. */
  readonly directions: Tensor | undefined;
  /** [D, new tokens]. */
  readonly newTokens: Tensor | undefined;
  readonly norm: LayerNorm | BatchNorm | undefined;
  readonly head: Linear;
  /** s on the diagonal, [K, K]. */
  readonly #unit: Tensor | undefined;
  /** −E[0]/s in each column, [D, new tokens]: what a new token, which the model takes for token 0, has not to start from. */
  readonly #instead: Tensor | undefined;
  /** s. */
  readonly unit: number;

  constructor(device: Device, model: LanguageModel, options: EmbeddingProgramOptions, dState: number, rng: Rng) {
    super();
    const { rank, nNewToken, nClass, readout } = options;
    const { dVocab, dModel } = model.config;
    const table = model.parameters().get('embed.weight')!.values();
    this.unit = rootMeanSquare(table);
    const trained = (shape: readonly number[]): Tensor => {
      const tensor = device.zeros(shape);
      tensor.requiresGrad = true;
      return tensor;
    };
    if (rank > 0) {
      this.tokens = trained([dVocab + nNewToken, rank]);
      this.directions = trained([dModel, rank]);
      const diagonal = Array.from({ length: rank * rank }, (_, i) => (i % (rank + 1) === 0 ? this.unit : 0));
      this.#unit = device.tensor(diagonal, [rank, rank]);
    }
    if (nNewToken > 0) {
      this.newTokens = trained([dModel, nNewToken]);
      const first = Array.from(table.subarray(0, dModel), (x) => -x / this.unit);
      this.#instead = device.tensor(
        first.flatMap((x) => new Array<number>(nNewToken).fill(x)),
        [dModel, nNewToken],
      );
    }
    if (readout.norm === 'layer') this.norm = new LayerNorm(device, dState, EPS_LAYER_NORM);
    if (readout.norm === 'batch') this.norm = new BatchNorm(device, dState);
    const nOut = nClass.reduce((a, b) => a + b, 0);
    const initStd = 1 / Math.sqrt(3 * dState);
    this.head = new Linear(device, dState, nOut, { bias: true, initStd }, rng.fork('head'));
  }

  /** Draws fresh weights; slot s uses the first nClass[s] of its outputs. */
  reset(nClass: readonly number[], widths: readonly number[], rng: Rng): void {
    const draw = (tensor: Tensor | undefined, std: number, name: string): void => {
      const stream = rng.fork(name);
      tensor?.values().set(Float32Array.from({ length: tensor.size }, () => std * stream.normal()));
    };
    const { weight, bias } = this.head;
    const d = weight.shape[1]!;
    this.tokens?.values().fill(0);
    draw(this.directions, 1, 'directions');
    draw(this.newTokens, 1, 'newTokens');
    weight.values().fill(0);
    bias!.values().fill(0);
    let start = 0;
    for (const [slot, width] of widths.entries()) {
      const stream = rng.fork(`head.${slot}`);
      const [used, std] = [start + nClass[slot]!, 1 / Math.sqrt(3 * d)];
      const own = Float32Array.from({ length: nClass[slot]! * d }, () => std * stream.normal());
      weight.values().set(own, start * d);
      start += width;
      bias!.values().fill(CLOSED, used, start);
    }
    const { norm } = this;
    norm?.weight.values().fill(1);
    norm?.bias.values().fill(0);
    if (!(norm instanceof BatchNorm)) return;
    norm.runningMean.values().fill(0);
    norm.runningVariance.values().fill(1);
  }

  /** x [B, T, D] with the update of tokens [BT] added; `isNew` [BT, new tokens] holds s where a token is new. */
  update(x: Tensor, tokens: Tensor, isNew: Tensor | undefined): Tensor {
    const changes: Tensor[] = [];
    if (this.tokens !== undefined) {
      const chosen = linear({ x: embedding({ ids: tokens, w: this.tokens }, {}).y, w: this.#unit! }, {}).y;
      changes.push(linear({ x: chosen, w: this.directions! }, {}).y);
    }
    if (isNew !== undefined) {
      changes.push(linear({ x: isNew, w: this.#instead! }, {}).y, linear({ x: isNew, w: this.newTokens! }, {}).y);
    }
    return changes.length === 0
      ? x
      : add(
          x,
          reshape(
            changes.reduce((sum, change) => add(sum, change)),
            x.shape,
          ),
        );
  }
}
