import type { LineFigure, ReportDocument } from '../report/document.js';
import { count, decimals, percent } from '../report/number-format.js';
import type { CapacityResults } from '../run-capacity.js';
import type { CapacityExperiment } from './capacity.js';
import { changeReport } from './capacity-change-report.js';
import type { CapacityDataConfig } from './capacity-data.js';
import { CAPACITY_SOURCE, lossesFigure, lossesTable } from './capacity-items.js';

/** Parameters and stored bits of models trained for 1000 exposures, read off arXiv:2404.05405, Figure 1(a). */
const PAPER_POINTS: Readonly<Record<string, readonly (readonly [millionParameters: number, megabits: number])[]>> = {
  '50,000 people': [
    [0.816, 1.4],
    [1.014, 1.96],
    [1.213, 2.16],
    [1.411, 2.46],
    [1.609, 2.69],
    [2.006, 2.87],
    [3.2, 2.91],
  ],
  '100,000 people': [
    [1.213, 2.59],
    [1.609, 3.47],
    [2.409, 4.61],
    [2.853, 5.21],
    [3.298, 5.58],
    [3.998, 5.7],
    [5.577, 5.74],
  ],
  '200,000 people': [
    [2.409, 5.57],
    [3.298, 7.5],
    [3.998, 8.58],
    [4.788, 9.72],
    [5.577, 10.6],
    [6.582, 11.2],
  ],
};

/** The models of the paper's Figure 1(a), and the lines of the law, for figures of bits against parameters. */
export const PAPER_FIGURE: Required<Pick<LineFigure, 'series' | 'rays'>> = {
  series: Object.entries(PAPER_POINTS).map(([name, points]) => ({
    name: `paper, ${name}`,
    points: points.map(([p, bits]) => [p * 1e6, bits * 1e6] as const),
    scatter: true,
    quiet: true,
  })),
  rays: [
    { name: '2 bits per parameter', slope: 2 },
    { name: '1 bit per parameter', slope: 1 },
  ],
};

/** What a capacity run shows: the bits stored, how they came in, and what is left to learn. */
export function capacityReport(experiment: CapacityExperiment, results: CapacityResults): ReportDocument {
  if (results.unchanged !== undefined) return changeReport(experiment, results, results.unchanged);
  const { measures: m, intervals } = results;
  const { data, model } = experiment;
  const value = (name: string): number => m[name] ?? Number.NaN;
  const interval = (name: string, show: (x: number) => string): string => {
    const found = intervals[name];
    return found === undefined ? '' : ` [${show(found.low)}, ${show(found.high)}]`;
  };
  const [R, max, share] = [value('perParameter'), value('maxPerParameter'), value('shareOfCeiling')];
  const people = `${count(data.nPeople)} people`;
  return {
    title: 'How many bits does a parameter store?',
    summary:
      `${modelText(model)} of ${model.nLayer} layers and width ${model.dModel} (${count(value('nParameter'))} parameters) read ` +
      `${textsText(data)} of ${people}, each ${count(value('exposures'))} times. ${junkText(data)}What it can still not ` +
      'predict about their names and facts, taken off what there was to know, is the knowledge in its weights.',
    headline: {
      value: decimals(R),
      unit: 'bits per parameter',
      text:
        `${count(value('bits'))} bits of knowledge in ${count(value('nParameter'))} parameters: ${percent(share)} of the ` +
        `${count(value('maxBits'))} bits that these ${people} are.`,
    },
    table: {
      title: 'Knowledge stored',
      note: 'In brackets: 95 % bootstrap interval over people.',
      columns: ['', 'this run', 'paper, Figure 1(a)'],
      rows: [
        ['people', count(data.nPeople), '10,000 to 10,000,000'],
        ['parameters', count(value('nParameter')), '0.8 M to 0.5 B'],
        ['exposures of each person', count(value('exposures')), '1,000'],
        ['bits stored', count(value('bits')), ''],
        ['   in names', count(value('bitsName')), ''],
        ['   in facts', count(value('bitsValue')), ''],
        ...(data.bioD === undefined ? [] : [['   in strings', count(value('bitsDiversity')), '']]),
        ['bits in the data', count(value('maxBits')), ''],
        ['bits per parameter R', `${decimals(R)}${interval('perParameter', decimals)}`, '1.93 to 2.35 at its peak'],
        ['ceiling R^max of this data set', decimals(max), ''],
        ['share of the ceiling', `${percent(share)}${interval('shareOfCeiling', percent)}`, 'R ≈ R^max up to 1.8'],
      ],
    },
    figures: [
      curveFigure(results, max),
      scalingFigure(experiment, results),
      {
        kind: 'line',
        id: 'training-loss',
        title: 'Training loss',
        caption:
          'Mean loss of all tokens of the training windows. Templates and their order are random, so it does not fall to 0.',
        x: { label: 'exposures of each person' },
        y: { label: 'nats per token', min: 0 },
        series: [
          { name: 'training loss', points: results.trainingLoss.map(({ exposures, loss }) => [exposures, loss]) },
        ],
      },
      lossesFigure(data.nPeople, results),
    ],
    tables: [lossesTable(results)],
    sources: [CAPACITY_SOURCE],
  };
}

