import type { Distinctness } from '@physlm/eval';
import type { AttentionStatistics, ProbeScore, TrainedProbeResult } from '@physlm/probe';
import type { BarFigure, Figure, LineFigure, ReportDocument, Table } from '../report/document.js';
import { count, decimals, percent } from '../report/number-format.js';
import type { CfgProbeResults, CfgResults } from '../run-cfg.js';
import type { CfgExperiment } from './cfg.js';

/** What a `cfg` run shows: sentences, distribution, trees in states, trees in attention. */
export function cfgReport(experiment: CfgExperiment, results: CfgResults): ReportDocument {
  const { measures: m, intervals, probes, attention, words } = results;
  const { model, evaluate } = experiment;
  const value = (name: string): number => m[name] ?? Number.NaN;
  const interval = (name: string, show: (x: number) => string): string => {
    const found = intervals[name];
    return found === undefined ? '' : ` [${show(found.low)}, ${show(found.high)}]`;
  };
  const grammar = grammarOf(experiment);
  const position = model.position ?? 'rotary';
  return {
    title: `Does a transformer learn the grammar ${grammar}?`,
    summary:
      `A GPT of ${model.nLayer} layers and width ${model.dModel} with ${position} positions (${count(value('nParameter'))} ` +
      `parameters) read ${count(value('tokens'))} tokens of sentences of ${grammar}${spoiledBy(experiment)}. Whether it writes sentences, whether it ` +
      'knows how likely each next token is, and where it keeps the tree of what it reads is all known exactly.',
    headline: {
      value: percent(value('accuracyCut0')),
      unit: 'of its sentences are right',
      text:
        `${count(evaluate.nCompletion)} sentences written from nothing at temperature 1, checked by an exact parser. On average ` +
        `it is ${decimals(value('kl'))} nats a token away from the true law.`,
    },
    table: {
      title: 'Generation and distribution',
      note: `In brackets: 95 % intervals (Wilson for shares, bootstrap over sentences for means).${tooLongNote(experiment, results)}`,
      columns: ['', 'this run', 'paper, cfg3f, GPT_rot'],
      rows: [
        [
          'right sentences, from nothing',
          `${percent(value('accuracyCut0'))}${interval('accuracyCut0', percent)}`,
          '97.6 %',
        ],
        [
          `right sentences, after ${evaluate.cut} tokens`,
          `${percent(value('accuracyCut'))}${interval('accuracyCut', percent)}`,
          '97.6 % (after 50)',
        ],
        [
          'divergence from the exact law, nats a token',
          `${decimals(value('kl'))}${interval('kl', decimals)}`,
          '0.0006',
        ],
        ['   the same, smoothed as in the released code', decimals(value('klSmoothed')), ''],
        ['loss on fresh sentences, nats a token', decimals(value('crossEntropy')), ''],
        ['   of which nobody can know', decimals(value('lossFloor')), '0.741'],
        [
          'entropy of its sentences, bits',
          `${decimals(value('entropyBits'))}${interval('entropyBits', decimals)}`,
          '270',
        ],
        ['   of the grammar', decimals(value('entropyTruthBits')), '268'],
        ['different among its sentences', percent(value('distinctShare')), ''],
        ...(evaluate.robust
          ? [
              ['right after a spoiled prefix, temperature 0.1', percent(value('robustAt0.1')), ''],
              ['   temperature 1', percent(value('robustAt1')), ''],
              ['right after a clean prefix, temperature 0.1', percent(value('cleanAt0.1')), ''],
            ]
          : []),
      ],
    },
    figures: [
      ...(probes === null ? [] : probeFigures(probes)),
      ...(attention === null ? [] : attentionFigures(attention)),
      learningFigure(results),
    ],
    tables: [
      ...formsTable(results),
      ...(probes === null ? [] : probeTables(probes)),
      ...(words === null
        ? []
        : [
            {
              title: 'Embeddings of words, by the terminals they belong to',
              note: 'Mean cosine of two different words.',
              columns: ['', ...words.memberships],
              rows: words.memberships.map((name, i) => [
                name,
                ...words.cosines[i]!.map((cosine) => (cosine === null ? '' : decimals(cosine))),
              ]),
            },
          ]),
    ],
    sources: [
      'Allen-Zhu and Li 2023, Physics of Language Models: Part 1, Learning Hierarchical Language Structures, arXiv:2305.13673: ' +
        'the grammars, the exact law by dynamic programming, the multi-head linear probe and the attention statistics.',
    ],
  };
}

