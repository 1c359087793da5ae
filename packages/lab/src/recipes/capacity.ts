import { ConfigError } from '@physlm/base';
import { type Gpt, type GptConfig, gpt2, modelProblems } from '@physlm/model';
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
  batchSize: count(1).optional().describe('windows in an optimiser step'),
  lrPeak: z.number().positive().optional().describe('largest learning rate'),
  weightDecay: z.number().min(0).optional().describe("AdamW's weight decay"),
});

/** Parameters of `capacity`. */
export type CapacityParameters = z.infer<typeof capacityParameters>;

/** How much knowledge a model of a given size stores: a `capacity` experiment as plain JSON. */
export interface CapacityExperiment extends Experiment {
  readonly recipe: 'capacity';
  readonly data: CapacityDataConfig;
  readonly model: Gpt['config'];
  readonly evaluate: {
    /** People whose losses are read for the curve; all are read at the end. */
    readonly curvePeople: number;
    /** Points of the curve, in exposures. */
    readonly atExposures: readonly number[];
  };
}

const N_POINT = 16;

/**
 * Trains a small transformer on synthetic biographies and counts the bits of knowledge it stores: pure, and the same
 * options always give the same experiment.
 *
 * Each biography is rendered anew every time (templates and sentence order), so the model can only win by storing facts.
 *
 * @throws ConfigError with every parameter that is unknown or does not fit.
 * @throws DataError when there are too few people for the window, or more than there are names.
 * @see Allen-Zhu and Li 2024, arXiv:2404.05405, Sections 3 and 4, Definition 4.3, Figure 1. Differs from the paper: the
 * scales `tiny`, `small` and `laptop` use a population with smaller pools (bioS-mini).
 */
export function capacity({ scale, seed, parameters = {} }: RecipeOptions): CapacityExperiment {
  const base = capacityScales[scale];
  const setting = { ...base, ...definedOnly(checkParameters('capacity', capacityParameters, parameters)) };
  const { population, tokenizer, nPeople, exposures, nLayer, dModel, dHead, nCtx, batchSize } = setting;
  const data: CapacityDataConfig = { population, nPeople, tokenizer, nCtx, exposures };
  if (dModel % dHead !== 0) {
    throw new ConfigError([{ path: 'dModel', expected: `a multiple of dHead ${dHead}`, got: `${dModel}` }]);
  }
  const { windows, dVocab } = openCapacityData(data, seed);
  const model: GptConfig = gpt2(nLayer, dModel / dHead, {
    dVocab,
    nCtx,
    dModel,
    dRotary: 2 * Math.round((dHead * setting.rotaryShare) / 2),
    initStd: Number((setting.initScale / Math.sqrt(dModel)).toPrecision(6)),
  });
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

/** `n` integers from `first` to `last`, each about the same factor above the one before, without repeats. */
function logSpaced(first: number, last: number, n: number): number[] {
  const at = (i: number): number => Math.round(first * (last / first) ** (i / (n - 1)));
  return [...new Set(Array.from({ length: n }, (_, i) => at(i)))];
}
