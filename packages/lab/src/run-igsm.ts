// Trains the model of an `igsm` experiment and measures how it solves problems.
import { Rng } from '@physlm/base';
import { type Igsm, type IgsmOptions, withWorlds } from '@physlm/data/igsm';
import { type Interval, wilsonInterval } from '@physlm/eval';
import { addLowRank, buildModel, type LanguageModel, loadWeights } from '@physlm/model';
import { type IgsmProbeResults, igsmProbes, probeMeasures } from './igsm-probes.js';
import { type Detector, perfectDetector, retryUponRegret } from './igsm-regret.js';
import { type Failure, type Score, type Solved, solve, type Tally, tally } from './igsm-solving.js';
import { loadStart } from './open-checkpoint.js';
import type { IgsmEvaluate, IgsmExperiment } from './recipes/igsm.js';
import { type IgsmData, type IgsmTest, longEnough, openIgsmData } from './recipes/igsm-data.js';
import type { Execution, Results, RunContext } from './recipes/recipe.js';

/** A problem that is shown in the report. */
export interface WorkedProblem {
  readonly op: number;
  readonly prompt: string;
  readonly solution: string;
  readonly answer: string | null;
  readonly trueAnswer: number;
  readonly correct: boolean;
  readonly reason: string | null;
}

/** What was solved of one kind of problems. */
export interface SolvedCell extends Tally {
  /** `in`, `op5`, `reask8`, … */
  readonly name: string;
  /** Operations of every problem; null for natural ones. */
  readonly op: number | null;
  /** The first solved and the first unsolved problem. */
  readonly worked: readonly WorkedProblem[];
}

/** Results of an `igsm` run; accuracies are shares of 1. */
export interface IgsmResults extends Results {
  readonly cells: readonly SolvedCell[];
  /** Null when no probes were wanted. */
  readonly probes: IgsmProbeResults | null;
  /** Accuracy on natural problems while training. */
  readonly curve: readonly { readonly step: number; readonly accuracy: number }[];
  readonly trainingLoss: readonly { readonly step: number; readonly loss: number }[];
}

/** Problems that are solved while training. */
const N_LIVE = 128;
/** Problems of each cell that the report shows, right and wrong ones. */
const N_SHOWN = 1;
/** Of updates of low rank, as in arXiv:2309.14402; the paper about mistakes states none. */
const LOW_RANK_SCALE = 4;

/**
 * Trains on problems and lets the model solve others, whose solution templates it never saw: natural ones, ones of each number of
 * operations in and beyond training, finished ones that are asked another question.
 *
 * @see arXiv:2407.20311: Section 3. arXiv:2408.16293: Section 4.
 */