/** What is said of sentences that are longer than a training window: nothing when all fit. */
export function tooLongNote({ data }: CfgExperiment, { measures }: CfgResults): string {
  const { longerThanWindow = 0, leftOut = 0 } = measures;
  if (longerThanWindow === 0 && leftOut === 0) return '';
  const left = leftOut === 0 ? '' : ` ${percent(leftOut)} are longer than the model can read: no score counts them.`;
  return ` ${percent(longerThanWindow)} of the sentences are longer than a window of ${data.nCtx} tokens, so training saw them in pieces.${left}`;
}

/** How much sentences differ at each level of their trees. */
function formsTable({ forms = [], levels }: CfgResults): Table[] {
  const whole = forms.filter(({ from }) => from === 1);
  const [first] = whole;
  if (first === undefined) return [];
  const repeat = ({ repeat, interval }: Distinctness): string =>
    `${decimals(repeat)} [${decimals(interval.low)}, ${decimals(interval.high)}]`;
  return [
    {
      title: 'Do its sentences repeat each other?',
      note:
        `Its ${count(first.model.n)} right sentences beside as many of the grammar, as the sequences of symbols that their trees have at each ` +
        'level. Repetition: the chance that two of them agree, with its 95 % interval; no equal pair among n sentences means that there are of the ' +
        'order of n² different ones.',
      columns: [
        'level',
        'different',
        'of the grammar',
        'equal pairs',
        'of the grammar',
        'repetition',
        'of the grammar',
      ],
      rows: whole.map(({ model, truth }, i) => [
        levels[i] ?? 'sentences',
        count(model.distinct),
        count(truth.distinct),
        count(model.collisions),
        count(truth.collisions),
        repeat(model),
        repeat(truth),
      ]),
    },
  ];
}

/** The name of a grammar. */
export function grammarOf({ data }: CfgExperiment): string {
  return typeof data.grammar === 'string' ? data.grammar : data.grammar.name;
}

/** What is wrong with the training sentences, if anything is. */
export function spoiledBy({ data: { perturbation } }: CfgExperiment): string {
  return perturbation === undefined
    ? ''
    : `, ${percent(perturbation.gamma)} of them with mistakes (${perturbation.kind})`;
}

function learningFigure({ curve, trainingLoss, measures }: CfgResults): LineFigure {
  return {
    kind: 'line',
    id: 'learning',
    title: 'Learning',
    caption:
      'Training loss, and the divergence from the exact law on fresh sentences. The level is the loss of the law itself: what is above it can be learnt.',
    x: { label: 'steps' },
    y: { label: 'nats per token', min: 0 },
    series: [
      { name: 'training loss', points: trainingLoss.map(({ step, loss }) => [step, loss]) },
      { name: 'divergence from the law', points: curve.map(({ step, kl }) => [step, kl]) },
    ],
    levels: [{ name: 'loss of the law', y: measures.lossFloor ?? Number.NaN }],
  };
}

/** Accuracies of probes by level and by layer. */
export function probeFigures({ ancestorAtEnd, ancestor, byLayer }: CfgProbeResults): Figure[] {
  const levels = Object.keys(ancestor.families);
  const bars = (id: string, title: string, caption: string, { families }: TrainedProbeResult): BarFigure => ({
    kind: 'bar',
    id,
    title,
    caption,
    x: { label: 'accuracy', min: 0, max: 1 },
    categories: levels,
    series: [
      { name: 'best possible', values: levels.map((level) => families[level]!.ceiling ?? Number.NaN), quiet: true },
      { name: 'this model', values: levels.map((level) => families[level]!.accuracy) },
      {
        name: 'untrained model',
        values: levels.map((level) => families[level]!.randomModelAccuracy ?? Number.NaN),
        quiet: true,
      },
      { name: 'commonest label', values: levels.map((level) => families[level]!.majority), quiet: true },
    ],
  });
  return [
    bars(
      'ancestors',
      'Ancestors of every token',
      'How well a linear probe with trained position weights reads the non-terminal above each token off the last layer. NT2 is nearest to ' +
        'the root. Best possible: the exact posterior given the whole sentence.',
      ancestor,
    ),
    bars(
      'ancestors-at-ends',
      'Where a non-terminal ends',
      'A linear probe of the one state at which a non-terminal ends. Best possible: the exact posterior given what the model has read.',
      ancestorAtEnd.diagonal,
    ),
    {
      kind: 'line',
      id: 'layers',
      title: 'Layer by layer',
      caption: 'The same probe at every layer: low levels of the tree first, high levels last.',
      x: { label: 'layer', min: 1, max: Math.max(2, byLayer.length), whole: true },
      y: { label: 'accuracy', max: 1 },
      series: levels.map((level) => ({
        name: level,
        points: byLayer.map((families, i) => [i + 1, families[level] ?? Number.NaN] as const),
      })),
    },
  ];
}

