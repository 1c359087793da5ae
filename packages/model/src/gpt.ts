import { complaint, PhyslmError, type Rng } from '@physlm/base';
import type { AttentionLayer, LayerCache } from './attention-layer.js';
import type { Device } from './device.js';
import { DotProductAttention } from './dot-product-attention.js';
import { type ExpertConfig, ExpertMlp } from './expert-mlp.js';
import { type KvCache, LanguageModel, type TrainingOutput } from './language-model.js';
import { Embedding, LayerNorm, Linear } from './layers.js';
import { Module } from './module.js';
import { PositionAttention } from './position-attention-layer.js';
import { PositionEmbedding } from './position-embedding.js';
import { add } from './primitives.js';
import { RelativeAttention } from './relative-attention-layer.js';
import type { Tensor } from './tensor.js';
import { Trace } from './trace.js';
import { UniformAttention } from './uniform-attention-layer.js';

// Axes: B batch, T position, D dModel, V dVocab.

/**
 * How a GPT knows where its tokens are, with the names of arXiv:2305.13673, section 2:
 *
 * - `rotary` (GPT_rot): queries and keys turn with their position.
 * - `absolute` (GPT): a learned row for each position is added to the embedding, as in GPT-2.
 * - `relative` (GPT_rel): DeBERTa's disentangled attention over learned distances.
 * - `position` (GPT_pos): attention scores are a learned table by head and distance, without content.
 * - `uniform` (GPT_uni, once GPT_gau): head h averages the last 2^h − 1 tokens.
 * - `none`: causal attention alone.
 */
export type PositionScheme = (typeof positionSchemes)[number];
export const positionSchemes = ['rotary', 'absolute', 'relative', 'position', 'uniform', 'none'] as const;

/**
 * GPT-2 with a choice of positions. With rotary ones it is GPT_rot of arXiv:2305.13673, the model of arXiv:2309.14316 and
 * arXiv:2404.05405.
 */
export interface GptConfig extends Partial<ExpertConfig> {
  readonly architecture: 'gpt';
  readonly nLayer: number;
  readonly nHead: number;
  readonly dModel: number;
  readonly dVocab: number;
  readonly nCtx: number;
  /** Width of the hidden layer of each MLP, or of each expert; 0: blocks without an MLP. */
  readonly dMlp: number;
  /** How the model knows positions; `rotary` when absent. */
  readonly position?: PositionScheme;
  /**
   * Whether a token sees only itself and what came before; true when absent. False makes an encoder, as BERT (`absolute`)
   * and DeBERTa (`relative`), for masked tokens: logits are for the token at each place.
   */
  readonly causal?: boolean;
  /**
   * The token that begins a document. Given, a token sees nothing before the last one of its window: a document mask. Without
   * it a window is one text. For causal models with `rotary`, `absolute` or no positions.
   *
   * @see arXiv:2402.13991, "intra-document causal masking".
   */
  readonly documentSeparator?: number;
  /** Distances that `relative` and `position` tell apart, 0 … nDistance − 1; greater ones share the last. nCtx when absent. */
  readonly nDistance?: number;
  /** Dimensions of each head that turn with the position; GPT-NeoX turns a quarter of the head. 0 unless `rotary`. */
  readonly dRotary: number;
  /** Rotary base θ: pair i turns by θ^(−2i/dRotary) radians a position. */
  readonly rotaryBase: number;
  /** Whether the output layer is the embedding, transposed. */
  readonly tied: boolean;
  readonly normEps: number;
  /** Standard deviation of initial weights; those written to the residual stream are smaller by √(2·nLayer). */
  readonly initStd: number;
}

/**
 * GPT2-ℓ-h of the papers: ℓ layers, h heads of 64, width 64h; everything else as the papers train it, and free to change.
 *
 * @example
 * gpt2(12, 12, { dVocab: 6, nCtx: 512, position: 'relative' }); // GPT_rel of arXiv:2305.13673
 * @see arXiv:2404.05405, Section 3 and Appendix A.
 */
