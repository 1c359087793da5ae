import type { LineFigure, ReportDocument } from '../report/document.js';
import { count, decimals, percent } from '../report/number-format.js';
import type { CfgResults } from '../run-cfg.js';
import type { CfgExperiment } from './cfg.js';
import { grammarOf, probeFigures, probeTables, spoiledBy, tooLongNote } from './cfg-report.js';

/** DeBERTa at the ends of non-terminals of cfg3f, from the highest level down: arXiv:2305.13673, Figure 7, diagonal. */
const PAPER = [80, 69.3, 78.2, 99.1, 100];

/** What a `cfg` run with an encoder shows: how well it fills in hidden tokens, and which levels of the tree its states hold. */
export function cfgEncoderReport(experiment: CfgExperiment, results: CfgResults): ReportDocument {
  const { measures: m, intervals, levels, probes } = results;
  const { data, model } = experiment;
  const grammar = grammarOf(experiment);
  const value = (name: string): number => m[name] ?? Number.NaN;
  const loss = intervals.maskedLoss;
  const lossText = `${decimals(value('maskedLoss'))}${loss === undefined ? '' : ` [${decimals(loss.low)}, ${decimals(loss.high)}]`}`;
  const top = probes?.ancestorAtEnd.diagonal.families[levels[0]!];
  return {
    title: `Does an encoder learn the tree of ${grammar}?`,
    summary:
      `An encoder of ${model.nLayer} layers and width ${model.dModel} with ${model.position ?? 'rotary'} positions ` +
      `(${count(value('nParameter'))} parameters) read ${count(value('tokens'))} tokens of sentences of ${grammar}${spoiledBy(experiment)} and ` +
      `filled in the ${percent(data.masked ?? Number.NaN)} that were hidden. What its states hold of the tree is read with nothing hidden.`,
    headline:
      top === undefined
        ? {
            value: decimals(value('maskedLoss')),
            unit: 'nats a hidden token',
            text: 'On windows that training never showed.',
          }
        : {
            value: percent(top.accuracy),
            unit: `of ${levels[0]} are read where they end`,
            text:
              `${levels[0]} is the level nearest to the root. Whoever knows the grammar and sees the whole sentence gets ` +
              `${percent(top.ceiling ?? Number.NaN)}, an untrained model ${percent(top.randomModelAccuracy ?? Number.NaN)}.`,
          },
    table: {
      title: 'Non-terminals where they end, from that state alone',
      note:
        `Loss of hidden tokens: ${lossText} nats (95 % interval, bootstrap over windows). The paper's DeBERTa on cfg3f, counted from ` +
        `the tokens up.${tooLongNote(experiment, results)}`,
      columns: ['level', 'this encoder', 'best possible', 'untrained', 'paper, cfg3f, DeBERTa'],
      rows: levels.map((level, i) => [
        level,
        percent(value(`end.${level}`)),
        percent(value(`end.${level}.ceiling`)),
        percent(value(`end.${level}.random`)),
        `${PAPER.at(i - levels.length) ?? ''} %`,
      ]),
    },
    figures: [...(probes === null ? [] : probeFigures(probes)), learningFigure(results)],
    tables: probes === null ? [] : probeTables(probes),
    sources: [
      'Allen-Zhu and Li 2023, Physics of Language Models: Part 1, Learning Hierarchical Language Structures, arXiv:2305.13673, ' +
        'Section 4: the probes, and DeBERTa as their control.',
      'Devlin et al. 2019, BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding, arXiv:1810.04805: how tokens are hidden.',
    ],
  };
}

function learningFigure({ trainingLoss, maskedCurve = [] }: CfgResults): LineFigure {
  return {
    kind: 'line',
    id: 'learning',
    title: 'Learning',
    caption: 'Loss of hidden tokens: of the training windows, and of windows that training never showed.',
    x: { label: 'steps' },
    y: { label: 'nats per hidden token', min: 0 },
    series: [
      { name: 'training windows', points: trainingLoss.map(({ step, loss }) => [step, loss]) },
      { name: 'fresh windows', points: maskedCurve.map(({ step, maskedLoss }) => [step, maskedLoss]) },
    ],
  };
}
