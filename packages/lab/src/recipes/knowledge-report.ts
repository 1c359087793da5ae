import { ATTRIBUTES, type Attribute } from '@physlm/data/bio';
import type { AttributeProbes, PProbeResults, ProbeCell, QProbeResults } from '../knowledge-probes.js';
import type { BarFigure, Figure, HeatFigure, LineFigure, ReportDocument, Table } from '../report/document.js';
import { count, percent } from '../report/number-format.js';
import type { KnowledgePoint, KnowledgeResults, Side } from '../run-knowledge.js';
import type { KnowledgeExperiment } from './knowledge.js';
import { hintFigures } from './knowledge-manipulation-report.js';

/** Facts as the figures call them. */
const NAMES: Readonly<Record<Attribute, string>> = {
  birthDate: 'birth date',
  birthCity: 'birth city',
  university: 'university',
  major: 'major',
  employer: 'employer',
  workCity: 'work city',
};

const nameOf = (task: string): string => NAMES[task as Attribute] ?? task;

/** What a `knowledge` run shows: answers about people it was and was not asked about, and what its states hold. */
export function knowledgeReport(experiment: KnowledgeExperiment, results: KnowledgeResults): ReportDocument {
  const { measures: m, intervals, answers, bits, pProbe, qProbe, curve } = results;
  const { data, model, start } = experiment;
  const value = (name: string): number => m[name] ?? Number.NaN;
  const shown = (name: string): string => {
    const found = intervals[name];
    return found === undefined
      ? percent(value(name))
      : `${percent(value(name))} [${percent(found.low)}, ${percent(found.high)}]`;
  };
  const bitText = (n: number): string => n.toFixed(1);
  const bothSides = (name: string): string[] => [bitText(value(`${name}.train`)), bitText(value(`${name}.test`)), ''];
  const { share, tasks = [] } = data.questions ?? {};
  const taught =
    share !== undefined
      ? `${percent(share)} of what it read were questions about half of them`
      : start !== undefined
        ? `then it was taught to answer questions about ${data.celebrity === undefined ? 'half of them' : 'celebrities'}`
        : 'it was never asked anything';
  const celebrities = data.celebrity === undefined ? '' : `, and of as many celebrities (${data.celebrity})`;
  const extraction = tasks.length === 1 && tasks[0] === 'extraction';
  return {
    title: 'Can a model that has read about people be asked about them?',
    summary:
      `A GPT of ${model.nLayer} layers and width ${model.dModel} (${count(value('nParameter'))} parameters) read biographies of ` +
      `${count(data.nPeople)} people (${data.augmentation})${celebrities}, each ${count(data.exposures)} times; ${taught}.`,
    headline:
      answers === null
        ? {
            value: percent(value('biography.test')),
            unit: 'of facts known',
            text: 'First tokens of facts in biographies, after the true words before them.',
          }
        : {
            value: percent(value('exact.test')),
            unit: 'of answers right',
            text:
              'Whole answers about people it was never asked about in training, though it had read their biographies. Giving ' +
              `the commonest answer: ${percent(value('majority.test'))}.`,
          },
    table: {
      title: 'Memorised, and extracted',
      note: 'In brackets: 95 % Wilson intervals. An answer is right when greedy decoding writes all of it and stops.',
      columns: ['', 'asked about in training', 'others', 'paper, others'],
      rows: [
        ['facts in biographies, first token', shown('biography.train'), shown('biography.test'), '> 99 %'],
        ...(answers === null
          ? []
          : [
              ['answers, first token', shown('first.train'), shown('first.test'), ''],
              ['answers, whole', shown('exact.train'), shown('exact.test'), paperFigure(experiment)],
            ]),
        ...(bits === undefined
          ? []
          : [
              [`bits about a person in biographies, of ${bitText(bits.test.all.possible)}`, ...bothSides('memorised')],
              ['bits about a person in answers', ...bothSides('extracted')],
            ]),
        ...(pProbe === null ? [] : [['probed before the first fact, first token', '', percent(value('pFirst.0')), '']]),
        ...(qProbe === null
          ? []
          : [
              ['probed from the name, first token', '', percent(value('qFirst')), ''],
              ['probed from the name, whole value', '', percent(value('qWhole')), ''],
            ]),
      ],
    },
    figures: [
      ...(answers === null ? [] : [answersFigure(answers, extraction), ...hintFigures(answers.test, nameOf)]),
      ...(pProbe === null ? [] : pFigures(pProbe, experiment.evaluate.pProbe?.rank !== 0)),
      ...(qProbe === null ? [] : [qFigure(qProbe, answers)]),
      ...(curve.length > 1 ? [learningFigure(curve)] : []),
      lossFigure(results),
    ],
    tables: [
      ...(answers === null ? [] : [answersTable(answers)]),
      ...(pProbe === null ? [] : [pTable('first', pProbe), pTable('whole', pProbe)]),
      ...(qProbe === null ? [] : [qTable(qProbe)]),
    ],
    sources: [
      'Allen-Zhu and Li 2023, Physics of Language Models: Part 3.1, Knowledge Storage and Extraction, arXiv:2309.14316: ' +
        'augmentations, questions, P-probing and Q-probing.',
      ...(extraction
        ? []
        : [
            'Allen-Zhu and Li 2023, Physics of Language Models: Part 3.2, Knowledge Manipulation, arXiv:2309.14402: the tasks.',
          ]),
    ],
  };
}

