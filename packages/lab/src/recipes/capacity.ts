import { ConfigError } from '@physlm/base';
import { gpt2, llama, type ModelConfig, modelProblems } from '@physlm/model';
import type { TrainConfig } from '@physlm/train';
import { z } from 'zod';
import { type CapacityDataConfig, openCapacityData } from './capacity-data.js';
import { checkParameters, definedOnly } from './parameters.js';
import type { Experiment, RecipeOptions, ScaleName } from './recipe.js';

/** The numbers that make a scale. */
interface CapacityScale {
  readonly describe: string;
  readonly population: 'bioS' | 'bioS-mini';
  readonly tokenizer: 'words' | 'gpt2';
  readonly nPeople: number;
  /** Times that training shows each person. */
  readonly exposures: number;
  readonly nLayer: number;
  readonly dModel: number;
  readonly dHead: number;
  /** Part of each head that turns with the position. */
  readonly rotaryShare: number;
  /** Initial weights have standard deviation initScale / √dModel. */
  readonly initScale: number;
  /** Tokens in a window. */
  readonly nCtx: number;
  /** Windows in a step. */
  readonly batchSize: number;
  readonly lrPeak: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  readonly clipNorm: number;
  readonly nWarmup: number;
}

/** What one processor can train: short windows, whole-head rotary positions, and a width that facts can fit in. */
const mini = {
  population: 'bioS-mini',
  tokenizer: 'words',
  dHead: 16,
  rotaryShare: 1,
  initScale: 0.5,
  nCtx: 128,
  batchSize: 16,
  lrPeak: 5e-3,
  beta2: 0.98,
  eps: 1e-6,
  weightDecay: 0.01,
  clipNorm: 1,
  nWarmup: 100,
} as const;

/** bioS and GPT-2 as the paper trains them (arXiv:2404.05405, Appendix A); it names no β₂ and no clipping. */
const full = {
  population: 'bioS',
  tokenizer: 'gpt2',
  dHead: 64,
  rotaryShare: 0.25,
  initScale: 0.32,
  nCtx: 512,
  lrPeak: 1e-3,
  beta2: 0.98,
  eps: 1e-6,
  weightDecay: 0.02,
  clipNorm: 1,
  nWarmup: 1000,
} as const;

/** Every scale's setting. The bounds of the law belong to these settings and to no others. */
export const capacityScales: Readonly<Record<ScaleName, CapacityScale>> = {
  tiny: {
    ...mini,
    describe: '300 people, a model of 40 thousand parameters with room to spare',
    nPeople: 300,
    exposures: 300,
    nLayer: 2,
    dModel: 32,
    lrPeak: 8e-3,
  },
  small: {
    ...mini,
    describe: '1,000 people, a model of 52 thousand parameters: 0.8 bits per parameter to learn',
    nPeople: 1000,
    exposures: 450,
    nLayer: 3,
    dModel: 32,
  },
  laptop: {
    ...mini,
    describe: '2,000 people, a model of 40 thousand parameters, at its limit',
    nPeople: 2000,
    exposures: 1500,
    nLayer: 2,
    dModel: 32,
    lrPeak: 3e-3,
  },
  gpu: {
    ...full,
    describe: '50,000 people, GPT2-2-3 of 1.5 million parameters, at its limit',
    nPeople: 50_000,
    exposures: 1000,
    nLayer: 2,
    dModel: 192,
    batchSize: 96,
  },
  paper: {
    ...full,
    describe: '100,000 people, GPT2-2-4 of 2.4 million parameters, as in the paper',
    nPeople: 100_000,
    exposures: 1000,
    nLayer: 2,
    dModel: 256,
    batchSize: 192,
  },
};

const count = (least: number): z.ZodNumber => z.number().int().min(least);

