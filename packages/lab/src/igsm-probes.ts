// What an `igsm` model knows before it speaks (V-probing), and what its states say where it goes wrong.
import { type IgsmSample, labelsOf, readProblem } from '@physlm/data/igsm';
import { type Interval, wilsonInterval } from '@physlm/eval';
import type { LanguageModel } from '@physlm/model';
import {
  type EmbeddingProbeOptions,
  type EmbeddingProbeScore,
  type EmbeddingProbeSource,
  embeddingProbe,
  type TrainedEmbeddingProbe,
} from '@physlm/probe';
import {
  depQuestions,
  N_NEW_TOKEN,
  neceQuestions,
  type PlanTask,
  Questions,
  questionTokens,
  regretQuestions,
  type StateTask,
  stateQuestions,
} from './igsm-probe-data.js';
import type { Attempt, Detector } from './igsm-regret.js';
import type { Solved } from './igsm-solving.js';
import type { IgsmExperiment } from './recipes/igsm.js';
import type { IgsmData } from './recipes/igsm-data.js';

/** Accuracy of one probe on some of its questions. */
export interface ProbeCell {
  readonly accuracy: number;
  readonly interval: Interval;
  readonly n: number;
  /** Of always saying the commonest label of training; undefined for cells of one label. */
  readonly majority?: number;
  /** The same probe of an untrained model; undefined when it was left out. */
  readonly randomModel?: number;
}

/** What the probes found; accuracies are shares of 1. */
export interface IgsmProbeResults {
  /** By test (`in`: as in training, `ood`: the fewest operations beyond) and task; then the whole, and by need and label. */
  readonly tests: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, ProbeCell>>>>>>;
  /** nece by layer from 1: on necessary parameters, by their distance to the query. */
  readonly byLayer: readonly Readonly<Record<string, ProbeCell>>[];
  /** nece of parameters that the model computed and the answer does not need; can_next and nece_next of its first wrong ones. */
  readonly mistakes: Readonly<Record<'unnecessary' | 'canNext' | 'neceNext' | 'regret', ProbeCell>>;
}

/** The probes themselves, to go on with. */
export interface IgsmProbes {
  readonly results: IgsmProbeResults;
  /** Believes a sentence when the probe behind `Define name as` says that it can be computed next. */
  readonly regret: Detector;
}

/** Learning rate of probes: models are narrow and steps few, so it is above the papers' 0.002. */
const LEARNING_RATE = 0.01;

/** Numbers that tell the problems of one test from those of others and of training. */
const UNITS = 2 ** 24;

/**
 * Trains the probes `nece`, `dep`, `known`, `value`, `can_next`, `nece_next` and the regret detector on problems with training's solution
 * templates, and scores them on problems with others; then asks them about what the model itself wrote.
 *
 * @param wrote solutions of the model: problems asked again, and problems beyond training.
 * @see arXiv:2407.20311, Sections 4 and 5, Appendix F.2; arXiv:2408.16293, Section 3. Differs from the papers at small scales: questions about
 *   one text share an update of the embedding, and training is brief.
 */
export async function igsmProbes(
  model: LanguageModel,
  data: IgsmData,
  { evaluate, data: { layout, modulus }, seed }: IgsmExperiment,
  wrote: { readonly reask: readonly Solved[]; readonly beyond: readonly Solved[] },
): Promise<IgsmProbes> {
  const { nProbeProblem, nProbeTest, nProbeStep, probeBatch, probeLayers, opTest } = evaluate;
  const questions = new Questions(data.tokenizer);
  const options: Omit<EmbeddingProbeOptions, 'tests'> = {
    nNewToken: N_NEW_TOKEN,
    update: 'shared',
    split: 0.98,
    nStep: nProbeStep,
    batchSize: probeBatch,
    learningRate: LEARNING_RATE,
    without: ['controlTask'],
    nTest: nProbeTest,
    seed,
  };
  const learnt = data.test({ use: 'probes', buckets: 'train' });
  const size = { nProblem: nProbeProblem };
  const held = {
    in: data.test({ use: 'probes in' }),
    ood: data.test({ use: 'probes ood', op: opTest[0] ?? 1 }),
  };
  type Ask = (problems: typeof learnt) => EmbeddingProbeSource;
  const tests: Record<string, Record<string, Record<string, ProbeCell>>> = { in: {}, ood: {} };
  const run = async (
    ask: Ask,
    more: Partial<EmbeddingProbeOptions> = {},
  ): Promise<ReadonlyMap<string, TrainedEmbeddingProbe>> => {
    const others = Object.entries(held).map(([name, problems], k) => [name, shifted(ask(problems), (k + 1) * UNITS)]);
    const { result, probes } = await embeddingProbe(model, ask(learnt), {
      ...options,
      tests: Object.fromEntries(others),
      ...more,
    });
    for (const [name, scores] of Object.entries(result.tests)) {
      for (const [task, score] of Object.entries(scores)) tests[name]![task] = cellsOf(score);
    }
    return probes;
  };
  const nece = (await run((problems) => neceQuestions(problems, size, questions))).get('nece')!;
  await run((problems) => depQuestions(problems, size, questions, layout));
  const state = await run((problems) => stateQuestions(problems, size, questions, modulus));
  const atBeginning = (await run((problems) => renamed(regretQuestions(problems, size, questions), 'regret'))).get(
    'regret',
  )!;

  const byLayer: Record<string, ProbeCell>[] = [];
  for (let layer = 0; probeLayers && layer < model.config.nLayer; layer++) {
    const { result } = await embeddingProbe(model, neceQuestions(learnt, size, questions), {
      ...options,
      without: ['controlTask', 'randomModel'],
      readout: { layer: `blocks.${layer}.residPost`, norm: 'layer' },
      tests: { in: shifted(neceQuestions(held.ood, size, questions), UNITS) },
    });
    byLayer.push(distancesOf(result.tests.in!.nece!));
  }
  return {
    results: { tests, byLayer, mistakes: mistakesOf(wrote, { nece, atBeginning, state }, questions, data) },
    regret: detector(atBeginning, questions, data),
  };
}