/** Figures of arXiv:2309.14316 for bioS and GPT-2 small: whole answers about people of P_test. */
const PAPER: Readonly<Record<string, string>> = {
  single: '9.7 %',
  'single+fullname': '48.9 %',
  'single+permute1': '4.4 %',
  'single+permute5': '70.0 %',
  multi5: '41 %',
  'multi2+permute': '96.1 %',
  'multi5+permute': '96.6 %',
};

function paperFigure({ data }: KnowledgeExperiment): string {
  const { tasks = [], share } = data.questions ?? {};
  if (tasks.join() !== 'extraction') return '';
  if (data.celebrity !== undefined) return data.augmentation === 'single+permute1' ? '86.8 %' : '';
  if (share !== undefined) return data.augmentation === 'single' ? '86.6 % (80 % questions)' : '';
  return PAPER[data.augmentation] ?? '';
}

type Answers = NonNullable<KnowledgeResults['answers']>;

const rate = ({ nRight, n }: { readonly nRight: number; readonly n: number }): number => nRight / n;

function answersFigure(answers: Answers, extraction: boolean): BarFigure {
  const tasks = Object.keys(answers.test);
  const values = (side: Side, kind: 'exact' | 'majority'): number[] =>
    tasks.map((task) => rate(answers[side][task]![kind]));
  return {
    kind: 'bar',
    id: 'answers',
    title: extraction ? 'Answers' : 'Answers by task',
    caption:
      'Whole answers that are right, about people that were asked about in training and about others, beside giving everyone ' +
      'the commonest answer.',
    x: { label: 'right answers', min: 0, max: 1 },
    categories: tasks.map(nameOf),
    series: [
      { name: 'others', values: values('test', 'exact') },
      { name: 'asked about in training', values: values('train', 'exact'), quiet: true },
      { name: 'commonest answer', values: values('test', 'majority'), quiet: true },
    ],
  };
}

function answersTable(answers: Answers): Table {
  const hinted = Object.values(answers.test).some((score) => score.hinted !== undefined);
  return {
    title: 'Answers about people that were not asked about in training',
    ...(hinted && { note: 'With hint: the model states the facts first; the answer counts whatever they are.' }),
    columns: ['', 'first token', 'whole', 'commonest answer', ...(hinted ? ['with hint', 'hint right'] : [])],
    rows: Object.entries(answers.test).map(([task, score]) => [
      nameOf(task),
      percent(rate(score.first)),
      percent(rate(score.exact)),
      percent(rate(score.majority)),
      ...(hinted
        ? score.hinted === undefined
          ? ['', '']
          : [percent(rate(score.hinted.answer)), percent(rate(score.hinted.hint))]
        : []),
    ]),
  };
}

const places = ['1st', '2nd', '3rd', '4th', '5th', '6th'].map((place) => `before the ${place} fact`);

function pFigures(probes: PProbeResults, updates: boolean): Figure[] {
  const figure = (kind: 'first' | 'whole', title: string, caption: string): HeatFigure => {
    const known = ATTRIBUTES.filter((attribute) => probes[attribute][kind] !== null);
    return {
      kind: 'heat',
      id: `p-probe-${kind}`,
      title,
      caption,
      x: { label: 'fact', names: known.map(nameOf) },
      y: { label: 'place in the biography', names: places },
      value: { label: 'accuracy', min: 0, max: 1 },
      values: places.map((_, k) => known.map((attribute) => probes[attribute][kind]!.places[k]?.accuracy)),
    };
  };
  return [
    figure(
      'first',
      'P-probe: the first token of each fact',
      `What a linear probe${updates ? ' with a low-rank update of the embedding' : ''} reads off the last layer just before each fact of a biography, ` +
        'about people that the probe was not trained on. A staircase: facts are known only where they come. A full first row: ' +
        'they are stored with the name.',
    ),
    figure(
      'whole',
      'P-probe: the whole value',
      'The same for the whole value as one class; birth dates have too many.',
    ),
  ];
}

