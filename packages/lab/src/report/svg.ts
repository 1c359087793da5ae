import type { BarFigure, Figure, HeatFigure, IntervalFigure, LineFigure } from './document.js';

/** Colours of figures, in the order of use. Chosen to keep apart for colour-blind readers and on paper. */
const COLOURS = {
  text: '#1c2430',
  muted: '#5b6675',
  grid: '#e3e7ec',
  accent: '#1f6feb',
  second: '#c2410c',
  third: '#0f766e',
  fourth: '#7c3aed',
  fifth: '#be185d',
  sixth: '#a16207',
  seventh: '#0891b2',
  eighth: '#4d7c0f',
  quiet: '#9aa4b1',
  quiet2: '#b9a37a',
  quiet3: '#8fb3a4',
} as const;

/** The same, on a dark page. */
const DARK: Record<keyof typeof COLOURS, string> = {
  text: '#e6eaf0',
  muted: '#9aa6b5',
  grid: '#2b333e',
  accent: '#6ea8ff',
  second: '#fb923c',
  third: '#4fd1c5',
  fourth: '#b794f6',
  fifth: '#f472b6',
  sixth: '#e0b64a',
  seventh: '#38bdf8',
  eighth: '#a3d65c',
  quiet: '#6b7684',
  quiet2: '#8f7d5a',
  quiet3: '#5f8a7a',
};

/** The colour of laws and limits comes last. */
const MEASURED = [
  ...[COLOURS.accent, COLOURS.third, COLOURS.fourth, COLOURS.second],
  ...[COLOURS.fifth, COLOURS.sixth, COLOURS.seventh, COLOURS.eighth],
];
const QUIET = [COLOURS.quiet, COLOURS.quiet2, COLOURS.quiet3];
const LEVELS = [COLOURS.muted, COLOURS.second];
/** Without quotation marks: the chart library writes it into an attribute as it stands. */
const FONT = 'system-ui, Helvetica, Arial, sans-serif';
const [WIDTH, HEIGHT] = [760, 380];

/** CSS variables that the colours of {@link inlineSvg} refer to. */
export function figureColours(dark: boolean): string {
  return Object.entries(dark ? DARK : COLOURS)
    .map(([name, colour]) => `--fig-${name}: ${colour};`)
    .join(' ');
}

/** A figure as a standalone SVG image on white. */
export async function renderSvg(figure: Figure): Promise<string> {
  // Charts take a tenth of a second to load, which commands that draw nothing need not spend.
  const [{ init, use }, { BarChart, LineChart, ScatterChart }, components, { SVGRenderer }] = await Promise.all([
    import('echarts/core'),
    import('echarts/charts'),
    import('echarts/components'),
    import('echarts/renderers'),
  ]);
  const { GridComponent, LegendComponent, MarkLineComponent } = components;
  use([BarChart, LineChart, ScatterChart, GridComponent, LegendComponent, MarkLineComponent, SVGRenderer]);
  const height = heightOf(figure);
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  try {
    chart.setOption(optionOf(figure) as Parameters<typeof chart.setOption>[0]);
    const title = figure.title.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
    return plain(chart.renderToSVGString(), figure.id).replace(/^<svg [^>]*>/, `$&\n<title>${title}</title>`);
  } finally {
    chart.dispose();
  }
}

function heightOf(figure: Figure): number {
  if (figure.kind === 'bar') return 110 + 44 * figure.categories.length;
  if (figure.kind === 'interval') return 110 + 40 * figure.rows.length;
  if (figure.kind === 'heat') return heatMargins(figure).top + HEAT.cell * figure.y.names.length + HEAT.bottom;
  return HEIGHT + LEGEND.row * Math.max(0, legendRows(figure) - 2);
}

function optionOf(figure: Figure): object {
  if (figure.kind === 'bar') return barOption(figure);
  if (figure.kind === 'heat') return heatOption(figure);
  return figure.kind === 'interval' ? intervalOption(figure) : lineOption(figure);
}

/** A figure for a page that defines {@link figureColours}: it follows the page from light to dark. */
export function inlineSvg(svg: string, label: string): string {
  let themed = svg;
  for (const [name, colour] of Object.entries(COLOURS)) themed = themed.replaceAll(colour, `var(--fig-${name})`);
  const open = `<svg role="img" aria-label="${label.replaceAll('&', '&amp;').replaceAll('"', '&quot;')}" `;
  return themed
    .replace(/ xmlns(:xlink)?="[^"]*"/g, '')
    .replace(/<rect [^>]*fill="#fff(fff)?"[^>]*><\/rect>/, '')
    .replace('<svg ', open);
}