function modelText(model: CapacityExperiment['model']): string {
  if (model.architecture === 'llama') return model.nKvHead < model.nHead ? 'A LLaMA with grouped heads' : 'A LLaMA';
  if (model.nExpert !== undefined) return `A GPT with ${model.nExpert} experts`;
  return model.dMlp === 0 ? 'A GPT without MLPs' : 'A GPT';
}

function textsText({ wording, bioD }: CapacityDataConfig): string {
  if (bioD !== undefined) {
    const { nAttribute, nChunk, nString, stringLength, nSymbol } = bioD;
    return `${nAttribute} random attributes (C = ${nChunk}, D = ${nString}, L = ${stringLength}, T = ${nSymbol})`;
  }
  return `${wording === 'fixed' ? 'the one biography each' : 'freshly worded biographies'}`;
}

/** Ends with a space, when there is anything to say. */
function junkText({ junk, tag }: CapacityDataConfig): string {
  const about =
    junk && `Of all it read, ${percent(1 - junk.usefulShare)} was about ${count(junk.nPeople)} other people. `;
  return `${about ?? ''}${tag === true ? 'A tag stood in front of every biography that counts. ' : ''}`;
}

/** A ceiling far below 2 bits would be a flat line at the bottom of a linear axis, hence the logarithmic one. */
function curveFigure({ curve }: CapacityResults, ceiling: number): LineFigure {
  const log = ceiling < 1;
  const least = 10 ** Math.floor(Math.log10(ceiling / 20));
  const points = curve.map(({ exposures, perParameter }) => [exposures, perParameter] as const);
  return {
    kind: 'line',
    id: 'bits-per-parameter',
    title: 'Knowledge against exposures',
    caption:
      'Bits per parameter while training goes on. The ceiling is all there is to know in this data set; 2 bits per ' +
      `parameter is the limit that the paper finds for models that are shown more.${log ? ` Points below ${least} are not drawn.` : ''}`,
    x: { label: 'exposures of each person', log: true },
    y: log ? { label: 'bits per parameter', log, min: least, max: 10 } : { label: 'bits per parameter', min: 0 },
    series: [{ name: 'this run', points: log ? points.filter(([, y]) => y >= least) : points }],
    levels: [
      { name: 'ceiling of this data set', y: ceiling },
      { name: 'the law: 2 bits', y: 2 },
    ],
  };
}

function scalingFigure(experiment: CapacityExperiment, { measures }: CapacityResults): LineFigure {
  const nParameter = measures.nParameter ?? Number.NaN;
  // Knowledge that is not above a guess has no place on a logarithmic axis.
  const bits = Math.max(1, measures.bits ?? Number.NaN);
  return {
    kind: 'line',
    id: 'bits-against-parameters',
    title: 'Where this model stands',
    caption:
      'Stored bits against parameters. The faint points are models of the paper after 1000 exposures: each series follows ' +
      'the 2-bit line until its data set has no more to give.',
    x: {
      label: 'parameters',
      log: true,
      min: 10 ** Math.floor(Math.log10(nParameter / 1.5)),
      max: 1e7,
    },
    y: { label: 'bits stored', log: true, min: 10 ** Math.floor(Math.log10(bits / 2)) },
    series: [
      ...PAPER_FIGURE.series,
      {
        name: `this run, ${count(experiment.data.nPeople)} people`,
        points: [[nParameter, bits]],
        scatter: true,
      },
    ],
    rays: PAPER_FIGURE.rays,
  };
}
