// Trains the model of a `cfg` experiment and measures what it learnt.
import { invariant, Rng } from '@physlm/base';
import {
  type Cfg,
  CfgParser,
  type CfgSentences,
  type CfgTree,
  ExactLaw,
  type Form,
  formsOf,
  type Parses,
  sentenceEntropy,
} from '@physlm/data/cfg';
import {
  bootstrapInterval,
  completions,
  type Distinctness,
  distinctness,
  type Interval,
  sequenceLosses,
  tokenKl,
  wilsonInterval,
  windowLosses,
} from '@physlm/eval';
import { buildModel, type LanguageModel } from '@physlm/model';
import type { AttentionStatistics, TrainedProbeResult } from '@physlm/probe';
import { cfgAttention } from './cfg-attention.js';
import { cfgProbes } from './cfg-probes.js';
import type { CfgExperiment } from './recipes/cfg.js';
import { type CfgData, openCfgData } from './recipes/cfg-data.js';
import type { Execution, Results, RunContext } from './recipes/recipe.js';

/** Probes of one run: label families are levels, as `NT3`. */
export interface CfgProbeResults {
  /** The last layer, position weights over the whole sentence, ancestors of all tokens. */
  readonly ancestor: TrainedProbeResult;
  /** The last layer, one position or three, ancestors at the ends of their non-terminal. */
  readonly ancestorAtEnd: Readonly<Record<'diagonal' | 'tridiagonal', TrainedProbeResult>>;
  /** By layer from 1, `diagonal`: test accuracy by family. */
  readonly byLayer: readonly Readonly<Record<string, number>>[];
}

/** Cosines between embeddings of words, by what they belong to. */
export interface WordBlocks {
  /** Rows and columns: terminals that a word belongs to, as `1` or `1+3`. */
  readonly memberships: readonly string[];
  /** Mean cosine of two different words of these memberships; null where there are none. */
  readonly cosines: readonly (readonly (number | null)[])[];
}

/** Results of a `cfg` run. Numbers in nats unless they say otherwise; accuracies are shares of 1. */
export interface CfgResults extends Results {
  readonly recipe: 'cfg';
  /** Names of the levels that have labels, nearest to the root first, as `NT2`. */
  readonly levels: readonly string[];
  /** What its right sentences spell out, by symbol and level; absent in runs before this was measured. */
  readonly forms?: readonly FormDiversity[];
  readonly probes: CfgProbeResults | null;
  readonly attention: AttentionStatistics | null;
  readonly words: WordBlocks | null;
  /** While training went on. */
  readonly curve: readonly { readonly step: number; readonly kl: number }[];
  /** An encoder's, while training went on: nats per hidden token of fresh windows. */
  readonly maskedCurve?: readonly { readonly step: number; readonly maskedLoss: number }[];
  readonly trainingLoss: readonly { readonly step: number; readonly loss: number }[];
}

/** Sentences in memory at once, with their laws. */
const SENTENCES_AT_ONCE = 256;
/** Sentences whose lengths are counted. */
const N_LENGTH = 1000;
/** Windows whose hidden tokens an encoder is scored on. */
const MASKED_WINDOWS = 512;
/** Terminals of a spoiled prefix that are replaced: the rate of the paper. */
const SPOILED = 0.15;

/**
 * Runs a `cfg` experiment: accuracy and diversity of completions, divergence from the exact law, probes for the tree with
 * their controls and ceilings, attention between the ends of non-terminals.
 *
 * @throws PhyslmError 'diverged', OutputError: as `train`.
 * @see arXiv:2305.13673: Section 3 (scores), 4 (probes), 5 (attention), 6 (implicit grammars, robustness).
 */
