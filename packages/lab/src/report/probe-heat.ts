import type { ProbeMatrix } from '@physlm/probe';
import type { HeatFigure } from './document.js';

/** A heat map of a probe's accuracies, from 0 to 1: groups from top to bottom, tasks or layers from left to right. */
export function probeHeat(
  { rows, columns, cells }: ProbeMatrix,
  {
    rowLabel,
    columnLabel,
    ...figure
  }: Readonly<Record<'id' | 'title' | 'caption' | 'rowLabel' | 'columnLabel', string>>,
): HeatFigure {
  return {
    kind: 'heat',
    ...figure,
    x: { label: columnLabel, names: columns },
    y: { label: rowLabel, names: rows.map(String) },
    value: { label: 'accuracy', min: 0, max: 1 },
    values: cells.map((row) => row.map((cell) => cell?.accuracy)),
  };
}
