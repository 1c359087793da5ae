/** A line through measured points, in the order given. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Points without a line between them. */
  readonly scatter?: boolean;
  /** Drawn in the quiet colour: what the measured series is compared with. */
  readonly quiet?: boolean;
  /** Drawn as a thin line of its own, without points: a law through the measured ones. */
  readonly fit?: boolean;
}

/** An axis with its unit in the label. */
export interface Axis {
  readonly label: string;
  readonly log?: boolean;
  readonly min?: number;
  readonly max?: number;
  /** Marks at whole numbers only. */
  readonly whole?: boolean;
}

/** Curves or points over two axes, with horizontal reference lines. */
export interface LineFigure {
  readonly kind: 'line';
  /** File name without its ending. */
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
  readonly levels?: readonly { readonly name: string; readonly y: number }[];
  /** Straight lines y = slope · x, drawn over the range of x. */
  readonly rays?: readonly { readonly name: string; readonly slope: number }[];
}

/** Horizontal bars: for each category one value of each series. */
export interface BarFigure {
  readonly kind: 'bar';
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  readonly x: Axis;
  readonly categories: readonly string[];
  /** A value for each category; null where there is none. */
  readonly series: readonly {
    readonly name: string;
    readonly values: readonly (number | null)[];
    readonly quiet?: boolean;
  }[];
}

/** Numbers with their intervals, one under the other, and the single values that each is made of. */
export interface IntervalFigure {
  readonly kind: 'interval';
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  readonly x: Axis;
  readonly rows: readonly {
    readonly name: string;
    readonly value: number;
    readonly low: number;
    readonly high: number;
    readonly singles: readonly number[];
  }[];
  /** What the numbers and the single values are, for the legend. */
  readonly names: { readonly value: string; readonly interval: string; readonly single: string };
}

/** Numbers over two lists of names, as colours with the numbers on them. */
export interface HeatFigure {
  readonly kind: 'heat';
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  /** Names from left to right. */
  readonly x: { readonly label: string; readonly names: readonly string[] };
  /** Names from top to bottom. */
  readonly y: { readonly label: string; readonly names: readonly string[] };
  /** What the numbers are, and the ends of the scale of colours; numbers beyond them take the colours of the ends. */
  readonly value: { readonly label: string; readonly min: number; readonly max: number };
  /** values[row][column]; undefined leaves a gap. */
  readonly values: readonly (readonly (number | undefined)[])[];
}

/** A picture, and the numbers it is drawn from. */
export type Figure = LineFigure | BarFigure | IntervalFigure | HeatFigure;

/** Rows of text under headings. The first column names the row. */
export interface Table {
  readonly title: string;
  readonly note?: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** What a report shows, before it is set in HTML or printed in a terminal. */
export interface ReportDocument {
  readonly title: string;
  /** What was done, in a sentence or two. */
  readonly summary: string;
  /** The number that the run was made for. */
  readonly headline: { readonly value: string; readonly unit: string; readonly text: string };
  readonly table: Table;
  readonly figures: readonly Figure[];
  readonly tables: readonly Table[];
  /** Papers the report leans on, as plain text. */
  readonly sources: readonly string[];
}

/** The columns and rows behind a figure, one row for each point. */
export function figureData(figure: Figure): {
  readonly columns: readonly string[];
  readonly rows: (string | number)[][];
} {
  if (figure.kind === 'bar') {
    return {
      columns: ['', ...figure.series.map(({ name }) => name)],
      rows: figure.categories.map((category, i) => [category, ...figure.series.map(({ values }) => values[i] ?? '')]),
    };
  }
  if (figure.kind === 'interval') {
    return {
      columns: ['', figure.x.label, 'low', 'high', figure.names.single],
      rows: figure.rows.map(({ name, value, low, high, singles }) => [
        name,
        value,
        low,
        high,
        singles.map((single) => Number(single.toPrecision(6))).join(' '),
      ]),
    };
  }
  if (figure.kind === 'heat') {
    return {
      columns: [`${figure.y.label} \\ ${figure.x.label}`, ...figure.x.names],
      rows: figure.y.names.map((name, i) => [name, ...figure.x.names.map((_, j) => figure.values[i]?.[j] ?? '')]),
    };
  }
  const rows: (string | number)[][] = figure.series.flatMap(({ name, points }) => points.map(([x, y]) => [name, x, y]));
  for (const { name, y } of figure.levels ?? []) rows.push([name, 'every', y]);
  for (const { name, slope } of figure.rays ?? []) rows.push([name, 'x', `${slope} · x`]);
  return { columns: ['series', figure.x.label, figure.y.label], rows };
}