/** What `capacity` lets you set; everything left out comes from the scale. */
export const capacityParameters = z.strictObject({
  nPeople: count(1).optional().describe('people whose facts are learnt'),
  exposures: count(1).optional().describe('times that training shows each person'),
  nLayer: count(1).optional().describe('layers of the model'),
  dModel: count(2).optional().describe('width of the model, a multiple of dHead'),
  dHead: count(2).optional().describe('width of an attention head, even'),
  nCtx: count(8).optional().describe('tokens in a training window'),
  documentMask: z.boolean().optional().describe('texts of a window do not see each other'),
  batchSize: count(1).optional().describe('windows in an optimiser step'),
  lrPeak: z.number().positive().optional().describe('largest learning rate'),
  weightDecay: z.number().min(0).optional().describe("AdamW's weight decay"),
  dataset: z
    .enum(['bioS', 'bioS-simple', 'bioD'])
    .optional()
    .describe('bioS words each text anew, bioS-simple has one text for each person, bioD has random attributes'),
  nAttribute: count(1).optional().describe('bioD: K, attributes of each person'),
  nChunk: count(1).optional().describe('bioD: C, strings that make a value'),
  nString: count(1).optional().describe('bioD: D, strings that an attribute draws from'),
  stringLength: count(1).optional().describe('bioD: L, symbols in a string'),
  nSymbol: count(1).optional().describe('bioD: T, symbols to write strings with'),
  usefulShare: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe('share of the tokens that are about the people who are learnt; the rest is junk about others'),
  junkPeople: count(1).optional().describe('people that junk is about: many for random junk, few for repetitive junk'),
  tag: z.boolean().optional().describe('whether a token marks every useful text'),
  architecture: z
    .enum(['gpt', 'llama', 'mistral'])
    .optional()
    .describe(
      'gpt: GPT-2 with rotary positions; llama: gated MLP; mistral: also wider MLP and grouped key/value heads',
    ),
  tied: z.boolean().optional().describe('whether the output layer is the embedding, transposed'),
  nKvHead: count(1).optional().describe('llama, mistral: key/value heads, a divisor of the heads'),
  mlpRatio: z
    .number()
    .min(0)
    .optional()
    .describe("width of the MLPs over the architecture's own: 0.25 for a quarter, 0 (gpt only) for none"),
  nExpert: count(1)
    .optional()
    .describe('gpt: experts in place of each MLP, each a quarter as wide unless mlpRatio says else'),
  capacityFactor: z
    .number()
    .positive()
    .optional()
    .describe('tokens of a window that an expert takes in training, over nCtx / nExpert; 2 when absent'),
  quantize: z
    .enum(['rtn', 'gptq'])
    .optional()
    .describe(
      'trains nothing: rounds the weights of the run without this, to nearest or with GPTQ, and measures again',
    ),
  bits: count(2).max(16).optional().describe('bits of a rounded weight'),
  removeLayers: count(1)
    .optional()
    .describe('trains nothing: takes so many layers off the end of the run without this, and measures again'),
});

/** Parameters of `capacity`. */
export type CapacityParameters = z.infer<typeof capacityParameters>;

/** How much knowledge a model of a given size stores: a `capacity` experiment as plain JSON. */
export interface CapacityExperiment extends Experiment {
  readonly recipe: 'capacity';
  readonly data: CapacityDataConfig;
  readonly model: ModelConfig;
  readonly evaluate: {
    /** People whose losses are read for the curve; all are read at the end. */
    readonly curvePeople: number;
    /** Points of the curve, in exposures. */
    readonly atExposures: readonly number[];
    /** What is done to the model of `start` before its knowledge is measured; nothing is trained then. */
    readonly change?: ModelChange;
  };
}

/** What is done to a trained model before it is measured: layers go first, then weights are rounded. */
export interface ModelChange {
  /** Blocks taken off the end. */
  readonly removeLayers?: number;
  readonly quantize?: {
    readonly method: 'rtn' | 'gptq';
    readonly bits: number;
    /** gptq: biographies of the training text to calibrate on. */
    readonly nCalibration?: number;
  };
}

/** As many as arXiv:2404.05405 calibrates on. */
const N_CALIBRATION = 1000;

const N_POINT = 16;

/**
 * Trains a small transformer on synthetic biographies and counts the bits of knowledge it stores: pure, and the same
 * options always give the same experiment.
 *
 * With `quantize` or `removeLayers` it starts from the run without them, changes its model, and only measures.
 *
 * Each biography is rendered anew every time (templates and sentence order), so the model can only win by storing facts.
 *
 * @throws ConfigError with every parameter that is unknown or does not fit.
 * @throws DataError when there are too few people for the window, or more than there are names.
 * @see Allen-Zhu and Li 2024, arXiv:2404.05405, Sections 3 and 4, Definition 4.3, Figure 1. Differs from the paper: the
 * scales `tiny`, `small` and `laptop` use a population with smaller pools (bioS-mini).
 */
