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
import { relativeAttention, relativeAttentionStep, rowOfDistance } from './ops/relative-attention.js';
import { headRows, scoresToPattern } from './pattern-rows.js';
import { matmul } from './primitives.js';
import type { Tensor } from './tensor.js';
import type { Trace } from './trace.js';

// Axes: B batch, T position, P packed query, key and value heads, S cached position, H head, K dHead, N distances.

/** Sizes of relative attention. */
export interface RelativeConfig {
  readonly nLayer: number;
  readonly nHead: number;
  readonly dModel: number;
  readonly initStd: number;
  readonly causal: boolean;
}

/**
 * DeBERTa's disentangled self-attention: content to content, content to position and position to content, scaled by
 * 1/√(3·dHead). The embedding of distances belongs to the model; each layer projects it for its keys and its queries.
 * @see He et al. 2021, arXiv:2006.03654, section 3.1.
 */
export class RelativeAttention extends AttentionLayer {
  readonly qkv: Linear;
  readonly positionKey: Linear;
  readonly positionQuery: Linear;
  readonly out: Linear;
  readonly nHead: number;
  readonly #distances_ND: Tensor;
  readonly #heads: { readonly nHead: number; readonly dHead: number; readonly scale: number; readonly causal: boolean };

  /** `distances`: the model's embedding of distances [N, D], rows as `rowOfDistance` has them. */
  constructor(device: Device, { nLayer, nHead, dModel, initStd, causal }: RelativeConfig, distances: Tensor, rng: Rng) {
    super();
    this.nHead = nHead;
    const dHead = dModel / nHead;
    this.qkv = new Linear(device, dModel, 3 * dModel, { bias: true, initStd }, rng.fork('qkv'));
    this.positionKey = new Linear(device, dModel, dModel, { bias: false, initStd }, rng.fork('positionKey'));
    this.positionQuery = new Linear(device, dModel, dModel, { bias: false, initStd }, rng.fork('positionQuery'));
    const outStd = initStd / Math.sqrt(2 * nLayer);
    this.out = new Linear(device, dModel, dModel, { bias: true, initStd: outStd }, rng.fork('out'));
    this.#distances_ND = distances;
    this.#heads = { nHead, dHead, scale: 1 / Math.sqrt(3 * dHead), causal };
  }

  override forward(x_BTD: Tensor, trace: Trace): Tensor {
    const qkv = trace.tap('qkv', this.qkv.forward(x_BTD));
    const keyPositions = trace.tap('keyPositions', this.positionKey.forward(this.#distances_ND));
    const queryPositions = trace.tap('queryPositions', this.positionQuery.forward(this.#distances_ND));
    const { o, lse } = relativeAttention({ qkv, keyPositions, queryPositions }, this.#heads);
    trace.tap('lse', lse);
    return this.out.forward(trace.tap('z', o));
  }

  override step(x_BD: Tensor, { k, v, keyPositions, queryPositions }: LayerCache, position: Tensor): Tensor {
    const inputs = { qkv: this.qkv.forward(x_BD), kCache: k!, vCache: v!, position };
    const positions = { keyPositions: keyPositions!, queryPositions: queryPositions! };
    return this.out.forward(relativeAttentionStep({ ...inputs, ...positions }, { scale: this.#heads.scale }).o);
  }

  override cache(nBatch: number, nCtx: number): LayerCache {
    const { nHead, dHead } = this.#heads;
    const { device } = this.#distances_ND;
    return device.withoutGrad(() => ({
      k: device.zeros([nBatch, nCtx, nHead, dHead]),
      v: device.zeros([nBatch, nCtx, nHead, dHead]),
      keyPositions: this.positionKey.forward(this.#distances_ND),
      queryPositions: this.positionQuery.forward(this.#distances_ND),
    }));
  }

  override projections(): Readonly<Record<Projection, ProjectionPlace>> {
    const linear = this.qkv;
    const size = this.#distances_ND.shape[1]!;
    return {
      q: { linear, start: 0, size },
      k: { linear, start: size, size },
      v: { linear, start: 2 * size, size },
    };
  }

  override patternPoints(): readonly string[] {
    return ['qkv', 'lse', 'keyPositions', 'queryPositions'];
  }

  override patternRows(activations: LayerCache, which: PatternRows): void {
    const { nHead, dHead, scale, causal } = this.#heads;
    const { qkv, lse, keyPositions, queryPositions } = activations as Readonly<
      Record<'qkv' | 'lse' | 'keyPositions' | 'queryPositions', Tensor>
    >;
    const { sequence, head, row0, rows } = which;
    const [T, N] = [qkv.shape[1]!, keyPositions.shape[0]!];
    const n = rows.length / T;
    const { device } = qkv;
    const product = (a: Tensor, b: Tensor): ArrayLike<number> =>
      device.withoutGrad(() => matmul(a, b, { transB: true }).values());
    const q = headRows(qkv, sequence, head, dHead, row0, n);
    const seen = causal ? row0 + n : T;
    const tableOf = (table: Tensor): Tensor => headRows(table.view([1, ...table.shape]), 0, head, dHead, 0, N);
    const toPosition = product(q, tableOf(keyPositions));
    const queries = tableOf(queryPositions);
    // Keys in chunks of n: a chunk against every distance is as much memory as the rows themselves.
    for (let s0 = 0; s0 < seen; s0 += n) {
      const count = Math.min(n, seen - s0);
      const keys = headRows(qkv, sequence, nHead + head, dHead, s0, count);
      const content = product(q, keys);
      const fromPosition = product(keys, queries);
      for (let r = 0; r < n; r++) {
        for (let j = 0; j < count; j++) {
          const distance = row0 + r - s0 - j;
          const keyRow = rowOfDistance(distance, N, causal);
          const queryRow = causal ? keyRow : rowOfDistance(-distance, N, causal);
          rows[r * T + s0 + j] =
            content[r * count + j]! + toPosition[r * N + keyRow]! + fromPosition[j * N + queryRow]!;
        }
      }
    }
    scoresToPattern(lse, which, T, scale, causal);
  }
}
