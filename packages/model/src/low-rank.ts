// Finetuning a few numbers: W' = W + scale·(a product of two thin matrices), W frozen.
// Axes: R rows, I input features, O outputs, P all outputs of a linear map, r rank, V dVocab, D dModel.
import { ConfigError, type ConfigProblem, nearest, Rng } from '@physlm/base';
import type { Projection, ProjectionPlace } from './attention-layer.js';
import { buildModel } from './build-model.js';
import type { LanguageModel, ModelConfig } from './language-model.js';
import { type Embedding, type Linear, normalParameter } from './layers.js';
import { Module } from './module.js';
import { embedding } from './ops/embedding.js';
import { linear } from './ops/linear.js';
import { add, concat, matmul, pad, reshape } from './primitives.js';
import type { StoredTensor } from './safetensors.js';
import type { Tensor } from './tensor.js';

/** Which weights get an update of low rank, as plain JSON. */
export interface LowRankConfig {
  /** In every layer, one update of this rank for each target: query, key, value. None when absent. */
  readonly attention?: { readonly rank: number; readonly targets: readonly Projection[] };
  /** Of the token embedding, where it is read. An output layer tied to it keeps the old weight. None when absent. */
  readonly embedding?: { readonly rank: number };
  /** The papers' alpha: W' = W + scale·A·B; 4 in arXiv:2309.14402. */
  readonly scale: number;
}

/** Every projection that can have an update. */
export const projections: readonly Projection[] = ['q', 'k', 'v'];

/** scale·w as a product with a diagonal matrix: exact, and a native kernel on every native device. */
function scaled(w: Tensor, factor: number, side: 'left' | 'right'): Tensor {
  if (factor === 1) return w;
  const n = w.shape[side === 'left' ? 0 : 1]!;
  const diagonal = new Float64Array(n * n);
  for (let i = 0; i < n; i++) diagonal[i * n + i] = factor;
  const matrix = w.device.tensor(diagonal, [n, n], w.dtype);
  return side === 'left' ? matmul(matrix, w) : matmul(w, matrix);
}

/** The second factors of an update, [r, O] each. */
class UpFactors extends Module {
  readonly q: Tensor | undefined;
  readonly k: Tensor | undefined;
  readonly v: Tensor | undefined;
  constructor(factors: Readonly<Partial<Record<Projection, Tensor>>>) {
    super();
    this.q = factors.q;
    this.k = factors.k;
    this.v = factors.v;
  }
}

/** Adds scale·(x·downᵀ)·up to some outputs of a linear map: nothing at the start, when `up` is zero. */
export class LowRankProjection extends Module {
  /** First factors of all targets, one below another: [n·r, I], drawn from N(0, 1/I). */
  readonly down: Tensor;
  readonly up: UpFactors;
  readonly #places: readonly (readonly [Projection, ProjectionPlace])[];
  readonly #scale: number;

  /** `places`: outputs of one linear map. */
  constructor(
    { weight }: Linear,
    places: readonly (readonly [Projection, ProjectionPlace])[],
    rank: number,
    scale: number,
    rng: Rng,
  ) {
    super();
    const { device } = weight;
    const nIn = weight.shape[1]!;
    this.down = normalParameter(device, [places.length * rank, nIn], 1 / Math.sqrt(nIn), rng.fork('down'));
    const zeros = (size: number): Tensor => normalParameter(device, [rank, size], 0, rng);
    this.up = new UpFactors(Object.fromEntries(places.map(([target, { size }]) => [target, zeros(size)])));
    this.#places = places;
    this.#scale = scale;
  }

  /** x [R, I] → what to add [R, P]. */
  forward(x: Tensor): Tensor {
    const w = scaled(this.down, this.#scale, 'left');
    return matmul(linear({ x, w }, {}).y, this.#upOfAll());
  }

  /** What to add to the weight: [P, I]. */
  weight(): Tensor {
    return matmul(this.#upOfAll(), scaled(this.down, this.#scale, 'left'), { transA: true });
  }

  /** [n·r, P]: the factors of the targets one below another, each among zeros where the others' outputs are. */
  #upOfAll(): Tensor {
    const nOut = this.#places[0]![1].linear.weight.shape[0]!;
    const flat = this.#places.map(([target, { start, size }]) => {
      const up = this.up[target]!;
      const wide = size === nOut ? up : pad(up, 1, start, [up.shape[0]!, nOut]);
      return reshape(wide, [1, wide.size]);
    });
    return reshape(flat.length === 1 ? flat[0]! : concat(flat, 1), [this.down.shape[0]!, nOut]);
  }
}

/** Adds scale·(rows of `table`)·upᵀ to token embeddings: nothing at the start, when `table` is zero. */
export class LowRankEmbedding extends Module {
  /** [V, r]. */
  readonly table: Tensor;
  /** [D, r], drawn from N(0, 1). */
  readonly up: Tensor;
  readonly #scale: number;

  constructor({ weight }: Embedding, rank: number, scale: number, rng: Rng) {
    super();
    const { device } = weight;
    const [V, D] = weight.shape as [number, number];
    this.table = normalParameter(device, [V, rank], 0, rng);
    this.up = normalParameter(device, [D, rank], 1, rng.fork('up'));
    this.#scale = scale;
  }

