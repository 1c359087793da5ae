// The recorded steps that train and apply an embedding probe, one for each rounded length and number of reads; the slices of a batch
// may be slices of different ones.
//
// The model's weights are constants of the recording, so a step holds their forward pass and the gradients of activations, and
// none of their own gradients.
import { ConfigError } from '@physlm/base';
import {
  add,
  backward,
  crossEntropy,
  type Device,
  embedding,
  ignoreIndex,
  type LanguageModel,
  mul,
  ParameterArena,
  type Recorded,
  reshape,
  slice,
  type Tensor,
  Trace,
} from '@physlm/model';
import { BatchNorm } from './batch-norm.js';
import type { EmbeddingProbeModule, EmbeddingProgramOptions, EmbeddingReadout } from './embedding-probe-module.js';

// Axes: S slices of a batch, B sequences of a slice, T positions, N rows read in a slice, E width of the state that is read.

/** Positions of the sequence by which the size of slices is chosen. */
const TYPICAL_LENGTH = 32;
/** Programs kept; each holds its intermediate tensors. */
const MOST_PROGRAMS = 16;
/** Intermediate tensors of a slice should be at least this large: below, calls cost more than the cache saves. */
const MIN_SLICE_BYTES = 1 << 20;
/** … and this many times the gradients, which every slice writes. */
const MIN_ARENA_PER_GRADIENT = 4;
/** A GPU is busy with large slices; this much of its memory is enough for one. */
const MOST_GPU_BYTES = 2 ** 33;

/** The tensors that a step reads, all slices of a batch: the model's tokens, the update's, what to read, and the targets. */
export interface Feed {
  /** [S, B, T]; a new token is 0 here. */
  readonly ids: Tensor;
  /** [S, BT]. */
  readonly tokens: Tensor;
  /** [S, BT, new tokens]. */
  readonly isNew: Tensor | undefined;
  /** Which of the BT states to read: [S, N]. */
  readonly rows: Tensor;
}

export interface TrainStep extends Feed {
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

export interface AnswerStep extends Feed {
  readonly run: Recorded<{ logits: Tensor }>;
}

/** The steps of one model and its module, and the arena that holds what they train. */
export class EmbeddingSteps {
  /** Slices of a batch. */
  readonly nSlice: number;
  readonly arena: ParameterArena;
  readonly #device: Device;
  readonly #train = new Map<string, TrainStep>();
  readonly #answer = new Map<string, AnswerStep>();

  constructor(
    private readonly model: LanguageModel,
    private readonly module: EmbeddingProbeModule,
    private readonly options: EmbeddingProgramOptions,
    private readonly dState: number,
  ) {
    this.#device = model.device;
    this.nSlice = this.#countSlices();
    this.arena = new ParameterArena(model.device, module, this.nSlice);
  }

  /** Kernel calls of one slice of the training steps recorded so far, by rounded sizes. */
  get nCommand(): ReadonlyMap<string, number> {
    return new Map([...this.#train].map(([key, { run }]) => [key, run.nCommand]));
  }

  /** The step that trains on what its tensors hold: adds up the losses of the rows and writes the gradients. */
  train(nPosition: number, nRow: number): TrainStep {
    return remembered(this.#train, `${nPosition} × ${nRow}`, () => {
      const feed = this.#feed(nPosition, nRow);
      const [device, S] = [this.#device, this.nSlice];
      const targets = this.options.nClass.map(() => device.zeros([S, nRow], 'i32', 'host'));
      const weight = device.zeros([nRow], 'f32', 'host');
      const rowWeight = this.options.readout.norm === 'batch' ? device.zeros([nRow], 'f32', 'host') : undefined;
      const keep = this.options.dropout === 0 ? undefined : device.zeros([S, nRow, this.dState], 'f32', 'host');
      const { gradients } = this.arena;
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

  /** The step that gives the logits of all rows. */
  answer(nPosition: number, nRow: number): AnswerStep {
    return remembered(this.#answer, `${nPosition} × ${nRow}`, () => {
      const feed = this.#feed(nPosition, nRow);
      const [device, S] = [this.#device, this.nSlice];
      const { norm, head } = this.module;
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

  #feed(nPosition: number, nRow: number): Feed {
    const { nNewToken, batchSize } = this.options;
    const [device, S] = [this.#device, this.nSlice];
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
    const edit = { embed: (x: Tensor) => this.module.update(x, tokens, isNew) };
    const trace = new Trace({ read: [layer], edit });
    model.forward(ids, trace);
    const [state] = trace.activations().values();
    const nState = ids.size;
    return embedding({ ids: rows, w: reshape(state!, [nState, state!.size / nState]) }, {}).y;
  }

  /** Losses of a slice's rows, summed over slots; writes the gradients. */
  #loss(
    feed: Feed,
    targets: readonly Tensor[],
    weight: Tensor,
    rowWeight: Tensor | undefined,
    keep: Tensor | undefined,
  ): Record<string, Tensor> {
    const { norm, head } = this.module;
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

  /**
   * Equal slices of a step: on cpu as many as are still worth it, by the size of what a sequence computes, on a GPU as few as its
   * memory allows. Batch statistics need all rows at once.
   */
  #countSlices(): number {
    const device = this.#device;
    const { batchSize, readout, nNewToken, nClass } = this.options;
    if (device.name === 'js' || readout.norm === 'batch') return 1;
    const { nCtx } = this.model.config;
    const T = Math.min(TYPICAL_LENGTH, nCtx);
    const feed: Feed = {
      ids: device.zeros([1, T], 'i32'),
      tokens: device.zeros([T], 'i32'),
      isNew: nNewToken === 0 ? undefined : device.zeros([T, nNewToken]),
      rows: device.zeros([1], 'i32'),
    };
    const targets = nClass.map(() => device.zeros([1], 'i32'));
    const arena = new ParameterArena(device, this.module);
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

/** Width of the activation that the readout names. */
export function widthOfState(model: LanguageModel, { layer = 'norm' }: EmbeddingReadout): number {
  const { device } = model;
  const ids = device.zeros([1, 1], 'i32');
  const shapes: [string, readonly number[]][] = [];
  device.withoutGrad(() =>
    device.record(() => {
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