/** The same questions, with numbers of problems from `first` on. */
function shifted(source: EmbeddingProbeSource, first: number): EmbeddingProbeSource {
  return { ...source, unit: (index) => first + source.unit(index), example: (index) => source.example(index) };
}

function renamed(source: EmbeddingProbeSource, name: string): EmbeddingProbeSource {
  return { ...source, tasks: source.tasks.map(({ nClass }) => ({ name, nClass })) };
}

/** `all`, then by label, by need, and by need and label: `unnecessary`, `unnecessary 1`. */
function cellsOf(score: EmbeddingProbeScore): Record<string, ProbeCell> {
  const cell = (
    one: Pick<EmbeddingProbeScore, 'accuracy' | 'interval'> & { readonly randomModelAccuracy: number | undefined },
    n: number,
    majority: number | undefined,
  ): ProbeCell => ({
    accuracy: one.accuracy,
    interval: { low: one.interval.low, high: one.interval.high },
    n,
    ...(majority !== undefined && { majority }),
    ...(one.randomModelAccuracy !== undefined && { randomModel: one.randomModelAccuracy }),
  });
  const cells: Record<string, ProbeCell> = { all: cell(score, score.nTest, score.majority) };
  for (const one of score.classes) cells[`${one.class}`] = cell(one, one.n, undefined);
  for (const group of score.groups.need ?? []) {
    cells[`${group.group}`] = cell(group, group.n, group.majority);
    for (const one of group.classes) cells[`${group.group} ${one.class}`] = cell(one, one.n, undefined);
  }
  return cells;
}

/** By distance to the query, of necessary parameters; `all` over the whole. */
function distancesOf(score: EmbeddingProbeScore): Record<string, ProbeCell> {
  const { all } = cellsOf(score);
  const cells: Record<string, ProbeCell> = { all: all! };
  for (const { group, accuracy, interval, n } of score.groups.distance ?? []) {
    if (Number(group) < 0) continue;
    cells[`${group}`] = { accuracy, interval: { low: interval.low, high: interval.high }, n };
  }
  return cells;
}

/** Probes that are asked about what the model wrote. */
interface Asked {
  readonly nece: TrainedEmbeddingProbe;
  readonly atBeginning: TrainedEmbeddingProbe;
  readonly state: ReadonlyMap<string, TrainedEmbeddingProbe>;
}

/** What the probes say of parameters that the model should not have computed: right is 0 for all of them. */
function mistakesOf(
  { reask, beyond }: { readonly reask: readonly Solved[]; readonly beyond: readonly Solved[] },
  { nece, atBeginning, state }: Asked,
  questions: Questions,
  data: IgsmData,
): IgsmProbeResults['mistakes'] {
  const unnecessary = reask.flatMap((solved) =>
    unnecessaryOf(solved, questions, data).map((parameter) => ({ solved, parameter })),
  );
  const about = unnecessary.map(({ solved: { sample }, parameter }) =>
    questions.about(sample, questionTokens(sample), [parameter]),
  );
  const wrong = [...reask, ...beyond].flatMap((solved) => firstWrongOf(solved, questions, data) ?? []);
  const before = wrong.map(({ sample, text, parameter }) => questions.about(sample, text, [parameter]));
  const begun = wrong.map(({ sample, text, parameter }) => questions.beginning(sample, text, parameter));
  const says = (probe: TrainedEmbeddingProbe, inputs: Parameters<TrainedEmbeddingProbe['answer']>[0]): ProbeCell => {
    const nRight = probe.answer(inputs).filter(([answer]) => answer!.class === 0).length;
    const n = inputs.length;
    return { accuracy: n === 0 ? 0 : nRight / n, interval: wilsonInterval(nRight, n), n };
  };
  return {
    unnecessary: says(nece, about),
    canNext: says(state.get('can_next')!, before),
    neceNext: says(state.get('nece_next')!, before),
    regret: says(atBeginning, begun),
  };
}

