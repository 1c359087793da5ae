// Embedding probes of one frozen language model as they train and answer: a low-rank update of its input embedding, and a linear
// head on its states at chosen positions.
//
// What is trained lies in one arena whose contents can be exchanged: probes with other labels, and the control task, run on the
// recorded steps of the first one.
import { invariant, type Rng } from '@physlm/base';
import {
  adamW,
  gradNorm,
  ignoreIndex,
  type LanguageModel,
  type Recorded,
  runSlices,
  sumSlices,
  type Tensor,
  type Values,
} from '@physlm/model';
import { BatchNorm } from './batch-norm.js';
import { EmbeddingProbeModule, type EmbeddingProgramOptions } from './embedding-probe-module.js';
import { EmbeddingSteps, type Feed, widthOfState } from './embedding-probe-steps.js';

/** A text and the places where it is read. */
export interface EmbeddingProbeInput {
  /** Tokens; V … V + nNewToken − 1 are the new ones, which the model's vocabulary of V lacks. */
  readonly ids: ArrayLike<number>;
  /** p is the state after token p of `ids`. */
  readonly positions: readonly number[];
}

/** An input with its labels. */
export interface LabelledInput extends EmbeddingProbeInput {
  /** By slot: the class at each position, −1 where there is none. */
  readonly labels: readonly ArrayLike<number>[];
}

/** The contents of the arena and the running averages: everything that distinguishes two probes of one program. */
export interface ProbeState {
  readonly weights: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
  /** Running mean and variance with batch normalisation; empty otherwise. */
  readonly averages: readonly Float32Array[];
  nTrained: number;
  /** Classes in use of each slot. */
  readonly nClass: readonly number[];
}

const BETAS = [0.9, 0.98] as const;
/** Reads of a slice are rounded up to a multiple of this, or of an eighth of their power of two, so that few programs serve all. */
const ROW_STEP = 16;
/** Lengths are rounded up to 16, 24, 32, 48, 64, 96, …: all programs together take a few times the memory of the longest. */
const SHORTEST = 16;

/** Where a read of an input went: slice and row. */
interface PlacedRow {
  readonly input: number;
  readonly read: number;
  readonly slice: number;
  readonly row: number;
}

/** How inputs are put into the slices of a batch: long ones together, so that short ones are not filled up to their length. */
interface Layout {
  /** By place in the batch: the input. */
  readonly order: readonly number[];
  /** Positions of each slice. */
  readonly lengths: readonly number[];
  readonly nRow: number;
  readonly places: readonly PlacedRow[];
}

/** Trains and applies the probes of one model and one readout. */
export class EmbeddingProgram {
  readonly nParameter: number;
  /** Width of the state that is read. */
  readonly dState: number;
  readonly #module: EmbeddingProbeModule;
  readonly #steps: EmbeddingSteps;
  readonly #m: Tensor;
  readonly #v: Tensor;
  readonly #hyper: Tensor;
  readonly #update: Recorded<Record<string, Tensor>>;
  #current: ProbeState | undefined;

  constructor(
    private readonly model: LanguageModel,
    private readonly options: EmbeddingProgramOptions,
    rng: Rng,
  ) {
    const { device } = model;
    this.dState = widthOfState(model, options.readout);
    this.#module = new EmbeddingProbeModule(device, model, options, this.dState, rng);
    this.nParameter = this.#module.nParameter;
    this.#steps = new EmbeddingSteps(model, this.#module, options, this.dState);
    const { arena, nSlice } = this.#steps;
    this.#m = arena.like();
    this.#v = arena.like();
    this.#hyper = device.zeros([8], 'f32', 'host');
    const { gradients, weights, nDecay } = arena;
    this.#update = device.record(() => {
      const g =
        nSlice === 1 ? gradients.view([weights.size]) : sumSlices({ g: gradients.view(gradients.shape) }, {}).total;
      const { norm } = gradNorm({ g }, {});
      adamW({ w: weights, g, m: this.#m, v: this.#v, norm, hyper: this.#hyper }, { nDecay });
      return {};
    });
  }

  /** Kernel calls of one slice of the training steps recorded so far, by rounded sizes. */
  get nCommand(): ReadonlyMap<string, number> {
    return this.#steps.nCommand;
  }

