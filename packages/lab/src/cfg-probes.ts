// Probes for the trees of sentences in the states of a model, with controls and exact ceilings.
import { bayesCeilings } from '@physlm/data/cfg';
import type { LanguageModel } from '@physlm/model';
import {
  modelActivations,
  type ProbeArchitecture,
  type ProbeLabels,
  type TrainedProbeResult,
  trainProbe,
} from '@physlm/probe';
import type { CfgEvaluate } from './recipes/cfg.js';
import type { CfgData } from './recipes/cfg-data.js';
import { ancestorClasses, type CfgProbeResults, labelledLevels } from './run-cfg.js';

/** Heads and width of the position weights: those of the paper in proportion to short sentences. */
const positionProbe = (mask: 'full' | 'diagonal' | 'tridiagonal'): ProbeArchitecture => ({
  kind: 'position',
  mask,
  nHead: 8,
  dPosition: 128,
});

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
  const { cfg, bos } = data;
  const levels = labelledLevels(cfg);
  const source = data.fresh('probe');
  const nSentence = nProbeTrain + nProbeTest;
  const { nCtx, nLayer } = model.config;
  // Sentences that do not fit the model are passed over.
  const places: number[] = [];
  for (let i = 0; places.length < nSentence; i++) {
    if (source.document(i).tokens.length <= nCtx) places.push(i);
  }
  const text = { nSentence, sentence: (i: number) => source.document(places[i]!).tokens.subarray(1) };
  const nPosition = nCtx;
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
        labels: levels.map((level) => ancestorClasses(cfg, tree, level, at)),
        keys: recentTokens(tokens.subarray(1), cfg.nTerminal + 1),
      };
    },
  });
  const ceilingOf = (level: number): (typeof ceilings)[number] => ceilings.find((one) => one.level === level)!;
  const probe = (
    architecture: ProbeArchitecture,
    labels: ProbeLabels,
    layer: number,
    control: boolean,
  ): TrainedProbeResult => {
    const at = `blocks.${layer - 1}.residPost`;
    const states = (from: LanguageModel) => modelActivations(from, text, { at, first: bos });
    return trainProbe(model.device, {
      architecture,
      states: states(model),
      randomModel: control ? states(untrained()) : undefined,
      labels,
      nPosition,
      nTrain: nProbeTrain,
      nTest: nProbeTest,
      nStep: nProbeStep,
      seed,
    });
  };
  const all = labelsOf('all', (level) => ceilingOf(level).sentence.ancestor.value);
  const ends = labelsOf('ends', (level) => ceilingOf(level).prefix.ancestorAtEnd.value);
  const diagonal = probe(positionProbe('diagonal'), ends, nLayer, true);
  const accuracies = ({ families }: TrainedProbeResult): Record<string, number> =>
    Object.fromEntries(Object.entries(families).map(([name, { accuracy }]) => [name, accuracy]));
  return {
    ancestor: probe(positionProbe('full'), all, nLayer, true),
    ancestorAtEnd: { diagonal, tridiagonal: probe(positionProbe('tridiagonal'), ends, nLayer, true) },
    byLayer: Array.from({ length: nLayer }, (_, i) =>
      accuracies(i + 1 === nLayer ? diagonal : probe(positionProbe('diagonal'), ends, i + 1, false)),
    ),
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
