// Hidden states of sentences, batch by batch: how much memory it takes does not depend on how many sentences there are.
//
// `streamActivations` runs a model over sentences and gives the states at chosen points and positions.
// `modelActivations` and `modelPoints` give states on demand, as probes read them; `ActivationSource` is what probes need, so
// that they read a running model, a store on disk or made-up states in the same way.
import { ConfigError, DataError } from '@physlm/base';
import { type LanguageModel, type Recorded, type Tensor, Trace, type TracePlan } from '@physlm/model';

// Axes: B sentences in a batch, T positions, D width of an activation.

/** Below, native products add up in an order of their own: rows of padding keep small batches out of it. */
const LEAST_NATIVE_ROWS = 256;
/** Lengths are rounded up to a multiple of this, so that few programs serve all batches. */
const POSITION_STEP = 32;
/** Programs kept for later batches; each holds its intermediate tensors. Encoders need one for each length. */
const MOST_PROGRAMS = 16;
const MOST_ENCODER_PROGRAMS = 64;
/** Positions that run at once unless the caller says otherwise: a matter of memory. */
const BATCH_POSITIONS = 4096;

/** Sentences as token lists; sentence(i) is a pure function of i. */
export interface SentenceSource {
  readonly nSentence: number;
  sentence(index: number): ArrayLike<number>;
}

/** Hidden states of sentences, one row for each token. */
export interface ActivationSource {
  readonly nSentence: number;
  /** Width of a row. */
  readonly d: number;
  /** States [nToken, d] of each of these sentences, in order; the next call may overwrite them. */
  read(sentences: readonly number[]): readonly Float32Array[];
}

/** Which activations to read, and where. */
export interface StreamOptions {
  /** Paths of activations whose first axes are BT, such as `blocks.3.residPost`; `*` stands for one part. */
  readonly at: readonly string[];
  /** Positions of a sentence to read: p is the state after its token p, −1 the state after `first` alone. All tokens. */
  readonly positions?: ((sentence: number, nToken: number) => readonly number[]) | undefined;
  /** Token put in front of every sentence, usually EOS or BOS; does not shift positions. */
  readonly first?: number | undefined;
  /** Changes to make while the model runs: see `TracePlan`. */
  readonly edit?: TracePlan['edit'];
  /** Sentences that run at once: a matter of memory, never of results. */
  readonly batchSize?: number | undefined;
}

/** States of some sentences at all points. */
export interface ActivationBatch {
  /** Index of each sentence. */
  readonly sentences: readonly number[];
  /** Positions that were read of each. */
  readonly positions: readonly (readonly number[])[];
  /** Rows [nRow, d] of each point by path: sentence after sentence, each in the order of its positions. */
  readonly points: ReadonlyMap<string, { readonly d: number; readonly rows: Float32Array<ArrayBuffer> }>;
}

/**
 * Runs a model over sentences and gives chosen activations at chosen positions, batch by batch.
 *
 * Only what was asked for is computed: sentences are cut after their batch's last position, blocks behind the last point do
 * not run, sentences without positions do not either (their batch has no rows of theirs). A batch is padded to one length; a
 * causal model cannot see the padding. An encoder could, and what is cut off: its sentences run whole, and only those of equal
 * length together. So the bits of a row depend neither on batch size nor on batch-mates nor on which other points are read.
 *
 * @throws ConfigError when a path matches no activation (naming the nearest) or one without axes BT, and when `batchSize` is
 * not a positive integer.
 * @throws DataError when a position is outside its sentence or the model's context, or a token outside the vocabulary, or when
 * an encoder's context ends before a sentence does.
 */
export function* streamActivations(
  model: LanguageModel,
  source: SentenceSource,
  options: StreamOptions,
  range: { readonly start: number; readonly end: number } = { start: 0, end: source.nSentence },
): Generator<ActivationBatch> {
  const reader = new ActivationReader(model, options, 'streamActivations');
  for (let start = range.start; start < range.end; start += reader.batchSize) {
    const size = Math.min(reader.batchSize, range.end - start);
    yield reader.read(
      Array.from({ length: size }, (_, i) => start + i),
      source,
    );
  }
}

/** What `modelActivations` reads; positions are all tokens of a sentence. */
export interface ModelActivationsOptions extends Pick<StreamOptions, 'first' | 'edit'> {
  /** Path of one activation whose first axes are BT. */
  readonly at: string;
}

/**
 * One activation of a running model as a source for probes: a row for each token of a sentence, none for `first`. States are
 * computed anew at each read.
 *
 * @throws ConfigError when `at` matches no activation, or more than one.
 */
export function modelActivations(
  model: LanguageModel,
  source: SentenceSource,
  { at, first, edit }: ModelActivationsOptions,
): ActivationSource {
  const reader = new ActivationReader(model, { at: [at], first, edit }, 'modelActivations');
  reader.onlyWidth();
  return [...sharedSources(reader, source).values()][0]!;
}

