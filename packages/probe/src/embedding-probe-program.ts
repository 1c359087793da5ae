// A frozen language model with a trainable low-rank update of its input embedding, and a linear head on the states at chosen
// positions: the parameters, and the recorded steps that train and apply them.
//
// The model's weights are constants of the recording, so a step holds their forward pass and the gradients of activations, and
// none of their own gradients. What is trained lies in one arena whose contents can be exchanged: probes with other labels, and
// the control task, run on the programs of the first one.
import { ConfigError, invariant, type Rng } from '@physlm/base';
import {
  adamW,
  add,
  backward,
  crossEntropy,
  type Device,
  embedding,
  gradNorm,
  ignoreIndex,
  type LanguageModel,
  LayerNorm,
  Linear,
  linear,
  Module,
  mul,
  ParameterArena,
  type Recorded,
  reshape,
  slice,
  sumSlices,
  type Tensor,
  Trace,
} from '@physlm/model';
import { BatchNorm } from './batch-norm.js';

// Axes: S slices of a batch, B sequences of a slice, T positions, N rows read in a slice, V tokens (with new ones), K rank,
// D dModel, E width of the state that is read, C outputs.

/** Where a probe reads, and how it prepares what it reads. */
export interface EmbeddingReadout {
  /** Path of one activation whose first axes are BT; `norm`, the last hidden layer, unless said otherwise. */
  readonly layer?: string | undefined;
  /** Before the linear head: nothing, LayerNorm by state, or BatchNorm over the states of a step; gain and bias are trained. */
  readonly norm?: 'none' | 'layer' | 'batch' | undefined;
}

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
const EPS_LAYER_NORM = 1e-5;
/** Lengths are rounded up to a multiple of this, or of an eighth of their power of two, so that few programs serve all. */
const POSITION_STEP = 32;
const ROW_STEP = 16;
/** Programs kept; each holds its intermediate tensors. */
const MOST_PROGRAMS = 16;
/** An output that no class uses: its probability is 0 and it learns nothing. */
const CLOSED = -1e9;
/** Intermediate tensors of a slice should be at least this large: below, calls cost more than the cache saves. */
const MIN_SLICE_BYTES = 1 << 20;
/** … and this many times the gradients, which every slice writes. */
const MIN_ARENA_PER_GRADIENT = 4;
/** A GPU is busy with large slices; this much of its memory is enough for one. */
const MOST_GPU_BYTES = 2 ** 33;

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
class EmbeddingProbeModule extends Module {
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

/** The tensors that a step reads, all slices of a batch: the model's tokens, the update's, what to read, and the targets. */
interface Feed {
  /** [S, B, T]; a new token is 0 here. */
  readonly ids: Tensor;
  /** [S, BT]. */
  readonly tokens: Tensor;
  /** [S, BT, new tokens]. */
  readonly isNew: Tensor | undefined;
  /** Which of the BT states to read: [S, N]. */
  readonly rows: Tensor;
}

interface TrainStep extends Feed {
  /** By slot: [S, N]. */
  readonly targets: readonly Tensor[];
  /** Seed of the reverse pass, [N]: 1/targets of the batch. */
  readonly weight: Tensor;
  /** Share of each row in batch statistics, [N]. */
  readonly rowWeight: Tensor | undefined;
  /** [S, N, E]. */
  readonly keep: Tensor | undefined;
  readonly run: Recorded<Record<string, Tensor>>;
}

interface AnswerStep extends Feed {
  readonly run: Recorded<{ logits: Tensor }>;
}

/** Where a read of an input went: slice and row. */
interface PlacedRow {
  readonly input: number;
  readonly read: number;
  readonly slice: number;
  readonly row: number;
}

/** The recorded steps of one model and one readout: one for each rounded length and number of reads. */
export class EmbeddingProgram {
  readonly nParameter: number;
  /** Width of the state that is read. */
  readonly dState: number;
  readonly #device: Device;
  readonly #module: EmbeddingProbeModule;
  readonly #arena: ParameterArena;
  readonly #m: Tensor;
  readonly #v: Tensor;
  readonly #hyper: Tensor;
  readonly #update: Recorded<Record<string, Tensor>>;
  readonly #train = new Map<string, TrainStep>();
  readonly #answer = new Map<string, AnswerStep>();
  readonly #nSlice: number;
  #current: ProbeState | undefined;

