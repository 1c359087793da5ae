import { ConfigError, type ConfigProblem } from '@physlm/base';
import { PERTURBATIONS, type PerturbationKind } from '@physlm/data/cfg';
import { type Gpt, type GptConfig, gpt2, modelProblems, type PositionScheme, positionSchemes } from '@physlm/model';
import type { TrainConfig } from '@physlm/train';
import { z } from 'zod';
import { type CfgDataConfig, cfgOf } from './cfg-data.js';
import { grammarFromFile } from './grammar.js';
import { checkParameters, definedOnly } from './parameters.js';
import type { Experiment, RecipeOptions, ScaleName } from './recipe.js';

/** The numbers that make a scale. */
interface CfgScale {
  readonly describe: string;
  readonly grammar: string;
  readonly nLayer: number;
  readonly dModel: number;
  readonly nHead: number;
  /** Tokens of an optimiser step: windows of nCtx tokens, at least one. */
  readonly tokensPerStep: number;
  readonly nStep: number;
  readonly lrPeak: number;
  readonly evaluate: CfgEvaluate;
}

/** What is measured after training. */
export interface CfgEvaluate {
  /** Completions for each accuracy; 0 for an encoder, as nKl and nAttention. */
  readonly nCompletion: number;
  /** Tokens of a valid sentence that a completion starts from, besides none. */
  readonly cut: number;
  /** Sentences whose exact laws are compared with the model's. */
  readonly nKl: number;
  /** Sentences and steps that probes are trained on; sentences they are tested on. 0 steps: no probes. */
  readonly nProbeTrain: number;
  readonly nProbeTest: number;
  readonly nProbeStep: number;
  /** Sentences for attention statistics; 0: none. */
  readonly nAttention: number;
  /** Whether completions of spoiled prefixes are scored (Results 11 to 13). */
  readonly robust: boolean;
}

const quick: CfgEvaluate = {
  nCompletion: 500,
  cut: 20,
  nKl: 100,
  nProbeTrain: 1200,
  nProbeTest: 300,
  nProbeStep: 240,
  nAttention: 40,
  robust: false,
};

/** The paper's optimiser: AdamW with β = (0.9, 0.98), weight decay 0.1, linear decay; it names no clipping. */
const paper = { lrPeak: 3e-4, nStep: 100_000, tokensPerStep: 96 * 512, nLayer: 12, dModel: 768, nHead: 12 } as const;

/** Every scale's setting. */
export const cfgScales: Readonly<Record<ScaleName, CfgScale>> = {
  tiny: {
    describe: 'cfg3b from its fourth level: 49 tokens a sentence, 3 layers of width 64, 5 million tokens',
    grammar: 'cfg3b/16',
    nLayer: 3,
    dModel: 64,
    nHead: 4,
    tokensPerStep: 2048,
    nStep: 2500,
    lrPeak: 3e-3,
    evaluate: quick,
  },
  small: {
    describe: 'cfg3b from its fourth level: 49 tokens a sentence, 3 layers of width 64, 12 million tokens',
    grammar: 'cfg3b/16',
    nLayer: 3,
    dModel: 64,
    nHead: 4,
    tokensPerStep: 2048,
    nStep: 6000,
    lrPeak: 3e-3,
    evaluate: quick,
  },
  laptop: {
    describe: 'cfg3f from its fourth level: 40 tokens a sentence, 4 layers of width 96, 60 million tokens',
    grammar: 'cfg3f/16',
    nLayer: 4,
    dModel: 96,
    nHead: 4,
    tokensPerStep: 4096,
    nStep: 15_000,
    lrPeak: 2e-3,
    evaluate: { ...quick, nCompletion: 2000, nKl: 300, nProbeTrain: 6000, nProbeTest: 600, nProbeStep: 1500 },
  },
  gpu: {
    ...paper,
    describe: 'cfg3f whole: 250 tokens a sentence, GPT-2 small, 20,000 steps of 49,152 tokens',
    grammar: 'cfg3f',
    nStep: 20_000,
    lrPeak: 6e-4,
    evaluate: {
      ...quick,
      nCompletion: 20_000,
      cut: 50,
      nKl: 1000,
      nProbeTrain: 60_000,
      nProbeTest: 2000,
      nProbeStep: 5000,
      nAttention: 200,
    },
  },
  paper: {
    ...paper,
    describe: 'cfg3f whole, GPT-2 small, 100,000 steps of 49,152 tokens, as in the paper',
    grammar: 'cfg3f',
    evaluate: {
      ...quick,
      nCompletion: 20_000,
      cut: 50,
      nKl: 1000,
      nProbeTrain: 1_800_000,
      nProbeTest: 5000,
      nProbeStep: 30_000,
      nAttention: 1000,
    },
  },
};

const count = (least: number): z.ZodNumber => z.number().int().min(least);
const implicitKinds = ['disjoint-uniform', 'disjoint-nonUniform', 'overlapping-uniform'] as const;
const perturbationKinds = Object.keys(PERTURBATIONS) as [PerturbationKind, ...PerturbationKind[]];