/** What a model computed before its first mistake and the answer does not need. */
function unnecessaryOf({ sample, tokens, step }: Solved, { reader }: Questions, { marks }: IgsmData): number[] {
  const names = parametersByName(sample);
  const { nece } = labelsOf(sample.problem, sample.solution);
  return reader
    .sentences(tokens, marks.answer)
    .slice(0, step === null ? undefined : step - 1)
    .flatMap(({ name, retry }) => (retry ? [] : [names(name)]))
    .filter((parameter) => parameter >= 0 && nece[parameter] === 0);
}

/** The first wrong sentence of a solution, if it computes a parameter that cannot be computed yet. */
function firstWrongOf(
  { sample, tokens, step }: Solved,
  { reader }: Questions,
  { marks }: IgsmData,
): { sample: IgsmSample; text: Int32Array; parameter: number } | undefined {
  if (step === null) return undefined;
  const sentences = reader.sentences(tokens, marks.answer);
  const wrong = sentences[step - 1];
  if (wrong === undefined || wrong.retry) return undefined;
  const names = parametersByName(sample);
  const parameter = names(wrong.name);
  if (parameter < 0) return undefined;
  const known = new Set(sentences.slice(0, step - 1).flatMap(({ name, retry }) => (retry ? [] : [names(name)])));
  const ready = !known.has(parameter) && sample.problem.parents[parameter]!.every((parent) => known.has(parent));
  if (ready) return undefined;
  return {
    sample,
    text: Int32Array.of(...sample.tokens.subarray(0, sample.solutionStart), ...tokens.subarray(0, wrong.start)),
    parameter,
  };
}

function parametersByName({ prompt, problem, naming }: IgsmSample): (name: string) => number {
  const { parameterOf } = readProblem(prompt, { modulus: problem.modulus, families: [naming.family] });
  return parameterOf;
}

/** Goes back to the first sentence that is not taken back and whose parameter the probe does not believe to be ready. */
function detector(probe: TrainedEmbeddingProbe, { reader }: Questions, { tokenizer, marks }: IgsmData): Detector {
  return (attempts) => {
    const asked = attempts.map((attempt) => readings(attempt));
    const answers = probe.answer(asked.map(({ input }) => input));
    return asked.map(({ steps }, k) => steps[answers[k]!.findIndex((answer) => answer.class === 0)] ?? null);
  };

  function readings({ sample, tokens, nAccepted }: Attempt) {
    const start = 1 + sample.solutionStart;
    const steps: number[] = [];
    const positions: number[] = [];
    for (const [k, { as, retry }] of reader.sentences(tokens, marks.answer).entries()) {
      if (k < nAccepted || retry || as < 0) continue;
      steps.push(k + 1);
      positions.push(start + as);
    }
    const ids = [tokenizer.eos, ...sample.tokens.subarray(0, sample.solutionStart), ...tokens];
    return { steps, input: { ids, positions } };
  }
}

/** Numbers of the probes by name, for laws: `probe.nece`, `probe.nece.ood`, `probe.dep.unnecessary 1`, … */
export function probeMeasures({ tests, byLayer, mistakes }: IgsmProbeResults): Record<string, number> {
  const measures: Record<string, number> = {};
  for (const [test, tasks] of Object.entries(tests)) {
    for (const [task, cells] of Object.entries(tasks)) {
      for (const [cell, { accuracy, majority, randomModel }] of Object.entries(cells)) {
        const name = ['probe', task, ...(cell === 'all' ? [] : [cell]), ...(test === 'in' ? [] : [test])].join('.');
        measures[name] = accuracy;
        if (majority !== undefined && cell === 'all') measures[`${name}.majority`] = majority;
        if (randomModel !== undefined && cell === 'all') measures[`${name}.random`] = randomModel;
      }
    }
  }
  byLayer.forEach((cells, i) => {
    for (const [distance, { accuracy }] of Object.entries(cells)) measures[`layer${i + 1}.nece.${distance}`] = accuracy;
  });
  for (const [name, { accuracy, n }] of Object.entries(mistakes)) {
    measures[`mistakes.${name}.n`] = n;
    if (n > 0) measures[`mistakes.${name}`] = accuracy;
  }
  return measures;
}

/** Tasks in the order of reports. */
export const probeTasks: readonly (PlanTask | StateTask | 'regret')[] = [
  'nece',
  'dep',
  'known',
  'value',
  'can_next',
  'nece_next',
  'regret',
];