export async function runCfg(experiment: CfgExperiment, context: RunContext): Promise<Execution<CfgResults>> {
  const { run, device, measured } = context;
  const { seed, train: config, evaluate } = experiment;
  const data = openCfgData(experiment.data, seed);
  const encoder = experiment.model.causal === false;
  const model = buildModel(device, experiment.model, new Rng(seed).fork('model'));
  const ended = await context.train({
    model,
    windows: data.windows,
    config,
    files: { 'tokenizer.json': `${JSON.stringify(data.source.tokenizer.toJSON())}\n` },
    evaluate: () =>
      encoder
        ? { maskedLoss: maskedLoss(model, data).mean }
        : { kl: divergence(model, data, Math.min(evaluate.nKl, 64)).kl },
  });
  if (ended.stopped === 'aborted') return { stopped: 'aborted', step: ended.step, checkpoint: ended.checkpoint };

  const measures: Record<string, number> = {
    nParameter: model.nParameter,
    tokens: config.nStep * config.batchSize * data.windows.nCtx,
  };
  const intervals: Record<string, Interval> = {};
  const share = (name: string, { nRight, n }: Score): void => {
    measures[name] = nRight / n;
    intervals[name] = wilsonInterval(nRight, n);
  };

  Object.assign(measures, tooLong(data, model.config.nCtx));
  let forms: readonly FormDiversity[] = [];
  if (encoder) {
    const { mean, interval } = await measured('hidden-tokens', () => maskedLoss(model, data));
    measures.maskedLoss = mean;
    intervals.maskedLoss = interval;
  } else {
    const { klInterval, ...laws } = await measured('law', () => divergence(model, data, evaluate.nKl));
    Object.assign(measures, laws);
    intervals.kl = klInterval;
    const { nCompletion, cut } = evaluate;
    const whole = await measured('sentences', () => sentenceScores(model, data, nCompletion));
    share('accuracyCut0', whole);
    share('accuracyCut', await measured('completions', () => completionScores(model, data, nCompletion, cut)));
    if (whole.bits !== null) {
      measures.entropyBits = whole.bits.mean;
      intervals.entropyBits = whole.bits.interval;
      measures.distinctShare = whole.bits.distinctShare;
    }
    forms = whole.forms;
    Object.assign(measures, formMeasures(forms, data.cfg));
    for (const { from, to, model } of forms)
      if (from === 1) intervals[`forms.${levelName(data.cfg, to)}.repeat`] = model.interval;
    measures.entropyTruthBits = sentenceEntropy(data.cfg, { seed, nSentence: 500 }).value;
    if (evaluate.robust) {
      for (const temperature of [0.1, 1]) {
        const spoiled = { temperature, spoil: true };
        const score = (): Score => completionScores(model, data, nCompletion, cut, spoiled);
        share(`robustAt${temperature}`, await measured(`completions-spoiled-${temperature}`, score));
      }
      const clean = (): Score => completionScores(model, data, nCompletion, cut, { temperature: 0.1 });
      share('cleanAt0.1', await measured('completions-0.1', clean));
    }
  }

  const levels = labelledLevels(data.cfg).map((level) => `NT${level}`);
  const fresh = (): LanguageModel => buildModel(device, experiment.model, new Rng(seed).fork('untrained'));
  const probes =
    evaluate.nProbeStep > 0 ? await measured('probes', () => cfgProbes(model, fresh, data, evaluate, seed)) : null;
  if (probes !== null) Object.assign(measures, probeMeasures(probes));
  const attention =
    evaluate.nAttention > 0 ? await measured('attention', () => cfgAttention(model, data, evaluate.nAttention)) : null;
  if (attention !== null) Object.assign(measures, attentionMeasures(attention));
  const words = experiment.data.implicit === undefined ? null : wordBlocks(model, data.cfg);
  if (words !== null) Object.assign(measures, wordMeasures(words));

  const records = run.metrics();
  const results: CfgResults = {
    recipe: 'cfg',
    measures,
    intervals,
    levels,
    forms,
    probes,
    attention,
    words,
    curve: records.flatMap(({ step, kl }) => (kl === undefined ? [] : [{ step, kl }])),
    ...(encoder && {
      maskedCurve: records.flatMap(({ step, maskedLoss }) => (maskedLoss === undefined ? [] : [{ step, maskedLoss }])),
    }),
    trainingLoss: records.flatMap(({ step, loss }) => (loss === undefined ? [] : [{ step, loss }])),
  };
  return { stopped: 'finished', results };
}

