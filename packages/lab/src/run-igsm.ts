// Trains the model of an `igsm` experiment and measures how it solves problems.
import { Rng } from '@physlm/base';
import type { Igsm, IgsmOptions } from '@physlm/data/igsm';
import { type Interval, wilsonInterval } from '@physlm/eval';
import { buildModel, type LanguageModel } from '@physlm/model';
import { train } from '@physlm/train';
import { type Failure, type Score, type Solved, solve, type Tally, tally } from './igsm-solving.js';
import type { IgsmExperiment } from './recipes/igsm.js';
import { type IgsmData, openIgsmData } from './recipes/igsm-data.js';
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
  /** Operations of every problem; null for natural and asked-again ones. */
  readonly op: number | null;
}

/** Results of an `igsm` run; accuracies are shares of 1. */
export interface IgsmResults extends Results {
  readonly cells: readonly SolvedCell[];
  readonly worked: readonly WorkedProblem[];
  /** Accuracy on natural problems while training. */
  readonly curve: readonly { readonly step: number; readonly accuracy: number }[];
  readonly trainingLoss: readonly { readonly step: number; readonly loss: number }[];
}

/** Problems that are solved while training. */
const N_LIVE = 128;
/** Problems of each cell that the report shows. */
const N_SHOWN = 1;

/**
 * Trains on problems and lets the model solve others, whose solution templates it never saw: natural ones, ones of each number of
 * operations in and beyond training, finished ones that are asked another question.
 *
 * @see arXiv:2407.20311: Section 3. arXiv:2408.16293: Section 4.
 */
export async function runIgsm(
  experiment: IgsmExperiment,
  { run, device, resume, signal, onProgress }: RunContext,
): Promise<Execution<IgsmResults>> {
  const { seed, train: config, evaluate } = experiment;
  const data = openIgsmData(experiment.data, seed);
  const model = buildModel(device, experiment.model, new Rng(seed).fork('model'));
  const ended = await train({
    model,
    windows: data.windows,
    config,
    run,
    resume,
    signal,
    onProgress,
    files: { 'tokenizer.json': `${JSON.stringify(data.tokenizer.toJSON())}\n` },
    evaluate: () => {
      const share = (use: string, options: Pick<IgsmOptions, 'op'>): number => {
        const { nRight, n } = tally(solutions(model, data, data.test({ use, ...options }), N_LIVE));
        return nRight / n;
      };
      return { accuracy: share('live', {}), accuracyMax: share('live max', { op: experiment.data.opMax }) };
    },
  });
  if (ended.stopped === 'aborted') return { stopped: 'aborted', step: ended.step, checkpoint: ended.checkpoint };

  const measures: Record<string, number> = {
    nParameter: model.nParameter,
    tokens: config.nStep * config.batchSize * data.windows.nCtx,
  };
  const intervals: Record<string, Interval> = {};
  const worked: WorkedProblem[] = [];
  const cells = cellsOf(experiment).map(({ name, op, ...wanted }): SolvedCell => {
    const source = data.test({ use: name, ...(op !== null && { op }), ...wanted });
    const shown: Solved[] = [];
    const seen = tally(watch(solutions(model, data, source, evaluate.nProblem), shown));
    worked.push(...shown.map(workedProblem));
    measures[`accuracy.${name}`] = seen.nRight / seen.n;
    intervals[`accuracy.${name}`] = wilsonInterval(seen.nRight, seen.n);
    measures[`unnecessary.${name}`] = seen.unnecessaryParameters;
    measures[`extraOperations.${name}`] = seen.unnecessaryOperations;
    measures[`retries.${name}`] = seen.retries;
    return { name, op, ...seen };
  });
  summarise(cells, experiment, measures, intervals);

  const records = run.metrics();
  return {
    stopped: 'finished',
    results: {
      recipe: 'igsm',
      measures,
      intervals,
      cells,
      worked,
      curve: records.flatMap(({ step, accuracy }) => (accuracy === undefined ? [] : [{ step, accuracy }])),
      trainingLoss: records.flatMap(({ step, loss }) => (loss === undefined ? [] : [{ step, loss }])),
    },
  };
}

interface CellWanted {
  readonly name: string;
  readonly op: number | null;
  readonly reask?: boolean;
}

/** What is solved: natural problems, each number of operations from 2 (one operation has hardly a template to hold out), asked-again ones. */
function cellsOf({ data: { opMax }, evaluate: { opTest, reask } }: IgsmExperiment): CellWanted[] {
  const ops = [...Array.from({ length: Math.max(0, opMax - 1) }, (_, i) => i + 2), ...opTest];
  const first = opTest[0] ?? opMax;
  return [
    { name: 'in', op: null },
    ...ops.map((op) => ({ name: `op${op}`, op })),
    ...(reask ? [{ name: 'reask', op: first, reask }] : []),
  ];
}

/** Solutions of the first `n` problems of a source. */
export function solutions(model: LanguageModel, { marks }: IgsmData, source: Igsm, n: number): Generator<Solved> {
  return solve(model, source, marks, n, { nNew: model.config.nCtx / 2 - 1 });
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

/** Accuracies over several cells: beyond training, and over all that are not asked again. */
function summarise(
  cells: readonly SolvedCell[],
  { data: { opMax }, evaluate: { opTest } }: IgsmExperiment,
  measures: Record<string, number>,
  intervals: Record<string, Interval>,
): void {
  const over = (name: string, chosen: readonly SolvedCell[]): void => {
    const [n, nRight] = [sum(chosen.map((cell) => cell.n)), sum(chosen.map((cell) => cell.nRight))];
    if (n === 0) return;
    measures[`accuracy.${name}`] = nRight / n;
    intervals[`accuracy.${name}`] = wilsonInterval(nRight, n);
    measures[`unnecessary.${name}`] =
      sum(chosen.map((cell) => cell.unnecessaryParameters * cell.nRight)) / Math.max(1, nRight);
    measures[`retries.${name}`] = sum(chosen.map((cell) => cell.retries * cell.nRight)) / Math.max(1, nRight);
  };
  const beyond = cells.filter(({ name, op }) => op !== null && opTest.includes(op) && name !== 'reask');
  over(
    'max',
    cells.filter(({ op, name }) => op === opMax && name !== 'reask'),
  );
  over('ood', beyond);
  over('all', [...cells.filter(({ name }) => name === 'in' || name === `op${opMax}`), ...beyond]);
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
