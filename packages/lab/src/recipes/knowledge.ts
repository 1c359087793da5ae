import { ConfigError, type ConfigProblem } from '@physlm/base';
import { parseAugmentation, tasksNamed } from '@physlm/data/knowledge';
import { type Gpt, type GptConfig, gpt2, type LowRankConfig, lowRankProblems, modelProblems } from '@physlm/model';
import type { TrainConfig } from '@physlm/train';
import { z } from 'zod';
import type { KnowledgeProbeConfig } from '../knowledge-probes.js';
import { type KnowledgeDataConfig, openKnowledgeData } from './knowledge-data.js';
import { checkParameters, definedOnly } from './parameters.js';
import type { Experiment, RecipeOptions, ScaleName } from './recipe.js';

/** The numbers that make a scale. */
interface KnowledgeScale {
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
  /** Share of the windows that hold questions; 0: questions come after all reading. */
  readonly qaShare: number;
  /** Tokens in a window. */
  readonly nCtx: number;
  /** Windows in a step. */
  readonly batchSize: number;
  readonly lrPeak: number;
  readonly weightDecay: number;
  readonly nWarmup: number;
  readonly finetune: FinetuneScale;
  readonly probes: { readonly p: KnowledgeProbeConfig; readonly q: KnowledgeProbeConfig };
  /** People of each side that are asked about at the end, at most. */
  readonly nAsked: number;
}

interface FinetuneScale {
  readonly nStep: number;
  readonly batchSize: number;
  readonly lrPeak: number;
  readonly weightDecay: number;
  /** Rank of the updates of query and value, and of the embedding. */
  readonly rank: number;
  readonly embeddingRank: number;
  readonly scale: number;
}

/** Small models carry few facts over to questions that come after all reading; they do when questions come in between. */
const mini = {
  population: 'bioS-mini',
  tokenizer: 'words',
  dHead: 16,
  rotaryShare: 1,
  initScale: 0.5,
  qaShare: 0.6,
  nCtx: 128,
  batchSize: 16,
  lrPeak: 3e-3,
  weightDecay: 0.1,
  nWarmup: 100,
} as const;

/** The paper's training (arXiv:2309.14316, Appendices B to D); it names no β₂ and no clipping. */
const full = {
  population: 'bioS',
  tokenizer: 'gpt2',
  dHead: 64,
  rotaryShare: 0.25,
  initScale: 0.32,
  qaShare: 0,
  nCtx: 512,
  batchSize: 96,
  lrPeak: 1e-3,
  weightDecay: 0.1,
  nWarmup: 1000,
} as const;

/** An update of the embedding would be fitted to the few hundred people to train on, and hide the others' facts. */
const miniProbes = {
  p: { nStep: 500, batchSize: 48, learningRate: 5e-3, update: 'shared', rank: 0 },
  q: { nStep: 300, batchSize: 128, learningRate: 5e-3, update: 'shared', rank: 0 },
} as const;

const fullProbes = {
  p: { nStep: 5000, batchSize: 128, learningRate: 1e-3, update: 'shared' },
  q: { nStep: 12_000, batchSize: 200, learningRate: 1e-3, update: 'shared' },
} as const;

const miniFinetune = {
  nStep: 1500,
  batchSize: 48,
  lrPeak: 1e-3,
  weightDecay: 0.01,
  rank: 8,
  embeddingRank: 16,
  scale: 1,
} as const;

const fullFinetune = {
  nStep: 20_000,
  batchSize: 48,
  lrPeak: 3e-4,
  weightDecay: 0.01,
  rank: 8,
  embeddingRank: 128,
  scale: 1,
} as const;

/** Every scale's setting. */
export const knowledgeScales: Readonly<Record<ScaleName, KnowledgeScale>> = {
  tiny: {
    ...mini,
    describe: '500 people, 4 layers of width 64',
    nPeople: 500,
    exposures: 120,
    nLayer: 4,
    dModel: 64,
    finetune: miniFinetune,
    probes: miniProbes,
    nAsked: 250,
  },
  small: {
    ...mini,
    describe: '700 people, 4 layers of width 64',
    nPeople: 700,
    exposures: 120,
    nLayer: 4,
    dModel: 64,
    finetune: miniFinetune,
    probes: miniProbes,
    nAsked: 350,
  },
  laptop: {
    ...mini,
    describe: '1,000 people, 4 layers of width 64',
    nPeople: 1000,
    exposures: 120,
    nLayer: 4,
    dModel: 64,
    finetune: { ...miniFinetune, nStep: 3000 },
    probes: miniProbes,
    nAsked: 500,
  },
  gpu: {
    ...full,
    describe: '20,000 people, 6 layers of width 512',
    nPeople: 20_000,
    exposures: 300,
    nLayer: 6,
    dModel: 512,
    finetune: fullFinetune,
    probes: fullProbes,
    nAsked: 2000,
  },
  paper: {
    ...full,
    describe: '100,000 people, GPT-2 small, as in the paper',
    nPeople: 100_000,
    exposures: 540,
    nLayer: 12,
    dModel: 768,
    finetune: { ...fullFinetune, nStep: 50_000 },
    probes: {
      p: { nStep: 30_000, batchSize: 50, learningRate: 1e-3, update: 'own' },
      q: { nStep: 30_000, batchSize: 200, learningRate: 1e-3, update: 'own' },
    },
    nAsked: 10_000,
  },
};

