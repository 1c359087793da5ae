// Embedding probes of one frozen language model as they train and answer: a low-rank update of its input embedding, and a linear
// head on its states at chosen positions.
//
// What is trained lies in one arena whose contents can be exchanged: probes with other labels, and the control task, run on the
// recorded steps of the first one.
import { invariant, type Rng } from '@physlm/base';
import { adamW, gradNorm, ignoreIndex, type LanguageModel, type Recorded, sumSlices, type Tensor } from '@physlm/model';
import { BatchNorm } from './batch-norm.js';
import { EmbeddingProbeModule, type EmbeddingProgramOptions } from './embedding-probe-module.js';
import { EmbeddingSteps, type Feed, POSITION_STEP, widthOfState } from './embedding-probe-steps.js';

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
/** Reads of a slice are rounded up in the same way as lengths. */
const ROW_STEP = 16;

/** Where a read of an input went: slice and row. */
interface PlacedRow {
  readonly input: number;
  readonly read: number;
  readonly slice: number;
  readonly row: number;
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
    const { key, places } = this.#plan(batch, isLabelled);
    const step = this.#steps.train(key.nPosition, key.nRow);
    this.#fill(step, batch, places, key);
    const targets = step.targets.map((tensor) => tensor.values().fill(ignoreIndex));
    let nTarget = 0;
    for (const { input, read, slice: at, row } of places) {
      for (const [slot, list] of batch[input]!.labels.entries()) {
        const label = list[read]!;
        if (label < 0) continue;
        targets[slot]![at * key.nRow + row] = label;
        nTarget++;
      }
    }
    if (nTarget === 0) return 0;
    step.weight.values().fill(1 / nTarget);
    step.rowWeight
      ?.values()
      .fill(0)
      .fill(1 / places.length, 0, places.length);
    if (step.keep !== undefined) drop(step.keep, this.options.dropout, dropRng!);
    step.run.run();
    const { loss, mean, variance } = step.run.results;
    const { norm } = this.#module;
    if (norm instanceof BatchNorm) norm.observe({ mean: mean!, variance: variance! }, places.length);
    const correction = (beta: number): number => 1 - beta ** (state.nTrained + 1);
    const [beta1, beta2] = BETAS;
    const { eps, weightDecay } = this.options;
    this.#hyper.values().set([lr, beta1, beta2, eps, weightDecay, correction(beta1), correction(beta2), 0]);
    this.#update.run();
    state.nTrained++;
    let total = 0;
    for (const x of loss!.values()) total += x;
    return total / nTarget;
  }

  /** Logits of every position of some inputs, at most a batch of them: by input and slot, [nPosition, nClass of the slot]. */
  logits(state: ProbeState, inputs: readonly EmbeddingProbeInput[]): Float32Array[][] {
    this.#use(state);
    const { key, places } = this.#plan(inputs, () => true);
    const step = this.#steps.answer(key.nPosition, key.nRow);
    this.#fill(step, inputs, places, key);
    step.run.run();
    const values = step.run.results.logits.values();
    const nOut = this.options.nClass.reduce((a, b) => a + b, 0);
    const answers = inputs.map(({ positions }) => state.nClass.map((n) => new Float32Array(positions.length * n)));
    for (const { input, read, slice: at, row } of places) {
      let start = (at * key.nRow + row) * nOut;
      for (const [slot, n] of state.nClass.entries()) {
        answers[input]![slot]!.set(values.subarray(start, start + n) as Float32Array, read * n);
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

  /** Which program serves the inputs, and where each read goes. */
  #plan<T extends EmbeddingProbeInput>(
    inputs: readonly T[],
    isRead: (input: T, read: number) => boolean,
  ): { key: { nPosition: number; nRow: number }; places: PlacedRow[] } {
    invariant(inputs.length <= this.options.batchSize, `at most ${this.options.batchSize} inputs`);
    const perSlice = this.options.batchSize / this.#steps.nSlice;
    const nInSlice = new Int32Array(this.#steps.nSlice);
    const places: PlacedRow[] = [];
    let longest = 1;
    for (const [b, input] of inputs.entries()) {
      const at = Math.floor(b / perSlice);
      longest = Math.max(longest, input.ids.length);
      for (let read = 0; read < input.positions.length; read++) {
        if (isRead(input, read)) places.push({ input: b, read, slice: at, row: nInSlice[at]!++ });
      }
    }
    const { nCtx } = this.model.config;
    const causal = isCausal(this.model);
    const nPosition = causal ? Math.min(nCtx, roundUp(longest, POSITION_STEP)) : longest;
    const nRow = roundUp(
      nInSlice.reduce((a, b) => Math.max(a, b), 1),
      ROW_STEP,
    );
    return { key: { nPosition, nRow }, places };
  }

  #fill(
    feed: Feed,
    inputs: readonly EmbeddingProbeInput[],
    places: readonly PlacedRow[],
    { nPosition, nRow }: { nPosition: number; nRow: number },
  ): void {
    const { dVocab } = this.model.config;
    const { nNewToken, batchSize } = this.options;
    const perSlice = batchSize / this.#steps.nSlice;
    const ids = feed.ids.values().fill(0);
    const tokens = feed.tokens.values().fill(0);
    const isNew = feed.isNew?.values().fill(0);
    for (const [b, input] of inputs.entries()) {
      const start = b * nPosition;
      for (let t = 0; t < input.ids.length; t++) {
        const token = input.ids[t]!;
        tokens[start + t] = token;
        if (token < dVocab) ids[start + t] = token;
        else isNew![(start + t) * nNewToken + token - dVocab] = this.#module.unit;
      }
    }
    const rows = feed.rows.values().fill(0);
    for (const { input, read, slice: at, row } of places) {
      rows[at * nRow + row] = (input - at * perSlice) * nPosition + inputs[input]!.positions[read]!;
    }
  }
}

/** Whether a token sees nothing behind it, so that padding on the right changes nothing. */
export function isCausal({ config }: LanguageModel): boolean {
  return !('causal' in config && config.causal === false);
}

/** Zeros with probability `rate`, 1/(1 − rate) otherwise. */
function drop(keep: Tensor, rate: number, rng: Rng): void {
  const values = keep.values();
  const limit = rate * 2 ** 32;
  for (let i = 0; i < values.length; i++) values[i] = rng.u32() < limit ? 0 : 1 / (1 - rate);
}

function roundUp(n: number, least: number): number {
  const step = Math.max(least, 2 ** Math.floor(Math.log2(n)) / 8);
  return Math.ceil(n / step) * step;
}