/** Levels whose non-terminals probes ask for: below the root, above what shows (the hidden terminals of an implicit grammar too). */
export function labelledLevels(cfg: Cfg): number[] {
  return Array.from({ length: cfg.nLevel - 2 }, (_, i) => i + 2);
}

interface Divergence {
  /** Mean over positions of KL(law ‖ model). */
  readonly kl: number;
  readonly klSmoothed: number;
  readonly crossEntropy: number;
  /** Cross-entropy of the law itself, which no model can beat. */
  readonly lossFloor: number;
  readonly klInterval: Interval;
}

/** Compares the model with the exact law on fresh sentences; those beyond the model's context are left out: see `tooLong`. */
function divergence(model: LanguageModel, { cfg, fresh }: CfgData, n: number): Divergence {
  const source = fresh('kl');
  const law = new ExactLaw(cfg);
  const sums = { nPosition: 0, kl: 0, smoothedKl: 0, crossEntropy: 0, entropy: 0 };
  const means: number[] = [];
  for (let start = 0; start < n; start += SENTENCES_AT_ONCE) {
    const size = Math.min(SENTENCES_AT_ONCE, n - start);
    const known = Array.from({ length: size }, (_, i) => source.document(start + i).tokens)
      .filter((tokens) => tokens.length <= model.config.nCtx)
      .map((tokens) => ({ tokens, laws: law.ofSentence(tokens.subarray(1)) }));
    for (const one of tokenKl(model, known)) {
      for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += one[key];
      means.push(one.kl / one.nPosition);
    }
  }
  const { nPosition, kl, smoothedKl, crossEntropy, entropy } = sums;
  return {
    kl: kl / nPosition,
    klSmoothed: smoothedKl / nPosition,
    crossEntropy: crossEntropy / nPosition,
    lossFloor: entropy / nPosition,
    klInterval: bootstrapInterval(means),
  };
}

/** Shares of sentences that do not fit: a training window, and the model that is measured. None when all do. */
function tooLong({ cfg, fresh, windows }: CfgData, nCtx: number): Record<string, number> {
  if (cfg.statistics.length.max + 2 <= windows.nCtx) return {};
  const source = fresh('lengths');
  // BOS and EOS take places too; EOS is only answered by a causal model.
  const lengths = Array.from({ length: N_LENGTH }, (_, i) => source.document(i).tokens.length);
  const share = (longest: number): number => lengths.filter((n) => n > longest).length / N_LENGTH;
  return { longerThanWindow: share(windows.nCtx - 1), leftOut: share(nCtx) };
}

/** Nats per hidden token of fresh windows. */
function maskedLoss(model: LanguageModel, data: CfgData): { readonly mean: number; readonly interval: Interval } {
  const losses = windowLosses(model, data.freshWindows('hidden'), MASKED_WINDOWS).filter(({ nTarget }) => nTarget > 0);
  const sum = (of: (loss: (typeof losses)[number]) => number): number => losses.reduce((all, one) => all + of(one), 0);
  return {
    mean: sum(({ lossSum }) => lossSum) / sum(({ nTarget }) => nTarget),
    interval: bootstrapInterval(losses.map(({ lossSum, nTarget }) => lossSum / nTarget)),
  };
}

interface Score {
  readonly nRight: number;
  readonly n: number;
}

interface Generations extends Score {
  /** What was generated whole, without BOS and EOS: of completions from nothing that ended. */
  readonly samples: readonly Int32Array[];
}

/**
 * Completes prefixes of `cut` tokens of fresh sentences and counts those that end in a sentence of the grammar. Spoiled prefixes
 * have mistakes in their terminals; their completions are judged behind the prefix as it was.
 */
