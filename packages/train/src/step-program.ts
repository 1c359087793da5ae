import { invariant } from '@physlm/base';
import {
  adamW,
  add,
  backward,
  crossEntropy,
  type Device,
  fillInto,
  gradNorm,
  ignoreIndex,
  type LanguageModel,
  ParameterArena,
  type Recorded,
  reshape,
  sumSlices,
  type Tensor,
} from '@physlm/model';
import { type Ranks, soleRank } from './ranks.js';
import type { OptimizerConfig } from './train-config.js';

// Axes: R rows (windows × positions of one part of a step), V dVocab, N trainable parameters.

/** Windows i of a data set: the only thing that training asks of data. */
export interface TrainingWindows {
  /** Tokens in a window. */
  readonly nCtx: number;
  /** Fills `ids` and `targets` (the next token; −1 where there is nothing to predict), nCtx each. */
  window(index: number, ids: Int32Array, targets: Int32Array): void;
  /** Resolves when windows first … first + count − 1 can be had at once; asked before a step reads them. */
  prepare?(first: number, count: number): Promise<void>;
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
 * then clip and AdamW over the flat arena of its trainable parameters. The loss is Σ nats / Σ targets over the whole step,
 * however it is split.
 *
 * A part runs in slices of a few windows: what a slice computes stays in cache until its backward pass needs it, and small
 * slices run side by side, one on each thread. How many there are follows from the model and the batch alone, and their
 * gradients are added in order, so neither the machine nor its threads change a bit.
 *
 * Of several ranks each takes a contiguous share of the step's windows, and all make the same update. W ranks with one part
 * each leave the bits of one process with nAccumulate = W.
 */
export class StepProgram {
  readonly arena: ParameterArena;
  /** First and second moments, in the arena's layout. */
  readonly moments: { readonly m: Tensor; readonly v: Tensor };
  /** Slices of each part. */
  readonly nSlice: number;
  readonly #ids: Tensor;
  readonly #targets: Tensor;
  readonly #weight: Tensor;
  readonly #hyper: Tensor;
  readonly #partIds: Int32Array[];
  readonly #partTargets: Int32Array[];
  readonly #clear: Recorded<Record<string, Tensor>> | undefined;
  readonly #slices: Recorded<{ loss: Tensor }>;
  readonly #accumulate: Recorded<Record<string, Tensor>> | undefined;
  readonly #update: Recorded<{ norm: Tensor }>;
  /** This rank's gradient, and that of the whole step once the ranks have added theirs. */
  readonly #gradient: Tensor;