const count = (least: number): z.ZodNumber => z.number().int().min(least);
const share = z.number().min(0).max(1);

/** What `knowledge` lets you set; everything left out comes from the scale. */
export const knowledgeParameters = z.strictObject({
  augmentation: z.string().optional().describe('texts about a person: single, multi5+permute, couple2, …'),
  celebrity: z.string().optional().describe('texts about as many celebrities, who are asked about in training'),
  qaShare: share.optional().describe('mixed training: share of the windows that hold questions; 0: biographies alone'),
  encoder: z.boolean().optional().describe('sees both sides, fills in hidden words, and is asked in mixed training'),
  finetune: z.enum(['lora', 'full', 'none']).optional().describe('how tasks are learnt after the training that reads'),
  tasks: z.string().optional().describe('what is asked, with commas: extraction, retrieval, monthMod2, …'),
  nTrain: count(1).optional().describe('people who are asked about in training; half of all when left out'),
  hintShare: share.optional().describe('share of the answers that state the facts first'),
  probes: z
    .enum(['both', 'p', 'q', 'none'])
    .optional()
    .describe('P-probes, Q-probes; none when left out and other tasks than extraction are asked'),
  nPeople: count(2).optional().describe('people whose facts are learnt'),
  exposures: count(1).optional().describe('times that training shows each person'),
  nLayer: count(1).optional().describe('layers of the model'),
  dModel: count(2).optional().describe('width of the model, a multiple of dHead'),
  dHead: count(2).optional().describe('width of an attention head, even'),
  nCtx: count(8).optional().describe('tokens in a training window'),
  documentMask: z.boolean().optional().describe('texts of a window do not see each other'),
  batchSize: count(1).optional().describe('windows in an optimiser step'),
  lrPeak: z.number().positive().optional().describe('largest learning rate'),
  weightDecay: z.number().min(0).optional().describe("AdamW's weight decay"),
  rank: count(0).optional().describe('rank of the updates of query and value; 0: none'),
  embeddingRank: count(0).optional().describe('rank of the update of the embedding; 0: none'),
  finetuneSteps: count(1).optional().describe('steps of finetuning'),
  finetuneLr: z.number().positive().optional().describe('largest learning rate of finetuning'),
  nAsked: count(1).optional().describe('people of each side that are asked about'),
});

/** Parameters of `knowledge`. */
export type KnowledgeParameters = z.infer<typeof knowledgeParameters>;

/** Training, with the updates that finetuning trains; every weight when there are none. */
export interface KnowledgeTrainConfig extends TrainConfig {
  readonly lowRank?: LowRankConfig;
}

/** What is measured. */
export interface KnowledgeEvaluate {
  /** People of each side whose biographies and answers are scored, at the end and for the curve. */
  readonly nAsked: number;
  readonly nCurve: number;
  /** Whether questions are asked: of models that have seen some. */
  readonly questions: boolean;
  readonly pProbe: KnowledgeProbeConfig | null;
  readonly qProbe: KnowledgeProbeConfig | null;
}

/** Whether a model that has read biographies can be asked about them: a `knowledge` experiment as plain JSON. */
export interface KnowledgeExperiment extends Experiment {
  readonly recipe: 'knowledge';
  readonly data: KnowledgeDataConfig;
  readonly model: Gpt['config'];
  readonly train: KnowledgeTrainConfig;
  readonly evaluate: KnowledgeEvaluate;
  readonly start?: { readonly experiment: KnowledgeExperiment };
}