/**
 * Several activations of a running model as sources, by path. They share forward passes: the states of the latest sentences are
 * kept for all points, so probes that `trainProbes` trains side by side on the same sentences pay for one pass together.
 *
 * @throws ConfigError when a path matches no activation.
 */
export function modelPoints(
  model: LanguageModel,
  source: SentenceSource,
  options: Pick<StreamOptions, 'at' | 'first' | 'edit'>,
): ReadonlyMap<string, ActivationSource> {
  return sharedSources(new ActivationReader(model, options, 'modelPoints'), source);
}

function sharedSources(reader: ActivationReader, source: SentenceSource): Map<string, ActivationSource> {
  let latest: { readonly sentences: readonly number[]; readonly points: Map<string, Float32Array[]> } | undefined;
  const readAll = (sentences: readonly number[]): Map<string, Float32Array[]> => {
    const kept = latest?.sentences;
    if (kept?.length === sentences.length && kept.every((i, b) => i === sentences[b])) return latest!.points;
    const points = new Map<string, Float32Array[]>();
    for (let start = 0; start < sentences.length; start += reader.batchSize) {
      const batch = reader.read(sentences.slice(start, start + reader.batchSize), source);
      for (const [path, { d, rows }] of batch.points) {
        const states = points.get(path) ?? [];
        points.set(path, states);
        let row = 0;
        for (const { length } of batch.positions) {
          states.push(rows.subarray(row * d, (row + length) * d));
          row += length;
        }
      }
    }
    latest = { sentences: [...sentences], points };
    return points;
  };
  return new Map(
    [...reader.widths()].map(([path, d]) => [
      path,
      { nSentence: source.nSentence, d, read: (sentences) => readAll(sentences).get(path) ?? [] },
    ]),
  );
}

interface Program {
  readonly ids: Tensor;
  readonly run: Recorded<Record<string, Tensor>>;
}

/** The recorded forward passes behind both: one for each number of sentences and padded length, or an encoder's exact one. */
export class ActivationReader {
  readonly batchSize: number;
  readonly #causal: boolean;
  readonly #programs = new Map<string, Program>();
  readonly #nFront: number;

  /** `where` opens the error messages. */
  constructor(
    private readonly model: LanguageModel,
    private readonly options: StreamOptions,
    private readonly where: string,
  ) {
    const { batchSize, first, at } = options;
    const { nCtx, dVocab } = model.config;
    this.#causal = !('causal' in model.config) || model.config.causal !== false;
    if (batchSize !== undefined && !(Number.isInteger(batchSize) && batchSize > 0)) {
      const got = String(batchSize);
      throw new ConfigError([{ path: `${where}.batchSize`, expected: 'a positive integer', got }]);
    }
    if (at.length === 0) throw new ConfigError([{ path: `${where}.at`, expected: 'at least one path', got: 'none' }]);
    if (first !== undefined) checkToken(`${where}.first`, first, dVocab);
    this.#nFront = first === undefined ? 0 : 1;
    this.batchSize = batchSize ?? Math.max(1, Math.floor(BATCH_POSITIONS / nCtx));
  }

  /** Width of each activation that the paths match. */
  widths(): ReadonlyMap<string, number> {
    const { ids, run } = this.#program(1, 1);
    return new Map(Object.entries(run.results).map(([path, activation]) => [path, activation.size / ids.size]));
  }

  /** Width of the one activation that the paths match. */
  onlyWidth(): number {
    const [only, ...others] = this.widths();
    if (others.length > 0) {
      const got = `'${this.options.at.join("', '")}', which matches ${[...this.widths().keys()].join(', ')}`;
      throw new ConfigError([{ path: `${this.where}.at`, expected: 'the path of one activation', got }]);
    }
    return only![1];
  }

  /** Reads sentences, at most {@link batchSize} of them. */
  read(sentences: readonly number[], source: SentenceSource): ActivationBatch {
    const { first = 0 } = this.options;
    const { nCtx, dVocab } = this.model.config;
    const nFront = this.#nFront;
    const tokens = sentences.map((i) => source.sentence(i));
    const positions = sentences.map((i, b) => {
      const nToken = tokens[b]!.length;
      const asked = this.options.positions?.(i, nToken) ?? Array.from({ length: nToken }, (_, p) => p);
      for (const p of asked) checkPosition(`${this.where}.positions`, p, i, nToken, nFront, nCtx);
      return asked;
    });
    const rowOf: number[] = [];
    let nRow = 0;
    for (const { length } of positions) {
      rowOf.push(nRow);
      nRow += length;
    }
    const points = new Map<string, { readonly d: number; readonly rows: Float32Array<ArrayBuffer> }>();
    const passes = this.#passes(sentences, tokens, positions);
    const addPoint = (path: string, d: number): void => {
      if (!points.has(path)) points.set(path, { d, rows: new Float32Array(nRow * d) });
    };
    if (passes.length === 0) for (const [path, d] of this.widths()) addPoint(path, d);
    for (const { members, nNeeded } of passes) {
      const { ids, run } = this.#program(members.length, nNeeded);
      const nPosition = ids.shape[1]!;
      const idValues = ids.values().fill(first);
      for (const [place, b] of members.entries()) {
        const list = tokens[b]!;
        const nFed = Math.min(list.length, nPosition - nFront);
        for (let t = 0; t < nFed; t++) {
          checkToken(`${this.where}.sequences[${sentences[b]}][${t}]`, list[t]!, dVocab);
          idValues[place * nPosition + nFront + t] = list[t]!;
        }
      }
      if (nRow > 0) run.run();
      for (const [path, activation] of Object.entries(run.results)) {
        addPoint(path, activation.size / ids.size);
        const { d, rows } = points.get(path)!;
        const values = activation.values();
        for (const [place, b] of members.entries()) {
          for (const [k, p] of positions[b]!.entries()) {
            const from = (place * nPosition + nFront + p) * d;
            rows.set(values.subarray(from, from + d), d * (rowOf[b]! + k));
          }
        }
      }
    }
    return { sentences, positions, points };
  }