export function gpt2(
  nLayer: number,
  nHead: number,
  rest: Pick<GptConfig, 'dVocab' | 'nCtx'> & Partial<GptConfig>,
): GptConfig {
  const dModel = rest.dModel ?? 64 * nHead;
  const turns = (rest.position ?? 'rotary') === 'rotary';
  return {
    architecture: 'gpt',
    nLayer,
    nHead,
    dModel,
    dMlp: 4 * dModel,
    dRotary: turns ? Math.max(2, 2 * Math.round(dModel / nHead / 8)) : 0,
    rotaryBase: 10_000,
    tied: true,
    normEps: 1e-5,
    initStd: 0.02,
    ...rest,
  };
}

class Mlp extends Module {
  readonly up: Linear;
  readonly down: Linear;
  constructor(device: Device, { dModel, dMlp, nLayer, initStd }: GptConfig, rng: Rng) {
    super();
    this.up = new Linear(device, dModel, dMlp, { bias: true, initStd }, rng.fork('up'));
    const downStd = initStd / Math.sqrt(2 * nLayer);
    this.down = new Linear(device, dMlp, dModel, { bias: true, initStd: downStd }, rng.fork('down'));
  }
  forward(x: Tensor, trace: Trace): Tensor {
    return this.down.forward(trace.tap('post', this.up.forwardGelu(x)));
  }
}

/** Rows of the embedding of distances: one for each distance from 0, or for both signs around it. */
function nDistanceRow({ nCtx, nDistance = nCtx, causal = true }: GptConfig): number {
  return causal ? nDistance : 2 * nDistance - 1;
}

/** The attention of one block; `distances` is what relative attention shares between blocks. */
function attentionOf(device: Device, config: GptConfig, distances: Embedding | undefined, rng: Rng): AttentionLayer {
  const { position = 'rotary', causal = true, nCtx, nDistance = nCtx } = config;
  if (position === 'relative') return new RelativeAttention(device, { ...config, causal }, distances!.weight, rng);
  if (position === 'position') return new PositionAttention(device, { ...config, nDistance }, rng);
  if (position === 'uniform') return new UniformAttention(device, config, rng);
  return new DotProductAttention(device, { ...config, nKvHead: config.nHead, bias: true, causal }, rng);
}

function mlpOf(device: Device, { nExpert, ...config }: GptConfig, rng: Rng): Mlp | ExpertMlp {
  return nExpert === undefined ? new Mlp(device, config, rng) : new ExpertMlp(device, { ...config, nExpert }, rng);
}

class Block extends Module {
  readonly attnNorm: LayerNorm;
  readonly attn: AttentionLayer;
  readonly mlpNorm: LayerNorm | undefined;
  /** Absent when dMlp is 0, with its norm. */
  readonly mlp: Mlp | ExpertMlp | undefined;
  constructor(device: Device, config: GptConfig, distances: Embedding | undefined, rng: Rng) {
    super();
    this.attnNorm = new LayerNorm(device, config.dModel, config.normEps);
    this.attn = attentionOf(device, config, distances, rng.fork('attn'));
    if (config.dMlp === 0) return;
    this.mlpNorm = new LayerNorm(device, config.dModel, config.normEps);
    this.mlp = mlpOf(device, config, rng.fork('mlp'));
  }
  forward(x_BTD: Tensor, trace: Trace, starts_BT?: Tensor): Tensor {
    const pre = trace.tap('residPre', x_BTD);
    const attn = this.attn.forward(this.attnNorm.forward(pre), trace.in('attn'), starts_BT);
    const mid = trace.tap('residMid', add(pre, attn));
    return trace.tap('residPost', this.#addMlp(mid, trace.in('mlp')));
  }
  step(x_BD: Tensor, cache: LayerCache, position: Tensor): Tensor {
    return this.#addMlp(add(x_BD, this.attn.step(this.attnNorm.forward(x_BD), cache, position)), Trace.none);
  }
  #addMlp(mid: Tensor, trace: Trace): Tensor {
    const { mlpNorm, mlp } = this;
    return mlpNorm === undefined || mlp === undefined ? mid : add(mid, mlp.forward(mlpNorm.forward(mid), trace));
  }
}

