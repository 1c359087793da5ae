import { ConfigError, type ConfigProblem, nearest } from '@physlm/base';
import {
  FAMILY_NAMES,
  type FamilyName,
  LETTER_ORDERS,
  type LetterOrder,
  RETRY_KINDS,
  RETRY_MASKS,
} from '@physlm/data/igsm';
import { type GptConfig, gpt2, modelProblems } from '@physlm/model';
import type { TrainConfig } from '@physlm/train';
import { z } from 'zod';
import { checkpointStart } from '../open-checkpoint.js';
import { type IgsmDataConfig, PACKINGS, type Packing, tokenizerOf, VOCABULARIES, type WorldSize } from './igsm-data.js';
import { checkParameters, definedOnly } from './parameters.js';
import type { Experiment, RecipeOptions, ScaleName } from './recipe.js';

/** The numbers that make a scale. */
interface IgsmScale {
  readonly describe: string;
  readonly opMax: number;
  readonly ipMax: number;
  readonly modulus: number;
  readonly worlds?: WorldSize;
  readonly vocabulary: IgsmDataConfig['vocabulary'];
  readonly nCtx: number;
  readonly nCtxTest: number;
  readonly packing: Packing;
  readonly letters: LetterOrder;
  readonly loss: 'all' | 'solution';
  readonly nLayer: number;
  readonly dModel: number;
  readonly nHead: number;
  /** Tokens of an optimiser step: windows of nCtx tokens, at least one. */
  readonly tokensPerStep: number;
  readonly nStep: number;
  readonly lrPeak: number;
  readonly weightDecay: number;
  readonly evaluate: IgsmEvaluate;
}

/** What is measured after training. */
export interface IgsmEvaluate {
  /** Problems for each accuracy. */
  readonly nProblem: number;
  /** Fewest operations of problems as in training that are tested: where few are longer, short ones would be most of a test. */
  readonly opLeast: number;
  /** Operations beyond training. */
  readonly opTest: readonly number[];
  /** Whether finished problems of the smallest of these are asked another question. */
  readonly reask: boolean;
  /** Hypotheses of a beam that problems are solved with as well; 0: none. */
  readonly nBeam: number;
  /** Times that a solution may go back, for the verifier as a perfect detector and for the regret probe; 0: not tried. */
  readonly nRetry: number;
  /** Steps that probes are trained; 0: no probes. */
  readonly nProbeStep: number;
  /** Questions of a probe's step. */
  readonly probeBatch: number;
  /** Problems that probes are trained on, and questions that they are tested with. */
  readonly nProbeProblem: number;
  readonly nProbeTest: number;
  /** Whether nece is probed at every layer, by distance to the query. */
  readonly probeLayers: boolean;
}

/** What a run that starts from another one trains. */
export const FINETUNES = ['full', 'lora'] as const;

/** How a run goes on from a trained model. */
export interface IgsmFinetune {
  readonly kind: (typeof FINETUNES)[number];
  /** Of the updates of query and value; twice as much for the embedding. */
  readonly rank?: number;
}

const quick = {
  opLeast: 3,
  reask: true,
  nBeam: 0,
  nRetry: 0,
  nProbeStep: 0,
  probeBatch: 64,
  nProbeProblem: 4000,
  nProbeTest: 1500,
  probeLayers: false,
} as const;

/** What a law about probes or going back measures besides; its sizes are the papers' where they say them. */
const large = {
  ...quick,
  opLeast: 1,
  nProbeStep: 10_000,
  probeBatch: 256,
  nProbeProblem: 200_000,
  nProbeTest: 40_960,
} as const;

/** What the small scales have in common: problems that a narrow model learns in minutes. */
const smallWorld = {
  opMax: 5,
  ipMax: 3,
  modulus: 5,
  worlds: { nWorld: 1, nLevel: 2, nSubCategory: 1, nItem: 4 },
  vocabulary: 'names',
  nCtx: 112,
  nCtxTest: 256,
  packing: 'pad',
  letters: 'successive',
  loss: 'solution',
  dModel: 64,
  nHead: 4,
  lrPeak: 3e-3,
  weightDecay: 0.05,
} as const;

