// Trains the model of a `knowledge` experiment and asks it about the people.
import { ConfigError, invariant, Rng } from '@physlm/base';
import { ATTRIBUTES, type Attribute } from '@physlm/data/bio';
import { wilsonInterval } from '@physlm/eval';
import { addLowRank, buildModel, type LanguageModel, mergeLowRank } from '@physlm/model';
import { type KnowledgeBits, knowledgeBits } from './knowledge-bits.js';
import { type PProbeResults, pProbe, type QProbeResults, qProbe } from './knowledge-probes.js';
import {
  biographyScores,
  hiddenBiographyScores,
  hiddenQuestionScores,
  questionScores,
  type Tally,
  type TaskScore,
} from './knowledge-scores.js';
import { openCheckpoint } from './open-checkpoint.js';
import type { KnowledgeExperiment } from './recipes/knowledge.js';
import { openKnowledgeData } from './recipes/knowledge-data.js';
import type { Execution, Interval, Results, RunContext } from './recipes/recipe.js';

/** People who were asked about in training (P_train), and others (P_test). */
export type Side = 'train' | 'test';

/** A point of the curve: accuracies of both sides. */
export interface KnowledgePoint {
  readonly step: number;
  /** First tokens of facts in biographies. */
  readonly biographyTrain: number;
  readonly biographyTest: number;
  /** First tokens of answers and whole answers, mean over tasks; null before there are questions. */
  readonly firstTrain: number | null;
  readonly firstTest: number | null;
  readonly exactTrain: number | null;
  readonly exactTest: number | null;
}

/** Results of a `knowledge` run. Accuracies are shares of 1. */
export interface KnowledgeResults extends Results {
  readonly recipe: 'knowledge';
  /** By side and attribute: first tokens in biographies. */
  readonly biographies: Readonly<Record<Side, Readonly<Record<Attribute, Tally>>>>;
  /** By side and task; null for a model that was not taught to answer. */
  readonly answers: Readonly<Record<Side, Readonly<Record<string, TaskScore>>>> | null;
  /** By side: bits in biographies and in answers; absent where no facts of these are asked for, and of encoders. */
  readonly bits?: Readonly<Record<Side, KnowledgeBits>>;
  readonly pProbe: PProbeResults | null;
  readonly qProbe: QProbeResults | null;
  readonly curve: readonly KnowledgePoint[];
  readonly trainingLoss: readonly { readonly step: number; readonly loss: number }[];
}

const sides: readonly Side[] = ['train', 'test'];
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const rate = ({ nRight, n }: Tally): number => nRight / n;

/**
 * Runs a `knowledge` experiment: what the model says in biographies and when asked, of people it was asked about in training
 * and of others; then P-probes and Q-probes of the model before finetuning.
 *
 * @throws ConfigError when the run to start from has another vocabulary or another model.
 * @throws PhyslmError 'diverged', OutputError: as `train`.
 * @see arXiv:2309.14316, Sections 2 to 6; arXiv:2309.14402, Sections 3 to 5.
 */
