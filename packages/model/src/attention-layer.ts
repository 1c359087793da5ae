import type { Rng } from '@physlm/base';
import type { Device } from './device.js';
import type { KvCache } from './language-model.js';
import { Linear } from './layers.js';
import { Module } from './module.js';
import { attention, attentionStep } from './ops/attention.js';
import { rotary } from './ops/rotary.js';
import { reshape } from './primitives.js';
import type { Tensor } from './tensor.js';
import type { Trace } from './trace.js';

// Axes: B batch, T position, D dModel, P packed query, key and value heads, S cached position, G kv head, K dHead.

/** Sizes and positions of rotary attention. */
export interface AttentionConfig {
  readonly nLayer: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly dModel: number;
  /** Dimensions of a head that turn with the position; the rest carry no position. */
  readonly dRotary: number;
  /** Rotary base θ: pair i turns by θ^(−2i/dRotary) radians a position. */
  readonly rotaryBase: number;
  readonly bias: boolean;
  readonly initStd: number;
}

/** Causal self-attention with rotary positions; query, key and value come from one product. */
export class RotaryAttention extends Module {
  readonly qkv: Linear;
  readonly out: Linear;
  readonly #heads: { readonly nHead: number; readonly nKvHead: number; readonly dHead: number; readonly scale: number };
  readonly #turn: { readonly nHead: number; readonly dHead: number; readonly dRotary: number; readonly base: number };

  constructor(device: Device, config: AttentionConfig, rng: Rng) {
    super();
    const { nHead, nKvHead, dModel, dRotary, rotaryBase: base, bias, initStd, nLayer } = config;
    const dHead = dModel / nHead;
    this.qkv = new Linear(device, dModel, (nHead + 2 * nKvHead) * dHead, { bias, initStd }, rng.fork('qkv'));
    // GPT-2 shrinks what each block adds to the residual stream by the number of such additions.
    const outStd = initStd / Math.sqrt(2 * nLayer);
    this.out = new Linear(device, dModel, dModel, { bias, initStd: outStd }, rng.fork('out'));
    this.#heads = { nHead, nKvHead, dHead, scale: 1 / Math.sqrt(dHead) };
    this.#turn = { nHead: nHead + nKvHead, dHead, dRotary, base };
  }

  /** x BTD and the position of each column [T] → BTD. */
  forward(x_BTD: Tensor, positions: Tensor, trace: Trace): Tensor {
    const raw_BTP = this.qkv.forward(x_BTD);
    const qkv = trace.tap('qkv', rotary({ x: raw_BTP, positions }, this.#turn).y);
    const { o } = attention({ qkv }, { ...this.#heads, causal: true });
    return this.out.forward(trace.tap('z', o));
  }

  /** One token of each sequence, x [B, D], against the cache of this layer. */
  step(x_BD: Tensor, layer: KvCache['layers'][number], position: Tensor): Tensor {
    const raw_BP = this.qkv.forward(x_BD);
    const [B, P] = raw_BP.shape as [number, number];
    const turned = rotary({ x: reshape(raw_BP, [B, 1, P]), positions: position }, this.#turn).y;
    const caches = { kCache: layer.k, vCache: layer.v, position };
    return this.out.forward(attentionStep({ qkv: reshape(turned, [B, P]), ...caches }, this.#heads).o);
  }
}