/** Every scale's setting. */
export const igsmScales: Readonly<Record<ScaleName, IgsmScale>> = {
  tiny: {
    ...smallWorld,
    describe:
      'up to 5 operations modulo 5 on 3 statements, a world of 2 layers of 4 items, 3 layers of width 64, 8 million tokens',
    nLayer: 3,
    tokensPerStep: 8 * 112,
    nStep: 9000,
    evaluate: {
      ...quick,
      nProblem: 256,
      opTest: [6, 7, 8],
      nProbeStep: 250,
      probeBatch: 32,
      nProbeTest: 600,
    },
  },
  small: {
    ...smallWorld,
    describe:
      'up to 5 operations modulo 5 on 3 statements, a world of 2 layers of 4 items, 4 layers of width 64, 16 million tokens',
    nLayer: 4,
    tokensPerStep: 12 * 112,
    nStep: 12_000,
    evaluate: { ...quick, nProblem: 1024, opTest: [6, 7, 8] },
  },
  laptop: {
    ...smallWorld,
    describe:
      'up to 5 operations modulo 5 on 3 statements, a world of 2 layers of 4 items, 4 layers of width 96, 121 million tokens',
    nLayer: 4,
    dModel: 96,
    nHead: 6,
    lrPeak: 2.5e-3,
    tokensPerStep: 12 * 112,
    nStep: 90_000,
    evaluate: {
      ...quick,
      nProblem: 1024,
      opTest: [6, 7, 8],
      nBeam: 4,
      nRetry: 10,
      nProbeStep: 6000,
      probeBatch: 32,
      nProbeProblem: 40_000,
      nProbeTest: 3000,
      probeLayers: true,
    },
  },
  gpu: {
    describe: 'iGSM-med, GPT-2 small with rotary positions, 20,000 steps of 98,304 tokens',
    opMax: 15,
    ipMax: 20,
    modulus: 23,
    vocabulary: 'gpt2',
    nCtx: 768,
    nCtxTest: 768,
    packing: 'fill',
    letters: 'random',
    loss: 'all',
    nLayer: 12,
    dModel: 768,
    nHead: 12,
    tokensPerStep: 128 * 768,
    nStep: 20_000,
    lrPeak: 2e-3,
    weightDecay: 0.05,
    evaluate: { ...large, nProblem: 1024, opTest: [20, 21, 22, 23] },
  },
  paper: {
    describe: 'iGSM-med, GPT-2 small with rotary positions, 100,000 steps of 393,216 tokens, as in the paper',
    opMax: 15,
    ipMax: 20,
    modulus: 23,
    vocabulary: 'gpt2',
    nCtx: 768,
    nCtxTest: 768,
    packing: 'fill',
    letters: 'random',
    loss: 'all',
    nLayer: 12,
    dModel: 768,
    nHead: 12,
    tokensPerStep: 512 * 768,
    nStep: 100_000,
    lrPeak: 2e-3,
    weightDecay: 0.05,
    evaluate: { ...large, nProblem: 4096, opTest: [20, 21, 22, 23], nProbeStep: 100_000, nProbeProblem: 2_560_000 },
  },
};

const count = (least: number): z.ZodNumber => z.number().int().min(least);