export async function runIgsm(experiment: IgsmExperiment, context: RunContext): Promise<Execution<IgsmResults>> {
  const { run, device, measured } = context;
  const { seed, train: config, evaluate } = experiment;
  const data = openIgsmData(experiment.data, seed);
  const model = buildModel(device, experiment.model, new Rng(seed).fork('model'));
  if (experiment.start !== undefined) {
    const base = await context.base();
    if (base.stopped === 'aborted') return base;
    loadWeights(`${base.finished.run.latestCheckpoint()!.path}/model.safetensors`, model);
  }
  const { finetune, from } = experiment;
  if (from !== undefined) loadStart(from, model);
  if (finetune?.rank !== undefined) {
    const attention = { rank: finetune.rank, targets: ['q', 'v'] as const };
    const embedding = { rank: 2 * finetune.rank };
    addLowRank(model, { attention, embedding, scale: LOW_RANK_SCALE }, new Rng(seed).fork('low rank'));
  }
  const ended = await context.train({
    model,
    windows: data.windows,
    config,
    files: { 'tokenizer.json': `${JSON.stringify(data.tokenizer.toJSON())}\n` },
    evaluate: () => {
      const share = (use: string, options: Pick<IgsmOptions, 'op'>): number => {
        const source = longEnough(data.test({ use, ...options }), options.op === undefined ? evaluate.opLeast : 1);
        const { nRight, n } = tally(solutions(model, data, source, N_LIVE));
        return nRight / n;
      };
      return { accuracy: share('live', {}), accuracyMax: share('live max', { op: experiment.data.opMax }) };
    },
  });
  if (ended.stopped === 'aborted') return { stopped: 'aborted', step: ended.step, checkpoint: ended.checkpoint };

  const wanted = cellsOf(experiment, data);
  const cells: SolvedCell[] = [];
  for (const one of wanted)
    cells.push(await measured(`solved-${one.name}`, () => solvedCell(model, data, one, evaluate.nProblem)));
  if (evaluate.nBeam > 0) {
    for (const one of wanted.filter(({ isDecoded }) => isDecoded)) {
      const name = `beam.${one.name}`;
      const solve = (): SolvedCell => solvedCell(model, data, { ...one, name }, evaluate.nProblem, evaluate.nBeam);
      cells.push(await measured(name, solve));
    }
  }
  if (evaluate.nRetry > 0) {
    for (const one of wanted.filter(({ isDecoded }) => isDecoded)) {
      const name = `perfect.${one.name}`;
      const solve = (): SolvedCell => regrettedCell(model, data, { ...one, name }, evaluate, perfectDetector);
      cells.push(await measured(name, solve));
    }
  }
  let probes: IgsmProbeResults | null = null;
  if (evaluate.nProbeStep > 0) {
    const found = await measured('probes', async () => {
      const wrote = (of: readonly CellWanted[]): Solved[] =>
        of.flatMap((one) => [...solutions(model, data, one.source(), evaluate.nProblem)]);
      const { results, regret } = await igsmProbes(model, data, experiment, {
        reask: wrote(wanted.filter(({ name }) => name === 'reask')),
        beyond: wrote(wanted.filter(({ isDecoded }) => isDecoded)),
      });
      const regretted =
        evaluate.nRetry === 0
          ? []
          : wanted
              .filter(({ isDecoded }) => isDecoded)
              .map((one) => regrettedCell(model, data, { ...one, name: `regret.${one.name}` }, evaluate, regret));
      return { results, regretted };
    });
    probes = found.results;
    cells.push(...found.regretted);
  }
  const { measures, intervals } = summary(cells, experiment);
  measures.nParameter = model.nParameter;
  measures.tokens = config.nStep * config.batchSize * data.windows.nCtx;
  if (probes !== null) {
    Object.assign(measures, probeMeasures(probes));
    for (const [name, { interval, n }] of Object.entries(probes.mistakes)) {
      if (n > 0) intervals[`mistakes.${name}`] = interval;
    }
    const nece = probes.tests.in?.nece?.all;
    if (nece !== undefined) intervals['probe.nece'] = nece.interval;
  }

  const records = run.metrics();
  return {
    stopped: 'finished',
    results: {
      recipe: 'igsm',
      measures,
      intervals,
      cells,
      probes,
      curve: records.flatMap(({ step, accuracy }) => (accuracy === undefined ? [] : [{ step, accuracy }])),
      trainingLoss: records.flatMap(({ step, loss }) => (loss === undefined ? [] : [{ step, loss }])),
    },
  };
}

interface CellWanted {
  readonly name: string;
  readonly op: number | null;
  /** Whether it is also solved with a beam and by going back. */
  readonly isDecoded: boolean;
  source(): Igsm;
}

/**
 * What is solved: natural problems; natural ones with the templates of training; each number of operations from 2 (one operation has
 * hardly a template to hold out); asked-again ones; unseen families, with their own worlds and with those of training.
 */
function cellsOf(
  { data: { opMax }, evaluate: { opLeast, opTest, reask } }: IgsmExperiment,
  data: IgsmData,
): CellWanted[] {
  const ops = [...Array.from({ length: Math.max(0, opMax - 1) }, (_, i) => i + 2), ...opTest];
  const cell = (name: string, op: number | null, more: Partial<IgsmTest> = {}, isDecoded = false): CellWanted => ({
    name,
    op,
    isDecoded,
    source: () => longEnough(data.test({ use: name, ...(op !== null && { op }), ...more }), op === null ? opLeast : 1),
  });
  const worlds = data.families.flatMap((family) => family.worlds);
  return [
    cell('in', null),
    cell('seen', null, { buckets: 'train' }),
    ...ops.map((op) => cell(`op${op}`, op, {}, op >= opMax)),
    ...(reask ? [cell('reask', opTest[0] ?? opMax, { reask })] : []),
    ...data.unseen.flatMap((family) => [
      cell(`unseen.${family.name}`, null, { families: [family] }),
      cell(`wording.${family.name}`, null, { families: [withWorlds(family, worlds)] }),
    ]),
  ];
}