export function capacity({ scale, seed, parameters = {} }: RecipeOptions): CapacityExperiment {
  const given = checkParameters('capacity', capacityParameters, parameters);
  const { quantize, bits, removeLayers, ...others } = given;
  if (quantize !== undefined || removeLayers !== undefined) {
    return changed(capacity({ scale, seed, parameters: others }), { quantize, bits, removeLayers });
  }
  requireUnset(given, ['bits'], 'no quantize');
  const setting = { ...capacityScales[scale], ...definedOnly(given) };
  const { nPeople, exposures, dModel, dHead, batchSize } = setting;
  const data = dataOf(setting);
  if (dModel % dHead !== 0) {
    throw new ConfigError([{ path: 'dModel', expected: `a multiple of dHead ${dHead}`, got: `${dModel}` }]);
  }
  const { windows, tokenizer, dVocab } = openCapacityData(data, seed);
  const model = { ...modelOf(setting, dVocab), ...(given.documentMask && { documentSeparator: tokenizer.eos }) };
  const problems = modelProblems(model);
  if (problems.length > 0) throw new ConfigError(problems);
  const nStep = Math.max(1, Math.ceil(windows.windowsFor(exposures) / batchSize));
  const atExposures = logSpaced(Math.max(1, exposures / 50), exposures, N_POINT);
  const stepAt = (exposure: number): number => Math.min(nStep, Math.ceil(windows.windowsFor(exposure) / batchSize));
  const train: TrainConfig = {
    nStep,
    batchSize,
    optimizer: {
      lrPeak: setting.lrPeak,
      betas: [0.9, setting.beta2],
      eps: setting.eps,
      weightDecay: setting.weightDecay,
      clipNorm: setting.clipNorm,
    },
    schedule: { kind: 'cosine', nWarmup: Math.min(setting.nWarmup, Math.ceil(nStep / 10)), finalFraction: 0.1 },
    logEvery: Math.max(1, Math.round(nStep / 100)),
    checkpointEvery: Math.max(1, Math.ceil(nStep / 8)),
    keepCheckpoints: 2,
    evaluateAt: [...new Set(atExposures.map(stepAt))],
  };
  return {
    name: `capacity-${scale}-s${seed}`,
    recipe: 'capacity',
    scale,
    source: 'arXiv:2404.05405, Sections 3 and 4, Definition 4.3, Figure 1',
    seed,
    data,
    model,
    train,
    evaluate: { curvePeople: Math.min(nPeople, 2000), atExposures },
  };
}

/** The experiment that measures a trained model after a change. */
function changed(
  base: CapacityExperiment,
  { quantize: method, bits, removeLayers }: Pick<CapacityParameters, 'quantize' | 'bits' | 'removeLayers'>,
): CapacityExperiment {
  if (method === undefined) requireUnset({ bits }, ['bits'], 'no quantize');
  else if (bits === undefined) {
    throw new ConfigError([{ path: 'bits', expected: `a number in 2 … 16 with quantize ${method}`, got: 'nothing' }]);
  }
  const { nLayer } = base.model;
  if (removeLayers !== undefined && removeLayers >= nLayer) {
    const expected = `less than nLayer ${nLayer}: a layer must be left`;
    throw new ConfigError([{ path: 'removeLayers', expected, got: `${removeLayers}` }]);
  }
  const calibration = method === 'gptq' ? { nCalibration: N_CALIBRATION } : {};
  const change: ModelChange = {
    ...(removeLayers !== undefined && { removeLayers }),
    ...(method !== undefined && { quantize: { method, bits: bits!, ...calibration } }),
  };
  const marks = [removeLayers !== undefined && `minus${removeLayers}`, method !== undefined && `${method}${bits}`];
  return {
    ...base,
    name: [base.name, ...marks.filter((mark) => mark !== false)].join('-'),
    train: { ...base.train, nStep: 0, evaluateAt: [] },
    evaluate: { ...base.evaluate, change },
    start: { experiment: base },
  };
}