  /** Which sentences run together, and how many positions they need: all of them, or for an encoder those of each length. */
  #passes(
    sentences: readonly number[],
    tokens: readonly ArrayLike<number>[],
    positions: readonly (readonly number[])[],
  ): { readonly members: readonly number[]; readonly nNeeded: number }[] {
    const nFront = this.#nFront;
    if (this.#causal) {
      const last = positions.reduce((most, list) => list.reduce((a, b) => Math.max(a, b), most), -nFront);
      return [{ members: [...sentences.keys()], nNeeded: last + nFront + 1 }];
    }
    const { nCtx } = this.model.config;
    const byLength = new Map<number, number[]>();
    for (const [b, { length }] of tokens.entries()) {
      if (positions[b]!.length === 0) continue;
      if (length + nFront > nCtx) {
        const expected = `sentences of at most ${nCtx - nFront} tokens, which the encoder reads whole`;
        throw new DataError(`${this.where}.sequences[${sentences[b]}]`, expected, `${length}`);
      }
      byLength.set(length, [...(byLength.get(length) ?? []), b]);
    }
    return [...byLength].map(([length, members]) => ({ members, nNeeded: length + nFront }));
  }

  /** A program for at least this many sentences and positions; for an encoder exactly this many positions. */
  #program(nSentence: number, nNeeded: number): Program {
    const { device, config } = this.model;
    const native = device.native !== undefined;
    const step = native && this.#causal ? POSITION_STEP : 1;
    const nPosition = Math.min(config.nCtx, Math.ceil(Math.max(1, nNeeded) / step) * step);
    const least = native ? Math.ceil(LEAST_NATIVE_ROWS / nPosition) : 1;
    // Few numbers of sentences for each of an encoder's many lengths.
    const nBatch = this.#causal ? Math.max(nSentence, least) : Math.ceil(nSentence / least) * least;
    const key = `${nBatch} × ${nPosition}`;
    const known = this.#programs.get(key);
    if (known !== undefined) return known;
    const ids = device.zeros([nBatch, nPosition], 'i32');
    const run = device.withoutGrad(() => device.record(() => this.#activations(ids)));
    const program = { ids, run };
    const [oldest] = this.#programs.keys();
    const most = this.#causal ? MOST_PROGRAMS : MOST_ENCODER_PROGRAMS;
    if (oldest !== undefined && this.#programs.size === most) this.#programs.delete(oldest);
    this.#programs.set(key, program);
    return program;
  }

  #activations(ids: Tensor): Record<string, Tensor> {
    const trace = new Trace({ read: this.options.at, edit: this.options.edit ?? {} });
    this.model.forward(ids, trace);
    const found = trace.activations();
    for (const [path, activation] of found) {
      if (!ids.shape.some((size, axis) => size !== activation.shape[axis])) continue;
      const got = `'${path}' of shape [${activation.shape}]`;
      throw new ConfigError([{ path: `${this.where}.at`, expected: `an activation of shape [${ids.shape}, …]`, got }]);
    }
    return Object.fromEntries(found);
  }
}

function checkPosition(where: string, p: number, sentence: number, nToken: number, nFront: number, nCtx: number): void {
  const reject = (expected: string): never => {
    throw new DataError(where, expected, `position ${p} of sequence ${sentence}`);
  };
  if (!(Number.isInteger(p) && p >= -nFront && p < nToken)) {
    reject(`whole numbers ${-nFront} … ${nToken - 1} for sequence ${sentence} of ${nToken} tokens`);
  }
  if (p + nFront >= nCtx) reject(`positions before ${nCtx - nFront}, where the model's context ends`);
}

function checkToken(where: string, token: number, dVocab: number): void {
  if (Number.isInteger(token) && token >= 0 && token < dVocab) return;
  throw new DataError(where, `a token 0 … ${dVocab - 1}`, String(token));
}