/**
 * Leaves out what a picture that nobody hovers over has no use for. Names of clipping paths count up through the life of
 * the process: they become the figure's own, so that a file does not depend on what was drawn before.
 */
function plain(svg: string, id: string): string {
  return svg
    .replace(/\bzr\d+-/g, `${id}-`)
    .replaceAll(' fill="#000"', '')
    .replace(/<style[\s\S]*?<\/style>\s*/g, '')
    .replace(/ (class|pointer-events|ecmeta_\w+)="[^"]*"/g, '');
}

/** In pixels. The library measures letters without a browser, as narrow ones; two wide spaces `after` each name make up for it. */
const LEGEND = { width: WIDTH - 40, gap: 14, after: 25, row: 29, mark: 27, letter: 5.65 } as const;

/** Lines that the legend of a figure takes. */
function legendRows({ series, rays = [], levels = [] }: LineFigure): number {
  let [rows, used] = [1, 0];
  for (const { name } of [...series, ...rays, ...levels]) {
    const width = LEGEND.mark + LEGEND.letter * name.length + LEGEND.after;
    if (used > 0 && used + width > LEGEND.width) [rows, used] = [rows + 1, 0];
    used += width + LEGEND.gap;
  }
  return rows;
}

const textStyle = { fontFamily: FONT, fontSize: 12.5, color: COLOURS.muted };

function axis({ label, log, min, max, whole }: LineFigure['x'], vertical: boolean): object {
  return {
    type: log ? 'log' : 'value',
    name: label,
    nameLocation: vertical ? 'end' : 'middle',
    nameGap: vertical ? 14 : 30,
    nameTextStyle: { ...textStyle, align: vertical ? 'left' : 'center', padding: vertical ? [0, 0, 0, -34] : 0 },
    ...(min !== undefined && { min }),
    ...(max !== undefined && { max }),
    ...(whole && { minInterval: 1 }),
    axisLine: { show: !vertical, lineStyle: { color: COLOURS.muted } },
    axisTick: { show: !vertical, lineStyle: { color: COLOURS.muted } },
    axisLabel: { ...textStyle, formatter: tickText },
    splitLine: { show: vertical, lineStyle: { color: COLOURS.grid } },
  };
}

function tickText(value: number): string {
  if (value !== 0 && Math.abs(value) >= 1e6) return `${Number((value / 1e6).toPrecision(3))} M`;
  if (Math.abs(value) >= 1e4) return `${Number((value / 1e3).toPrecision(3))} k`;
  return String(Number(value.toPrecision(6)));
}

const frame = {
  animation: false,
  backgroundColor: '#ffffff',
  textStyle,
  legend: {
    top: 4,
    left: 4,
    width: LEGEND.width,
    borderColor: COLOURS.grid,
    itemGap: LEGEND.gap,
    itemWidth: 22,
    itemHeight: 9,
    textStyle: { ...textStyle, color: COLOURS.text },
    formatter: '{name}\u2003\u2003',
  },
};

function lineOption(figure: LineFigure): object {
  const { x, y, series, levels = [], rays = [] } = figure;
  const ends = range(
    series.flatMap(({ points }) => points.map((point) => point[0])),
    x.log === true,
  );
  const [low, high] = [x.min ?? ends[0], x.max ?? ends[1]];
  let [nMeasured, nQuiet] = [0, 0];
  const drawn = series.map(({ name, points, scatter, quiet, fit }) => {
    const color = fit ? COLOURS.text : quiet ? QUIET[nQuiet++ % QUIET.length] : MEASURED[nMeasured++ % MEASURED.length];
    return {
      name,
      type: scatter ? 'scatter' : 'line',
      data: points.map(([a, b]) => [a, b]),
      symbol: 'circle',
      // The last exposure may lie a step beyond the round end of the axis.
      clip: false,
      symbolSize: fit ? 0 : scatter ? (quiet ? 7 : 12) : points.length > 40 ? 0 : 6,
      lineStyle: fit ? { width: 1.25, type: 'dotted', color } : { width: 2.25, color },
      itemStyle: { color },
      z: quiet ? 2 : 4,
    };
  });
  const straight = rays.map(({ name, slope }, i) => ({
    name,
    type: 'line',
    data: [
      [low, slope * low],
      [high, slope * high],
    ],
    symbol: 'none',
    lineStyle: { width: 1.5, type: 'dashed', color: i === 0 ? COLOURS.second : COLOURS.muted },
    itemStyle: { color: i === 0 ? COLOURS.second : COLOURS.muted },
    z: 1,
  }));
  const horizontal = levels.map(({ name, y: level }, i) => ({
    name,
    type: 'line',
    data: [
      [low, level],
      [high, level],
    ],
    symbol: 'none',
    lineStyle: { width: 1.5, type: 'dashed', color: LEVELS[i % LEVELS.length] },
    itemStyle: { color: LEVELS[i % LEVELS.length] },
    z: 1,
  }));
  return {
    ...frame,
    grid: { top: 38 + LEGEND.row * legendRows(figure), left: 60, right: 22, bottom: 50 },
    xAxis: { ...axis(x, false), min: low, max: high },
    yAxis: axis(y, true),
    series: [...drawn, ...straight, ...horizontal],
  };
}