/** What `cfg` lets you set; everything left out comes from the scale. */
export const cfgParameters = z.strictObject({
  grammar: z.string().optional().describe('cfg3b, cfg3f, …; cfg3f/16 is the language of one of its non-terminals'),
  grammarFile: z.string().optional().describe('a grammar of your own, as JSON'),
  grammarSeed: count(0).optional().describe('seed by which cfg8, cfg9, cfg0 and overlapping words are drawn'),
  position: z.enum(positionSchemes).optional().describe('how the model knows positions'),
  encoder: z.boolean().optional().describe('sees both sides, and learns to fill in hidden tokens, as BERT and DeBERTa'),
  implicit: z.enum(implicitKinds).optional().describe('hide terminals behind words'),
  nWord: count(3).optional().describe('words that terminals are hidden behind'),
  perturbation: z.enum(perturbationKinds).optional().describe('mistakes in training sentences'),
  gamma: z.number().min(0).max(1).optional().describe('share of training sentences with mistakes'),
  nLayer: count(1).optional().describe('layers of the model'),
  dModel: count(2).optional().describe('width of the model'),
  nHead: count(1).optional().describe('attention heads; twice as many narrow ones for uniform attention'),
  nCtx: count(8).optional().describe('tokens in a training window; as long as sentences get, up to 512'),
  tokensPerStep: count(8).optional().describe('tokens of an optimiser step'),
  nStep: count(1).optional().describe('optimiser steps'),
  lrPeak: z.number().positive().optional().describe('largest learning rate'),
  nCompletion: count(1).optional().describe('completions for each accuracy'),
  cut: count(1).optional().describe('tokens of a valid prefix'),
  nProbeStep: count(0).optional().describe('steps that probes are trained; 0: no probes'),
  nAttention: count(0).optional().describe('sentences for attention statistics; 0: none'),
  robust: z.boolean().optional().describe('score completions of spoiled prefixes'),
});

/** Parameters of `cfg`. */
export type CfgParameters = z.infer<typeof cfgParameters>;

/** How well a model learns a context-free grammar, and where it keeps it: a `cfg` experiment as plain JSON. */
export interface CfgExperiment extends Experiment {
  readonly recipe: 'cfg';
  readonly data: CfgDataConfig;
  readonly model: Gpt['config'];
  readonly evaluate: CfgEvaluate;
}

/** Longest window: the paper's. */
const MOST_CTX = 512;
const CTX_STEP = 32;
/** Share of the tokens that an encoder has to fill in: BERT's. */
const MASKED = 0.15;
/** What an encoder is measured on: its probes alone. */
const unwritten = { nCompletion: 0, nKl: 0, nAttention: 0, robust: false } as const;

/**
 * Trains a transformer on the sentences of a levelled context-free grammar, and asks whether it generates them, whether it
 * has learnt their distribution, and what its hidden states and attention hold of their trees. Pure.
 *
 * @throws ConfigError with every parameter that is unknown or does not fit, or what is wrong with the grammar.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673. Differs from the paper at `tiny`, `small` and `laptop`: the grammar is the
 * language of one of its non-terminals, rotary positions turn the whole head, models are small and trained briefly.
 */