  constructor(
    private readonly model: LanguageModel,
    private readonly options: EmbeddingProgramOptions,
    rng: Rng,
  ) {
    const { device } = model;
    this.#device = device;
    this.dState = this.#widthOfState();
    this.#module = new EmbeddingProbeModule(device, model, options, this.dState, rng);
    this.nParameter = this.#module.nParameter;
    this.#nSlice = this.#countSlices();
    this.#arena = new ParameterArena(device, this.#module, this.#nSlice);
    this.#m = this.#arena.like();
    this.#v = this.#arena.like();
    this.#hyper = device.zeros([8], 'f32', 'host');
    const { gradients, weights, nDecay } = this.#arena;
    this.#update = device.record(() => {
      const g =
        this.#nSlice === 1
          ? gradients.view([weights.size])
          : sumSlices({ g: gradients.view(gradients.shape) }, {}).total;
      const { norm } = gradNorm({ g }, {});
      adamW({ w: weights, g, m: this.#m, v: this.#v, norm, hyper: this.#hyper }, { nDecay });
      return {};
    });
  }

  /** Kernel calls of one slice of the training steps recorded so far, by rounded sizes. */
  get nCommand(): ReadonlyMap<string, number> {
    return new Map([...this.#train].map(([key, { run }]) => [key, run.nCommand]));
  }

  /** A new probe with `nClass` classes in the slots. */
  fresh(nClass: readonly number[], rng: Rng): ProbeState {
    this.putBack();
    this.#module.reset(nClass, this.options.nClass, rng);
    const copy = (tensor: Tensor): Float32Array => tensor.values().slice() as Float32Array;
    const size = this.#arena.weights.size;
    return {
      weights: copy(this.#arena.weights),
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
    const step = this.#trainStep(key.nPosition, key.nRow);
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
    const step = this.#answerStep(key.nPosition, key.nRow);
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
    this.#arena.weights.values().set(state.weights);
    this.#m.values().set(state.m);
    this.#v.values().set(state.v);
    for (const [i, tensor] of this.#averages().entries()) tensor.values().set(state.averages[i]!);
    this.#current = state;
  }

  /** Brings the numbers of the probe that was used last up to date in its {@link ProbeState}. */
  putBack(): void {
    const state = this.#current;
    if (state === undefined) return;
    state.weights.set(this.#arena.weights.values());
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
    const perSlice = this.options.batchSize / this.#nSlice;
    const nInSlice = new Int32Array(this.#nSlice);
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
    const perSlice = batchSize / this.#nSlice;
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

  #feed(nPosition: number, nRow: number): Feed {
    const { nNewToken, batchSize } = this.options;
    const [device, S] = [this.#device, this.#nSlice];
    const B = batchSize / S;
    return {
      ids: device.zeros([S, B, nPosition], 'i32', 'host'),
      tokens: device.zeros([S, B * nPosition], 'i32', 'host'),
      isNew: nNewToken === 0 ? undefined : device.zeros([S, B * nPosition, nNewToken], 'f32', 'host'),
      rows: device.zeros([S, nRow], 'i32', 'host'),
    };
  }

  /** The states [N, E] that a slice reads. */
  #read(model: LanguageModel, { ids, tokens, isNew, rows }: Feed): Tensor {
    const { layer = 'norm' } = this.options.readout;
    const edit = { embed: (x: Tensor) => this.#module.update(x, tokens, isNew) };
    const trace = new Trace({ read: [layer], edit });
    model.forward(ids, trace);
    const [state] = trace.activations().values();
    const nState = ids.size;
    return embedding({ ids: rows, w: reshape(state!, [nState, state!.size / nState]) }, {}).y;
  }

  #trainStep(nPosition: number, nRow: number): TrainStep {
    return remembered(this.#train, `${nPosition} × ${nRow}`, () => {
      const feed = this.#feed(nPosition, nRow);
      const [device, S] = [this.#device, this.#nSlice];
      const targets = this.options.nClass.map(() => device.zeros([S, nRow], 'i32', 'host'));
      const weight = device.zeros([nRow], 'f32', 'host');
      const rowWeight = this.options.readout.norm === 'batch' ? device.zeros([nRow], 'f32', 'host') : undefined;
      const keep = this.options.dropout === 0 ? undefined : device.zeros([S, nRow, this.dState], 'f32', 'host');
      const { gradients } = this.#arena;
      const { sliced, of } = slicedTensors({ ...feed, keep, gradients }, targets);
      const run = frozen(this.model, () =>
        device.withGrad(() =>
          device.recordSlices({ nSlice: S, nLane: laneCount(device, S), sliced }, (...parts) => {
            const own = of(parts);
            return this.#loss(own.feed, own.targets, weight, rowWeight, own.keep);
          }),
        ),
      );
      return { ...feed, targets, weight, rowWeight, keep, run };
    });
  }

  /** Losses of a slice's rows, summed over slots; writes the gradients. */
  #loss(
    feed: Feed,
    targets: readonly Tensor[],
    weight: Tensor,
    rowWeight: Tensor | undefined,
    keep: Tensor | undefined,
  ): Record<string, Tensor> {
    const { norm, head } = this.#module;
    let x = this.#read(this.model, feed);
    let statistics: Record<string, Tensor> = {};
    if (norm instanceof BatchNorm) {
      const { y, mean, variance } = norm.forwardBatch(x, rowWeight!);
      [x, statistics] = [y, { mean, variance }];
    } else if (norm !== undefined) x = norm.forward(x);
    if (keep !== undefined) x = mul(x, keep);
    const logits = head.forward(x);
    let start = 0;
    const losses = targets.map((list, slot) => {
      const width = this.options.nClass[slot]!;
      const own = targets.length === 1 ? logits : slice(logits, 1, start, start + width);
      start += width;
      return crossEntropy({ logits: own, targets: list }, { ignore: ignoreIndex }).loss;
    });
    const loss = losses.reduce((a, b) => add(a, b));
    backward(loss, weight);
    return { loss, ...statistics };
  }

  #answerStep(nPosition: number, nRow: number): AnswerStep {
    return remembered(this.#answer, `${nPosition} × ${nRow}`, () => {
      const feed = this.#feed(nPosition, nRow);
      const [device, S] = [this.#device, this.#nSlice];
      const { norm, head } = this.#module;
      const { sliced, of } = slicedTensors(feed, []);
      const run = device.withoutGrad(() =>
        device.recordSlices({ nSlice: S, nLane: laneCount(device, S), sliced }, (...parts) => {
          const x = this.#read(this.model, of(parts).feed);
          return { logits: head.forward(norm === undefined ? x : norm.forward(x)) };
        }),
      );
      return { ...feed, run };
    });
  }

  /** Width of the activation that the readout names. */
  #widthOfState(): number {
    const { model } = this;
    const { layer = 'norm' } = this.options.readout;
    const ids = this.#device.zeros([1, 1], 'i32');
    const shapes: [string, readonly number[]][] = [];
    this.#device.withoutGrad(() =>
      this.#device.record(() => {
        const trace = new Trace({ read: [layer] });
        model.forward(ids, trace);
        for (const [path, { shape }] of trace.activations()) shapes.push([path, shape]);
        return {};
      }),
    );
    const [only] = shapes;
    const reject = (expected: string, got: string): never => {
      throw new ConfigError([{ path: 'embeddingProbe.readout.layer', expected, got }]);
    };
    if (shapes.length > 1) {
      reject('the path of one activation', `'${layer}', which matches ${shapes.map(([path]) => path).join(', ')}`);
    }
    const [path, shape] = only!;
    if (shape[0] !== 1 || shape[1] !== 1 || shape.length < 3) {
      reject('an activation with a state at each position', `'${path}' of shape [${shape}]`);
    }
    return shape.reduce((a, b) => a * b, 1);
  }

  /**
   * Equal slices of a step: on cpu as many as are still worth it, by the size of what a sequence computes, on a GPU as few as its
   * memory allows. Batch statistics need all rows at once.
   */
  #countSlices(): number {
    const device = this.#device;
    const { batchSize, readout, nNewToken, nClass } = this.options;
    if (device.name === 'js' || readout.norm === 'batch') return 1;
    const { nCtx } = this.model.config;
    const T = Math.min(POSITION_STEP, nCtx);
    const feed: Feed = {
      ids: device.zeros([1, T], 'i32'),
      tokens: device.zeros([T], 'i32'),
      isNew: nNewToken === 0 ? undefined : device.zeros([T, nNewToken]),
      rows: device.zeros([1], 'i32'),
    };
    const targets = nClass.map(() => device.zeros([1], 'i32'));
    const arena = new ParameterArena(device, this.#module);
    const one = frozen(this.model, () =>
      device.withGrad(() => device.record(() => this.#loss(feed, targets, device.zeros([1]), undefined, undefined))),
    );
    if (device.name === 'cuda') {
      const longest = one.arenaBytes * (nCtx / T);
      let most = Math.min(batchSize, Math.max(1, Math.floor(MOST_GPU_BYTES / longest)));
      while (batchSize % most !== 0) most--;
      return batchSize / most;
    }
    const atLeast = Math.max(MIN_SLICE_BYTES, MIN_ARENA_PER_GRADIENT * arena.gradients.byteLength);
    let perSlice = Math.min(batchSize, Math.max(1, Math.ceil(atLeast / one.arenaBytes)));
    while (batchSize % perSlice !== 0) perSlice++;
    return batchSize / perSlice;
  }
}

/** Whether a token sees nothing behind it, so that padding on the right changes nothing. */
export function isCausal({ config }: LanguageModel): boolean {
  return !('causal' in config && config.causal === false);
}

/** Runs `body` with a model whose weights are constants: no gradient flows into them. */
function frozen<T>(model: LanguageModel, body: () => T): T {
  const weights = [...model.parameters().values()];
  for (const weight of weights) weight.requiresGrad = false;
  try {
    return body();
  } finally {
    for (const weight of weights) weight.requiresGrad = true;
  }
}

/** The tensors of a feed in one list, and the same feed made of the parts of one slice. */
function slicedTensors(
  feed: Feed & { readonly keep?: Tensor | undefined; readonly gradients?: Tensor | undefined },
  targets: readonly Tensor[],
): {
  readonly sliced: Tensor[];
  of(parts: readonly Tensor[]): { feed: Feed; targets: Tensor[]; keep: Tensor | undefined };
} {
  const { ids, tokens, isNew, rows, keep, gradients } = feed;
  const named = { ids, tokens, isNew, rows, keep, gradients };
  const present = Object.entries(named).filter((entry): entry is [string, Tensor] => entry[1] !== undefined);
  return {
    sliced: [...present.map(([, tensor]) => tensor), ...targets],
    of(parts) {
      const part = Object.fromEntries(present.map(([name], i) => [name, parts[i]!])) as Partial<typeof named>;
      return {
        feed: { ids: part.ids!, tokens: part.tokens!, isNew: part.isNew, rows: part.rows! },
        targets: parts.slice(present.length),
        keep: part.keep,
      };
    },
  };
}

/** Zeros with probability `rate`, 1/(1 − rate) otherwise. */
function drop(keep: Tensor, rate: number, rng: Rng): void {
  const values = keep.values();
  const limit = rate * 2 ** 32;
  for (let i = 0; i < values.length; i++) values[i] = rng.u32() < limit ? 0 : 1 / (1 - rate);
}

/** Slices to run at once: all threads' worth when that leaves none idle for long, otherwise one on all threads. */
function laneCount({ nThread }: Device, nSlice: number): number {
  return nSlice % nThread === 0 || nSlice >= 4 * nThread ? nThread : 1;
}

function remembered<T>(known: Map<string, T>, key: string, make: () => T): T {
  const found = known.get(key);
  if (found !== undefined) return found;
  const made = make();
  const [oldest] = known.keys();
  if (oldest !== undefined && known.size === MOST_PROGRAMS) known.delete(oldest);
  known.set(key, made);
  return made;
}

function roundUp(n: number, least: number): number {
  const step = Math.max(least, 2 ** Math.floor(Math.log2(n)) / 8);
  return Math.ceil(n / step) * step;
}