function generations(
  model: LanguageModel,
  { cfg, fresh, bos, eos }: CfgData,
  n: number,
  cut: number,
  { temperature, spoil = false }: { readonly temperature: number; readonly spoil?: boolean },
  onRight?: (parses: Parses) => void,
): Generations {
  const source = cut === 0 ? undefined : longEnough(fresh(`cut${cut}`), cut);
  const parser = new CfgParser(cfg);
  const mistakes = new Rng('spoiled prefixes');
  const prefix = (i: number): Int32Array => source?.(i).subarray(1, 1 + cut) ?? new Int32Array(0);
  const prompt = (i: number): Int32Array => {
    const tokens = prefix(i);
    const rng = mistakes.at(i);
    const shown = spoil ? tokens.map((t) => (rng.uniform() < SPOILED ? 1 + rng.below(cfg.nTerminal) : t)) : tokens;
    return Int32Array.of(bos, ...shown);
  };
  const rng = new Rng(`completions/${cut}/${temperature}/${spoil}`);
  const nNew = model.config.nCtx - cut - 1;
  let nRight = 0;
  const samples: Int32Array[] = [];
  for (const { index, tokens, ended } of completions(model, n, prompt, { eos, nNew, temperature, rng })) {
    if (!ended) continue;
    if (cut === 0) samples.push(tokens);
    const sentence = [...prefix(index), ...tokens];
    const parses = sentence.includes(bos) ? undefined : parser.parse(sentence);
    if (parses === undefined) continue;
    nRight++;
    onRight?.(parses);
  }
  return { nRight, n, samples };
}

/** How much the sentences of a model differ at one level, beside as many of the grammar. */
export interface FormDiversity {
  /** What is spelt out, and the level that it is of: the root is of level 1. */
  readonly symbol: number;
  readonly from: number;
  /** The level that it is spelt out at. */
  readonly to: number;
  readonly model: Distinctness;
  readonly truth: Distinctness;
}

interface SentenceScores extends Score {
  /** Of the right sentences; empty when there are fewer than two. */
  readonly forms: readonly FormDiversity[];
  /** Of the sentences that ended; null when none did. */
  readonly bits: { readonly mean: number; readonly interval: Interval; readonly distinctShare: number } | null;
}

/** Sentences from nothing: how many are right, how unlikely they are to the model, how many of them differ, level by level. */
function sentenceScores(model: LanguageModel, data: CfgData, nSentence: number): SentenceScores {
  const forms = new FormCounter();
  const { nRight, n, samples } = generations(model, data, nSentence, 0, { temperature: 1 }, (parses) => {
    forms.add(parses.best());
  });
  if (samples.length === 0) return { nRight, n, bits: null, forms: [] };
  const bits = sampleBits(model, data, samples);
  const distinctShare = new Set(samples.map((tokens) => tokens.join(' '))).size / samples.length;
  const found = nRight < 2 ? [] : formDiversities(forms, data, nRight);
  return { nRight, n, bits: { mean: mean(bits), interval: bootstrapInterval(bits), distinctShare }, forms: found };
}

/** Beside as many sentences of the grammar, parsed as those of the model are: an ambiguous one need not give its own tree. */
function formDiversities(model: FormCounter, { cfg, fresh }: CfgData, n: number): FormDiversity[] {
  const source = fresh('forms');
  const parser = new CfgParser(cfg);
  const truth = new FormCounter();
  for (let i = 0; i < n; i++) truth.add(parser.parse(source.document(i).tokens.subarray(1))!.best());
  const byKey = truth.diversities();
  return [...model.diversities()].flatMap(([key, { distinctness, ...where }]) => {
    const other = byKey.get(key);
    return other === undefined ? [] : [{ ...where, model: distinctness, truth: other.distinctness }];
  });
}

/** The forms of many trees, by symbol and level. */
class FormCounter {
  readonly #forms = new Map<string, { readonly where: Omit<Form, 'form'>; readonly values: string[] }>();

  add(tree: CfgTree): void {
    for (const { form, ...where } of formsOf(tree)) {
      const key = `${where.symbol} ${where.to}`;
      const known = this.#forms.get(key);
      if (known === undefined) this.#forms.set(key, { where, values: [form] });
      else known.values.push(form);
    }
  }

