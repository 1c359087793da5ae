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
  runSlices,
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
 * Where windows end in positions without targets, as padded documents do, those are not computed: windows are put into slices
 * by length, and each slice is cut behind its last target. Weights come out as if it were not, but for rounding.
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
  readonly #hyper: Tensor;
  readonly #parts: readonly Part[];
  /** By the length that windows are cut to. */
  readonly #byLength = new Map<number, SlicesOfLength>();
  /** Windows are cut to a multiple of this; the whole window where they may not be cut. */
  readonly #lengthStep: number;
  readonly #clear: Recorded<Record<string, Tensor>> | undefined;
  readonly #accumulate: Recorded<Record<string, Tensor>> | undefined;
  readonly #update: Recorded<{ norm: Tensor }>;
  /** This rank's gradient, and that of the whole step once the ranks have added theirs. */
  readonly #gradient: Tensor;

  constructor(
    private readonly model: LanguageModel,
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
    const { nSlice, sliceBytes } = sliced(model, partSize, nCtx);
    this.nSlice = nSlice;
    this.arena = new ParameterArena(device, model, nSlice);
    this.moments = { m: this.arena.like(), v: this.arena.like() };
    this.#hyper = device.zeros([8], 'f32', 'host');
    this.#parts = Array.from({ length: nAccumulate }, () => new Part(partSize, nCtx));
    this.#lengthStep = lengthStep(model, nCtx, sliceBytes);

    const { gradients } = this.arena;
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
    return this.#slices(this.nCtx).run.arenaBytes + this.#update.arenaBytes;
  }

  /** Kernel calls of one slice and of the update. */
  get nCommand(): number {
    return this.#slices(this.nCtx).run.nCommand + this.#update.nCommand;
  }

  /** Lengths that windows have been cut to so far, each with a program of its own. */
  get lengths(): number[] {
    return [...this.#byLength.keys()].sort((a, b) => a - b);
  }

  /** First window that this rank reads in optimiser step `step`, and how many. */
  windowsOf(step: number): { readonly first: number; readonly count: number } {
    const count = this.batchSize / this.ranks.worldSize;
    return { first: step * this.batchSize + this.ranks.rank * count, count };
  }

  /** Runs optimiser step `step` (from 0) on windows step·batchSize … with learning rate `lr`. */
  run(windows: TrainingWindows, step: number, lr: number): StepResult {
    const parts = this.#parts;
    const { ranks } = this;
    const { first, count } = this.windowsOf(step);
    let ownTargets = 0;
    for (const [i, part] of parts.entries()) ownTargets += part.read(windows, first + (i * count) / parts.length);
    const [nTarget] = ranks.sumNumbers([ownTargets]) as [number];
    this.#setHyper(step, lr);
    this.#clear?.run();
    let lossSum = 0;
    for (const part of parts) {
      lossSum += this.#runPart(part, nTarget === 0 ? 0 : 1 / nTarget);
      this.#accumulate?.run();
    }
    ranks.sum(this.#gradient);
    [lossSum] = ranks.sumNumbers([lossSum]) as [number];
    this.#update.run();
    return { lossSum, nTarget, gradNorm: this.#update.results.norm.item() };
  }

  /** Nanoseconds for each kernel in one part of a step, on the windows of the last run where they were whole. Changes weights as a step does. */
  profile(): ReadonlyMap<string, number> {
    return new Map([...this.#slices(this.nCtx).run.profile(), ...this.#update.profile()]);
  }

  /** Gradients of a part's slices, each cut behind the last target of its windows; the sum of their losses. */
  #runPart(part: Part, weight: number): number {
    const lengths = part.lengths(this.nSlice, this.#lengthStep);
    const slices = lengths.map((length) => this.#slices(length));
    for (const one of new Set(slices)) one.weight.values().fill(weight);
    for (const [slice, { ids, targets }] of slices.entries()) part.copy(slice, lengths[slice]!, ids, targets);
    const [only] = new Set(slices).size === 1 ? slices : [];
    if (only !== undefined) only.run.run();
    else {
      runSlices(
        this.model.device,
        slices.map(({ run }, slice) => ({ step: run, slice })),
      );
    }
    let lossSum = 0;
    for (const [slice, { run }] of slices.entries()) {
      const { loss } = run.results;
      const rows = loss.size / this.nSlice;
      const values = loss.values();
      for (let row = slice * rows; row < (slice + 1) * rows; row++) lossSum += values[row]!;
    }
    return lossSum;
  }

  /** The recorded slices of windows that are cut to a length; recorded when they are first needed. */
  #slices(length: number): SlicesOfLength {
    const known = this.#byLength.get(length);
    if (known !== undefined) return known;
    const { model, nSlice } = this;
    const { device } = model;
    const nWindow = this.#parts[0]!.nWindow / nSlice;
    const ids = device.zeros([nSlice, nWindow, length], 'i32', 'host');
    const targets = device.zeros([nSlice, nWindow * length], 'i32', 'host');
    const weight = device.zeros([nWindow * length], 'f32', 'host');
    const sliced = [ids, targets, this.arena.gradients];
    const run = device.recordSlices({ nSlice, nLane: laneCount(device, nSlice), sliced }, (ownIds, ownTargets) =>
      forwardBackward(model, ownIds!, ownTargets!, weight),
    );
    const made = { ids, targets, weight, run };
    this.#byLength.set(length, made);
    return made;
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

/** What runs the slices of a part when their windows have one length. */
interface SlicesOfLength {
  /** [slices, windows of a slice, length]; targets with rows flat. */
  readonly ids: Tensor;
  readonly targets: Tensor;
  /** Of each row's loss. */
  readonly weight: Tensor;
  readonly run: Recorded<{ loss: Tensor }>;
}

/** Lengths that windows are cut to are multiples of this. */
const LENGTH_STEP = 16;
/** Different lengths, at most: each has a program with intermediate tensors of its own, … */
const MOST_LENGTHS = 8;
/** … which a thread may keep so many bytes of. */
const MOST_ARENA_BYTES = 2 ** 28;

/**
 * What lengths of windows are multiples of; nCtx where they are not cut. They may be where what stands behind the last target of a window
 * changes nothing before it: no token sees what follows, and none takes another one's place at an expert. On a GPU a part is one slice,
 * whose longest window decides.
 */
function lengthStep({ device, config }: LanguageModel, nCtx: number, sliceBytes: number): number {
  const causal = !('causal' in config && config.causal === false);
  const experts = 'nExpert' in config && config.nExpert !== undefined;
  const nLength = Math.min(MOST_LENGTHS, Math.floor(MOST_ARENA_BYTES / sliceBytes));
  if (device.name === 'cuda' || !causal || experts || nLength < 2) return nCtx;
  return Math.ceil(nCtx / nLength / LENGTH_STEP) * LENGTH_STEP;
}

/** The windows of one part of a step. */
class Part {
  readonly #ids: Int32Array;
  readonly #targets: Int32Array;
  /** Positions of each window up to its last target. */
  readonly #used: Int32Array;
  /** Windows in the order of the slices: the longest first, equally long ones as they come. */
  #order: readonly number[];

  constructor(
    readonly nWindow: number,
    private readonly nCtx: number,
  ) {
    this.#ids = new Int32Array(nWindow * nCtx);
    this.#targets = new Int32Array(nWindow * nCtx);
    this.#used = new Int32Array(nWindow);
    this.#order = Array.from({ length: nWindow }, (_, w) => w);
  }

  /** Reads the windows from `first` on; how many targets they have. */
  read(windows: TrainingWindows, first: number): number {
    const { nCtx } = this;
    let nTarget = 0;
    for (let w = 0; w < this.nWindow; w++) {
      const targets = this.#targets.subarray(w * nCtx, (w + 1) * nCtx);
      windows.window(first + w, this.#ids.subarray(w * nCtx, (w + 1) * nCtx), targets);
      this.#used[w] = 0;
      for (let t = 0; t < nCtx; t++) {
        if (targets[t] === ignoreIndex) continue;
        nTarget++;
        this.#used[w] = t + 1;
      }
    }
    return nTarget;
  }

  /** The length of each of equal slices that holds all of its windows' targets, a multiple of `step` if not nCtx. */
  lengths(nSlice: number, step: number): number[] {
    const { nCtx } = this;
    const rounded = Array.from(this.#used, (used) => Math.min(nCtx, Math.max(1, Math.ceil(used / step)) * step));
    this.#order = rounded.map((_, w) => w).sort((a, b) => rounded[b]! - rounded[a]! || a - b);
    return Array.from({ length: nSlice }, (_, slice) => rounded[this.#order[(slice * this.nWindow) / nSlice]!]!);
  }

  /** Writes the windows of a slice, cut to `length`, into its part of `ids` and `targets`. */
  copy(slice: number, length: number, ids: Tensor, targets: Tensor): void {
    const [toIds, toTargets] = [ids.values(), targets.values()];
    const perSlice = ids.shape[1]!;
    for (let i = slice * perSlice; i < (slice + 1) * perSlice; i++) {
      const from = this.#order[i]! * this.nCtx;
      toIds.set(this.#ids.subarray(from, from + length), i * length);
      toTargets.set(this.#targets.subarray(from, from + length), i * length);
    }
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

/**
 * Equal slices of `nWindow` windows: on cpu the most that are still worth it, by the size of what one window computes, elsewhere one; and
 * bytes of a slice's intermediate tensors.
 */
function sliced(
  model: LanguageModel,
  nWindow: number,
  nCtx: number,
): { readonly nSlice: number; readonly sliceBytes: number } {
  const { device } = model;
  // The device's memory is not for trying things out.
  if (device.name === 'cuda') return { nSlice: 1, sliceBytes: 0 };
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
  if (device.name !== 'cpu') windowsPerSlice = nWindow;
  return { nSlice: nWindow / windowsPerSlice, sliceBytes: windowsPerSlice * oneWindow.arenaBytes };
}

/** Slices to run at once: all threads' worth when that leaves none idle for long, otherwise one on all threads. */
function laneCount(device: Device, nSlice: number): number {
  const { nThread } = device;
  return nSlice % nThread === 0 || nSlice >= 4 * nThread ? nThread : 1;
}