  /** A new probe with `nClass` classes in the slots. */
  fresh(nClass: readonly number[], rng: Rng): ProbeState {
    this.putBack();
    this.#module.reset(nClass, this.options.nClass, rng);
    const copy = (tensor: Tensor): Float32Array => tensor.values().slice() as Float32Array;
    const size = this.#steps.arena.weights.size;
    return {
      weights: copy(this.#steps.arena.weights),
      m: new Float32Array(size),
      v: new Float32Array(size),
      averages: this.#averages().map(copy),
      nTrained: 0,
      nClass,
    };
  }

  /** The update's s·A·B of a probe as [V, D] by rows of tokens. */
  embeddingUpdate(state: ProbeState): (token: number) => Float32Array {
    this.#use(state);
    const { tokens, directions, unit } = this.#module;
    if (tokens === undefined || directions === undefined) return () => new Float32Array(this.model.config.dModel);
    const [A, B] = [tokens.values().slice(), directions.values().slice()];
    const [d, K] = directions.shape as [number, number];
    return (token) =>
      Float32Array.from({ length: d }, (_, i) => {
        let sum = 0;
        for (let k = 0; k < K; k++) sum += A[token * K + k]! * B[i * K + k]!;
        return unit * sum;
      });
  }

  /**
   * One optimiser step of a probe with learning rate `lr` (AdamW 0.9, 0.98; matrices decay); the mean −ln p over labelled
   * positions and slots, in nats. `dropRng`: where dropout draws from.
   */
  train(state: ProbeState, batch: readonly LabelledInput[], lr: number, dropRng?: Rng): number {
    this.#use(state);
    const isLabelled = (input: LabelledInput, read: number): boolean => input.labels.some((list) => list[read]! >= 0);
    const layout = this.#plan(batch, isLabelled);
    const { lengths, nRow, places } = layout;
    const steps = lengths.map((length) => this.#steps.train(length, nRow));
    this.#fill(steps, batch, layout);
    for (const { targets } of new Set(steps)) for (const tensor of targets) tensor.values().fill(ignoreIndex);
    let nTarget = 0;
    for (const { input, read, slice: at, row } of places) {
      for (const [slot, list] of batch[input]!.labels.entries()) {
        const label = list[read]!;
        if (label < 0) continue;
        steps[at]!.targets[slot]!.values()[at * nRow + row] = label;
        nTarget++;
      }
    }
    if (nTarget === 0) return 0;
    for (const { weight, rowWeight } of new Set(steps)) {
      weight.values().fill(1 / nTarget);
      rowWeight
        ?.values()
        .fill(0)
        .fill(1 / places.length, 0, places.length);
    }
    for (const [at, { keep }] of steps.entries()) {
      if (keep !== undefined) drop(partOf(keep, at, steps.length), this.options.dropout, dropRng!);
    }
    this.#run(steps);
    // With statistics of the batch there is one slice.
    const { mean, variance } = steps[0]!.run.results;
    const { norm } = this.#module;
    if (norm instanceof BatchNorm) norm.observe({ mean: mean!, variance: variance! }, places.length);
    const correction = (beta: number): number => 1 - beta ** (state.nTrained + 1);
    const [beta1, beta2] = BETAS;
    const { eps, weightDecay } = this.options;
    this.#hyper.values().set([lr, beta1, beta2, eps, weightDecay, correction(beta1), correction(beta2), 0]);
    this.#update.run();
    state.nTrained++;
    let total = 0;
    for (const [at, { run }] of steps.entries()) {
      for (const x of partOf(run.results.loss!, at, steps.length)) total += x;
    }
    return total / nTarget;
  }

  /** Logits of every position of some inputs, at most a batch of them: by input and slot, [nPosition, nClass of the slot]. */
  logits(state: ProbeState, inputs: readonly EmbeddingProbeInput[]): Float32Array[][] {
    this.#use(state);
    const layout = this.#plan(inputs, () => true);
    const { lengths, nRow, places } = layout;
    const steps = lengths.map((length) => this.#steps.answer(length, nRow));
    this.#fill(steps, inputs, layout);
    this.#run(steps);
    const values = steps.map(({ run }) => run.results.logits.values());
    const nOut = this.options.nClass.reduce((a, b) => a + b, 0);
    const answers = inputs.map(({ positions }) => state.nClass.map((n) => new Float32Array(positions.length * n)));
    for (const { input, read, slice: at, row } of places) {
      let start = (at * nRow + row) * nOut;
      for (const [slot, n] of state.nClass.entries()) {
        answers[input]![slot]!.set(values[at]!.subarray(start, start + n) as Float32Array, read * n);
        start += this.options.nClass[slot]!;
      }
    }
    return answers;
  }

  /** Puts a probe's numbers into the arena, and the last one's back where they came from. */
  #use(state: ProbeState): void {
    if (this.#current === state) return;
    this.putBack();
    this.#steps.arena.weights.values().set(state.weights);
    this.#m.values().set(state.m);
    this.#v.values().set(state.v);
    for (const [i, tensor] of this.#averages().entries()) tensor.values().set(state.averages[i]!);
    this.#current = state;
  }

  /** Brings the numbers of the probe that was used last up to date in its {@link ProbeState}. */
  putBack(): void {
    const state = this.#current;
    if (state === undefined) return;
    state.weights.set(this.#steps.arena.weights.values());
    state.m.set(this.#m.values());
    state.v.set(this.#v.values());
    for (const [i, tensor] of this.#averages().entries()) state.averages[i]!.set(tensor.values());
    this.#current = undefined;
  }

  #averages(): Tensor[] {
    const { norm } = this.#module;
    return norm instanceof BatchNorm ? [norm.runningMean, norm.runningVariance] : [];
  }

  /** Runs slice s of step s for all s. */
  #run(steps: readonly { readonly run: Recorded<Readonly<Record<string, Tensor>>> }[]): void {
    const [first] = steps;
    if (steps.every((step) => step === first)) first!.run.run();
    else {
      runSlices(
        this.model.device,
        steps.map(({ run }, slice) => ({ step: run, slice })),
      );
    }
  }

  /** Where inputs and their reads go. */
  #plan<T extends EmbeddingProbeInput>(inputs: readonly T[], isRead: (input: T, read: number) => boolean): Layout {
    invariant(inputs.length <= this.options.batchSize, `at most ${this.options.batchSize} inputs`);
    const { nSlice } = this.#steps;
    const perSlice = this.options.batchSize / nSlice;
    const { nCtx } = this.model.config;
    const causal = isCausal(this.model);
    const rounded = inputs.map(({ ids }) => (causal ? Math.min(nCtx, roundLength(ids.length)) : ids.length));
    const order = inputs.map((_, b) => b).sort((a, b) => rounded[b]! - rounded[a]! || a - b);
    const shortest = rounded[order.at(-1)!] ?? 1;
    // A GPU has large slices and little memory for programs: one length for all.
    const uniform = this.model.device.name === 'cuda';
    const lengths = Array.from(
      { length: nSlice },
      (_, slice) => rounded[order[uniform ? 0 : slice * perSlice]!] ?? shortest,
    );
    const nInSlice = new Int32Array(nSlice);
    const places: PlacedRow[] = [];
    for (const [place, b] of order.entries()) {
      const slice = Math.floor(place / perSlice);
      const input = inputs[b]!;
      for (let read = 0; read < input.positions.length; read++) {
        if (isRead(input, read)) places.push({ input: b, read, slice, row: nInSlice[slice]!++ });
      }
    }
    const nRow = roundUp(
      nInSlice.reduce((a, b) => Math.max(a, b), 1),
      ROW_STEP,
    );
    return { order, lengths, nRow, places };
  }

  #fill(
    feeds: readonly Feed[],
    inputs: readonly EmbeddingProbeInput[],
    { order, lengths, nRow, places }: Layout,
  ): void {
    const { dVocab } = this.model.config;
    const { nNewToken, batchSize } = this.options;
    const perSlice = batchSize / feeds.length;
    for (const feed of new Set(feeds)) {
      for (const tensor of [feed.ids, feed.tokens, feed.isNew, feed.rows]) tensor?.values().fill(0);
    }
    const placeOf = new Int32Array(inputs.length);
    for (const [place, b] of order.entries()) {
      placeOf[b] = place;
      const slice = Math.floor(place / perSlice);
      const start = place * lengths[slice]!;
      const [ids, tokens] = [feeds[slice]!.ids.values(), feeds[slice]!.tokens.values()];
      const isNew = feeds[slice]!.isNew?.values();
      const text = inputs[b]!.ids;
      for (let t = 0; t < text.length; t++) {
        const token = text[t]!;
        tokens[start + t] = token;
        if (token < dVocab) ids[start + t] = token;
        else isNew![(start + t) * nNewToken + token - dVocab] = this.#module.unit;
      }
    }
    for (const { input, read, slice, row } of places) {
      const inSlice = placeOf[input]! - slice * perSlice;
      feeds[slice]!.rows.values()[slice * nRow + row] = inSlice * lengths[slice]! + inputs[input]!.positions[read]!;
    }
  }
}

/** Whether a token sees nothing behind it, so that padding on the right changes nothing. */
export function isCausal({ config }: LanguageModel): boolean {
  return !('causal' in config && config.causal === false);
}

/** The part of one slice, of `nSlice`, of a tensor. */
function partOf(tensor: Tensor, slice: number, nSlice: number): Values {
  const size = tensor.size / nSlice;
  return tensor.values().subarray(slice * size, (slice + 1) * size) as Values;
}

/** Fills with zeros with probability `rate`, 1/(1 − rate) otherwise. */
function drop(values: Values, rate: number, rng: Rng): void {
  const limit = rate * 2 ** 32;
  for (let i = 0; i < values.length; i++) values[i] = rng.u32() < limit ? 0 : 1 / (1 - rate);
}

function roundLength(n: number): number {
  const power = 2 ** Math.floor(Math.log2(Math.max(n, SHORTEST)));
  if (n <= power) return power;
  return n <= 1.5 * power ? 1.5 * power : 2 * power;
}

function roundUp(n: number, least: number): number {
  const step = Math.max(least, 2 ** Math.floor(Math.log2(n)) / 8);
  return Math.ceil(n / step) * step;
}