  constructor(
    model: LanguageModel,
    private readonly nCtx: number,
    private readonly batchSize: number,
    nAccumulate: number,
    private readonly optimizer: OptimizerConfig,
    private readonly ranks: Ranks = soleRank,
  ) {
    const nShare = nAccumulate * ranks.worldSize;
    invariant(batchSize % nShare === 0, 'batchSize is a multiple of nAccumulate and the number of ranks');
    const { device } = model;
    const partSize = batchSize / nShare;
    this.nSlice = device.name === 'cpu' ? countSlices(model, partSize, nCtx) : 1;
    const { nSlice } = this;
    this.arena = new ParameterArena(device, model, nSlice);
    this.moments = { m: this.arena.like(), v: this.arena.like() };
    const rows = (partSize / nSlice) * nCtx;
    this.#ids = device.zeros([nSlice, partSize / nSlice, nCtx], 'i32', 'host');
    this.#targets = device.zeros([nSlice, rows], 'i32', 'host');
    this.#weight = device.zeros([rows], 'f32', 'host');
    this.#hyper = device.zeros([8], 'f32', 'host');
    this.#partIds = Array.from({ length: nAccumulate }, () => new Int32Array(rows * nSlice));
    this.#partTargets = Array.from({ length: nAccumulate }, () => new Int32Array(rows * nSlice));

    const { gradients } = this.arena;
    const sliced = [this.#ids, this.#targets, gradients];
    this.#slices = device.recordSlices({ nSlice, nLane: laneCount(device, nSlice), sliced }, (ids, targets) =>
      forwardBackward(model, ids!, targets!, this.#weight),
    );
    // One flat gradient of this rank, where there are several parts, or slices that other ranks must not see.
    if (nAccumulate > 1 || (nSlice > 1 && ranks.worldSize > 1)) {
      const total = this.arena.like();
      this.#gradient = total;
      this.#clear = device.record(() => {
        fillInto(total, 0);
        return {};
      });
      this.#accumulate = device.record(() => {
        add(total, sumSlices({ g: gradients }, {}).total, total);
        return {};
      });
      this.#update = device.record(() => this.#optimize(total));
    } else {
      this.#gradient = gradients.view([gradients.size]);
      this.#update = device.record(() =>
        this.#optimize(nSlice === 1 ? this.#gradient : sumSlices({ g: gradients }, {}).total),
      );
    }
  }

  /** Bytes of the arenas that hold intermediate tensors. */
  get arenaBytes(): number {
    return this.#slices.arenaBytes + this.#update.arenaBytes;
  }

  /** Kernel calls of one slice and of the update. */
  get nCommand(): number {
    return this.#slices.nCommand + this.#update.nCommand;
  }

  /** First window that this rank reads in optimiser step `step`, and how many. */
  windowsOf(step: number): { readonly first: number; readonly count: number } {
    const count = this.batchSize / this.ranks.worldSize;
    return { first: step * this.batchSize + this.ranks.rank * count, count };
  }

  /** Runs optimiser step `step` (from 0) on windows step·batchSize … with learning rate `lr`. */
  run(windows: TrainingWindows, step: number, lr: number): StepResult {
    const { nCtx } = this;
    const nPart = this.#partIds.length;
    const { ranks } = this;
    const { first, count } = this.windowsOf(step);
    const perPart = count / nPart;
    let ownTargets = 0;
    for (let part = 0; part < nPart; part++) {
      const [ids, targets] = [this.#partIds[part]!, this.#partTargets[part]!];
      for (let w = 0; w < perPart; w++) {
        const at = w * nCtx;
        windows.window(first + part * perPart + w, ids.subarray(at, at + nCtx), targets.subarray(at, at + nCtx));
      }
      for (const target of targets) if (target !== ignoreIndex) ownTargets++;
    }
    const [nTarget] = ranks.sumNumbers([ownTargets]) as [number];
    this.#setHyper(step, lr);
    this.#weight.values().fill(nTarget === 0 ? 0 : 1 / nTarget);
    this.#clear?.run();
    let lossSum = 0;
    for (let part = 0; part < nPart; part++) {
      this.#ids.values().set(this.#partIds[part]!);
      this.#targets.values().set(this.#partTargets[part]!);
      this.#slices.run();
      this.#accumulate?.run();
      for (const loss of this.#slices.results.loss.values()) lossSum += loss;
    }
    ranks.sum(this.#gradient);
    [lossSum] = ranks.sumNumbers([lossSum]) as [number];
    this.#update.run();
    return { lossSum, nTarget, gradNorm: this.#update.results.norm.item() };
  }

  /** Nanoseconds for each kernel in one part of a step, on the windows of the last run. Changes weights as a step does. */
  profile(): ReadonlyMap<string, number> {
    return new Map([...this.#slices.profile(), ...this.#update.profile()]);
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

/** Loss of each row and, in the leaves' `grad`, the gradient of Σ weight·(loss + what the model adds to it). */
function forwardBackward(model: LanguageModel, ids: Tensor, targets: Tensor, weight: Tensor): { loss: Tensor } {
  const { logits, penalty } = model.forwardTraining(ids);
  const flat = reshape(logits, [targets.size, logits.size / targets.size]);
  const { loss } = crossEntropy({ logits: flat, targets }, { ignore: ignoreIndex });
  backward(penalty === undefined ? loss : add(loss, penalty), weight);
  return { loss };
}

/** Intermediate tensors of a slice should be at least this large: below, calls cost more than the cache saves. */
const MIN_SLICE_BYTES = 1 << 20;
/** … and this many times the gradients, which every slice writes and the sum over slices reads. */
const MIN_ARENA_PER_GRADIENT = 4;
/** … and this many times the weights, frozen ones too, which every slice reads. */
const MIN_ARENA_PER_WEIGHT = 2;
const bytesPerWeight = 4;

/** Most equal slices of `nWindow` windows that are still worth it, by the size of what one window computes. */
function countSlices(model: LanguageModel, nWindow: number, nCtx: number): number {
  const { device } = model;
  const arena = new ParameterArena(device, model);
  const [ids, targets] = [device.zeros([1, nCtx], 'i32'), device.zeros([nCtx], 'i32')];
  const oneWindow = device.record(() => forwardBackward(model, ids, targets, device.zeros([nCtx])));
  const atLeast = Math.max(
    MIN_SLICE_BYTES,
    MIN_ARENA_PER_GRADIENT * arena.gradients.byteLength,
    MIN_ARENA_PER_WEIGHT * bytesPerWeight * model.nParameter,
  );
  let windowsPerSlice = Math.min(nWindow, Math.ceil(atLeast / oneWindow.arenaBytes));
  while (nWindow % windowsPerSlice !== 0) windowsPerSlice++;
  return nWindow / windowsPerSlice;
}

/** Slices to run at once: all threads' worth when that leaves none idle for long, otherwise one on all threads. */
function laneCount(device: Device, nSlice: number): number {
  const { nThread } = device;
  return nSlice % nThread === 0 || nSlice >= 4 * nThread ? nThread : 1;
}
