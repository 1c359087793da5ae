import { ConfigError, nearest } from '@physlm/base';
import { type CapacityResults, runCapacity } from '../run-capacity.js';
import { type CfgResults, runCfg } from '../run-cfg.js';
import { type IgsmResults, runIgsm } from '../run-igsm.js';
import { type KnowledgeResults, runKnowledge } from '../run-knowledge.js';
import { type CapacityExperiment, capacity, capacityParameters, capacityScales } from './capacity.js';
import { capacityReport } from './capacity-report.js';
import { capacitySweep } from './capacity-sweep.js';
import { type CfgExperiment, cfg, cfgParameters, cfgScales } from './cfg.js';
import { cfgEncoderReport } from './cfg-encoder-report.js';
import { cfgReport } from './cfg-report.js';
import { cfgSweep } from './cfg-sweep.js';
import { type IgsmExperiment, igsmParameters, igsmRecipe, igsmScales } from './igsm.js';
import { igsmReport } from './igsm-report.js';
import { type KnowledgeExperiment, knowledge, knowledgeParameters, knowledgeScales } from './knowledge.js';
import { knowledgeReport } from './knowledge-report.js';
import { knowledgeSweep } from './knowledge-sweep.js';
import { type Recipe, type ScaleName, scaleNames } from './recipe.js';

const capacityRecipe: Recipe<CapacityExperiment, CapacityResults> = {
  name: 'capacity',
  describe: 'Trains a small transformer on biographies and counts the bits of knowledge it stores per parameter.',
  source: 'arXiv:2404.05405',
  scales: Object.fromEntries(scaleNames.map((scale) => [scale, capacityScales[scale].describe])),
  parameters: capacityParameters,
  experiment: capacity,
  execute: runCapacity,
  report: capacityReport,
  sweep: capacitySweep,
};

const cfgRecipe: Recipe<CfgExperiment, CfgResults> = {
  name: 'cfg',
  describe: 'Trains a small transformer on a context-free grammar: sentences, exact laws, probes for trees, attention.',
  source: 'arXiv:2305.13673',
  scales: Object.fromEntries(scaleNames.map((scale) => [scale, cfgScales[scale].describe])),
  parameters: cfgParameters,
  measuredAfter: ['nCompletion', 'cut', 'nProbeTrain', 'nProbeTest', 'nProbeStep', 'nAttention', 'robust'],
  experiment: cfg,
  execute: runCfg,
  report: (experiment, results) =>
    experiment.model.causal === false ? cfgEncoderReport(experiment, results) : cfgReport(experiment, results),
  sweep: cfgSweep,
};

const knowledgeRecipe: Recipe<KnowledgeExperiment, KnowledgeResults> = {
  name: 'knowledge',
  describe: 'Trains a small transformer on biographies, then asks about people that it was never asked about.',
  source: 'arXiv:2309.14316, arXiv:2309.14402',
  scales: Object.fromEntries(scaleNames.map((scale) => [scale, knowledgeScales[scale].describe])),
  parameters: knowledgeParameters,
  measuredAfter: ['nAsked', 'pProbe', 'qProbe'],
  experiment: knowledge,
  execute: runKnowledge,
  report: knowledgeReport,
  sweep: knowledgeSweep,
};

const igsmEntry: Recipe<IgsmExperiment, IgsmResults> = {
  name: 'igsm',
  describe:
    'Trains a small transformer on grade-school problems: solutions checked step by step, also beyond training.',
  source: 'arXiv:2407.20311',
  scales: Object.fromEntries(scaleNames.map((scale) => [scale, igsmScales[scale].describe])),
  parameters: igsmParameters,
  measuredAfter: [
    ...['nProblem', 'opTest', 'reask', 'nBeam', 'nRetry'],
    ...['nProbeStep', 'probeBatch', 'nProbeProblem', 'nProbeTest', 'probeLayers'],
  ],
  experiment: igsmRecipe,
  execute: runIgsm,
  report: igsmReport,
};

/** Every recipe by name. */
export const recipes: ReadonlyMap<string, Recipe> = new Map<string, Recipe>([
  ['capacity', capacityRecipe],
  ['cfg', cfgRecipe],
  ['knowledge', knowledgeRecipe],
  ['igsm', igsmEntry],
]);

/**
 * The recipe called `name`.
 *
 * @throws ConfigError with the nearest name when there is none.
 */
export function recipeNamed(name: string, among: ReadonlyMap<string, Recipe> = recipes): Recipe {
  const found = among.get(name);
  if (found !== undefined) return found;
  const known = [...among.keys()];
  throw new ConfigError([
    { path: 'recipe', expected: `one of ${known.join(', ')}`, got: `'${name}'`, nearest: nearest(name, known) },
  ]);
}

/**
 * `name` as a scale of `recipe`.
 *
 * @throws ConfigError with the nearest scale when there is none.
 */
export function scaleNamed(recipe: Recipe, name: string): ScaleName {
  const known = scaleNames.filter((scale) => recipe.scales[scale] !== undefined);
  const found = known.find((scale) => scale === name);
  if (found !== undefined) return found;
  throw new ConfigError([
    { path: 'scale', expected: `one of ${known.join(', ')}`, got: `'${name}'`, nearest: nearest(name, known) },
  ]);
}