export function cfg({ scale, seed, parameters = {} }: RecipeOptions): CfgExperiment {
  const base = cfgScales[scale];
  const given = definedOnly(checkParameters('cfg', cfgParameters, parameters));
  const setting = { ...base, ...base.evaluate, grammarSeed: 1, position: 'rotary' as PositionScheme, ...given };
  const large = scale === 'gpu' || scale === 'paper';
  const { nLayer, dModel, position, tokensPerStep, nStep } = setting;
  if (given.grammar !== undefined && given.grammarFile !== undefined) {
    throw new ConfigError([{ path: 'grammar', expected: 'either grammar or grammarFile', got: 'both' }]);
  }
  const encoder = given.encoder === true;
  if (encoder) checkEncoder(given);
  // The paper's encoders take a third of the rate, after 2000 of 100,000 steps.
  const lrPeak = given.lrPeak ?? (large && encoder ? base.lrPeak / 3 : base.lrPeak);
  const nWarmup = large ? (encoder ? Math.ceil(nStep / 50) : 0) : Math.min(100, Math.ceil(nStep / 10));
  const data: Omit<CfgDataConfig, 'nCtx'> = {
    grammar: given.grammarFile === undefined ? setting.grammar : definitionIn(given.grammarFile),
    grammarSeed: setting.grammarSeed,
    ...(given.implicit !== undefined && { implicit: implicitOf(given.implicit, given.nWord ?? 300) }),
    ...(given.perturbation !== undefined && {
      perturbation: { kind: given.perturbation, gamma: given.gamma ?? 1 },
    }),
    ...(encoder && { masked: MASKED }),
  };
  if (given.gamma !== undefined && given.perturbation === undefined) {
    const expected = `a perturbation, one of ${perturbationKinds.join(', ')}`;
    throw new ConfigError([{ path: 'perturbation', expected, got: 'gamma without one' }]);
  }
  const grammar = cfgOf({ ...data, nCtx: 0 });
  // A window holds the longest sentence with BOS and EOS, so that completions stay within positions that were trained.
  const longest = CTX_STEP * Math.ceil((grammar.statistics.length.max + 2) / CTX_STEP);
  const nCtx = given.nCtx ?? Math.min(MOST_CTX, longest);
  const { length } = grammar.statistics;
  // Sentences of a small grammar may all be shorter than the scale's prefix.
  const cut =
    given.cut ?? (length.max > base.evaluate.cut ? base.evaluate.cut : Math.max(1, Math.floor(length.mean / 2)));
  // So few sentences are longer than this that one could wait for them without end.
  const mostCut = Math.min(length.max - 1, Math.floor(length.mean + 3 * length.sd));
  if (!encoder && cut > mostCut) {
    const expected = `at most ${mostCut}: sentences of ${grammar.name} have ${length.mean.toFixed(0)} tokens, and up to ${length.max}`;
    throw new ConfigError([{ path: 'cut', expected, got: `${cut}` }]);
  }
  const nHead = given.nHead ?? (position === 'uniform' ? 2 * base.nHead : base.nHead);
  if (dModel % nHead !== 0) {
    throw new ConfigError([{ path: 'dModel', expected: `a multiple of nHead ${nHead}`, got: `${dModel}` }]);
  }
  const model: GptConfig = gpt2(nLayer, nHead, {
    dVocab: grammar.nTerminal + (encoder ? 3 : 2),
    nCtx: Math.max(nCtx, Math.min(2 * MOST_CTX, longest)),
    dModel,
    ...(position === 'rotary' && !large && { dRotary: dModel / nHead }),
    ...(position !== 'rotary' && { position }),
    ...(encoder && { causal: false }),
    ...(!large && { initStd: Number((0.3 / Math.sqrt(dModel)).toPrecision(6)) }),
  });
  const problems = modelProblems(model);
  if (problems.length > 0) throw new ConfigError(problems);
  const train: TrainConfig = {
    nStep,
    batchSize: Math.max(1, Math.round(tokensPerStep / nCtx)),
    optimizer: { lrPeak, betas: [0.9, 0.98], eps: 1e-8, weightDecay: 0.1, clipNorm: 1 },
    schedule: { kind: 'linear', nWarmup, finalFraction: 0 },
    logEvery: Math.max(1, Math.round(nStep / 100)),
    checkpointEvery: Math.max(1, Math.ceil(nStep / 5)),
    keepCheckpoints: 1,
    evaluateAt: [...new Set([0.1, 0.2, 0.4, 0.7, 1].map((share) => Math.max(1, Math.round(share * nStep))))],
  };
  const { nProbeTrain, nProbeTest, nProbeStep } = setting;
  const { nCompletion, nKl, nAttention, robust } = encoder ? unwritten : setting;
  return {
    name: `cfg-${scale}-${[grammar.name.replaceAll('/', '.'), position, ...(encoder ? ['encoder'] : [])].join('-')}-s${seed}`,
    recipe: 'cfg',
    scale,
    source: 'arXiv:2305.13673, Sections 2 to 6',
    seed,
    data: { ...data, nCtx },
    model,
    train,
    evaluate: { nCompletion, cut, nKl, nProbeTrain, nProbeTest, nProbeStep, nAttention, robust },
  };
}

/** What an encoder cannot be: it needs attention to both sides, and writes nothing. */
function checkEncoder(given: CfgParameters): void {
  const problems: ConfigProblem[] = [];
  const { position } = given;
  if (position === 'position' || position === 'uniform') {
    const expected = 'rotary, relative, absolute or none with encoder: true';
    problems.push({ path: 'position', expected, got: `'${position}', which looks back only` });
  }
  for (const name of ['nCompletion', 'cut', 'nAttention', 'robust'] as const) {
    if (given[name] === undefined || given[name] === 0 || given[name] === false) continue;
    problems.push({ path: name, expected: 'nothing with encoder: true', got: `${given[name]}` });
  }
  if (problems.length > 0)
    throw new ConfigError(problems, 'An encoder fills in hidden tokens; it writes no sentences.');
}

function implicitOf(kind: (typeof implicitKinds)[number], nWord: number): NonNullable<CfgDataConfig['implicit']> {
  const [membership, weights] = kind.split('-') as ['disjoint' | 'overlapping', 'uniform' | 'nonUniform'];
  return { nWord, membership, weights };
}

function definitionIn(file: string): Exclude<CfgDataConfig['grammar'], string> {
  const { name, levels, rules } = grammarFromFile(file);
  return { name, levels, rules };
}
