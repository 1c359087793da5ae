import type { Figure, LineFigure, ReportDocument, Table } from '../report/document.js';
import { count, decimals, percent } from '../report/number-format.js';
import { failuresOf, type IgsmResults, type SolvedCell } from '../run-igsm.js';
import type { IgsmExperiment } from './igsm.js';

/** What an `igsm` run shows: accuracy by operations, failures, solutions longer than needed, worked problems. */
export function igsmReport(experiment: IgsmExperiment, results: IgsmResults): ReportDocument {
  const { measures: m, intervals, cells, worked } = results;
  const { data, model, evaluate } = experiment;
  const value = (name: string): number => m[name] ?? Number.NaN;
  const interval = (name: string): string => {
    const found = intervals[name];
    return found === undefined ? '' : ` [${percent(found.low)}, ${percent(found.high)}]`;
  };
  const mistakes =
    data.retry &&
    ` Before each sentence of a training solution a mistake was put in and taken back with a chance of ${percent(data.retry.rate)} ` +
      `(${data.retry.kind}).`;
  const beyond = `${evaluate.opTest[0]} to ${evaluate.opTest.at(-1)}`;
  return {
    title: 'Does a transformer solve grade-school problems?',
    summary:
      `A GPT of ${model.nLayer} layers and width ${model.dModel} with rotary positions (${count(value('nParameter'))} parameters) read ` +
      `${count(value('tokens'))} tokens of problems (${data.families.join(', ')}) of up to ${data.opMax} operations modulo ` +
      `${data.modulus}, with solutions.${mistakes ?? ''} It is tested on problems whose solution templates it never saw; a solution counts ` +
      'only if every step of it and the answer are right.',
    headline: {
      value: percent(value('accuracy.in')),
      unit: 'of problems solved',
      text:
        `${count(evaluate.nProblem)} problems as in training, with held-out templates; ${percent(value('accuracy.ood'))} of longer ones ` +
        `(${beyond} operations).`,
    },
    table: {
      title: 'Problems solved',
      note:
        'In brackets: 95 % Wilson intervals. Unnecessary: parameters that the answer does not need, for each correct solution. Taken back: ' +
        'sentences that end in BACK, for each correct solution.',
      columns: ['', 'problems', 'solved', 'unnecessary', 'extra operations', 'taken back'],
      rows: cells.map((cell) => [
        cellName(cell, data.opMax),
        count(cell.n),
        `${percent(cell.nRight / cell.n)}${interval(`accuracy.${cell.name}`)}`,
        decimals(cell.unnecessaryParameters),
        decimals(cell.unnecessaryOperations),
        decimals(cell.retries),
      ]),
    },
    figures: [accuracyFigure(results, experiment), ...learningFigures(results)],
    tables: [failureTable(cells), ...(worked.length === 0 ? [] : [workedTable(results)])],
    sources: [
      'Ye, Xu, Li, Allen-Zhu 2024, Physics of Language Models: Part 2.1, Grade-School Math and the Hidden Reasoning Process, ' +
        'arXiv:2407.20311: the problems, the split by solution templates, the step-by-step verifier.',
      'Ye, Xu, Li, Allen-Zhu 2024, Physics of Language Models: Part 2.2, How to Learn From Mistakes on Grade-School Math Problems, ' +
        'arXiv:2408.16293: mistakes that are taken back.',
    ],
  };
}

function cellName({ name, op }: SolvedCell, opMax: number): string {
  if (name === 'in') return `as in training, up to ${opMax} operations`;
  if (name === 'reask') return `another question about problems of ${op} operations`;
  if (op === null) return name;
  return `${op} operations${op === opMax ? ', the most in training' : op > opMax ? ', beyond training' : ''}`;
}

function accuracyFigure({ cells, intervals }: IgsmResults, { data: { opMax } }: IgsmExperiment): Figure {
  const rows = cells.filter(({ name, op }) => op !== null && name === `op${op}`);
  return {
    kind: 'interval',
    id: 'accuracy-by-operations',
    title: 'Accuracy by operations',
    caption: `Share of problems solved, with 95 % intervals, by the operations of the shortest solution. Training had up to ${opMax}.`,
    x: { label: 'share solved', min: 0, max: 1 },
    rows: rows.map(({ name, op, n, nRight }) => {
      const { low, high } = intervals[`accuracy.${name}`] ?? { low: 0, high: 1 };
      return { name: `${op}${op! > opMax ? ' *' : ''}`, value: nRight / n, low, high, singles: [] };
    }),
    names: { value: 'share solved (* beyond training)', interval: '95 % interval', single: 'single values' },
  };
}

function learningFigures({ trainingLoss, curve }: IgsmResults): LineFigure[] {
  return [
    {
      kind: 'line',
      id: 'loss',
      title: 'Training loss',
      caption:
        'Names, letters and orders are drawn at random, so most of what is left cannot be learnt: judge by solutions.',
      x: { label: 'steps' },
      y: { label: 'nats per token', min: 0 },
      series: [{ name: 'training loss', points: trainingLoss.map(({ step, loss }) => [step, loss]) }],
    },
    {
      kind: 'line',
      id: 'learning',
      title: 'Accuracy while training',
      caption: 'Share of problems with held-out templates that are solved, as in training.',
      x: { label: 'steps' },
      y: { label: 'share solved', min: 0, max: 1 },
      series: [{ name: 'share solved', points: curve.map(({ step, accuracy }) => [step, accuracy]) }],
    },
  ];
}

function failureTable(cells: readonly SolvedCell[]): Table {
  const kinds = failuresOf(cells).map(([kind]) => kind);
  return {
    title: 'Failures by their first mistake',
    note: 'Problems of each kind that were not solved, by what the verifier finds wrong first.',
    columns: ['', ...cells.map(({ name }) => name)],
    rows: kinds.map((kind) => [kind, ...cells.map(({ failures }) => count(failures[kind] ?? 0))]),
  };
}

function workedTable({ worked }: IgsmResults): Table {
  return {
    title: 'Worked problems',
    note: 'The first solved and the first unsolved problem of each kind, with what the verifier says.',
    columns: ['problem', 'what the model wrote', 'verdict'],
    rows: worked.map(({ prompt, solution, answer, trueAnswer, correct, reason }) => [
      prompt.trim(),
      `${solution.trim()}${answer === null ? '' : ` Answer:${answer}`}`,
      correct ? 'right' : `wrong: ${reason ?? ''} (answer ${trueAnswer})`,
    ]),
  };
}