  /** From the root down. */
  diversities(): Map<string, Omit<Form, 'form'> & { readonly distinctness: Distinctness }> {
    const found = [...this.#forms].map(
      ([key, { where, values }]) => [key, { ...where, distinctness: distinctness(values) }] as const,
    );
    return new Map(found.sort(([, a], [, b]) => a.from - b.from || a.symbol - b.symbol || a.to - b.to));
  }
}

function completionScores(
  model: LanguageModel,
  data: CfgData,
  n: number,
  cut: number,
  how: { readonly temperature: number; readonly spoil?: boolean } = { temperature: 1 },
): Score {
  const { nRight } = generations(model, data, n, cut, how);
  return { nRight, n };
}

/** The sentences of a source that have more than `cut` tokens, in order. */
function longEnough(source: CfgSentences, cut: number): (index: number) => Int32Array {
  invariant(source.cfg.statistics.length.max > cut, `no sentence of ${source.cfg.name} is longer than ${cut}`);
  const found: Int32Array[] = [];
  let next = 0;
  return (index) => {
    while (found.length <= index) {
      const { tokens } = source.document(next++);
      if (tokens.length - 1 > cut) found.push(tokens);
    }
    return found[index]!;
  };
}

/** −log₂ of the probability that the model gives each of its own sentences, EOS included. */
function sampleBits(model: LanguageModel, { bos, eos }: CfgData, samples: readonly Int32Array[]): number[] {
  const bits: number[] = [];
  for (let start = 0; start < samples.length; start += SENTENCES_AT_ONCE) {
    const part = samples.slice(start, start + SENTENCES_AT_ONCE).map((tokens) => Int32Array.of(...tokens, eos));
    for (const losses of sequenceLosses(model, part, { first: bos })) {
      bits.push(losses.reduce((sum, loss) => sum + loss, 0) / Math.LN2);
    }
  }
  return bits;
}

/** `NT3`, or `T` for the terminals. */
function levelName(cfg: Cfg, level: number): string {
  return level === cfg.nLevel ? 'T' : `NT${level}`;
}

/** What whole sentences spell out at each level: how often two agree. */
function formMeasures(forms: readonly FormDiversity[], cfg: Cfg): Record<string, number> {
  const measures: Record<string, number> = {};
  for (const { from, to, model, truth } of forms) {
    if (from !== 1) continue;
    const name = `forms.${levelName(cfg, to)}`;
    measures[`${name}.distinct`] = model.distinct;
    measures[`${name}.distinctTruth`] = truth.distinct;
    measures[`${name}.repeat`] = model.repeat;
    measures[`${name}.repeatTruth`] = truth.repeat;
  }
  return measures;
}

function probeMeasures({ ancestor, ancestorAtEnd, byLayer }: CfgProbeResults): Record<string, number> {
  const measures: Record<string, number> = {};
  const add = (kind: string, { families }: TrainedProbeResult): void => {
    for (const [level, score] of Object.entries(families)) {
      measures[`${kind}.${level}`] = score.accuracy;
      measures[`${kind}.${level}.majority`] = score.majority;
      if (score.randomModelAccuracy !== undefined) measures[`${kind}.${level}.random`] = score.randomModelAccuracy;
      if (score.ceiling !== undefined) measures[`${kind}.${level}.ceiling`] = score.ceiling;
      if (score.selectivity !== undefined) measures[`${kind}.${level}.selectivity`] = score.selectivity;
    }
  };
  add('ancestor', ancestor);
  add('end', ancestorAtEnd.diagonal);
  add('endTri', ancestorAtEnd.tridiagonal);
  byLayer.forEach((families, i) => {
    for (const [level, accuracy] of Object.entries(families)) measures[`layer${i + 1}.${level}`] = accuracy;
  });
  return measures;
}