/** What `igsm` lets you set; everything left out comes from the scale. */
export const igsmParameters = z.strictObject({
  families: z
    .string()
    .optional()
    .describe(`template families, joined with +: ${FAMILY_NAMES.join(', ')}`),
  unseen: z.string().optional().describe('families to test on that are not trained on, joined with +'),
  nWorld: count(1)
    .optional()
    .describe('worlds of each family; all when none of nWorld, nLevel, nSubCategory, nItem is set'),
  nLevel: count(2).max(4).optional().describe('layers of a world: at least as many as problems can have'),
  nSubCategory: count(1).optional().describe('sub-categories of a layer of a world'),
  nItem: count(4).optional().describe('items of a sub-category'),
  vocabulary: z
    .enum(VOCABULARIES)
    .optional()
    .describe('a token for each phrase and parameter, phrase and item, word and item, or GPT-2 tokens'),
  opMax: count(1).max(52).optional().describe('most operations in training'),
  opLeast: count(1).optional().describe('fewest operations of problems as in training that are tested'),
  opTest: z.union([z.string(), z.number()]).optional().describe('operations of tests beyond training, as 6+7+8'),
  ipMax: count(2).max(48).optional().describe('most instance parameters (sentences) of a problem'),
  modulus: count(2).max(1000).optional().describe('arithmetic is modulo this'),
  layout: z.enum(['pq', 'qp']).optional().describe('question behind (pq) or before (qp) the problem'),
  letters: z.enum(LETTER_ORDERS).optional().describe('letters of solutions: at random, or one behind the other'),
  loss: z.enum(['all', 'solution']).optional().describe('learn all tokens, or those of solutions and answers'),
  retry: z.enum(RETRY_KINDS).optional().describe('which mistakes are put into solutions and taken back'),
  retryRate: z.number().min(0).max(1).optional().describe('chance of a mistake before each sentence'),
  retryMask: z.enum(RETRY_MASKS).optional().describe('what is not learnt of a mistake'),
  nLayer: count(1).optional().describe('layers of the model'),
  dModel: count(2).optional().describe('width of the model'),
  nHead: count(1).optional().describe('attention heads'),
  dRotary: count(2).optional().describe('dimensions of each head that rotary positions turn'),
  nCtx: count(16).optional().describe('tokens in a training window; longer problems are left out'),
  nCtxTest: count(16).optional().describe('most tokens of a problem in tests; longer problems are left out'),
  packing: z.enum(PACKINGS).optional().describe('problems in a window: as many as fit, or one'),
  documentMask: z.boolean().optional().describe('problems of a window do not see each other'),
  tokensPerStep: count(16).optional().describe('tokens of an optimiser step'),
  nStep: count(1).optional().describe('optimiser steps'),
  lrPeak: z.number().positive().optional().describe('largest learning rate'),
  nProblem: count(1).optional().describe('problems for each accuracy'),
  reask: z.boolean().optional().describe('ask finished problems another question'),
  nBeam: count(0).optional().describe('hypotheses of a beam that problems are solved with as well; 0: none'),
  nRetry: count(0).optional().describe('times that a solution may go back when a detector says so; 0: not tried'),
  nProbeStep: count(0).optional().describe('steps that probes are trained; 0: no probes'),
  probeLayers: z.boolean().optional().describe('probe every layer for what is necessary, by distance to the query'),
  finetune: z
    .enum(FINETUNES)
    .optional()
    .describe('go on from the run without mistakes, or from `from`: all weights, or updates of low rank'),
  from: z.string().optional().describe('go on from this checkpoint folder, or the last of this run directory'),
  rank: count(1).optional().describe('rank of the updates of query and value; twice as much for the embedding'),
  exposure: z.number().positive().optional().describe('times the steps of the scale'),
});

/** Parameters of `igsm`. */
export type IgsmParameters = z.infer<typeof igsmParameters>;

/** How well a model solves grade-school problems, and what it knows before it speaks: an `igsm` experiment as plain JSON. */
export interface IgsmExperiment extends Experiment {
  readonly recipe: 'igsm';
  readonly data: IgsmDataConfig;
  readonly model: GptConfig;
  readonly evaluate: IgsmEvaluate;
  /** How it goes on from what it starts from; absent for a run from scratch. */
  readonly finetune?: IgsmFinetune;
}

/**
 * Trains a transformer on grade-school problems with step-by-step solutions, lets it solve problems whose solution templates it
 * never saw, also longer ones, and has every step checked. Pure.
 *
 * @throws ConfigError with every parameter that is unknown or does not fit.
 * @see Ye et al. 2024, arXiv:2407.20311 and arXiv:2408.16293. Differs from the papers at `tiny`, `small` and `laptop`: fewer
 * operations and items, a small modulus, a token for each phrase, small models trained briefly, rotary positions turn the whole head.
 */