/** Every number of the probes, with their controls. */
export function probeTables({ ancestor, ancestorAtEnd }: CfgProbeResults): Table[] {
  const share = (x: number | undefined): string => (x === undefined || Number.isNaN(x) ? '' : percent(x));
  const row = (name: string, score: ProbeScore): string[] => [
    name,
    `${share(score.accuracy)} [${share(score.interval.low)}, ${share(score.interval.high)}]`,
    share(score.ceiling),
    share(score.randomModelAccuracy),
    share(score.majority),
    share(score.controlAccuracy),
    share(score.selectivity),
  ];
  const columns = [
    'level',
    'this model',
    'best possible',
    'untrained model',
    'commonest',
    'control task',
    'selectivity',
  ];
  const table = (title: string, note: string, { families }: TrainedProbeResult): Table => ({
    title,
    note,
    columns,
    rows: Object.entries(families).map(([name, score]) => row(name, score)),
  });
  const control = 'Control task: random labels for the last three tokens. Selectivity is task minus control.';
  return [
    table('Ancestors of every token', `Position weights over the whole sentence. ${control}`, ancestor),
    table('Ancestors where they end, from that state alone', control, ancestorAtEnd.diagonal),
    table('Ancestors where they end, from three states', control, ancestorAtEnd.tridiagonal),
  ];
}

function attentionFigures({ cumulative, byEndOffset, endToEnd, levels }: AttentionStatistics): Figure[] {
  const heads = cumulative.flatMap((layer, l) => layer.map((mass, h) => ({ name: `${l + 1}.${h + 1}`, mass })));
  const points = (values: readonly (number | null)[], first = 0): (readonly [number, number])[] =>
    values.flatMap((y, i) => (y === null ? [] : [[i + first, y] as const]));
  const mean = (values: readonly (number | null | undefined)[]): number | null => {
    const known = values.filter((x): x is number => x !== null && x !== undefined);
    return known.length === 0 ? null : known.reduce((sum, x) => sum + x, 0) / known.length;
  };
  const nRelative = Math.max(0, ...endToEnd.flat(3).map((relative) => relative.length));
  return [
    {
      kind: 'line',
      id: 'attention-by-distance',
      title: 'How far heads look back',
      caption:
        'Mean attention within the last so many tokens, one line for each head: some look at the nearest tokens, some far back.',
      x: { label: 'tokens' },
      y: { label: 'share of attention', min: 0, max: 1 },
      series: heads.map(({ name, mass }, i) => ({ name, points: points(mass, 1), quiet: i % 2 === 1 })),
    },
    {
      kind: 'line',
      id: 'attention-to-ends',
      title: 'Attention prefers ends of non-terminals',
      caption:
        'Attention above what the distance explains, at places d tokens before or after the end of a non-terminal; mean over heads.',
      x: { label: 'd', min: -2, max: 2 },
      y: { label: 'excess attention' },
      series: levels.map((level, l) => ({
        name: `NT${level}`,
        points: points(
          [0, 1, 2, 3, 4].map((d) => mean(byEndOffset.flat(1).map((byLevel) => byLevel[l]?.[d]))),
          -2,
        ),
      })),
    },
    {
      kind: 'line',
      id: 'attention-end-to-end',
      title: 'From end to end',
      caption:
        'Excess attention from the end of one non-terminal to the r-th end before it of each level; mean over heads and levels of the query.',
      x: { label: 'r' },
      y: { label: 'excess attention' },
      series: levels.map((level, l) => ({
        name: `to NT${level}`,
        points: points(
          Array.from({ length: nRelative }, (_, r) => mean(endToEnd.flat(2).map((byKey) => byKey[l]?.[r]))),
        ),
      })),
    },
  ];
}