/** Ends of an axis that hold every value: powers of ten, or round numbers from 0. */
function range(values: readonly number[], log: boolean): [number, number] {
  const finite = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  if (finite.length === 0) return log ? [1, 10] : [0, 1];
  const [least, most] = [Math.min(...finite), Math.max(...finite)];
  if (!log) {
    const step = 10 ** Math.floor(Math.log10(Math.max(most, 1e-9))) / 2;
    return [Math.min(0, least), Math.ceil(most / step - 0.02) * step];
  }
  const round = (value: number, up: boolean): number => {
    const power = 10 ** Math.floor(Math.log10(value));
    const inside = [1, 2, 5, 10].map((m) => m * power);
    return up ? inside.find((tick) => tick >= value * 0.99)! : inside.findLast((tick) => tick <= value * 1.01)!;
  };
  const [low, high] = [round(least, false), round(most, true)];
  return low === high ? [low, high * 10] : [low, high];
}

/** Room for names on the left: the library measures letters without a browser, as narrow ones. */
const leftOf = (names: readonly string[]): number =>
  Math.max(96, 24 + 6.6 * Math.max(0, ...names.map((name) => name.length)));

function barOption({ x, categories, series }: BarFigure): object {
  let [nMeasured, nQuiet] = [0, 0];
  return {
    ...frame,
    grid: { top: 44, left: leftOf(categories), right: 56, bottom: 50 },
    xAxis: { ...axis(x, false), splitLine: { show: true, lineStyle: { color: COLOURS.grid } } },
    yAxis: {
      type: 'category',
      data: categories,
      inverse: true,
      axisTick: { show: false },
      axisLine: { lineStyle: { color: COLOURS.muted } },
      axisLabel: { ...textStyle, color: COLOURS.text },
    },
    series: series.map(({ name, values, quiet }) => ({
      name,
      type: 'bar',
      data: values,
      barMaxWidth: 13,
      barGap: '15%',
      itemStyle: {
        color: quiet ? QUIET[nQuiet++ % QUIET.length] : MEASURED[nMeasured++ % MEASURED.length],
        borderRadius: [0, 2, 2, 0],
      },
      label: {
        show: true,
        position: 'right',
        ...textStyle,
        fontSize: 11,
        formatter: ({ value }: { value: number | null }) =>
          value === null ? '' : String(Number(value.toPrecision(3))),
      },
    })),
  };
}

function intervalOption({ x, rows, names }: IntervalFigure): object {
  const points = (of: (row: IntervalFigure['rows'][number]) => readonly number[]): (string | number)[][] =>
    rows.flatMap((row) => of(row).map((value) => [value, row.name]));
  const scatter = { type: 'scatter', symbol: 'circle' };
  return {
    ...frame,
    legend: { ...frame.legend, data: [names.value, names.interval, names.single] },
    grid: { top: 44, left: leftOf(rows.map(({ name }) => name)), right: 40, bottom: 50 },
    xAxis: { ...axis(x, false), scale: true, splitLine: { show: true, lineStyle: { color: COLOURS.grid } } },
    yAxis: {
      type: 'category',
      data: rows.map(({ name }) => name),
      inverse: true,
      axisTick: { show: false },
      axisLine: { lineStyle: { color: COLOURS.muted } },
      axisLabel: { ...textStyle, color: COLOURS.text },
    },
    series: [
      ...rows.map((row) => ({
        // One name for all of them: one entry in the legend.
        name: names.interval,
        type: 'line',
        data: [
          [row.low, row.name],
          [row.high, row.name],
        ],
        symbol: 'rect',
        symbolSize: [1.75, 11],
        lineStyle: { width: 1.75, color: COLOURS.accent },
        itemStyle: { color: COLOURS.accent },
        z: 2,
      })),
      {
        ...scatter,
        name: names.single,
        data: points(({ singles }) => singles),
        symbolSize: 6,
        itemStyle: { color: COLOURS.quiet },
        z: 3,
      },
      {
        ...scatter,
        name: names.value,
        data: points(({ value }) => [value]),
        symbolSize: 11,
        itemStyle: { color: COLOURS.accent },
        z: 4,
      },
    ],
  };
}