export function igsmRecipe({ scale, seed, parameters = {} }: RecipeOptions): IgsmExperiment {
  const base = igsmScales[scale];
  const given = definedOnly(checkParameters('igsm', igsmParameters, parameters));
  const setting = { ...base, ...base.evaluate, layout: 'pq' as const, families: 'numbers', ...given };
  const { nLayer, nHead, dModel, nCtx, tokensPerStep, lrPeak, opMax } = setting;
  const nStep = Math.max(1, Math.round(setting.nStep * (given.exposure ?? 1)));
  const problems: ConfigProblem[] = [];
  const families = familyNames('families', setting.families, problems);
  const unseen = given.unseen === undefined ? [] : familyNames('unseen', given.unseen, problems);
  for (const name of unseen) {
    if (!families.includes(name)) continue;
    problems.push({ path: 'unseen', expected: 'families that are not trained on', got: `'${name}' in both` });
  }
  const beyond = given.opMax === undefined ? base.evaluate.opTest : [1, 2, 3].map((more) => opMax + more);
  const opTest = given.opTest === undefined ? beyond : String(given.opTest).split('+').map(Number);
  for (const op of opTest) {
    if (Number.isInteger(op) && op > opMax && op <= 52) continue;
    problems.push({ path: 'opTest', expected: `integers beyond opMax ${opMax}, up to 52, as 6+7+8`, got: `${op}` });
  }
  if (setting.opLeast > opMax) {
    problems.push({ path: 'opLeast', expected: `at most opMax ${opMax}`, got: `${setting.opLeast}` });
  }
  if (given.retry === undefined && (given.retryRate !== undefined || given.retryMask !== undefined)) {
    const expected = `a kind of mistakes, one of ${RETRY_KINDS.join(', ')}`;
    problems.push({
      path: 'retry',
      expected,
      got: `${given.retryRate === undefined ? 'retryMask' : 'retryRate'} without one`,
    });
  }
  const { from, finetune = from === undefined ? undefined : 'full' } = given;
  if (finetune !== undefined && from === undefined && given.retry === undefined) {
    problems.push({ path: 'retry', expected: 'mistakes to learn from when finetune is set', got: 'none' });
  }
  for (const path of ['nLayer', 'dModel', 'nHead', 'dRotary', 'documentMask'] as const) {
    if (from === undefined || given[path] === undefined) continue;
    problems.push({ path, expected: 'nothing with from, which says what the model is', got: `${given[path]}` });
  }
  if ((finetune === 'lora') !== (given.rank !== undefined)) {
    const got = given.rank === undefined ? 'finetune lora without rank' : 'rank without finetune lora';
    problems.push({ path: 'rank', expected: 'rank and finetune lora together', got });
  }
  if (dModel % nHead !== 0) {
    problems.push({ path: 'dModel', expected: `a multiple of nHead ${nHead}`, got: `${dModel}` });
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const worlds = worldsOf(base.worlds, given);
  // Layers of two items each need two edges more for each layer behind the first.
  const nLayerMost = Math.min(4, 1 + Math.floor(setting.ipMax / 2));
  if (worlds !== undefined && worlds.nLevel < nLayerMost) {
    const expected = `at least ${nLayerMost}, the layers of problems of ipMax ${setting.ipMax}`;
    throw new ConfigError([{ path: 'nLevel', expected, got: `${worlds.nLevel}` }]);
  }
  const data: IgsmDataConfig = {
    families,
    ...(unseen.length > 0 && { unseen }),
    ...(worlds && { worlds }),
    vocabulary: setting.vocabulary,
    opMax,
    ipMax: setting.ipMax,
    modulus: setting.modulus,
    layout: setting.layout,
    ...(given.retry !== undefined && {
      retry: { kind: given.retry, rate: given.retryRate ?? 0.2, mask: given.retryMask ?? 'none' },
    }),
    letters: setting.letters,
    loss: setting.loss,
    nCtx,
    nCtxTest: setting.nCtxTest,
    packing: setting.packing,
  };
  const isLarge = scale === 'gpu' || scale === 'paper';
  const tokenizer = tokenizerOf(data);
  // Room for the longest problem of a test and a solution as long.
  const room = Math.max(nCtx, 2 * setting.nCtxTest);
  const taken = from === undefined ? undefined : checkpointStart(from, { tokenizer, nCtx: room });
  const fresh: GptConfig = gpt2(nLayer, nHead, {
    dVocab: tokenizer.dVocab,
    ...(given.documentMask && { documentSeparator: tokenizer.eos }),
    nCtx: room,
    dModel,
    ...(!isLarge && {
      dRotary: given.dRotary ?? dModel / nHead,
      initStd: Number((0.3 / Math.sqrt(dModel)).toPrecision(6)),
    }),
  });
  const model = taken?.config ?? fresh;
  if (model.architecture !== 'gpt') {
    throw new ConfigError([{ path: 'from', expected: 'a model of architecture gpt', got: model.architecture }]);
  }
  problems.push(...modelProblems(model));
  if (problems.length > 0) throw new ConfigError(problems);
  const train: TrainConfig = {
    nStep,
    batchSize: Math.max(1, Math.round(tokensPerStep / nCtx)),
    optimizer: { lrPeak, betas: [0.9, 0.98], eps: 1e-8, weightDecay: setting.weightDecay, clipNorm: 1 },
    schedule: {
      kind: 'cosine',
      nWarmup: isLarge ? 1000 : Math.min(200, Math.ceil(nStep / 10)),
      finalFraction: 0.01,
    },
    logEvery: Math.max(1, Math.round(nStep / 100)),
    checkpointEvery: Math.max(1, Math.ceil(nStep / 5)),
    keepCheckpoints: 1,
    evaluateAt: [...new Set([0.1, 0.2, 0.4, 0.7, 1].map((share) => Math.max(1, Math.round(share * nStep))))],
  };
  const { nProblem, opLeast, reask, nBeam, nRetry, nProbeStep, probeBatch, nProbeProblem, nProbeTest, probeLayers } =
    setting;
  const mistakes = data.retry && `${data.retry.kind}${data.retry.rate}`;
  const tuned = finetune && `${finetune}${given.rank ?? ''}`;
  const of = taken && `from${taken.start.weights.slice(0, 6)}`;
  const what = [families.join('+'), `op${opMax}`, data.layout, mistakes, tuned, of].filter(
    (word) => word !== undefined,
  );
  const start = finetune && !taken && { experiment: startOf({ scale, seed, parameters }) };
  return {
    name: `igsm-${scale}-${what.join('-')}-s${seed}`,
    recipe: 'igsm',
    scale,
    source: 'arXiv:2407.20311 and arXiv:2408.16293',
    seed,
    data,
    model,
    train,
    evaluate: {
      nProblem,
      opLeast,
      opTest,
      reask,
      nBeam,
      nRetry,
      nProbeStep,
      probeBatch,
      nProbeProblem,
      nProbeTest,
      probeLayers,
    },
    ...(finetune !== undefined && {
      finetune: { kind: finetune, ...(given.rank !== undefined && { rank: given.rank }) },
    }),
    ...(start && { start }),
    ...(taken && { from: taken.start }),
  };
}

/** The run without mistakes that a finetuning starts from: of the scale's own length, and measured as the scale measures. */
function startOf({ scale, seed, parameters = {} }: RecipeOptions): IgsmExperiment {
  const ofTuning = ['retry', 'retryRate', 'retryMask', 'finetune', 'rank', 'exposure', 'lrPeak'];
  const left = new Set([...ofTuning, 'nProblem', 'reask', 'nBeam', 'nRetry', 'nProbeStep', 'probeLayers']);
  const kept = Object.entries(parameters).filter(([name]) => !left.has(name));
  return igsmRecipe({ scale, seed, parameters: Object.fromEntries(kept) });
}

function familyNames(path: string, text: string, problems: ConfigProblem[]): FamilyName[] {
  return text.split('+').flatMap((name) => {
    const known = FAMILY_NAMES.find((one) => one === name);
    if (known !== undefined) return [known];
    const expected = `template families joined with +, of ${FAMILY_NAMES.join(', ')}`;
    problems.push({ path, expected, got: `'${name}'`, nearest: nearest(name, FAMILY_NAMES) });
    return [];
  });
}

function worldsOf(
  base: WorldSize | undefined,
  { nWorld, nLevel, nSubCategory, nItem }: Partial<WorldSize>,
): WorldSize | undefined {
  const given = [nWorld, nLevel, nSubCategory, nItem].some((size) => size !== undefined);
  if (base === undefined && !given) return undefined;
  const whole = base ?? { nWorld: 4, nLevel: 4, nSubCategory: 5, nItem: 20 };
  return {
    nWorld: nWorld ?? whole.nWorld,
    nLevel: nLevel ?? whole.nLevel,
    nSubCategory: nSubCategory ?? whole.nSubCategory,
    nItem: nItem ?? whole.nItem,
  };
}
