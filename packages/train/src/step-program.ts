import { invariant } from '@physlm/base';
import {
  adamW,
  add,
  backward,
  crossEntropy,
  fillInto,
  gradNorm,
  ignoreIndex,
  type LanguageModel,
  ParameterArena,
  type Recorded,
  reshape,
  type Tensor,
} from '@physlm/model';
import type { OptimizerConfig } from './train-config.js';

// Axes: R rows (windows × positions of one part of a step), V dVocab, N all parameters.

/** Windows i of a data set: the only thing that training asks of data. */
export interface TrainingWindows {
  /** Tokens in a window. */
  readonly nCtx: number;
  /** Fills `ids` and `targets` (the next token; −1 where there is nothing to predict), nCtx each. */
  window(index: number, ids: Int32Array, targets: Int32Array): void;
}

/** What one optimiser step did. */
export interface StepResult {
  /** Summed over target tokens, in nats. */
  readonly lossSum: number;
  readonly nTarget: number;
  /** Global norm of the gradient before clipping. */
  readonly gradNorm: number;
}

/**
 * One optimiser step over a model, recorded once and replayed: forward and backward over each part of the step's windows,
 * then clip and AdamW over the flat arena. The loss is Σ nats / Σ targets over the whole step, however it is split.
 */
export class StepProgram {
  readonly arena: ParameterArena;
  /** First and second moments, in the arena's layout. */
  readonly moments: { readonly m: Tensor; readonly v: Tensor };
  readonly #ids: Tensor;
  readonly #targets: Tensor;
  readonly #weight: Tensor;
  readonly #hyper: Tensor;
  readonly #partIds: Int32Array[];
  readonly #partTargets: Int32Array[];
  readonly #clear: Recorded<Record<string, Tensor>> | undefined;
  readonly #part: Recorded<{ loss: Tensor; norm: Tensor }> | Recorded<{ loss: Tensor }>;
  readonly #update: Recorded<{ norm: Tensor }> | undefined;
  readonly #norm: Tensor;

  constructor(
    private readonly model: LanguageModel,
    private readonly nCtx: number,
    private readonly batchSize: number,
    nAccumulate: number,
    private readonly optimizer: OptimizerConfig,
  ) {
    invariant(batchSize % nAccumulate === 0, 'batchSize is a multiple of nAccumulate');
    const { device } = model;
    this.arena = new ParameterArena(device, model);
    this.moments = { m: this.arena.like(), v: this.arena.like() };
    const partSize = batchSize / nAccumulate;
    const rows = partSize * nCtx;
    this.#ids = device.zeros([partSize, nCtx], 'i32', 'host');
    this.#targets = device.zeros([rows], 'i32', 'host');
    this.#weight = device.zeros([rows], 'f32', 'host');
    this.#hyper = device.zeros([8], 'f32', 'host');
    this.#partIds = Array.from({ length: nAccumulate }, () => new Int32Array(rows));
    this.#partTargets = Array.from({ length: nAccumulate }, () => new Int32Array(rows));
    if (nAccumulate === 1) {
      const whole = device.record(() => ({ ...this.#forwardBackward(), ...this.#optimize(this.arena.gradients) }));
      this.#part = whole;
      this.#norm = whole.results.norm;
    } else {
      const total = this.arena.like();
      this.#clear = device.record(() => {
        fillInto(total, 0);
        return {};
      });
      this.#part = device.record(() => {
        const results = this.#forwardBackward();
        add(total, this.arena.gradients, total);
        return results;
      });
      this.#update = device.record(() => this.#optimize(total));
      this.#norm = this.#update.results.norm;
    }
  }

  /** Bytes of the arenas that hold intermediate tensors. */
  get arenaBytes(): number {
    return this.#part.arenaBytes + (this.#update?.arenaBytes ?? 0);
  }

  /** Kernel calls of one part of a step. */
  get nCommand(): number {
    return this.#part.nCommand;
  }

  /** Runs optimiser step `step` (from 0) on windows step·batchSize … with learning rate `lr`. */
  run(windows: TrainingWindows, step: number, lr: number): StepResult {
    const { nCtx } = this;
    const nPart = this.#partIds.length;
    const perPart = this.batchSize / nPart;
    let nTarget = 0;
    for (let part = 0; part < nPart; part++) {
      const [ids, targets] = [this.#partIds[part]!, this.#partTargets[part]!];
      for (let w = 0; w < perPart; w++) {
        const at = w * nCtx;
        const index = step * this.batchSize + part * perPart + w;
        windows.window(index, ids.subarray(at, at + nCtx), targets.subarray(at, at + nCtx));
      }
      for (const target of targets) if (target !== ignoreIndex) nTarget++;
    }
    this.#setHyper(step, lr);
    this.#weight.values().fill(nTarget === 0 ? 0 : 1 / nTarget);
    this.#clear?.run();
    let lossSum = 0;
    for (let part = 0; part < nPart; part++) {
      this.#ids.values().set(this.#partIds[part]!);
      this.#targets.values().set(this.#partTargets[part]!);
      this.#part.run();
      for (const loss of this.#part.results.loss.values()) lossSum += loss;
    }
    this.#update?.run();
    return { lossSum, nTarget, gradNorm: this.#norm.item() };
  }

  /** Nanoseconds for each kernel in one part of a step, on the windows of the last run. Changes weights as a step does. */
  profile(): ReadonlyMap<string, number> {
    return this.#part.profile();
  }

  #forwardBackward(): { loss: Tensor } {
    const logits = this.model.forward(this.#ids);
    const rows = this.#targets.size;
    const flat = reshape(logits, [rows, logits.size / rows]);
    const { loss } = crossEntropy({ logits: flat, targets: this.#targets }, { ignore: ignoreIndex });
    backward(loss, this.#weight);
    return { loss };
  }

  #optimize(gradients: Tensor): { norm: Tensor } {
    const { norm } = gradNorm({ g: gradients }, {});
    const { m, v } = this.moments;
    adamW({ w: this.arena.weights, g: gradients, m, v, norm, hyper: this.#hyper }, { nDecay: this.arena.nDecay });
    return { norm };
  }

  #setHyper(step: number, lr: number): void {
    const { betas, eps, weightDecay, clipNorm } = this.optimizer;
    const [beta1, beta2] = betas;
    const correction = (beta: number): number => 1 - beta ** (step + 1);
    this.#hyper.values().set([lr, beta1, beta2, eps, weightDecay, correction(beta1), correction(beta2), clipNorm]);
  }
}
