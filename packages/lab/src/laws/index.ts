import { ConfigError, digest, nearest } from '@physlm/base';
import { type Expectation, type Experiment, type Recipe, type ScaleName, scaleNames } from '../recipes/recipe.js';
import { capacityBioD } from './capacity/capacity-bio-d.js';
import { capacityExperts } from './capacity/capacity-experts.js';
import { capacityExposures } from './capacity/capacity-exposures.js';
import { capacityExtractable } from './capacity/capacity-extractable.js';
import { capacityGated } from './capacity/capacity-gated.js';
import { capacityJunk } from './capacity/capacity-junk.js';
import { capacityJunkRepetitive } from './capacity/capacity-junk-repetitive.js';
import { capacityLastLayers } from './capacity/capacity-last-layers.js';
import { capacityLinear } from './capacity/capacity-linear.js';
import { capacityMlp } from './capacity/capacity-mlp.js';
import { capacityOneLayer } from './capacity/capacity-one-layer.js';
import { capacityPeak } from './capacity/capacity-peak.js';
import { capacityQuantized } from './capacity/capacity-quantized.js';
import { capacityTag } from './capacity/capacity-tag.js';
import { capacityTwoBits } from './capacity/capacity-two-bits.js';
import { cfgAncestors } from './cfg/cfg-ancestors.js';
import { cfgAttentionAdjacent } from './cfg/cfg-attention-adjacent.js';
import { cfgAttentionDistance } from './cfg/cfg-attention-distance.js';
import { cfgAttentionEnds } from './cfg/cfg-attention-ends.js';
import { cfgDistribution } from './cfg/cfg-distribution.js';
import { cfgDiversity } from './cfg/cfg-diversity.js';
import { cfgEncoders } from './cfg/cfg-encoders.js';
import { cfgEnds } from './cfg/cfg-ends.js';
import { cfgGeneration } from './cfg/cfg-generation.js';
import { cfgHierarchy } from './cfg/cfg-hierarchy.js';
import { cfgImplicit } from './cfg/cfg-implicit.js';
import { cfgModeSwitch } from './cfg/cfg-mode-switch.js';
import { cfgPositions } from './cfg/cfg-positions.js';
import { cfgRobustness } from './cfg/cfg-robustness.js';
import { cfgSymbols } from './cfg/cfg-symbols.js';
import { cfgTreebank } from './cfg/cfg-treebank.js';
import { cfgUniform } from './cfg/cfg-uniform.js';
import { igsmAllPairs } from './igsm/igsm-all-pairs.js';
import { igsmDepth } from './igsm/igsm-depth.js';
import { igsmFamilies } from './igsm/igsm-families.js';
import { igsmGoingBack } from './igsm/igsm-going-back.js';
import { igsmGpt4 } from './igsm/igsm-gpt4.js';
import { igsmLayers } from './igsm/igsm-layers.js';
import { igsmLonger } from './igsm/igsm-longer.js';
import { igsmPlans } from './igsm/igsm-plans.js';
import { igsmRegret } from './igsm/igsm-regret.js';
import { igsmRetry } from './igsm/igsm-retry.js';
import { igsmRetryLora } from './igsm/igsm-retry-lora.js';
import { igsmRetryMask } from './igsm/igsm-retry-mask.js';
import { igsmRetryNotBeam } from './igsm/igsm-retry-not-beam.js';
import { igsmRetrySeldom } from './igsm/igsm-retry-seldom.js';
import { igsmRetryShortest } from './igsm/igsm-retry-shortest.js';
import { igsmRetryWeak } from './igsm/igsm-retry-weak.js';
import { igsmShortest } from './igsm/igsm-shortest.js';
import { igsmSolves } from './igsm/igsm-solves.js';
import { igsmWrongPlans } from './igsm/igsm-wrong-plans.js';
import { igsmWrongReadiness } from './igsm/igsm-wrong-readiness.js';
import { knowledgeAugmentation } from './knowledge/knowledge-augmentation.js';
import { knowledgeCelebrities } from './knowledge/knowledge-celebrities.js';
import { knowledgeCouples } from './knowledge/knowledge-couples.js';
import { knowledgeEncoders } from './knowledge/knowledge-encoders.js';
import { knowledgeLowRank } from './knowledge/knowledge-low-rank.js';
import { knowledgeMemory } from './knowledge/knowledge-memory.js';
import { knowledgeMixed } from './knowledge/knowledge-mixed.js';
import { knowledgePProbe } from './knowledge/knowledge-p-probe.js';
import { knowledgeQProbe } from './knowledge/knowledge-q-probe.js';
import { manipulationClassification } from './knowledge/manipulation-classification.js';
import { manipulationComparison } from './knowledge/manipulation-comparison.js';
import { manipulationDualRetrieval } from './knowledge/manipulation-dual-retrieval.js';
import { manipulationInverse } from './knowledge/manipulation-inverse.js';
import { manipulationPartialRetrieval } from './knowledge/manipulation-partial-retrieval.js';
import { manipulationTaughtWithHints } from './knowledge/manipulation-taught-with-hints.js';
import { type Law, settingOf } from './law.js';