/** Whose texts say how many steps the exposures take. */
const SEED_OF_SIZES = 1;
/** Share of the words that an encoder has to fill in. */
const HIDDEN = 0.15;
/** Windows of finetuning are as long as the longest question, rounded up to a multiple of this. */
const CTX_STEP = 4;
/** Points of the curves of a training and of a finetuning, as shares of it. */
const CURVE = [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1];
const TUNING_CURVE = [0.1, 0.25, 0.5, 1];

/**
 * Trains a transformer on biographies and on questions about half of the people, and asks it about the others. Questions come
 * among the biographies (mixed training, the run without `finetune`), or after all reading, in a finetuning. What a finetuning
 * starts from is a run of its own, which others share: pretraining, or mixed training on questions for the facts. Pure.
 *
 * @throws ConfigError with every parameter that is unknown or does not fit.
 * @throws DataError when there are too few people for the window, or more than there are names.
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316 and 2309.14402. Differs from the papers at `tiny`, `small` and `laptop`: a
 * population with smaller pools (bioS-mini), short windows, rotary positions that turn whole heads, mixed training by default.
 */
export function knowledge({ scale, seed, parameters = {} }: RecipeOptions): KnowledgeExperiment {
  const base = knowledgeScales[scale];
  const given = definedOnly(checkParameters('knowledge', knowledgeParameters, parameters));
  const setting = {
    ...base,
    augmentation: 'multi5+permute',
    tasks: 'extraction',
    ...given,
  };
  const { qaShare, celebrity, dModel, dHead, nCtx } = setting;
  const finetune = given.finetune ?? (qaShare > 0 ? 'none' : 'lora');
  const encoder = given.encoder === true;
  if (encoder) checkEncoder({ ...given, qaShare, finetune });
  if (qaShare >= 1) throw new ConfigError([{ path: 'qaShare', expected: 'a share below 1', got: `${qaShare}` }]);
  if (dModel % dHead !== 0) {
    throw new ConfigError([{ path: 'dModel', expected: `a multiple of dHead ${dHead}`, got: `${dModel}` }]);
  }
  const people: KnowledgeDataConfig = {
    population: setting.population,
    nPeople: setting.nPeople,
    tokenizer: setting.tokenizer,
    augmentation: parseAugmentation(setting.augmentation).name,
    ...(celebrity !== undefined && { celebrity: parseAugmentation(celebrity).name }),
    nCtx,
    exposures: setting.exposures,
    ...(encoder && { hidden: HIDDEN }),
  };
  const tasks = setting.tasks.split(',').map((name) => name.trim());
  tasksNamed(tasks);
  const taught = {
    tasks,
    ...(given.nTrain !== undefined && { nTrain: given.nTrain }),
    ...(given.hintShare !== undefined && { hintShare: given.hintShare }),
  };
  const mixed = qaShare > 0;
  const readingTasks = finetune === 'none' ? taught : { tasks: ['extraction'] };
  const data = mixed ? { ...people, questions: { ...readingTasks, share: qaShare } } : people;
  // Lengths of texts differ a little from seed to seed; a setting is the same for all of them.
  const { windows, dVocab, tokenizer } = openKnowledgeData(data, SEED_OF_SIZES);
  const model: GptConfig = gpt2(setting.nLayer, dModel / dHead, {
    dVocab,
    nCtx,
    dModel,
    dRotary: 2 * Math.round((dHead * setting.rotaryShare) / 2),
    initStd: Number((setting.initScale / Math.sqrt(dModel)).toPrecision(6)),
    ...(encoder && { causal: false }),
    ...(given.documentMask && { documentSeparator: tokenizer.eos }),
  });
  const problems = modelProblems(model);
  if (problems.length > 0) throw new ConfigError(problems);
  const nStep = Math.max(1, Math.ceil(windows.windowsFor(setting.exposures) / setting.batchSize));
  const scores = { nAsked: setting.nAsked, nCurve: Math.min(setting.nAsked, 100), pProbe: null, qProbe: null };
  // Runs that are asked for facts are probed for them.
  const facts = setting.tasks === 'extraction' || (mixed && finetune !== 'none');
  const { probes: chosen = facts ? 'both' : 'none' } = given;
  const wanted = (kind: 'p' | 'q'): KnowledgeProbeConfig | null =>
    !encoder && (chosen === 'both' || chosen === kind) ? base.probes[kind] : null;
  const probes = { pProbe: wanted('p'), qProbe: wanted('q') };
  const texts = [people.augmentation, ...(celebrity === undefined ? [] : [`with-${people.celebrity}`])].join('-');
  const label = `knowledge-${scale}-${texts}${mixed ? `-mixed${qaShare}` : ''}${encoder ? '-encoder' : ''}`;
  const reading: KnowledgeExperiment = {
    name: `${label}-s${seed}`,
    recipe: 'knowledge',
    scale,
    source: 'arXiv:2309.14316, Sections 2 to 6; arXiv:2309.14402, Sections 3 to 5',
    seed,
    data,
    model,
    train: {
      nStep,
      batchSize: setting.batchSize,
      optimizer: {
        lrPeak: setting.lrPeak,
        betas: [0.9, 0.98],
        eps: 1e-6,
        weightDecay: setting.weightDecay,
        clipNorm: 1,
      },
      schedule: { kind: 'cosine', nWarmup: Math.min(setting.nWarmup, Math.ceil(nStep / 10)), finalFraction: 0.1 },
      logEvery: Math.max(1, Math.round(nStep / 100)),
      checkpointEvery: Math.max(1, Math.ceil(nStep / 5)),
      keepCheckpoints: 1,
      evaluateAt: [...new Set(CURVE.map((part) => Math.max(1, Math.round(part * nStep))))],
    },
    evaluate: { ...scores, ...probes, questions: mixed },
  };
  if (finetune === 'none') return reading;
  // A run that asks while it reads is complete without finetuning, probes and all; other pretraining is measured after it.
  const start = mixed ? reading : { ...reading, evaluate: { ...scores, questions: false } };
  const { questions } = openKnowledgeData({ ...people, questions: taught }, seed);
  const nRow = CTX_STEP * Math.ceil((questions('train', 'train').maxTokens + 1) / CTX_STEP);
  if (nRow > nCtx) {
    const expected = `at least ${nRow}, so that every question with its answer fits`;
    throw new ConfigError([{ path: 'nCtx', expected, got: `${nCtx}` }]);
  }
  return {
    ...reading,
    name: `${label}-asked-${tasks.join('.')}-s${seed}`,
    data: { ...people, questions: { ...taught, nCtx: nRow } },
    train: finetuning(base.finetune, given, finetune, model),
    evaluate: { ...scores, ...(mixed ? {} : probes), questions: true },
    start: { experiment: start },
  };
}

