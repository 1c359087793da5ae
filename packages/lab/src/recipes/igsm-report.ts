import { type IgsmProbeResults, type ProbeCell, probeTasks } from '../igsm-probes.js';
import type { BarFigure, Figure, LineFigure, ReportDocument, Table } from '../report/document.js';
import { count, decimals, percent } from '../report/number-format.js';
import { failuresOf, type IgsmResults, type SolvedCell } from '../run-igsm.js';
import type { IgsmExperiment } from './igsm.js';

/** What an `igsm` run shows: accuracy by operations, failures, solutions longer than needed, worked problems. */
export function igsmReport(experiment: IgsmExperiment, results: IgsmResults): ReportDocument {
  const { measures: m, intervals, cells, probes } = results;
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
        cellName(cell, data.opMax, evaluate.opLeast),
        count(cell.n),
        `${percent(cell.nRight / cell.n)}${interval(`accuracy.${cell.name}`)}`,
        decimals(cell.unnecessaryParameters),
        decimals(cell.unnecessaryOperations),
        decimals(cell.retries),
      ]),
    },
    figures: [
      accuracyFigure(results, experiment),
      ...(probes === null ? [] : probeFigures(probes)),
      ...learningFigures(results),
    ],
    tables: [failureTable(cells), ...(probes === null ? [] : probeTables(probes)), workedTable(cells)],
    sources: [
      'Ye, Xu, Li, Allen-Zhu 2024, Physics of Language Models: Part 2.1, Grade-School Math and the Hidden Reasoning Process, ' +
        'arXiv:2407.20311: the problems, the split by solution templates, the step-by-step verifier.',
      'Ye, Xu, Li, Allen-Zhu 2024, Physics of Language Models: Part 2.2, How to Learn From Mistakes on Grade-School Math Problems, ' +
        'arXiv:2408.16293: mistakes that are taken back.',
    ],
  };
}

function cellName({ name, op }: Pick<SolvedCell, 'name' | 'op'>, opMax: number, opLeast: number): string {
  const how = {
    'beam.': 'with a beam',
    'perfect.': 'going back, perfect detector',
    'regret.': 'going back, regret probe',
  };
  for (const [prefix, words] of Object.entries(how)) {
    if (name.startsWith(prefix))
      return `   ${words}: ${cellName({ name: name.slice(prefix.length), op }, opMax, opLeast)}`;
  }
  if (name === 'seen') return 'the same with the templates of training';
  if (name.startsWith('unseen.')) return `${name.slice(7)}, never trained on`;
  if (name.startsWith('wording.')) return `wording of ${name.slice(8)}, worlds of training`;
  if (name === 'in') return `as in training, ${opLeast} to ${opMax} operations`;
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

/** What each probe asks, as a question. */
const questions: Readonly<Record<(typeof probeTasks)[number], string>> = {
  nece: 'Does the answer need A?',
  dep: 'Is A computed from B? Before the question',
  known: 'Is A computed already?',
  value: 'What is the value of A, if it is known?',
  can_next: 'Can A be computed next?',
  nece_next: 'Can A be computed next, and is it needed?',
  regret: 'Behind “Define A as”: can A be computed next?',
};

function probeFigures({ tests, byLayer }: IgsmProbeResults): Figure[] {
  const tasks = probeTasks.filter((task) => tests.in?.[task] !== undefined);
  const all = (task: string): ProbeCell => tests.in![task]!.all!;
  const bars: BarFigure = {
    kind: 'bar',
    id: 'probes',
    title: 'What the model knows before it speaks',
    caption:
      'A linear head and a small update of the embedding, trained on the frozen model, answer questions about a parameter A. Problems as ' +
      'in training, with held-out templates.',
    x: { label: 'accuracy', min: 0, max: 1 },
    categories: tasks,
    series: [
      { name: 'this model', values: tasks.map((task) => all(task).accuracy) },
      { name: 'untrained model', values: tasks.map((task) => all(task).randomModel ?? Number.NaN), quiet: true },
      { name: 'commonest label', values: tasks.map((task) => all(task).majority ?? Number.NaN), quiet: true },
    ],
  };
  if (byLayer.length === 0) return [bars];
  const distances = Object.keys(byLayer[0]!).filter((distance) => distance !== 'all');
  return [
    bars,
    {
      kind: 'line',
      id: 'layers',
      title: 'Layer by layer: what is necessary',
      caption:
        'Accuracy of nece on necessary parameters by layer, one line for each distance from the question in steps of computation.',
      x: { label: 'layer', min: 1, max: Math.max(2, byLayer.length), whole: true },
      y: { label: 'accuracy', min: 0, max: 1 },
      series: distances.map((distance) => ({
        name: `distance ${distance} (${count(byLayer[0]![distance]!.n)} asked)`,
        points: byLayer.map((cells, i) => [i + 1, cells[distance]?.accuracy ?? Number.NaN] as const),
      })),
    },
  ];
}

function probeTables({ tests, mistakes }: IgsmProbeResults): Table[] {
  const shown = ({ accuracy, interval, n }: ProbeCell): string =>
    n === 0 ? 'none' : `${percent(accuracy)} [${percent(interval.low)}, ${percent(interval.high)}] of ${count(n)}`;
  const of = (test: string, task: string, cell: string): string => {
    const found = tests[test]?.[task]?.[cell];
    return found === undefined ? '' : shown(found);
  };
  return [
    {
      title: 'Probes',
      note:
        'Accuracy on problems as in training and with more operations than any of training; in brackets 95 % intervals. Unnecessary: ' +
        'parameters that the answer does not need.',
      columns: [
        '',
        'question',
        'as in training',
        'untrained model',
        'commonest',
        'beyond training',
        'unnecessary, no',
        'unnecessary, yes',
      ],
      rows: probeTasks
        .filter((task) => tests.in?.[task] !== undefined)
        .map((task) => [
          task,
          questions[task],
          of('in', task, 'all'),
          percent(tests.in![task]!.all!.randomModel ?? Number.NaN),
          percent(tests.in![task]!.all!.majority ?? Number.NaN),
          of('ood', task, 'all'),
          of('in', task, 'unnecessary 0'),
          of('in', task, 'unnecessary 1'),
        ]),
    },
    {
      title: 'Where the model goes wrong, what do its states say?',
      note: 'Share of these parameters of which the probe says, rightly, no.',
      columns: ['', 'the probe says no'],
      rows: [
        ['needed? of unnecessary parameters that it computed', shown(mistakes.unnecessary)],
        ['next? of the first parameter computed too early', shown(mistakes.canNext)],
        ['next and needed? of the same', shown(mistakes.neceNext)],
        ['the same, asked behind “Define A as”', shown(mistakes.regret)],
      ],
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

function workedTable(cells: readonly SolvedCell[]): Table {
  return {
    title: 'Worked problems',
    note: 'The first solved and the first unsolved problem of each kind, with what the verifier says.',
    columns: ['problem', 'what the model wrote', 'verdict'],
    rows: cells
      .flatMap(({ worked }) => worked)
      .map(({ prompt, solution, answer, trueAnswer, correct, reason }) => [
        prompt.trim(),
        `${solution.trim()}${answer === null ? '' : ` Answer:${answer}`}`,
        correct ? 'right' : `wrong: ${reason ?? ''} (answer ${trueAnswer})`,
      ]),
  };
}
