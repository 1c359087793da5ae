import { Rng } from '@physlm/base';
import type { Sample } from '@physlm/data';
import {
  type BitComplexity,
  bitComplexity,
  bootstrapInterval,
  type DiversityMeasurement,
  type KnowledgeLosses,
  knowledgeLosses,
} from '@physlm/eval';
import { buildModel, gptq, type LanguageModel, removeLastLayers, roundToNearest } from '@physlm/model';
import { openCheckpoint } from './open-checkpoint.js';
import type { CapacityExperiment, ModelChange } from './recipes/capacity.js';
import { type CapacityData, type CapacityPeople, openCapacityData } from './recipes/capacity-data.js';
import type { Execution, Results, RunContext } from './recipes/recipe.js';

/** What is left to know about one item of a biography, in nats, mean over people. */
export interface ItemLoss {
  /** `name`, or an attribute. */
  readonly item: string;
  /** Values that can be drawn. */
  readonly choices: number;
  /** Loss of a uniform guess: ln choices. */
  readonly uniform: number;
  /** Loss of perfect knowledge: ln N for the name, whose order nobody can know, 0 for a fact. */
  readonly perfect: number;
  /** Loss of the model. */
  readonly loss: number;
}

/** Results of a `capacity` run. Bits and nats as in Definition 4.3 of arXiv:2404.05405. */
export interface CapacityResults extends Results {
  readonly recipe: 'capacity';
  readonly items: readonly ItemLoss[];
  /** Bits per parameter while training went on; the last point is over all people. */
  readonly curve: readonly {
    readonly step: number;
    readonly exposures: number;
    readonly perParameter: number;
    readonly nameLoss: number;
    readonly valueLoss: number;
  }[];
  /** Nats per token of the training windows, mean since the point before. */
  readonly trainingLoss: readonly { readonly step: number; readonly exposures: number; readonly loss: number }[];
  /** What the model held before it was changed, of a run that changes one. */
  readonly unchanged?: Readonly<Record<string, number>>;
}

/** Longest piece of work between two evaluations of people, in documents: bounds the memory that texts take. */
const DOCUMENTS_AT_ONCE = 4096;

/**
 * Trains the model of a `capacity` experiment and measures the bits it stores; or changes a model that is trained, and
 * measures again.
 *
 * Losses are read from a fresh rendering of every person, one that training has not shown: there are no people to hold
 * out, since a fact about one says nothing about another.
 *
 * @throws PhyslmError 'diverged', OutputError: as `train`.
 */
export async function runCapacity(
  experiment: CapacityExperiment,
  context: RunContext,
): Promise<Execution<CapacityResults>> {
  const { change } = experiment.evaluate;
  return change === undefined ? runTraining(experiment, context) : runChange(experiment, change, context);
}

async function runTraining(experiment: CapacityExperiment, context: RunContext): Promise<Execution<CapacityResults>> {
  const { run, device } = context;
  const { seed, train: config, evaluate } = experiment;
  const data = openCapacityData(experiment.data, seed);
  const { windows, tokenizer, people } = data;
  const model = buildModel(device, experiment.model, new Rng(seed).fork('model'));
  const nParameter = countedParameters(model, data);
  // windowsFor rounds up to a whole window; a long series makes the rounding vanish.
  const windowsPerExposure = windows.windowsFor(1e6) / 1e6;
  const exposuresAt = (step: number): number => Number(((step * config.batchSize) / windowsPerExposure).toPrecision(6));

  let last: KnowledgeLosses | undefined;
  const ended = await context.train({
    model,
    windows,
    config,
    files: { 'tokenizer.json': `${JSON.stringify(tokenizer.toJSON())}\n` },
    evaluate(step) {
      const whole = step === config.nStep;
      const losses = measure(model, data, whole ? people.nPeople : evaluate.curvePeople);
      if (whole) last = losses;
      const { perParameter, bits } = knowledgeOf(losses, people, nParameter);
      const { nameLoss, valueLoss } = losses;
      return { exposures: exposuresAt(step), perParameter, bits, nameLoss, valueLoss };
    },
  });
  if (ended.stopped === 'aborted') return { stopped: 'aborted', step: ended.step, checkpoint: ended.checkpoint };

  // A run that was cut off after its last step has trained, and evaluated in a process that is gone.
  const final = last ?? measure(model, data, people.nPeople);
  const records = run.metrics();
  const results: CapacityResults = {
    ...resultsOf(final, people, nParameter, {
      exposures: exposuresAt(config.nStep),
      tokens: config.nStep * config.batchSize * windows.nCtx,
    }),
    curve: records.flatMap(({ step, perParameter, nameLoss, valueLoss }) =>
      perParameter === undefined || nameLoss === undefined || valueLoss === undefined
        ? []
        : [{ step, exposures: exposuresAt(step), perParameter, nameLoss, valueLoss }],
    ),
    trainingLoss: records.flatMap(({ step, loss }) =>
      loss === undefined ? [] : [{ step, exposures: exposuresAt(step), loss }],
    ),
  };
  return { stopped: 'finished', results };
}

