import type { ReportDocument } from '../report/document.js';
import { count, decimals, percent } from '../report/number-format.js';
import type { CapacityResults } from '../run-capacity.js';
import type { CapacityExperiment, ModelChange } from './capacity.js';
import { CAPACITY_SOURCE, lossesFigure, lossesTable } from './capacity-items.js';

/** What a run shows that changed a trained model: how much of its knowledge is left. */
export function changeReport(
  { data, evaluate }: CapacityExperiment,
  results: CapacityResults,
  unchanged: Readonly<Record<string, number>>,
): ReportDocument {
  const { measures, intervals } = results;
  const [now, before] = [measures, unchanged].map(
    (from) =>
      (name: string): number =>
        from[name] ?? Number.NaN,
  ) as [(name: string) => number, (name: string) => number];
  const row = (text: string, name: string, show: (x: number) => string): string[] => [
    text,
    show(now(name)),
    show(before(name)),
  ];
  const interval = intervals.perParameter;
  const range = interval === undefined ? '' : ` [${decimals(interval.low)}, ${decimals(interval.high)}]`;
  const left = now('bits') / before('bits');
  return {
    title: 'How much of its knowledge does a changed model keep?',
    summary:
      `A model that had learnt about ${count(data.nPeople)} people was changed: ${changeText(evaluate.change ?? {})}. Nothing was ` +
      'trained after that. What it still knows about their names and facts is measured as before.',
    headline: {
      value: percent(left),
      unit: 'of its knowledge is left',
      text: `${count(now('bits'))} of the ${count(before('bits'))} bits that the model held before the change.`,
    },
    table: {
      title: 'Knowledge stored',
      note: 'In brackets: 95 % bootstrap interval over people.',
      columns: ['', 'after the change', 'before it'],
      rows: [
        row('parameters', 'nParameter', count),
        row('bits stored', 'bits', count),
        row('   in names', 'bitsName', count),
        row('   in facts', 'bitsValue', count),
        ...(data.bioD === undefined ? [] : [row('   in strings', 'bitsDiversity', count)]),
        ['bits per parameter R', `${decimals(now('perParameter'))}${range}`, decimals(before('perParameter'))],
        row('share of what there is to know', 'shareOfCeiling', percent),
      ],
    },
    figures: [lossesFigure(data.nPeople, results)],
    tables: [lossesTable(results)],
    sources: [CAPACITY_SOURCE],
  };
}

function changeText({ removeLayers, quantize }: ModelChange): string {
  const parts: string[] = [];
  if (removeLayers !== undefined) {
    parts.push(removeLayers === 1 ? 'its last layer was taken off' : `its last ${removeLayers} layers were taken off`);
  }
  if (quantize !== undefined) {
    const how = quantize.method === 'gptq' ? 'with GPTQ' : 'to nearest';
    parts.push(`the weights of its layers were rounded ${how}, to ${quantize.bits} bits`);
  }
  return parts.join(', and ');
}