function pTable(kind: 'first' | 'whole', probes: PProbeResults): Table {
  const known = ATTRIBUTES.filter((attribute) => probes[attribute][kind] !== null);
  const row = (name: string, read: (cell: ProbeCell) => number | null): string[] => [
    name,
    ...known.map((attribute) => {
      const value = read(probes[attribute][kind]!.places[0]!);
      return value === null ? '' : percent(value);
    }),
  ];
  return {
    title: kind === 'first' ? 'P-probe of first tokens, controls' : 'P-probe of whole values, controls',
    note: 'Before the first fact. The untrained model has the same shape and the same probe.',
    columns: ['', ...known.map(nameOf)],
    rows: [
      row('this model', ({ accuracy }) => accuracy),
      row('untrained model', ({ randomModel }) => randomModel),
      row('commonest label', ({ majority }) => majority),
    ],
  };
}

function qFigure(probes: QProbeResults, answers: Answers | null): BarFigure {
  const whole = (attribute: Attribute): ProbeCell => probes[attribute].whole ?? probes[attribute].first;
  return {
    kind: 'bar',
    id: 'q-probe',
    title: 'Q-probe: what the name alone tells',
    caption:
      'What a probe reads off the end of a full name, about people that it was not trained on: whole values, of birth dates the ' +
      'month. Beside it the answers to questions.',
    x: { label: 'accuracy', min: 0, max: 1 },
    categories: ATTRIBUTES.map(nameOf),
    series: [
      { name: 'Q-probe', values: ATTRIBUTES.map((attribute) => whole(attribute).accuracy) },
      ...(answers?.test.birthDate === undefined
        ? []
        : [
            {
              name: 'answers about others',
              values: ATTRIBUTES.map((attribute) => {
                const score = answers.test[attribute];
                return score === undefined ? Number.NaN : rate(attribute === 'birthDate' ? score.first : score.exact);
              }),
            },
          ]),
      { name: 'commonest label', values: ATTRIBUTES.map((attribute) => whole(attribute).majority), quiet: true },
    ],
  };
}

function qTable(probes: QProbeResults): Table {
  const cells = (kind: keyof AttributeProbes<ProbeCell>, read: (cell: ProbeCell) => number | null): string[] =>
    ATTRIBUTES.map((attribute) => {
      const cell = probes[attribute][kind];
      const value = cell === null ? null : read(cell);
      return value === null ? '' : percent(value);
    });
  return {
    title: 'Q-probe',
    columns: ['', ...ATTRIBUTES.map(nameOf)],
    rows: (['first', 'whole'] as const).flatMap((kind) => {
      const what = kind === 'first' ? 'first token' : 'whole value';
      return [
        [what, ...cells(kind, ({ accuracy }) => accuracy)],
        [`${what}, untrained model`, ...cells(kind, ({ randomModel }) => randomModel)],
        [`${what}, commonest label`, ...cells(kind, ({ majority }) => majority)],
      ];
    }),
  };
}

function learningFigure(curve: readonly KnowledgePoint[]): LineFigure {
  const line = (name: string, of: keyof KnowledgePoint, quiet = false) => {
    const points = curve.flatMap((point) => (point[of] === null ? [] : [[point.step, point[of]] as const]));
    return points.length === 0 ? [] : [{ name, points, quiet }];
  };
  return {
    kind: 'line',
    id: 'learning',
    title: 'What is learnt when',
    caption:
      'First tokens of facts in biographies and of answers, of people that are asked about in training and of others.',
    x: { label: 'steps' },
    y: { label: 'accuracy', min: 0, max: 1 },
    series: [
      ...line('biographies, asked about', 'biographyTrain', true),
      ...line('biographies, others', 'biographyTest', true),
      ...line('answers, asked about', 'firstTrain'),
      ...line('answers, others', 'firstTest'),
    ],
  };
}

function lossFigure({ trainingLoss }: KnowledgeResults): LineFigure {
  return {
    kind: 'line',
    id: 'loss',
    title: 'Training loss',
    caption: 'Nats per token that is learnt.',
    x: { label: 'steps' },
    y: { label: 'nats per token', min: 0 },
    series: [{ name: 'training loss', points: trainingLoss.map(({ step, loss }) => [step, loss]) }],
  };
}