/** Measures the model of another run after a change; nothing is trained. */
async function runChange(
  experiment: CapacityExperiment,
  change: ModelChange,
  { device, base, measured }: RunContext,
): Promise<Execution<CapacityResults>> {
  const before = await base();
  if (before.stopped === 'aborted') return before;
  const { run, results: unchanged } = before.finished;
  const data = openCapacityData(experiment.data, experiment.seed);
  const results = await measured('knowledge', (): CapacityResults => {
    const { model: whole } = openCheckpoint(run.path, device, {
      tokenizer: data.tokenizer,
      nCtx: experiment.data.nCtx,
    });
    const model = change.removeLayers === undefined ? whole : removeLastLayers(whole, change.removeLayers);
    if (change.quantize !== undefined) quantize(model, change.quantize, data);
    const { exposures = Number.NaN, tokens = Number.NaN } = unchanged.measures;
    const losses = measure(model, data, data.people.nPeople);
    const found = resultsOf(losses, data.people, countedParameters(model, data), { exposures, tokens });
    const measures = { ...found.measures, nLayer: model.config.nLayer };
    return { ...found, measures, curve: [], trainingLoss: [], unchanged: unchanged.measures };
  });
  return { stopped: 'finished', results };
}

function quantize(
  model: LanguageModel,
  { method, bits, nCalibration = 0 }: NonNullable<ModelChange['quantize']>,
  { windows, source }: CapacityData,
): void {
  if (method === 'rtn') {
    roundToNearest(model, { bits });
    return;
  }
  const nWindow = Math.ceil((nCalibration * (source.meanTokens + 1)) / windows.nCtx);
  const targets = new Int32Array(windows.nCtx);
  const calibration = Array.from({ length: nWindow }, (_, i) => {
    const ids = new Int32Array(windows.nCtx);
    windows.window(i, ids, targets);
    return ids;
  });
  gptq(model, { bits, windows: calibration });
}

/** Everything that losses of all people say. */
function resultsOf(
  losses: KnowledgeLosses,
  people: CapacityPeople,
  nParameter: number,
  training: { readonly exposures: number; readonly tokens: number },
): Omit<CapacityResults, 'curve' | 'trainingLoss'> {
  const { nPeople, nNames, choices } = people;
  const stored = knowledgeOf(losses, people, nParameter);
  const { low, high } = bootstrapInterval(
    bitsOfEachPerson(losses, people).map((bits) => (bits * nPeople) / nParameter),
    { nResample: nPeople > 10_000 ? 200 : 1000 },
  );
  return {
    recipe: 'capacity',
    measures: {
      nPeople,
      nParameter,
      ...training,
      ...stored,
      shareOfCeiling: stored.bits / stored.maxBits,
      nameLoss: losses.nameLoss,
      valueLoss: losses.valueLoss,
      ...(people.strings !== undefined && { firstLoss: firstLossOf(losses, people) }),
    },
    intervals: {
      perParameter: { low, high },
      shareOfCeiling: { low: low / stored.maxPerParameter, high: high / stored.maxPerParameter },
    },
    items: [
      itemLoss('name', nNames, Math.log(nPeople), losses.byLabel),
      ...Object.entries(choices).map(([item, n]) => itemLoss(item, n, 0, losses.byLabel)),
    ],
  };
}

