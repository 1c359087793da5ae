import type { Rng } from '@physlm/base';
import {
  AttentionLayer,
  type LayerCache,
  type PatternRows,
  type Projection,
  type ProjectionPlace,
} from './attention-layer.js';
import type { Device } from './device.js';
import { Linear } from './layers.js';
import { attention, attentionStep, documentAttention } from './ops/attention.js';
import { rotary } from './ops/rotary.js';
import { headRows, scoresToPattern } from './pattern-rows.js';
import { positionsUpTo } from './positions.js';
import { matmul, reshape } from './primitives.js';
import type { Tensor } from './tensor.js';
import type { Trace } from './trace.js';

// Axes: B batch, T position, P packed query, key and value heads, S cached position, G kv head, K dHead.

/** Sizes and positions of dot-product attention. */
export interface DotProductConfig {
  readonly nLayer: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly dModel: number;
  /** Dimensions of a head that turn with the position; the rest carry no position. 0: the layer sees no positions. */
  readonly dRotary: number;
  /** Rotary base θ: pair i turns by θ^(−2i/dRotary) radians a position. */
  readonly rotaryBase: number;
  readonly bias: boolean;
  readonly initStd: number;
  readonly causal: boolean;
  readonly documentSeparator?: number | undefined;
}

/** Self-attention by products of queries and keys, which turn with their positions; one product gives query, key, value. */
export class DotProductAttention extends AttentionLayer {
  readonly qkv: Linear;
  readonly out: Linear;
  readonly nHead: number;
  readonly #causal: boolean;
  readonly #documents: boolean;
  readonly #heads: { readonly nHead: number; readonly nKvHead: number; readonly dHead: number; readonly scale: number };
  readonly #turn: { readonly nHead: number; readonly dHead: number; readonly dRotary: number; readonly base: number };

  constructor(device: Device, config: DotProductConfig, rng: Rng) {
    super();
    const { nHead, nKvHead, dModel, dRotary, rotaryBase: base, bias, initStd, nLayer } = config;
    const dHead = dModel / nHead;
    this.nHead = nHead;
    this.qkv = new Linear(device, dModel, (nHead + 2 * nKvHead) * dHead, { bias, initStd }, rng.fork('qkv'));
    // GPT-2 shrinks what each block adds to the residual stream by the number of such additions.
    const outStd = initStd / Math.sqrt(2 * nLayer);
    this.out = new Linear(device, dModel, dModel, { bias, initStd: outStd }, rng.fork('out'));
    this.#causal = config.causal;
    this.#documents = config.documentSeparator !== undefined;
    this.#heads = { nHead, nKvHead, dHead, scale: 1 / Math.sqrt(dHead) };
    this.#turn = { nHead: nHead + nKvHead, dHead, dRotary, base };
  }

  override forward(x_BTD: Tensor, trace: Trace, starts_BT?: Tensor): Tensor {
    const raw_BTP = this.qkv.forward(x_BTD);
    const positions = positionsUpTo(x_BTD.device, x_BTD.shape[1]!);
    const qkv = trace.tap('qkv', this.#turned(raw_BTP, positions));
    const { o, lse } =
      starts_BT === undefined
        ? attention({ qkv }, { ...this.#heads, causal: this.#causal })
        : documentAttention({ qkv, starts: trace.tap('starts', starts_BT) }, this.#heads);
    trace.tap('lse', lse);
    return this.out.forward(trace.tap('z', o));
  }

  override step(x_BD: Tensor, cache: LayerCache, position: Tensor): Tensor {
    const raw_BP = this.qkv.forward(x_BD);
    const [B, P] = raw_BP.shape as [number, number];
    const turned = reshape(this.#turned(reshape(raw_BP, [B, 1, P]), position), [B, P]);
    return this.out.forward(
      attentionStep({ qkv: turned, kCache: cache.k!, vCache: cache.v!, position }, this.#heads).o,
    );
  }

  #turned(x: Tensor, positions: Tensor): Tensor {
    return this.#turn.dRotary === 0 ? x : rotary({ x, positions }, this.#turn).y;
  }

  override cache(nBatch: number, nCtx: number): LayerCache {
    const { nKvHead, dHead } = this.#heads;
    const { device } = this.qkv.weight;
    return { k: device.zeros([nBatch, nCtx, nKvHead, dHead]), v: device.zeros([nBatch, nCtx, nKvHead, dHead]) };
  }

  override projections(): Readonly<Record<Projection, ProjectionPlace>> {
    const { nHead, nKvHead, dHead } = this.#heads;
    const [dQuery, dKey] = [nHead * dHead, nKvHead * dHead];
    const linear = this.qkv;
    return {
      q: { linear, start: 0, size: dQuery },
      k: { linear, start: dQuery, size: dKey },
      v: { linear, start: dQuery + dKey, size: dKey },
    };
  }

  override patternPoints(): readonly string[] {
    return this.#documents ? ['qkv', 'lse', 'starts'] : ['qkv', 'lse'];
  }

  override patternRows(activations: LayerCache, which: PatternRows): void {
    const { nHead, nKvHead, dHead, scale } = this.#heads;
    const qkv = activations.qkv!;
    const T = qkv.shape[1]!;
    const n = which.rows.length / T;
    const seen = this.#causal ? which.row0 + n : T;
    const kvHead = Math.floor((which.head * nKvHead) / nHead);
    const q = headRows(qkv, which.sequence, which.head, dHead, which.row0, n);
    const k = headRows(qkv, which.sequence, nHead + kvHead, dHead, 0, seen);
    which.rows.fill(0);
    const scores = qkv.device.withoutGrad(() => matmul(q, k, { transB: true }).values());
    for (let r = 0; r < n; r++) which.rows.set(scores.subarray(r * seen, (r + 1) * seen), r * T);
    scoresToPattern(activations.lse!, which, T, scale, this.#causal, activations.starts);
  }
}
