import type { Table } from './document.js';

/** A table as aligned lines of text; the first column to the left, the others to the right. */
export function textTable({ columns, rows }: Pick<Table, 'columns' | 'rows'>): string {
  const all = columns.some((column) => column !== '') ? [columns, ...rows] : rows;
  const widths = columns.map((_, i) => Math.max(...all.map((row) => (row[i] ?? '').length)));
  return all
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
        .join('   ')
        .trimEnd(),
    )
    .join('\n');
}
