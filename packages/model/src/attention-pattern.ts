import { ConfigError, complaint, PhyslmError } from '@physlm/base';
import type { LanguageModel } from './language-model.js';
import type { Tensor } from './tensor.js';
import { Trace } from './trace.js';

/** Some rows of the attention pattern of one head in one sequence. */
export interface PatternBlock {
  readonly layer: number;
  readonly sequence: number;
  readonly head: number;
  /** Query position of the first row; the last block of a head may be shorter than the others. */
  readonly row0: number;
  /**
   * Attention probabilities [n, T]: element r·T + s is what position row0 + r pays to position s; rows sum to 1, and are 0
   * after their own position in a causal model. The next block overwrites it: copy what you keep.
   */
  readonly rows: Float32Array;
  /** Tokens of the sequence. */
  readonly T: number;
}

/**
 * The attention probabilities A of some layers, block by block: layers in the given order, then sequences, heads, rows.
 *
 * One forward pass runs with the same fused kernels as ever; rows are recomputed from its queries, keys and log-sum-exps,
 * so the pattern is the one the model used up to rounding, and memory is `nRow`·T numbers beside the activations.
 *
 * @param ids tokens [B, T], i32, on the model's device.
 * @param nRow rows in a block.
 * @throws ConfigError when a layer is not in the model or `nRow` is not a positive integer.
 * @example
 * for (const { head, row0, rows, T } of attentionPattern(model, ids, [3])) …
 */
export function* attentionPattern(
  model: LanguageModel,
  ids: Tensor,
  layers: readonly number[],
  nRow = 64,
): Generator<PatternBlock, void> {
  const { blocks, device } = model;
  const wrong = layers.filter((layer) => blocks[layer] === undefined);
  if (wrong.length > 0) {
    const expected = `layers in 0 … ${blocks.length - 1}`;
    throw new ConfigError([{ path: 'attentionPattern.layers', expected, got: String(wrong) }]);
  }
  if (!Number.isInteger(nRow) || nRow < 1) {
    throw new ConfigError([{ path: 'attentionPattern.nRow', expected: 'a positive integer', got: String(nRow) }]);
  }
  if (ids.shape.length !== 2) {
    throw new PhyslmError('shape', complaint('attentionPattern.ids', 'axes BT', `shape [${ids.shape}]`));
  }
  const [B, T] = ids.shape as [number, number];
  const points = new Map(layers.map((layer) => [layer, blocks[layer]!.attn.patternPoints()]));
  const pathOf = (layer: number, point: string): string => `blocks.${layer}.attn.${point}`;
  const trace = new Trace({ read: [...points].flatMap(([layer, names]) => names.map((name) => pathOf(layer, name))) });
  device.withoutGrad(() => model.forward(ids, trace));
  const all = trace.activations();
  const buffer = new Float32Array(nRow * T);
  for (const layer of layers) {
    const { attn } = blocks[layer]!;
    const activations = Object.fromEntries(points.get(layer)!.map((name) => [name, all.get(pathOf(layer, name))!]));
    for (let sequence = 0; sequence < B; sequence++) {
      for (let head = 0; head < attn.nHead; head++) {
        for (let row0 = 0; row0 < T; row0 += nRow) {
          const rows = buffer.subarray(0, Math.min(nRow, T - row0) * T);
          attn.patternRows(activations, { sequence, head, row0, rows });
          yield { layer, sequence, head, row0, rows, T };
        }
      }
    }
  }
}