/** Training on questions alone: of every weight, or of updates of low rank. */
function finetuning(
  usual: FinetuneScale,
  given: KnowledgeParameters,
  kind: 'lora' | 'full',
  model: GptConfig,
): KnowledgeTrainConfig {
  const { rank = usual.rank, embeddingRank = usual.embeddingRank } = given;
  const lowRank: LowRankConfig = {
    ...(rank > 0 && { attention: { rank, targets: ['q', 'v'] as const } }),
    ...(embeddingRank > 0 && { embedding: { rank: embeddingRank } }),
    scale: usual.scale,
  };
  const misfits = kind === 'lora' ? lowRankProblems(lowRank, model) : [];
  if (misfits.length > 0) throw new ConfigError(misfits);
  const { batchSize, weightDecay } = usual;
  const { finetuneSteps: nStep = usual.nStep, finetuneLr: lrPeak = usual.lrPeak } = given;
  return {
    nStep,
    batchSize,
    optimizer: { lrPeak, betas: [0.9, 0.98], eps: 1e-6, weightDecay, clipNorm: 1 },
    schedule: { kind: 'cosine', nWarmup: 0, finalFraction: 0.1 },
    logEvery: Math.max(1, Math.round(nStep / 50)),
    checkpointEvery: Math.max(1, Math.ceil(nStep / 3)),
    keepCheckpoints: 1,
    evaluateAt: [...new Set(TUNING_CURVE.map((part) => Math.max(1, Math.round(part * nStep))))],
    ...(kind === 'lora' && { lowRank }),
  };
}

/** An encoder is asked while it reads, and is not probed. */
function checkEncoder({ qaShare = 0, finetune, hintShare, probes = 'none' }: KnowledgeParameters): void {
  const problems: ConfigProblem[] = [];
  const check = (fine: boolean, path: string, expected: string, got: unknown): void => {
    if (!fine) problems.push({ path, expected: `${expected} with encoder: true`, got: `${got}` });
  };
  check(qaShare > 0, 'qaShare', 'a share above 0', qaShare);
  check(finetune === 'none', 'finetune', 'none', `'${finetune}'`);
  check(hintShare === undefined, 'hintShare', 'nothing', hintShare);
  check(probes === 'none', 'probes', 'none', `'${probes}'`);
  if (problems.length > 0) throw new ConfigError(problems, 'An encoder fills in answers; it writes none.');
}
