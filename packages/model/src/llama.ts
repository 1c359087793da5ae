import type { Rng } from '@physlm/base';
import type { LayerCache } from './attention-layer.js';
import type { Device } from './device.js';
import { DotProductAttention } from './dot-product-attention.js';
import { type KvCache, LanguageModel } from './language-model.js';
import { Embedding, Linear, RmsNorm } from './layers.js';
import { Module } from './module.js';
import { siluGate } from './ops/gelu.js';
import { add, reshape } from './primitives.js';
import type { Tensor } from './tensor.js';
import { Trace } from './trace.js';

// Axes: B batch, T position, D dModel, V dVocab.

/** LLaMA: RMSNorm, gated MLP, rotary positions on the whole head, grouped key/value heads, no biases. */
export interface LlamaConfig {
  readonly architecture: 'llama';
  readonly nLayer: number;
  readonly nHead: number;
  /** Key/value heads; nHead is a multiple of it. */
  readonly nKvHead: number;
  readonly dModel: number;
  readonly dVocab: number;
  readonly nCtx: number;
  /** Width of the gated hidden layer; LLaMA takes 8/3 · dModel. */
  readonly dMlp: number;
  /** Rotary base θ: pair i turns by θ^(−2i/dHead) radians a position. */
  readonly rotaryBase: number;
  /** The token that begins a document, where tokens are to see their own document only: see `GptConfig`. */
  readonly documentSeparator?: number;
  readonly tied: boolean;
  readonly normEps: number;
  readonly initStd: number;
}

/** LLaMA of ℓ layers and h heads of 64, with the usual rest. */
export function llama(
  nLayer: number,
  nHead: number,
  rest: Pick<LlamaConfig, 'dVocab' | 'nCtx'> & Partial<LlamaConfig>,
): LlamaConfig {
  const dModel = rest.dModel ?? 64 * nHead;
  return {
    architecture: 'llama',
    nLayer,
    nHead,
    nKvHead: nHead,
    dModel,
    dMlp: Math.round((8 * dModel) / 3),
    rotaryBase: 10_000,
    tied: false,
    normEps: 1e-5,
    initStd: 0.02,
    ...rest,
  };
}

class GatedMlp extends Module {
  /** Gate and up projection side by side: [2F, D]. */
  readonly gateUp: Linear;
  readonly down: Linear;
  constructor(device: Device, { dModel, dMlp, nLayer, initStd }: LlamaConfig, rng: Rng) {
    super();
    this.gateUp = new Linear(device, dModel, 2 * dMlp, { bias: false, initStd }, rng.fork('gateUp'));
    const downStd = initStd / Math.sqrt(2 * nLayer);
    this.down = new Linear(device, dMlp, dModel, { bias: false, initStd: downStd }, rng.fork('down'));
  }
  forward(x: Tensor, trace: Trace): Tensor {
    const gateUp = this.gateUp.forward(x);
    const width = gateUp.shape.at(-1)!;
    const post = siluGate({ x: reshape(gateUp, [gateUp.size / width, width]) }, {}).y;
    return this.down.forward(trace.tap('post', reshape(post, gateUp.shape.with(-1, width / 2))));
  }
}

class Block extends Module {
  readonly attnNorm: RmsNorm;
  readonly attn: DotProductAttention;
  readonly mlpNorm: RmsNorm;
  readonly mlp: GatedMlp;
  constructor(device: Device, config: LlamaConfig, rng: Rng) {
    super();
    const dRotary = config.dModel / config.nHead;
    this.attnNorm = new RmsNorm(device, config.dModel, config.normEps);
    this.attn = new DotProductAttention(device, { ...config, dRotary, bias: false, causal: true }, rng.fork('attn'));
    this.mlpNorm = new RmsNorm(device, config.dModel, config.normEps);
    this.mlp = new GatedMlp(device, config, rng.fork('mlp'));
  }
  forward(x_BTD: Tensor, trace: Trace, starts_BT?: Tensor): Tensor {
    const pre = trace.tap('residPre', x_BTD);
    const attn = this.attn.forward(this.attnNorm.forward(pre), trace.in('attn'), starts_BT);
    const mid = trace.tap('residMid', add(pre, attn));
    return trace.tap('residPost', add(mid, this.mlp.forward(this.mlpNorm.forward(mid), trace.in('mlp'))));
  }
  step(x_BD: Tensor, layer: LayerCache, position: Tensor): Tensor {
    const mid = add(x_BD, this.attn.step(this.attnNorm.forward(x_BD), layer, position));
    return add(mid, this.mlp.forward(this.mlpNorm.forward(mid), Trace.none));
  }
}

/** LLaMA (arXiv:2302.13971). */
export class Llama extends LanguageModel {
  readonly embed: Embedding;
  readonly blocks: readonly Block[];
  readonly norm: RmsNorm;
  /** Its weight is the embedding's when tied. */
  readonly unembed: Linear;

  constructor(
    readonly device: Device,
    readonly config: LlamaConfig,
    rng: Rng,
  ) {
    super();
    const { nLayer, dModel, dVocab, initStd, normEps } = config;
    this.embed = new Embedding(device, dVocab, dModel, initStd, rng.fork('embed'));
    this.blocks = Array.from({ length: nLayer }, (_, i) => new Block(device, config, rng.fork(`blocks.${i}`)));
    this.norm = new RmsNorm(device, dModel, normEps);
    const tiedTo = config.tied ? this.embed.weight : undefined;
    this.unembed = new Linear(device, dModel, dVocab, { bias: false, initStd }, rng.fork('unembed'), tiedTo);
  }

  override forward(ids_BT: Tensor, trace: Trace = Trace.none): Tensor {
    let x_BTD = trace.tap('embed', this.embed.forward(ids_BT));
    const starts_BT = this.documentStarts(ids_BT);
    this.blocks.forEach((block, i) => {
      x_BTD = block.forward(x_BTD, trace.in('blocks', i), starts_BT);
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
}