/** Every law, in the order of the papers. */
export const laws: readonly Law[] = [
  cfgGeneration,
  cfgPositions,
  cfgUniform,
  cfgDiversity,
  cfgDistribution,
  cfgSymbols,
  cfgAncestors,
  cfgEnds,
  cfgEncoders,
  cfgHierarchy,
  cfgAttentionDistance,
  cfgAttentionEnds,
  cfgAttentionAdjacent,
  cfgImplicit,
  cfgRobustness,
  cfgModeSwitch,
  cfgTreebank,
  igsmSolves,
  igsmLonger,
  igsmShortest,
  igsmPlans,
  igsmAllPairs,
  igsmWrongPlans,
  igsmWrongReadiness,
  igsmDepth,
  igsmLayers,
  igsmFamilies,
  igsmGpt4,
  igsmRegret,
  igsmGoingBack,
  igsmRetry,
  igsmRetryMask,
  igsmRetrySeldom,
  igsmRetryShortest,
  igsmRetryNotBeam,
  igsmRetryLora,
  igsmRetryWeak,
  knowledgeMemory,
  knowledgeAugmentation,
  knowledgeMixed,
  knowledgeLowRank,
  knowledgePProbe,
  knowledgeQProbe,
  knowledgeCouples,
  knowledgeCelebrities,
  knowledgeEncoders,
  manipulationDualRetrieval,
  manipulationPartialRetrieval,
  manipulationClassification,
  manipulationComparison,
  manipulationTaughtWithHints,
  manipulationInverse,
  capacityTwoBits,
  capacityPeak,
  capacityLinear,
  capacityBioD,
  capacityExposures,
  capacityGated,
  capacityMlp,
  capacityOneLayer,
  capacityQuantized,
  capacityLastLayers,
  capacityExperts,
  capacityJunk,
  capacityJunkRepetitive,
  capacityTag,
  capacityExtractable,
];

/**
 * The laws of a part of the series: `3.3`, or `3` for all of its sections.
 *
 * @throws ConfigError with the nearest part that has laws.
 */
export function lawsOfPart(part: string): readonly Law[] {
  const found = laws.filter((law) => law.part === part || law.part.startsWith(`${part}.`));
  if (found.length > 0) return found;
  const parts = [...new Set(laws.map((law) => law.part))];
  throw new ConfigError([
    { path: 'part', expected: `one of ${parts.join(', ')}`, got: `'${part}'`, nearest: nearest(part, parts) },
  ]);
}

/** The laws that a recipe's runs decide, alone or together with others. */
export function lawsOfRecipe(recipe: string): readonly Law[] {
  return laws.filter(({ scales }) =>
    Object.values(scales).some(({ members }) => Object.values(members).some((member) => member.recipe === recipe)),
  );
}

/**
 * The law called `id`.
 *
 * @throws ConfigError with the nearest one when there is none.
 */
export function lawNamed(id: string): Law {
  const found = laws.find((law) => law.id === id);
  if (found !== undefined) return found;
  const ids = laws.map((law) => law.id);
  throw new ConfigError([
    { path: 'law', expected: 'a law that physlm laws lists', got: `'${id}'`, nearest: nearest(id, ids) },
  ]);
}

/** The scales of a law, smallest first. */
export function scalesOf(law: Law): readonly ScaleName[] {
  return scaleNames.filter((scale) => law.scales[scale] !== undefined);
}

/**
 * The laws that one run decides by itself: those with a scale whose only member is this experiment as the recipe gives it.
 * A run with other parameters decides none.
 */
export function lawsDecidedBy(
  recipe: Recipe,
  experiment: Experiment,
): readonly {
  readonly law: Law;
  readonly scale: ScaleName;
  readonly member: string;
  readonly expect: readonly Expectation[];
}[] {
  const setting = digest(settingOf(experiment));
  return laws.flatMap((law) =>
    scalesOf(law).flatMap((scale) => {
      const { members, expect } = law.scales[scale]!;
      const [only, ...others] = Object.entries(members);
      if (only === undefined || others.length > 0) return [];
      const [name, member] = only;
      if (member.recipe !== recipe.name || (member.scale ?? scale) !== experiment.scale) return [];
      const { seed } = experiment;
      const standard = recipe.experiment({ scale: experiment.scale, seed, parameters: member.parameters ?? {} });
      return digest(settingOf(standard)) === setting ? [{ law, scale, member: name, expect }] : [];
    }),
  );
}