/** In pixels; `letter` is the width of one in a name. */
const HEAT = { cell: 34, gap: 2, right: 22, bottom: 14, letter: 6.9, steps: 5, step: 44 } as const;
/** Opacity of the least and of the greatest value: dark text stays readable on a light page, light text on a dark one. */
const HEAT_OPACITY = [0.04, 0.62] as const;

/** Room for the names, and whether those of columns are too long to lie flat. */
function heatMargins({ x, y }: HeatFigure): Readonly<Record<'left' | 'right' | 'top' | 'cell', number>> & {
  readonly slanted: boolean;
} {
  const longest = (names: readonly string[]): number => HEAT.letter * Math.max(0, ...names.map((name) => name.length));
  const left = Math.min(260, 26 + Math.max(longest(y.names), longest([y.label])));
  const cellOf = (right: number): number => (WIDTH - left - right) / x.names.length;
  const slanted = longest(x.names) > cellOf(HEAT.right) - 4;
  // A slanted name begins at the middle of its cell.
  const right = slanted ? Math.max(HEAT.right, 0.8 * longest(x.names) - cellOf(HEAT.right) / 2) : HEAT.right;
  return { left, right, top: 84 + (slanted ? 0.6 * longest(x.names) : 10), slanted, cell: cellOf(right) };
}

/** A rectangle for each number, in one colour whose strength is the number; a scale of five above on the right. */
function heatOption(figure: HeatFigure): object {
  const { x, y, value, values } = figure;
  const { left, right, top, slanted, cell } = heatMargins(figure);
  // To a thousandth of the scale.
  const digits = Math.max(0, 3 - Math.ceil(Math.log10(value.max - value.min)));
  const round = (number: number): string => String(Number(number.toFixed(digits)));
  const rectangle = (column: number, row: number, number: number, label: string): object => {
    const share = Math.min(1, Math.max(0, (number - value.min) / (value.max - value.min)));
    const opacity = HEAT_OPACITY[0] + (HEAT_OPACITY[1] - HEAT_OPACITY[0]) * share;
    return {
      value: [column, row],
      itemStyle: { color: COLOURS.accent, opacity: Number(opacity.toFixed(3)) },
      label: { show: true, ...textStyle, color: COLOURS.text, fontSize: 12, formatter: label, opacity: 1 },
    };
  };
  const layer = (size: readonly number[], data: readonly object[], index: number): object => {
    const axes = { xAxisIndex: index, yAxisIndex: index };
    return { type: 'scatter', symbol: 'rect', symbolSize: size, data, ...axes, silent: true };
  };
  const category = (data: readonly string[], rest: object): object => ({
    type: 'category',
    data,
    axisTick: { show: false },
    axisLine: { show: false },
    axisLabel: { ...textStyle, color: COLOURS.text, interval: 0 },
    nameTextStyle: textStyle,
    ...rest,
  });
  const steps = Array.from(
    { length: HEAT.steps },
    (_, i) => value.min + ((value.max - value.min) * i) / (HEAT.steps - 1),
  );
  const quiet = { show: true, axisLabel: { show: false } };
  return {
    ...frame,
    legend: { show: false },
    grid: [
      { top, left, right, height: HEAT.cell * y.names.length },
      { top: 8, right: HEAT.right, width: HEAT.step * HEAT.steps, height: 20 },
    ],
    xAxis: [
      category(x.names, {
        position: 'top',
        axisLabel: { ...textStyle, color: COLOURS.text, interval: 0, rotate: slanted ? -35 : 0 },
        name: x.label,
        nameLocation: 'middle',
        nameGap: top - 58,
      }),
      category(steps.map(String), { ...quiet, gridIndex: 1 }),
    ],
    yAxis: [
      category(y.names, {
        inverse: true,
        name: y.label,
        nameLocation: 'start',
        nameGap: 12,
        nameTextStyle: { ...textStyle, align: 'right', padding: [0, 8, 0, 0] },
      }),
      category([''], {
        ...quiet,
        gridIndex: 1,
        name: value.label,
        nameLocation: 'middle',
        nameRotate: 0,
        nameGap: 10,
        nameTextStyle: { ...textStyle, align: 'right' },
      }),
    ],
    series: [
      layer(
        [cell - HEAT.gap, HEAT.cell - HEAT.gap],
        values.flatMap((row, i) =>
          row.flatMap((number, j) => (number === undefined ? [] : [rectangle(j, i, number, round(number))])),
        ),
        0,
      ),
      layer(
        [HEAT.step - HEAT.gap, 18],
        steps.map((number, i) => rectangle(i, 0, number, round(number))),
        1,
      ),
    ],
  };
}