  /** Token ids [R] → what to add [R, D]. */
  forward(ids: Tensor): Tensor {
    const x = embedding({ ids, w: this.table }, {}).y;
    return linear({ x, w: scaled(this.up, this.#scale, 'right') }, {}).y;
  }

  /** What to add to the weight: [V, D]. */
  weight(): Tensor {
    return linear({ x: this.table, w: scaled(this.up, this.#scale, 'right') }, {}).y;
  }
}

/**
 * Freezes a model and gives it updates of low rank, which are then its only trainable parameters. They are zero at the
 * start, so the model computes what it did before. Everything that runs the model runs them too: training, evaluation,
 * generation. {@link mergeLowRank} folds them into plain weights.
 *
 * Of the two factors that meet, the one that reads the input of a projection is drawn from N(0, 1/I) and the other is zero; of
 * the embedding's, the table [V, r] is zero and the factor [r, D] is drawn from N(0, 1), as in the authors' library of Hu et
 * al. The papers state no standard deviations.
 *
 * @throws ConfigError with everything that does not fit this model, or when it has updates already.
 * @see Hu et al. 2021, arXiv:2106.09685; Allen-Zhu and Li 2023, arXiv:2309.14316 and 2309.14402, Appendix B.
 */
export function addLowRank(model: LanguageModel, config: LowRankConfig, rng: Rng): void {
  const problems = lowRankProblems(config, model.config);
  if (hasLowRank(model)) {
    problems.push({ path: 'lowRank', expected: 'a model without updates', got: 'one that has some' });
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const { attention, embedding: ofEmbedding, scale } = config;
  model.freeze();
  if (ofEmbedding !== undefined) {
    model.embed.update = new LowRankEmbedding(model.embed, ofEmbedding.rank, scale, rng.fork('embed'));
  }
  if (attention === undefined) return;
  for (const [i, { attn }] of model.blocks.entries()) {
    const all = attn.projections();
    const places = projections
      .filter((target) => attention.targets.includes(target))
      .map((target) => [target, all[target]!] as const);
    const map = places[0]![1].linear;
    map.update = new LowRankProjection(map, places, attention.rank, scale, rng.fork(`blocks.${i}.attn`));
  }
}

/** Everything that keeps an update from being added to a model of this configuration. */
export function lowRankProblems(
  { attention, embedding: ofEmbedding, scale }: LowRankConfig,
  model: ModelConfig,
): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const check = (ok: boolean, path: string, expected: string, got: unknown): void => {
    if (!ok) problems.push({ path: `lowRank.${path}`, expected, got: JSON.stringify(got) ?? 'nothing' });
  };
  const positive = (x: number): boolean => Number.isInteger(x) && x > 0;
  const some = attention !== undefined || ofEmbedding !== undefined;
  check(some, 'attention', 'an update of attention or of the embedding', attention);
  check(Number.isFinite(scale) && scale > 0, 'scale', 'a number > 0', scale);
  if (ofEmbedding !== undefined)
    check(positive(ofEmbedding.rank), 'embedding.rank', 'a positive integer', ofEmbedding.rank);
  if (attention === undefined) return problems;
  const { rank, targets } = attention;
  check(positive(rank), 'attention.rank', 'a positive integer', rank);
  check(targets.length > 0, 'attention.targets', 'at least one projection', targets);
  const position = model.architecture === 'gpt' ? (model.position ?? 'rotary') : 'rotary';
  const valueOnly = position === 'position' || position === 'uniform';
  const known = valueOnly ? (['v'] as const) : projections;
  for (const target of targets) {
    if (known.some((name) => name === target)) continue;
    const expected = valueOnly ? `v, all that ${position} attention projects` : `among ${known.join(', ')}`;
    const meant = nearest(target, known);
    problems.push({
      path: 'lowRank.attention.targets',
      expected,
      got: `'${target}'`,
      ...(meant && { nearest: meant }),
    });
  }
  return problems;
}

/** Whether a model has updates of low rank. */
export function hasLowRank(model: LanguageModel): boolean {
  return [...model.parameters().keys()].some(isUpdate);
}

function isUpdate(path: string): boolean {
  return path.includes('.update.');
}

/**
 * A model without updates that computes the same up to rounding: W' = W + scale·A·B written out, every weight trainable again.
 * The model itself when it has none.
 *
 * With an update of the embedding the result is not tied: its output layer is the embedding as it was.
 */
export function mergeLowRank(model: LanguageModel): LanguageModel {
  if (!hasLowRank(model)) return model;
  const { config, parameters } = mergedParameters(model);
  const merged = buildModel(model.device, config, new Rng('overwritten by the merged weights'));
  for (const [name, tensor] of merged.parameters()) tensor.values().set(parameters.get(name)!.values);
  return merged;
}

/** The configuration and the weights of {@link mergeLowRank}'s model; weights without an update are not copied. */
export function mergedParameters(model: LanguageModel): {
  readonly config: ModelConfig;
  readonly parameters: ReadonlyMap<string, StoredTensor>;
} {
  const { device, embed, blocks, config } = model;
  const updated = new Map<Tensor, LowRankEmbedding | LowRankProjection>();
  if (embed.update !== undefined) updated.set(embed.weight, embed.update);
  for (const { attn } of blocks) {
    for (const { linear: map } of Object.values(attn.projections())) {
      if (map.update !== undefined) updated.set(map.weight, map.update);
    }
  }
  const parameters = new Map<string, StoredTensor>();
  for (const [name, tensor] of model.parameters()) {
    if (isUpdate(name)) continue;
    using _ = device.scope('merge');
    const update = updated.get(tensor);
    const values = device.withoutGrad(() =>
      update === undefined ? tensor.values() : add(tensor, update.weight()).values().slice(),
    );
    parameters.set(name, { shape: tensor.shape, values: values as Float32Array });
  }
  if (!config.tied || embed.update === undefined) return { config, parameters };
  const { shape } = embed.weight;
  parameters.set('unembed.weight', { shape, values: embed.weight.values() as Float32Array });
  return { config: { ...config, tied: false }, parameters };
}