/** GPT-2: pre-LayerNorm, GELU, no dropout, any scheme of positions; with `causal: false` an encoder of the same build. */
export class Gpt extends LanguageModel {
  readonly embed: Embedding;
  /** With absolute positions: what each adds to the embedding. */
  readonly positions: PositionEmbedding | undefined;
  /** With relative positions: the embedding of distances that all layers share; rows as `rowOfDistance` has them. */
  readonly distances: Embedding | undefined;
  override readonly blocks: readonly Block[];
  readonly norm: LayerNorm;
  /** Its weight is the embedding's when tied. */
  readonly unembed: Linear;

  constructor(
    readonly device: Device,
    readonly config: GptConfig,
    rng: Rng,
  ) {
    super();
    const { nLayer, nCtx, dModel, dVocab, initStd, normEps, position } = config;
    this.embed = new Embedding(device, dVocab, dModel, initStd, rng.fork('embed'));
    if (position === 'absolute') {
      this.positions = new PositionEmbedding(device, nCtx, dModel, initStd, rng.fork('positions'));
    }
    if (position === 'relative') {
      this.distances = new Embedding(device, nDistanceRow(config), dModel, initStd, rng.fork('distances'));
    }
    const { distances } = this;
    this.blocks = Array.from(
      { length: nLayer },
      (_, i) => new Block(device, config, distances, rng.fork(`blocks.${i}`)),
    );
    this.norm = new LayerNorm(device, dModel, normEps);
    const tiedTo = config.tied ? this.embed.weight : undefined;
    this.unembed = new Linear(device, dModel, dVocab, { bias: false, initStd }, rng.fork('unembed'), tiedTo);
  }

  override forward(ids_BT: Tensor, trace: Trace = Trace.none): Tensor {
    const [B, T] = ids_BT.shape as [number, number];
    const tokens_BTD = this.embed.forward(ids_BT);
    let x_BTD = trace.tap(
      'embed',
      this.positions === undefined ? tokens_BTD : add(tokens_BTD, this.positions.forward(B, T)),
    );
    const starts_BT = this.documentStarts(ids_BT);
    this.blocks.forEach((block, i) => {
      x_BTD = block.forward(x_BTD, trace.in('blocks', i), starts_BT);
    });
    return this.unembed.forward(trace.tap('norm', this.norm.forward(x_BTD)));
  }

  override forwardTraining(ids_BT: Tensor): TrainingOutput {
    if (this.config.nExpert === undefined) return super.forwardTraining(ids_BT);
    const trace = new Trace({ read: ['blocks.*.mlp.penalty'] });
    const logits = this.forward(ids_BT, trace);
    const penalties = [...trace.activations().values()];
    return { logits, penalty: penalties.reduce((total, penalty) => add(total, penalty)) };
  }

  override step(ids_B: Tensor, { layers, position }: KvCache): Tensor {
    const tokens_BD = this.embed.forward(ids_B);
    let x_BD =
      this.positions === undefined ? tokens_BD : add(tokens_BD, this.positions.step(ids_B.shape[0]!, position));
    this.blocks.forEach((block, i) => {
      x_BD = block.step(x_BD, layers[i]!, position);
    });
    return this.unembed.forward(this.norm.forward(x_BD));
  }

  override cache(nBatch: number, nCtx: number): KvCache {
    if (this.config.causal === false) {
      const expected = 'a causal model, to continue text token by token';
      throw new PhyslmError('config', complaint('cache', expected, 'an encoder (causal: false)'));
    }
    return super.cache(nBatch, nCtx);
  }
}