const finite = (values: readonly (number | null | undefined)[]): number[] =>
  values.filter((value): value is number => value !== null && value !== undefined);
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** What the laws about attention compare, averaged over heads, layers and levels. */
function attentionMeasures({
  byEndOffset,
  boundaryToBoundary,
  endToEnd,
  cumulative,
}: AttentionStatistics): Record<string, number> {
  const measures: Record<string, number> = {};
  for (const d of [-2, -1, 0, 1, 2]) {
    measures[`attention.endOffset${d}`] = mean(finite(byEndOffset.flat(2).map((offsets) => offsets[d + 2])));
  }
  for (const d1 of [-1, 0, 1]) {
    for (const d2 of [-1, 0, 1]) {
      const all = boundaryToBoundary.flat(2).map((rows) => rows[d1 + 1]?.[d2 + 1]);
      measures[`attention.boundary${d1},${d2}`] = mean(finite(all));
    }
  }
  const nRelative = Math.max(0, ...endToEnd.flat(3).map((relative) => relative.length));
  for (let r = 0; r < nRelative; r++) {
    const all = finite(endToEnd.flat(3).map((relative) => relative[r]));
    if (all.length > 0) measures[`attention.endToEnd${r}`] = mean(all);
  }
  // The distance within which a head keeps half of its attention: how differently heads look back.
  const halves = cumulative.flat(1).map((mass) => {
    const values = finite(mass);
    const at = values.findIndex((value) => value >= 0.5 * (values.at(-1) ?? 1));
    return Math.max(1, at);
  });
  measures['attention.shortestHalf'] = Math.min(...halves);
  measures['attention.longestHalf'] = Math.max(...halves);
  return measures;
}

/** Cosines of the learnt word embeddings between groups of words with the same memberships. */
function wordBlocks(model: LanguageModel, cfg: Cfg): WordBlocks {
  const weight = [...model.parameters()].find(([name]) => name === 'embed.weight')?.[1];
  invariant(weight !== undefined, 'a model without embed.weight');
  const d = weight.shape[1]!;
  const values = weight.values();
  const owners = new Map<number, number[]>();
  cfg.levels.at(-2)!.forEach((terminal, t) => {
    for (const { symbols } of cfg.rules[terminal]!)
      owners.set(symbols[0]!, [...(owners.get(symbols[0]!) ?? []), t + 1]);
  });
  const groups = new Map<string, Float64Array[]>();
  for (const [word, terminals] of [...owners].sort((a, b) => a[0] - b[0])) {
    const row = Float64Array.from(values.subarray(word * d, (word + 1) * d));
    const norm = Math.hypot(...row);
    const name = terminals.join('+');
    groups.set(name, [...(groups.get(name) ?? []), row.map((x) => x / norm)]);
  }
  const memberships = [...groups.keys()].sort((a, b) => a.length - b.length || a.localeCompare(b));
  const cosine = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const cosines = memberships.map((one) =>
    memberships.map((other) => {
      const pairs = groups
        .get(one)!
        .flatMap((a, i) => groups.get(other)!.flatMap((b, j) => (one === other && i === j ? [] : [cosine(a, b)])));
      return pairs.length === 0 ? null : mean(pairs);
    }),
  );
  return { memberships, cosines };
}

function wordMeasures({ memberships, cosines }: WordBlocks): Record<string, number> {
  const within = finite(memberships.map((_, i) => cosines[i]![i]));
  const between = finite(memberships.flatMap((_, i) => memberships.map((__, j) => (i < j ? cosines[i]![j] : null))));
  return { 'words.within': mean(within), 'words.between': mean(between), 'words.gap': mean(within) - mean(between) };
}

/** The tree of a sentence as classes by level: −1 where `at` says no. */
export function ancestorClasses(cfg: Cfg, tree: CfgTree, level: number, at: 'all' | 'ends'): Int32Array {
  const first = Math.min(...cfg.levels[level - 1]!);
  const ends = at === 'ends' ? tree.ntBoundary(level) : undefined;
  return Int32Array.from(tree.ntAncestor(level), (symbol, i) => (ends === undefined || ends[i] ? symbol - first : -1));
}