/** Solves one kind of problems and keeps the first solved and the first unsolved one to show. */
function solvedCell(
  model: LanguageModel,
  data: IgsmData,
  { name, op, source }: CellWanted,
  n: number,
  nBeam?: number,
): SolvedCell {
  const shown: Solved[] = [];
  const all = solve(model, source(), data.marks, n, { nNew: roomOf(model), ...(nBeam !== undefined && { nBeam }) });
  return { name, op, ...tally(watch(all, shown)), worked: shown.map(workedProblem) };
}

/** Solves one kind of problems by going back where a detector says so. */
function regrettedCell(
  model: LanguageModel,
  data: IgsmData,
  { name, op, source }: CellWanted,
  { nProblem, nRetry }: IgsmEvaluate,
  detect: Detector,
): SolvedCell {
  const options = { nNew: roomOf(model), nRetry, detect, seed: name };
  const solved = retryUponRegret(model, source(), data.marks, nProblem, options);
  return { name, op, ...tally(solved), worked: [] };
}

/** Tokens that a solution may have: half of the model's context is for the problem. */
const roomOf = (model: LanguageModel): number => model.config.nCtx / 2 - 1;

/** Solutions of the first `n` problems of a source. */
export function solutions(model: LanguageModel, { marks }: IgsmData, source: Igsm, n: number): Generator<Solved> {
  return solve(model, source, marks, n, { nNew: roomOf(model) });
}

/** Passes solutions on and keeps the first and the first wrong one. */
function* watch(all: Iterable<Solved>, shown: Solved[]): Generator<Score> {
  let [n, nWrong] = [0, 0];
  for (const one of all) {
    if (one.correct ? n < N_SHOWN : nWrong < N_SHOWN) shown.push(one);
    if (one.correct) n++;
    else nWrong++;
    yield one;
  }
}

function workedProblem({ sample, solution, answer, correct, reason }: Solved): WorkedProblem {
  return { op: sample.op, prompt: sample.prompt, solution, answer, trueAnswer: sample.answer, correct, reason };
}

/** Numbers by cell; and over several cells: the most operations of training, beyond training, and all that are not asked again. */
function summary(
  cells: readonly SolvedCell[],
  { data: { opMax }, evaluate: { opTest } }: IgsmExperiment,
): { measures: Record<string, number>; intervals: Record<string, Interval> } {
  const measures: Record<string, number> = {};
  const intervals: Record<string, Interval> = {};
  const over = (name: string, chosen: readonly SolvedCell[]): void => {
    const total = (of: (cell: SolvedCell) => number): number => sum(chosen.map(of));
    const [n, nRight] = [total((cell) => cell.n), total((cell) => cell.nRight)];
    if (n === 0) return;
    const right = Math.max(1, nRight);
    measures[`accuracy.${name}`] = nRight / n;
    intervals[`accuracy.${name}`] = wilsonInterval(nRight, n);
    measures[`unnecessary.${name}`] = total((cell) => cell.unnecessaryParameters * cell.nRight) / right;
    measures[`extraOperations.${name}`] = total((cell) => cell.unnecessaryOperations * cell.nRight) / right;
    measures[`retries.${name}`] = total((cell) => cell.retries * cell.nRight) / right;
  };
  for (const cell of cells) over(cell.name, [cell]);
  for (const prefix of ['', 'beam.', 'perfect.', 'regret.']) {
    const named = (ops: readonly number[]): SolvedCell[] =>
      cells.filter(({ name }) => ops.some((op) => name === `${prefix}op${op}`));
    over(`${prefix}max`, named([opMax]));
    over(`${prefix}next`, named(opTest.slice(0, 1)));
    over(`${prefix}ood`, named(opTest));
    over(`${prefix}all`, named([opMax, ...opTest]));
  }
  return { measures, intervals };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Failures of all cells together, the commonest first. */
export function failuresOf(cells: readonly Tally[]): readonly (readonly [Failure, number])[] {
  const total = new Map<Failure, number>();
  for (const { failures } of cells) {
    for (const [name, n] of Object.entries(failures) as [Failure, number][])
      total.set(name, (total.get(name) ?? 0) + n);
  }
  return [...total].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
}