/** Parameters that a scale leaves out unless they are set. */
type CapacitySetting = CapacityScale & Partial<ReturnType<typeof definedOnly<CapacityParameters>>>;

/** @throws ConfigError naming every parameter that has no meaning for this data set. */
function dataOf(setting: CapacitySetting): CapacityDataConfig {
  const { population, nPeople, tokenizer, nCtx, exposures, dataset = 'bioS', usefulShare, junkPeople, tag } = setting;
  const isBioD = dataset === 'bioD';
  requireUnset(setting, isBioD ? ['usefulShare', 'junkPeople', 'tag'] : Object.keys(bioDSizes), `dataset ${dataset}`);
  if (usefulShare === undefined) requireUnset(setting, ['junkPeople'], 'no usefulShare');
  return {
    population,
    nPeople,
    tokenizer: isBioD ? 'words' : tokenizer,
    nCtx,
    exposures,
    ...(dataset === 'bioS-simple' && { wording: 'fixed' }),
    ...(isBioD && { bioD: { ...bioDSizes, ...definedOnly(bioDPart(setting)) } }),
    ...(usefulShare !== undefined && { junk: { usefulShare, nPeople: junkPeople ?? randomJunk[population] } }),
    ...(tag === true && { tag }),
  };
}

/** People of random junk unless told otherwise: as many as a small population has names for, or the paper's 100 million. */
const randomJunk = { 'bioS-mini': 16_000, bioS: 100_000_000 } as const;

const bioDSizes = { nAttribute: 6, nChunk: 1, nString: 60, stringLength: 2, nSymbol: 30 } as const;

function bioDPart({ nAttribute, nChunk, nString, stringLength, nSymbol }: CapacitySetting) {
  return { nAttribute, nChunk, nString, stringLength, nSymbol };
}

function requireUnset(setting: object, names: readonly string[], where: string): void {
  const value = (name: string): unknown => (setting as Readonly<Record<string, unknown>>)[name];
  const problems = names
    .filter((name) => value(name) !== undefined)
    .map((path) => ({ path, expected: `nothing with ${where}`, got: `${value(path)}` }));
  if (problems.length > 0) throw new ConfigError(problems);
}

/** The model of a setting. @throws ConfigError naming every parameter that the architecture does not have. */
function modelOf(setting: CapacitySetting, dVocab: number): ModelConfig {
  const { nLayer, dModel, dHead, nCtx, architecture = 'gpt', tied, nExpert, capacityFactor } = setting;
  const { mlpRatio = nExpert === undefined ? 1 : 0.25 } = setting;
  const nHead = dModel / dHead;
  const initStd = Number((setting.initScale / Math.sqrt(dModel)).toPrecision(6));
  const sizes = { dVocab, nCtx, dModel, initStd, ...(tied !== undefined && { tied }) };
  if (architecture === 'gpt') {
    requireUnset(setting, ['nKvHead'], 'architecture gpt');
    const dRotary = 2 * Math.round((dHead * setting.rotaryShare) / 2);
    const dMlp = mlpRatio === 1 ? {} : { dMlp: Math.round(4 * dModel * mlpRatio) };
    const experts = definedOnly({ nExpert, capacityFactor });
    return gpt2(nLayer, nHead, { ...sizes, dRotary, ...dMlp, ...experts });
  }
  requireUnset(setting, ['nExpert', 'capacityFactor'], `architecture ${architecture}`);
  const isMistral = architecture === 'mistral';
  const nKvHead = setting.nKvHead ?? (isMistral ? Math.max(1, Math.floor(nHead / 4)) : nHead);
  const dMlp = Math.round((isMistral ? 7 / 2 : 8 / 3) * dModel * mlpRatio);
  return llama(nLayer, nHead, { ...sizes, nKvHead, dMlp });
}

/** `n` integers from `first` to `last`, each about the same factor above the one before, without repeats. */
function logSpaced(first: number, last: number, n: number): number[] {
  const at = (i: number): number => Math.round(first * (last / first) ** (i / (n - 1)));
  return [...new Set(Array.from({ length: n }, (_, i) => at(i)))];
}
