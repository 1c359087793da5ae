// Charts as SVG without a browser.
import * as echarts from 'echarts';

/** Colours that stay apart for colour-blind readers (Okabe and Ito 2008). Ours comes first. */
const colours = ['#0072b2', '#e69f00', '#009e73', '#d55e00', '#cc79a7', '#56b4e9', '#8a7a00', '#666666', '#000000'];
const textStyle = { fontFamily: 'system-ui, Helvetica, Arial, sans-serif', fontSize: 12, color: '#1c2430' };
const width = 820;

// Without a browser nobody can measure text: a generous guess keeps labels apart and whole.
echarts.setPlatformAPI({
  measureText: (text, font) => ({ width: text.length * 0.6 * (Number.parseFloat(font?.match(/[\d.]+px/)?.[0]) || 12) }),
});

function render(height, option) {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height });
  try {
    chart.setOption({ animation: false, color: colours, textStyle, backgroundColor: '#fff', ...option });
    return chart.renderToSVGString();
  } finally {
    chart.dispose();
  }
}

const legend = { top: 0, left: 0, textStyle };

/** Room for the legend, which fills one line after the other with names. */
function top(series) {
  let lines = 1;
  let used = 0;
  for (const { name } of series) {
    const needed = 45 + 0.6 * textStyle.fontSize * name.length;
    if (used > 0 && used + needed > width) {
      lines += 1;
      used = 0;
    }
    used += needed;
  }
  return 14 + 20 * lines;
}

/** Horizontal bars by category: `{ id, title, caption, unit, categories, series: [{ name, values }], max?, log?, stack? }`. */
export function barChart({ id, title, caption, unit, categories, series, max, log, stack }) {
  const bars = stack ? 1 : series.length;
  const svg = render(top(series) + 60 + categories.length * (14 + 11 * bars), {
    legend,
    grid: { top: top(series), left: 8, right: 60, bottom: 36, containLabel: true },
    xAxis: { type: log ? 'log' : 'value', name: unit, nameLocation: 'middle', nameGap: 26, max, axisLabel: textStyle },
    yAxis: { type: 'category', data: categories, inverse: true, axisLabel: textStyle, axisTick: { show: false } },
    series: series.map(({ name, values }) => ({
      name,
      type: 'bar',
      data: values.map((value) => value ?? null),
      barGap: '10%',
      ...(stack ? { stack: 'all' } : { label: { show: true, position: 'right', fontSize: 10 } }),
    })),
  });
  const rows = categories.map((category, i) => [category, ...series.map(({ values }) => values[i])]);
  return { id, title, caption, svg, columns: [unit, ...series.map(({ name }) => name)], rows };
}

/** Lines through points: `{ id, title, caption, x: { name, log?, base? }, y: { name, log?, free? }, series: [{ name, points }] }`. */
export function lineChart({ id, title, caption, x, y, series }) {
  const svg = render(380, {
    legend,
    grid: { top: top(series) + 14, left: 8, right: 24, bottom: 36, containLabel: true },
    xAxis: {
      type: x.log ? 'log' : 'value',
      logBase: x.base ?? 2,
      name: x.name,
      nameLocation: 'middle',
      nameGap: 26,
      min: 'dataMin',
      max: 'dataMax',
      axisLabel: textStyle,
    },
    yAxis: { type: y.log ? 'log' : 'value', name: y.name, scale: y.free === true, axisLabel: textStyle },
    series: series.map(({ name, points }, i) => ({
      name,
      type: 'line',
      data: points,
      showSymbol: points.length < 20,
      symbol: 'circle',
      lineStyle: { width: 2, type: i % 2 ? 'dashed' : 'solid' },
    })),
  });
  const rows = series.flatMap(({ name, points }) => points.map(([at, value]) => [name, at, value]));
  return { id, title, caption, svg, columns: ['series', x.name, y.name], rows };
}

/**
 * Points under a roof: operations per byte against GFLOP/s, with the peak and bandwidths in GB/s as lines.
 * `{ id, title, caption, peak, bandwidths: { name: GB/s }, series: [{ name, points: [x, y, label] }] }`.
 */
export function rooflineChart({ id, title, caption, peak, bandwidths, series }) {
  const at = series.flatMap(({ points }) => points.map(([x]) => x));
  const [left, right] = [Math.min(...at) / 2, Math.max(...at) * 2];
  const roofs = Object.entries(bandwidths).map(([name, gbs]) => {
    const ridge = Math.min(Math.max(peak / gbs, left), right);
    const bound = (x) => [x, Math.min(peak, x * gbs)];
    return { name: `${name}, ${gbs.toFixed(0)} GB/s`, points: [left, ridge, right].map(bound) };
  });
  const axis = { type: 'log', nameLocation: 'middle', axisLabel: textStyle };
  const svg = render(420, {
    legend,
    grid: { top: top([...series, ...roofs]) + 14, left: 28, right: 24, bottom: 36, containLabel: true },
    xAxis: { ...axis, name: 'operations per byte', nameGap: 26, min: left, max: right },
    yAxis: { ...axis, name: `GFLOP/s (peak ${peak.toFixed(0)})`, nameGap: 44 },
    series: [
      ...series.map(({ name, points }) => ({
        name,
        type: 'scatter',
        symbolSize: 7,
        data: points.map(([x, y]) => [x, y]),
      })),
      ...roofs.map(({ name, points }, i) => ({
        name,
        type: 'line',
        data: points,
        showSymbol: false,
        lineStyle: { width: 2, type: i % 2 ? 'dashed' : 'solid' },
      })),
    ],
  });
  const rows = series.flatMap(({ name, points }) => points.map(([x, y, label]) => [name, label, x, y]));
  return { id, title, caption, svg, columns: ['kind', 'call', 'operations per byte', 'GFLOP/s'], rows };
}
