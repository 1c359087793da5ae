// Probes for the trees of sentences in the states of a model, with controls and exact ceilings.
import { bayesCeilings } from '@physlm/data/cfg';
import type { LanguageModel } from '@physlm/model';
import {
  modelPoints,
  type ProbeLabels,
  type TrainedProbeResult,
  type TrainProbeOptions,
  trainProbes,
} from '@physlm/probe';
import type { CfgEvaluate } from './recipes/cfg.js';
import type { CfgData } from './recipes/cfg-data.js';
import { ancestorClasses, type CfgProbeResults, labelledLevels } from './run-cfg.js';

/** Heads and total width of the position weights: smaller than the paper's 16 and 1024, as are the sentences. */
const POSITION_PROBE = { nHead: 8, dPosition: 128 } as const;

/** Tokens of a probe's batch: the paper's 60 sentences when they are short, fewer when they are long. */
const PROBE_BATCH_TOKENS = 2560;
/** Sentences that ceilings are averaged over. */
const N_CEILING = 300;
/** Terminals that a control task is keyed on: what a probe could learn by heart. */
const KEY_TOKENS = 3;

/**
 * Reads s_l(i), the ancestors of all tokens, and s_l(i) where their non-terminal ends, off the states of a trained and of an
 * untrained model.
 *
 * @see arXiv:2305.13673, Section 4, Results 4 and 5.
 */
export function cfgProbes(
  model: LanguageModel,
  untrained: () => LanguageModel,
  data: CfgData,
  { nProbeTrain, nProbeTest, nProbeStep }: CfgEvaluate,
  seed: number,
): CfgProbeResults {
  const { cfg, bos, eos } = data;
  const levels = labelledLevels(cfg);
  const source = data.fresh('probe');
  const nSentence = nProbeTrain + nProbeTest;
  const { nCtx, nLayer } = model.config;
  // An encoder sees where the sentence ends, as in training; nothing is hidden from it.
  const behind = 'causal' in model.config && model.config.causal === false ? [eos] : [];
  // Sentences that do not fit the model are passed over.
  const places: number[] = [];
  for (let i = 0; places.length < nSentence; i++) {
    if (source.document(i).tokens.length + behind.length <= nCtx) places.push(i);
  }
  const read = (tokens: Int32Array): Int32Array => Int32Array.of(...tokens.subarray(1), ...behind);
  const text = { nSentence, sentence: (i: number) => read(source.document(places[i]!).tokens) };
  const ceilings = bayesCeilings(cfg, { seed, nSentence: N_CEILING });
  const labelsOf = (at: 'all' | 'ends', ceiling: (level: number) => number): ProbeLabels => ({
    families: levels.map((level) => ({
      name: `NT${level}`,
      nClass: cfg.levels[level - 1]!.length,
      ceiling: ceiling(level),
    })),
    sentence(i) {
      const { tree, tokens } = source.document(places[i]!);
      return {
        labels: levels.map((level) => Int32Array.of(...ancestorClasses(cfg, tree, level, at), ...behind.map(() => -1))),
        keys: recentTokens(read(tokens), cfg.nTerminal + 1),
      };
    },
  });
  const ceilingOf = (level: number): (typeof ceilings)[number] => ceilings.find((one) => one.level === level)!;
  const all = labelsOf('all', (level) => ceilingOf(level).sentence.ancestor.value);
  const seen = behind.length > 0 ? 'sentence' : 'prefix';
  const ends = labelsOf('ends', (level) => ceilingOf(level)[seen].ancestorAtEnd.value);

  const paths = Array.from({ length: nLayer }, (_, layer) => `blocks.${layer}.residPost`);
  const states = modelPoints(model, text, { at: paths, first: bos });
  const last = paths.at(-1)!;
  const randomModel = modelPoints(untrained(), text, { at: [last], first: bos }).get(last)!;
  const batchSize = Math.max(4, Math.min(60, Math.round(PROBE_BATCH_TOKENS / cfg.statistics.length.mean)));
  const common = { nPosition: nCtx, nTrain: nProbeTrain, nTest: nProbeTest, nStep: nProbeStep, batchSize, seed };
  const probe = (mask: 'full' | 'diagonal' | 'tridiagonal', labels: ProbeLabels, path: string): TrainProbeOptions => ({
    ...common,
    architecture: { kind: 'position', mask, ...POSITION_PROBE },
    states: states.get(path)!,
    randomModel: path === last ? randomModel : undefined,
    labels,
  });
  const results = trainProbes(model.device, {
    ancestor: probe('full', all, last),
    tridiagonal: probe('tridiagonal', ends, last),
    ...Object.fromEntries(paths.map((path) => [path, probe('diagonal', ends, path)])),
  }) as Readonly<Record<string, TrainedProbeResult>>;
  const accuracies = ({ families }: TrainedProbeResult): Record<string, number> =>
    Object.fromEntries(Object.entries(families).map(([name, { accuracy }]) => [name, accuracy]));
  return {
    ancestor: results.ancestor!,
    ancestorAtEnd: { diagonal: results[last]!, tridiagonal: results.tridiagonal! },
    byLayer: paths.map((path) => accuracies(results[path]!)),
  };
}

/** For each position a number for the last few tokens. */
function recentTokens(tokens: Int32Array, base: number): Int32Array {
  const keys = new Int32Array(tokens.length);
  for (let i = 0; i < tokens.length; i++) {
    let key = 0;
    for (let k = Math.max(0, i - KEY_TOKENS + 1); k <= i; k++) key = key * base + tokens[k]!;
    keys[i] = key;
  }
  return keys;
}