export async function runKnowledge(
  experiment: KnowledgeExperiment,
  context: RunContext,
): Promise<Execution<KnowledgeResults>> {
  const { run, device, measured } = context;
  const { seed, train: config, evaluate } = experiment;
  const data = openKnowledgeData(experiment.data, seed);
  const { tokenizer } = data;
  let base: string | undefined;
  if (experiment.start !== undefined) {
    const made = await context.base();
    if (made.stopped === 'aborted') return made;
    base = made.finished.run.latestCheckpoint()!.path;
  }
  const use = { tokenizer, nCtx: data.windows.nCtx };
  const pretrained = (): LanguageModel => {
    if (base === undefined) return buildModel(device, experiment.model, new Rng(seed).fork('model'));
    const { model } = openCheckpoint(base, device, use);
    requireModel(base, model, experiment);
    return model;
  };
  const model = pretrained();
  if (config.lowRank !== undefined) addLowRank(model, config.lowRank, new Rng(seed).fork('low rank'));
  const { eos } = tokenizer;
  const encoder = experiment.model.causal === false;
  const scoreBiographies = encoder ? hiddenBiographyScores : biographyScores;
  const scoreQuestions = encoder ? hiddenQuestionScores : questionScores;
  const asked = (side: Side) => data.questions(side, 'measure');
  const ended = await context.train({
    model,
    windows: data.windows,
    config,
    files: { 'tokenizer.json': `${JSON.stringify(tokenizer.toJSON())}\n` },
    evaluate: () => {
      const point: Record<string, number> = {};
      for (const side of sides) {
        const biographies = scoreBiographies(model, data, data.split[side], evaluate.nCurve);
        point[`biography.${side}`] = mean(Object.values(biographies).map(rate));
        if (!evaluate.questions) continue;
        const answers = Object.values(scoreQuestions(model, asked(side), evaluate.nCurve, { eos }));
        point[`first.${side}`] = mean(answers.map(({ first }) => rate(first)));
        point[`exact.${side}`] = mean(answers.map(({ exact }) => rate(exact)));
      }
      return point;
    },
  });
  if (ended.stopped === 'aborted') return { stopped: 'aborted', step: ended.step, checkpoint: ended.checkpoint };

  const biographies = await measured('biographies', () =>
    bySide((side) => scoreBiographies(model, data, data.split[side], evaluate.nAsked)),
  );
  // A model that never saw a hint does not know the mark that asks for one.
  const hints = (experiment.data.questions?.hintShare ?? 0) > 0;
  const answers = evaluate.questions
    ? await measured('answers', () =>
        bySide((side) => scoreQuestions(model, asked(side), evaluate.nAsked, { eos, hints })),
      )
    : null;
  const countsBits =
    evaluate.questions && !encoder && asked('test').tasks.some(({ name }) => name in data.population.choices);
  const bits = countsBits
    ? await measured('bits', () => bySide((side) => knowledgeBits(model, data, asked(side), evaluate.nAsked)))
    : undefined;
  /** Probes take turns with other work, which a part that is measured cannot: it is kept once it is there. */
  const probed = async <T>(name: string, probe: () => Promise<T>): Promise<T> => {
    const known = run.hasMeasured(name) ? undefined : await probe();
    return measured(name, () => known!);
  };
  // Probes read the model as it was before it was taught to answer; after mixed training there is only one.
  const plain = base === undefined ? mergeLowRank(model) : pretrained();
  const { pProbe: pConfig, qProbe: qConfig } = evaluate;
  const p = pConfig === null ? null : await probed('p-probe', () => pProbe(plain, data, pConfig, seed));
  const q = qConfig === null ? null : await probed('q-probe', () => qProbe(plain, data, qConfig, seed));

  const records = run.metrics();
  const { measures, intervals } = numbers(biographies, answers, bits, p, q);
  const results: KnowledgeResults = {
    recipe: 'knowledge',
    measures: {
      nPeople: experiment.data.nPeople,
      nParameter: model.nParameter,
      tokens: config.nStep * config.batchSize * data.windows.nCtx,
      ...measures,
    },
    intervals,
    biographies,
    answers,
    ...(bits && { bits }),
    pProbe: p,
    qProbe: q,
    curve: records.flatMap((record): KnowledgePoint[] => {
      const of = (name: string): number | null => record[name] ?? null;
      if (record['biography.train'] === undefined) return [];
      return [
        {
          step: record.step,
          biographyTrain: record['biography.train'],
          biographyTest: record['biography.test']!,
          firstTrain: of('first.train'),
          firstTest: of('first.test'),
          exactTrain: of('exact.train'),
          exactTest: of('exact.test'),
        },
      ];
    }),
    trainingLoss: records.flatMap(({ step, loss }) => (loss === undefined ? [] : [{ step, loss }])),
  };
  return { stopped: 'finished', results };
}

function bySide<T>(measure: (side: Side) => T): Record<Side, T> {
  return { train: measure('train'), test: measure('test') };
}

function requireModel(path: string, { config }: LanguageModel, { model }: KnowledgeExperiment): void {
  const show = ({ nLayer, dModel, dVocab }: { nLayer: number; dModel: number; dVocab: number }): string =>
    `${nLayer} layers of width ${dModel}, ${dVocab} tokens`;
  invariant(config.architecture === 'gpt', 'a knowledge run trains a GPT');
  if (show(config) === show(model)) return;
  throw new ConfigError([{ path: 'start.model', expected: show(model), got: `${show(config)} in ${path}` }]);
}