/** P: the parameters of a model without embedding rows whose tokens never occur. */
function countedParameters(model: LanguageModel, { nUnusedToken }: CapacityData): number {
  const { dModel, tied } = model.config;
  return model.nParameter - nUnusedToken * dModel * (tied ? 1 : 2);
}

/** Losses of the first `nPeople` people, who are as random as any others. */
function measure(
  model: LanguageModel,
  { source, tokenizer, people, nameStart }: CapacityData,
  nPeople: number,
): KnowledgeLosses {
  const { firstLabels = [] } = people.strings ?? {};
  const labels = ['name', ...Object.keys(people.choices), ...firstLabels];
  const nameLosses = new Float64Array(nPeople);
  const valueLosses = new Float64Array(nPeople);
  const furtherLosses = new Float64Array(nPeople);
  const totals = new Map(labels.map((label) => [label, 0]));
  for (let start = 0; start < nPeople; start += DOCUMENTS_AT_ONCE) {
    const n = Math.min(DOCUMENTS_AT_ONCE, nPeople - start);
    const documents: Sample[] = Array.from({ length: n }, (_, i) => source.render(start + i, 0));
    const part = knowledgeLosses(model, documents, {
      eos: tokenizer.eos,
      nameLabel: 'name',
      valueLabels: Object.keys(people.choices),
      furtherLabels: firstLabels,
      nameStart,
    });
    nameLosses.set(part.nameLosses, start);
    valueLosses.set(part.valueLosses, start);
    furtherLosses.set(part.furtherLosses, start);
    for (const label of labels) totals.set(label, totals.get(label)! + part.byLabel[label]! * n);
  }
  const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / nPeople;
  return {
    nameLoss: mean(nameLosses),
    valueLoss: mean(valueLosses),
    nameLosses,
    valueLosses,
    furtherLosses,
    byLabel: Object.fromEntries([...totals].map(([label, total]) => [label, total / nPeople])),
  };
}

/** The bits that losses stand for. */
function knowledgeOf(losses: KnowledgeLosses, people: CapacityPeople, nParameter: number): BitComplexity {
  const { nPeople, nNames, choices } = people;
  const { nameLoss, valueLoss } = losses;
  const diversity = diversityOf(losses, people);
  return bitComplexity({ nPeople, nNames, choices, nameLoss, valueLoss, nParameter, ...(diversity && { diversity }) });
}

function diversityOf(losses: KnowledgeLosses, people: CapacityPeople): DiversityMeasurement | undefined {
  if (people.strings === undefined) return undefined;
  const { nAttribute, nString, stringLength, nSymbol } = people.strings.sizes;
  return { nAttribute, nString, stringLength, nSymbol, firstLoss: firstLossOf(losses, people) };
}

/** p₃: mean over people and attributes. */
function firstLossOf({ furtherLosses }: KnowledgeLosses, { strings }: CapacityPeople): number {
  const total = furtherLosses.reduce((sum, loss) => sum + loss, 0);
  return total / furtherLosses.length / (strings?.firstLabels.length ?? 1);
}

/** Bits that the model holds about each person, with a share of those about strings: their mean, times N, is R(F)·P. */
function bitsOfEachPerson(losses: KnowledgeLosses, { nPeople, nNames, choices, strings }: CapacityPeople): number[] {
  const known = [nNames, ...Object.values(choices)].reduce((sum, n) => sum + Math.log2(n), 0);
  const { nAttribute, nString, stringLength, nSymbol } = strings?.sizes ?? NO_STRINGS;
  const ofStrings = nAttribute * nString * (stringLength * Math.log2(nSymbol) - Math.log2(nString));
  return Array.from(losses.nameLosses, (name, i) => {
    const ofPerson = known - (name + losses.valueLosses[i]!) / Math.LN2;
    // A person's first strings are one attempt at each set; K·D·p₃ is D times their sum.
    return ofPerson + (ofStrings - (nString * losses.furtherLosses[i]!) / Math.LN2) / nPeople;
  });
}

const NO_STRINGS = { nAttribute: 0, nString: 1, stringLength: 0, nSymbol: 1 } as const;

function itemLoss(item: string, choices: number, perfect: number, byLabel: Readonly<Record<string, number>>): ItemLoss {
  return { item, choices, uniform: Math.log(choices), perfect, loss: byLabel[item]! };
}
