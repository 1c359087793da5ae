import type { Rng } from '@physlm/base';
import { RotaryAttention } from './attention-layer.js';
import type { Device } from './device.js';
import { emptyCache, type KvCache, LanguageModel } from './language-model.js';
import { Embedding, LayerNorm, Linear } from './layers.js';
import { Module } from './module.js';
import { positionsUpTo } from './positions.js';
import { add } from './primitives.js';
import type { Tensor } from './tensor.js';
import { Trace } from './trace.js';

// Axes: B batch, T position, D dModel, V dVocab.

/** GPT-2 with rotary positions: GPT_rot of arXiv:2305.13673, the model of arXiv:2309.14316 and arXiv:2404.05405. */
export interface GptConfig {
  readonly architecture: 'gpt';
  readonly nLayer: number;
  readonly nHead: number;
  readonly dModel: number;
  readonly dVocab: number;
  readonly nCtx: number;
  /** Width of the hidden layer of each MLP. */
  readonly dMlp: number;
  /** Dimensions of each head that turn with the position; GPT-NeoX turns a quarter of the head. */
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
 * @see arXiv:2404.05405, Section 3 and Appendix A.
 */
export function gpt2(
  nLayer: number,
  nHead: number,
  rest: Pick<GptConfig, 'dVocab' | 'nCtx'> & Partial<GptConfig>,
): GptConfig {
  const dModel = rest.dModel ?? 64 * nHead;
  return {
    architecture: 'gpt',
    nLayer,
    nHead,
    dModel,
    dMlp: 4 * dModel,
    dRotary: Math.max(2, 2 * Math.round(dModel / nHead / 8)),
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

class Block extends Module {
  readonly attnNorm: LayerNorm;
  readonly attn: RotaryAttention;
  readonly mlpNorm: LayerNorm;
  readonly mlp: Mlp;
  constructor(device: Device, config: GptConfig, rng: Rng) {
    super();
    this.attnNorm = new LayerNorm(device, config.dModel, config.normEps);
    this.attn = new RotaryAttention(device, { ...config, nKvHead: config.nHead, bias: true }, rng.fork('attn'));
    this.mlpNorm = new LayerNorm(device, config.dModel, config.normEps);
    this.mlp = new Mlp(device, config, rng.fork('mlp'));
  }
  forward(x_BTD: Tensor, positions: Tensor, trace: Trace): Tensor {
    const pre = trace.tap('residPre', x_BTD);
    const attn = this.attn.forward(this.attnNorm.forward(pre), positions, trace.in('attn'));
    const mid = trace.tap('residMid', add(pre, attn));
    return trace.tap('residPost', add(mid, this.mlp.forward(this.mlpNorm.forward(mid), trace.in('mlp'))));
  }
  step(x_BD: Tensor, layer: KvCache['layers'][number], position: Tensor): Tensor {
    const mid = add(x_BD, this.attn.step(this.attnNorm.forward(x_BD), layer, position));
    return add(mid, this.mlp.forward(this.mlpNorm.forward(mid), Trace.none));
  }
}

/** GPT-2 with rotary positions, pre-LayerNorm, GELU, no dropout. */
export class Gpt extends LanguageModel {
  readonly embed: Embedding;
  readonly blocks: readonly Block[];
  readonly norm: LayerNorm;
  /** Its weight is the embedding's when tied. */
  readonly unembed: Linear;

  constructor(
    readonly device: Device,
    readonly config: GptConfig,
    rng: Rng,
  ) {
    super();
    const { nLayer, dModel, dVocab, initStd, normEps } = config;
    this.embed = new Embedding(device, dVocab, dModel, initStd, rng.fork('embed'));
    this.blocks = Array.from({ length: nLayer }, (_, i) => new Block(device, config, rng.fork(`blocks.${i}`)));
    this.norm = new LayerNorm(device, dModel, normEps);
    const tiedTo = config.tied ? this.embed.weight : undefined;
    this.unembed = new Linear(device, dModel, dVocab, { bias: false, initStd }, rng.fork('unembed'), tiedTo);
  }

  override forward(ids_BT: Tensor, trace: Trace = Trace.none): Tensor {
    const positions = positionsUpTo(this.device, ids_BT.shape[1]!);
    let x_BTD = trace.tap('embed', this.embed.forward(ids_BT));
    this.blocks.forEach((block, i) => {
      x_BTD = block.forward(x_BTD, positions, trace.in('blocks', i));
    });
    return this.unembed.forward(trace.tap('norm', this.norm.forward(x_BTD)));
  }

  override step(ids_B: Tensor, { layers, position }: KvCache): Tensor {
    let x_BD = this.embed.forward(ids_B);
    this.blocks.forEach((block, i) => {
      x_BD = block.step(x_BD, layers[i]!, position);
    });
    return this.unembed.forward(this.norm.forward(x_BD));
  }

  override cache(nBatch: number, nCtx: number): KvCache {
    const { nLayer, nHead, dModel } = this.config;
    return emptyCache(this.device, { nLayer, nBatch, nCtx, nKvHead: nHead, dHead: dModel / nHead });
  }
}