/**
 * Everything that laws read: `biography.<side>`, `first.<side>` and `exact.<side>` (means over tasks, and over all but the birth
 * date as `exactNoDate.<side>`), the same with `.<task>`, `majority.<side>.<task>`, `hinted.<side>.<task>` and
 * `hint.<side>.<task>`; `memorised.<side>`, `extracted.<side>` (bits about a person) and `extractedShare.<side>`; `pFirst.<place>`, `pWhole.<place>`, `qFirst` and `qWhole` (means over attributes), the same with
 * `.<attribute>`, and `pFirst.told.<attribute>` and `pFirst.untold.<attribute>`.
 */
function numbers(
  biographies: KnowledgeResults['biographies'],
  answers: KnowledgeResults['answers'],
  bits: KnowledgeResults['bits'],
  p: PProbeResults | null,
  q: QProbeResults | null,
): { readonly measures: Record<string, number>; readonly intervals: Record<string, Interval> } {
  const measures: Record<string, number> = {};
  const intervals: Record<string, Interval> = {};
  const share = (name: string, { nRight, n }: Tally): void => {
    measures[name] = nRight / n;
    intervals[name] = wilsonInterval(nRight, n);
  };
  const pooled = (name: string, tallies: readonly Tally[]): void => {
    if (tallies.length === 0) return;
    share(name, { nRight: tallies.reduce((s, t) => s + t.nRight, 0), n: tallies.reduce((s, t) => s + t.n, 0) });
  };
  for (const side of sides) {
    pooled(`biography.${side}`, Object.values(biographies[side]));
    for (const attribute of ATTRIBUTES) share(`biography.${side}.${attribute}`, biographies[side][attribute]);
    if (answers === null) continue;
    const tasks = Object.entries(answers[side]);
    for (const kind of ['first', 'exact', 'majority'] as const) {
      pooled(
        `${kind}.${side}`,
        tasks.map(([, score]) => score[kind]),
      );
      pooled(
        `${kind}NoDate.${side}`,
        tasks.filter(([name]) => name !== 'birthDate').map(([, score]) => score[kind]),
      );
      for (const [name, score] of tasks) share(`${kind}.${side}.${name}`, score[kind]);
    }
    for (const [name, { hinted }] of tasks) {
      if (hinted === undefined) continue;
      share(`hinted.${side}.${name}`, hinted.answer);
      share(`hint.${side}.${name}`, hinted.hint);
    }
  }
  for (const side of bits === undefined ? [] : sides) {
    const { all, share: interval } = bits![side];
    measures[`memorised.${side}`] = all.memorised;
    measures[`extracted.${side}`] = all.extracted;
    measures[`extractedShare.${side}`] = all.extracted / all.memorised;
    intervals[`extractedShare.${side}`] = interval;
  }
  if (p !== null) {
    for (const kind of ['first', 'whole'] as const) {
      const known = ATTRIBUTES.flatMap((attribute) => {
        const cells = p[attribute][kind];
        return cells === null ? [] : [{ attribute, ...cells }];
      });
      const name = kind === 'first' ? 'pFirst' : 'pWhole';
      for (const place of ATTRIBUTES.keys()) {
        measures[`${name}.${place}`] = mean(known.map(({ places }) => places[place]!.accuracy));
      }
      for (const { attribute, places, pairs } of known) {
        for (const [place, { accuracy, low, high, majority }] of places.entries()) {
          measures[`${name}.${place}.${attribute}`] = accuracy;
          measures[`${name}.${place}.${attribute}.majority`] = majority;
          intervals[`${name}.${place}.${attribute}`] = { low, high };
        }
        if (pairs?.partnerTold) measures[`${name}.told.${attribute}`] = pairs.partnerTold.accuracy;
        if (pairs?.partnerUntold) measures[`${name}.untold.${attribute}`] = pairs.partnerUntold.accuracy;
      }
    }
  }
  if (q !== null) {
    for (const kind of ['first', 'whole'] as const) {
      const known = ATTRIBUTES.flatMap((attribute) => {
        const cell = q[attribute][kind];
        return cell === null ? [] : [{ attribute, ...cell }];
      });
      const name = kind === 'first' ? 'qFirst' : 'qWhole';
      measures[name] = mean(known.map(({ accuracy }) => accuracy));
      measures[`${name}.majority`] = mean(known.map(({ majority }) => majority));
      for (const { attribute, accuracy, low, high } of known) {
        measures[`${name}.${attribute}`] = accuracy;
        intervals[`${name}.${attribute}`] = { low, high };
      }
    }
  }
  return { measures, intervals };
}
