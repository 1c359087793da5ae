// Where the heads of a model look, in sentences whose trees are known.
import { attentionPattern, type LanguageModel } from '@physlm/model';
import { type AttentionStatistics, attentionStatistics, type SentenceAttention } from '@physlm/probe';
import type { CfgData } from './recipes/cfg-data.js';
import { labelledLevels } from './run-cfg.js';

/**
 * Attention statistics of every layer and head over `nSentence` fresh sentences. Positions are those of the terminals: BOS in
 * front is attended to, and left out.
 *
 * @see arXiv:2305.13673, Section 5, Results 6 to 8.
 */
export function cfgAttention(model: LanguageModel, { cfg, fresh }: CfgData, nSentence: number): AttentionStatistics {
  const { nLayer, nHead, nCtx } = model.config;
  const { device } = model;
  const levels = labelledLevels(cfg);
  const source = fresh('attention');
  const layers = Array.from({ length: nLayer }, (_, layer) => layer);
  function* sentences(): Generator<SentenceAttention> {
    for (let i = 0, taken = 0; taken < nSentence; i++) {
      const { tokens, tree } = source.document(i);
      if (tokens.length > nCtx) continue;
      taken++;
      const T = tokens.length - 1;
      yield {
        labels: {
          ends: levels.map((level) => tree.ntBoundary(level)),
          nodes: levels.map((level) => tree.ntIndex(level)),
        },
        attention: rowsBehindBos(model, device.tensor(tokens, [1, tokens.length], 'i32'), layers, T),
      };
    }
  }
  return attentionStatistics(sentences, { nLayer, nHead, nPosition: nCtx, levels });
}

/** The rows of all heads, without BOS as query and as key. */
function* rowsBehindBos(
  model: LanguageModel,
  ids: Parameters<typeof attentionPattern>[1],
  layers: readonly number[],
  T: number,
): Generator<SentenceAttention['attention'] extends Iterable<infer Row> ? Row : never> {
  using _scope = model.device.scope('attention');
  for (const { layer, head, row0, rows } of attentionPattern(model, ids, layers)) {
    const nRow = rows.length / (T + 1);
    const from = row0 === 0 ? 1 : 0;
    if (nRow - from <= 0) continue;
    const behind = new Float32Array((nRow - from) * T);
    for (let r = from; r < nRow; r++) {
      behind.set(rows.subarray(r * (T + 1) + 1, (r + 1) * (T + 1)), (r - from) * T);
    }
    yield { layer, head, row0: row0 + from - 1, rows: behind, T };
  }
}
