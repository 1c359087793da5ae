// The page of charts from the results that are kept for this machine: results/<machine>/report.html and charts/*.svg.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { barChart, lineChart } from './chart.mjs';
import { median, percent, timeText } from './harness.mjs';
import { machine, machineName, root } from './machine.mjs';

/** The latest kept result of each benchmark and instruction set, as `{ what, isa, … }`. */
function latest(folder) {
  const newest = new Map();
  for (const file of readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()) {
    const record = JSON.parse(readFileSync(join(folder, file), 'utf8'));
    newest.set(`${record.what} ${record.machine.isa}`, { ...record, isa: record.machine.isa, file });
  }
  return [...newest.values()];
}

const round = (x, digits = 3) => (x === undefined ? undefined : Number(x.toPrecision(digits)));
const shares = (x) => (x === undefined ? undefined : Math.round(1000 * x) / 10);
const distinct = (list) => [...new Set(list)];

/** Bars: for each row's category, one value for each series name. */
function table(rows, category, series, value) {
  const [categories, names] = [distinct(rows.map(category)), distinct(rows.map(series))];
  const of = (name, label) => rows.find((row) => series(row) === name && category(row) === label);
  return {
    categories,
    series: names.map((name) => ({
      name,
      values: categories.map((label) => {
        const row = of(name, label);
        return row && value(row);
      }),
    })),
  };
}

const threadsOf = ({ threads }) => `${threads} thr.`;

function gemmCharts({ layers, rows, isa }) {
  const share = table(
    layers.filter(({ limit }) => limit),
    ({ d, tokens }) => `d=${d}, M=${tokens}`,
    ({ contender, threads }) => `${contender}, ${threads} thr.`,
    ({ fraction }) => shares(fraction),
  );
  const most = Math.max(...layers.map(({ threads }) => threads));
  const growth = distinct(layers.map(({ contender, tokens }) => `${contender}, M=${tokens}`)).map((name) => ({
    name,
    points: layers
      .filter((row) => row.threads === most && `${row.contender}, M=${row.tokens}` === name)
      .map(({ d, rate }) => [d, round(rate)]),
  }));
  const ours = rows.filter(({ contender, threads }) => contender === 'physlm' && threads === most);
  const products = table(
    ours.filter(({ form, limit }) => form.length === 2 && limit),
    ({ d, tokens, product }) => `d=${d}, M=${tokens}, ${product}`,
    ({ form }) => form,
    ({ fraction }) => shares(fraction),
  );
  return [
    barChart({
      id: `gemm-layer-${isa}`,
      title: `A layer’s twelve products, share of peak (${isa})`,
      caption:
        'Forward, input gradient and weight gradient of qkv, proj, up and down, as one time. Peak: fused multiply-adds in registers, measured before and after every sample.',
      unit: '% of peak',
      max: 100,
      ...share,
    }),
    lineChart({
      id: `gemm-growth-${isa}`,
      title: `A layer’s products against its width, ${most} threads (${isa})`,
      caption: 'GFLOP/s over the twelve products.',
      x: { name: 'd', log: true },
      y: { name: 'GFLOP/s' },
      series: growth,
    }),
    barChart({
      id: `gemm-products-${isa}`,
      title: `Our products one by one, share of peak, ${most} threads (${isa})`,
      caption: 'NT: forward. NN: input gradient. TN: weight gradient.',
      unit: '% of peak',
      max: 100,
      ...products,
    }),
  ];
}

function attentionCharts({ rows, isa }) {
  const most = Math.max(...rows.map(({ threads }) => threads));
  const ours = rows.filter(({ contender, limit }) => contender === 'physlm' && limit);
  const label = ({ B, H, T, D, pass }) => `${B},${H},${T},${D} ${pass === 'both' ? 'fwd+bwd' : 'fwd'}`;
  const sweep = rows.filter(({ B, H, T, D, threads }) => threads === most && D === 64 && H === 4 && B * T === 4096);
  const growth = distinct(
    sweep.map(({ contender, pass }) => `${contender}, ${pass === 'both' ? 'fwd+bwd' : 'fwd'}`),
  ).map((name) => ({
    name,
    points: sweep
      .filter(({ contender, pass }) => `${contender}, ${pass === 'both' ? 'fwd+bwd' : 'fwd'}` === name)
      .map(({ T, seconds }) => [T, round(seconds.median * 1000)]),
  }));
  return [
    barChart({
      id: `attention-share-${isa}`,
      title: `Our attention, share of peak (${isa})`,
      caption: 'Shapes are B, H, T, D. Operations of the causal half only; exponentials are not counted.',
      unit: '% of peak',
      max: 100,
      ...table(ours, label, threadsOf, ({ fraction }) => shares(fraction)),
    }),
    lineChart({
      id: `attention-growth-${isa}`,
      title: `Attention against sequence length at 4,096 tokens, ${most} threads (${isa})`,
      caption: 'H=4, D=64. At constant tokens the work grows as T.',
      x: { name: 'T', log: true },
      y: { name: 'ms', log: true },
      series: growth,
    }),
  ];
}

function bandwidthChart({ what, rows, isa }) {
  return barChart({
    id: `${what}-${isa}`,
    title: `${{ norm: 'Norms and activations', loss: 'Loss', optimizer: 'Optimiser' }[what]}, share of copy bandwidth (${isa})`,
    caption:
      'Bytes that the call cannot do without, next to a copy that moves as many. Calls that only read can be faster than a copy.',
    unit: '% of a copy',
    ...table(
      rows.filter(({ limit }) => limit),
      ({ id }) => id,
      threadsOf,
      ({ fraction }) => shares(fraction),
    ),
  });
}

function trainCharts({ rows, overlays = [], isa }) {
  const label = ({ size, dModel }) => `${size} (d=${dModel})`;
  const speed = barChart({
    id: `train-step-${isa}`,
    title: `Training steps, tokens/s (${isa})`,
    caption:
      'Data, forward, backward, clipping and AdamW in f32. Every contender starts from the same weights and sees the same tokens; losses agree step by step.',
    unit: 'tokens/s',
    log: true,
    ...table(
      rows,
      label,
      ({ contender }) => contender,
      ({ tokensPerSec }) => tokensPerSec,
    ),
  });
  const use = rows.filter(({ mfu }) => mfu);
  const charts = [
    speed,
    barChart({
      id: `mfu-${isa}`,
      title: `Training steps, share of peak by 6·parameters·tokens (${isa})`,
      caption: 'The attention products and everything else are not counted as work, so 100 % is out of reach.',
      unit: '% of peak',
      ...table(
        use,
        label,
        ({ contender }) => contender,
        ({ mfu }) => shares(mfu),
      ),
    }),
  ];
  const kernels = rows.filter(({ kernelMs, contender }) => kernelMs && contender.startsWith('physlm'));
  if (kernels.length > 0) {
    const most = Math.max(...kernels.map(({ threads }) => threads));
    const parts = kernels
      .filter(({ threads }) => threads === most)
      .flatMap(({ kernelMs, ...row }) => {
        const total = Object.values(kernelMs).reduce((a, b) => a + b, 0);
        return Object.entries(kernelMs).map(([kernel, ms]) => ({ ...row, kernel, share: ms / total }));
      })
      .filter(({ share }) => share > 0.01);
    charts.push(
      barChart({
        id: `kernels-${isa}`,
        title: `Where our step’s time goes, ${most} threads (${isa})`,
        caption: 'Kernels above 1 % of the kernels’ time.',
        unit: '%',
        stack: true,
        ...table(
          parts,
          label,
          ({ kernel }) => kernel,
          ({ share }) => shares(share),
        ),
      }),
    );
  }
  for (const { size, contenders, losses, worst } of overlays) {
    charts.push(
      lineChart({
        id: `loss-${size}-${isa}`,
        title: `The same work: losses of ${size}`,
        caption: `Loss in nats by step, one curve over the other; they differ by at most ${worst.toExponential(1)}.`,
        x: { name: 'step' },
        y: { name: 'nats', free: true },
        series: contenders.map((name, c) => ({ name, points: losses[c].map((loss, step) => [step, round(loss, 6)]) })),
      }),
    );
  }
  return charts;
}

function generateChart({ rows, isa }) {
  return barChart({
    id: `generate-${isa}`,
    title: `Greedy decoding, new tokens/s (${isa})`,
    caption: `Medium model, batch ${rows[0].nBatch}, prompts of ${rows[0].nPrompt} tokens, ${rows[0].nNew} new ones.`,
    unit: 'tokens/s',
    ...table(
      rows,
      ({ size }) => size,
      ({ contender }) => contender,
      ({ tokensPerSec }) => tokensPerSec,
    ),
  });
}

const escapeHtml = (text) =>
  `${text}`.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

function htmlTable(columns, rows) {
  const row = (tag, cells) => `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(cell ?? '–')}</${tag}>`).join('')}</tr>`;
  return `<div class="wide"><table><thead>${row('th', columns)}</thead><tbody>${rows.map((cells) => row('td', cells)).join('')}</tbody></table></div>`;
}

/** Benchmarks whose numbers need no picture. */
function textSection(record) {
  const { what, rows } = record;
  if (what === 'data') {
    const cells = rows.map(({ job, unit, perSecond }) => [job, unit, round(perSecond.median).toLocaleString('en')]);
    return ['Data, one thread', htmlTable(['job', 'unit', 'per second'], cells)];
  }
  if (what === 'memory') {
    const cells = rows.map((row) => [
      row.size,
      row.nParameter,
      round(row.stateMiB),
      round(row.arenaMiB),
      round(row.rssMiB),
    ]);
    const note = `<p>${record.nStep} steps of ${record.size}, RSS in tenths of the run: ${record.rssMiB.join(', ')} MiB.</p>`;
    return [
      'Memory of a training process, MiB',
      htmlTable(['size', 'parameters', 'weights, gradients, moments', 'arena', 'RSS'], cells) + note,
    ];
  }
  const cells = rows.map((row) => [
    row.size,
    Math.round(row.aloneTokensPerSec.median),
    Math.round(row.pairTokensPerSec.median),
    round(row.ratio.median),
  ]);
  return ['Two runs side by side', htmlTable(['size', 'alone, tokens/s', 'two, tokens/s', 'ratio'], cells)];
}

function chartsOf(record) {
  if (record.what === 'gemm') return gemmCharts(record);
  if (record.what === 'attention') return attentionCharts(record);
  if (record.what === 'train-step') return trainCharts(record);
  if (record.what === 'generate') return [generateChart(record)];
  return [bandwidthChart(record)];
}

const style = `:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, Helvetica, Arial, sans-serif; color: #1c2430; background: #fff; max-width: 860px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; }
svg { max-width: 100%; height: auto; } figure { margin: 0; } figcaption, .note { color: #5b6675; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } td, th { padding: .15rem .7rem .15rem 0; text-align: right; border-bottom: 1px solid #e3e7ec; }
td:first-child, th:first-child { text-align: left; } .wide { overflow-x: auto; }`;

/** How undisturbed a benchmark was: samples that waited for no core, or the median share of time spent waiting for one. */
function quietness({ rows, waitShare }) {
  const total = (of) => rows.reduce((sum, row) => sum + (of(row) ?? 0), 0);
  const nSample = total((row) => row.nSample);
  if (nSample > 0) return `${percent(total((row) => row.nQuiet) / nSample)} of samples`;
  const waits = rows.map((row) => row.waitShare).filter((wait) => wait !== undefined);
  const wait = waits.length > 0 ? median(waits) : waitShare;
  return wait === undefined ? '–' : `waited ${percent(wait)}`;
}

function provenance(records) {
  return htmlTable(
    ['benchmark', 'instruction set', 'date', 'commit', 'threads', 'peak, GFLOP/s', 'quiet', 'took', 'file'],
    records.map(({ what, isa, machine: at, threads, peak, seconds, file, ...rest }) => [
      what,
      isa,
      at.date,
      at.dirty ? `${at.commit} with changes` : at.commit,
      threads.join(', '),
      peak.map(({ fmaGflops }) => (fmaGflops ? Math.round(fmaGflops) : '–')).join(', '),
      quietness(rest),
      timeText(seconds),
      file,
    ]),
  );
}

/** What our products reach at worst and at best: the line under the title. */
function headline(records) {
  const gemm = records.find(({ what }) => what === 'gemm');
  const fractions = gemm?.layers.filter(({ contender, fraction }) => contender === 'physlm' && fraction);
  if (!fractions?.length) return '';
  const [low, high] = [Math.min, Math.max].map((of) => percent(of(...fractions.map(({ fraction }) => fraction))));
  return `<p>A layer’s products reach ${low} to ${high} of the measured peak.</p>`;
}

/** Writes the page and its charts; says where. */
export async function report() {
  const facts = machine();
  const folder = join(root, 'benchmarks', 'results', machineName(facts));
  const records = existsSync(folder) ? latest(folder).filter(({ rows }) => rows?.length > 0) : [];
  if (records.length === 0) {
    console.error('no results are kept for this machine: npm run bench, then try again');
    process.exit(1);
  }
  const charts = join(folder, 'charts');
  mkdirSync(charts, { recursive: true });
  const sections = [];
  for (const record of records) {
    if (['data', 'memory', 'side-by-side'].includes(record.what)) {
      const [title, body] = textSection(record);
      sections.push(`<section><h2>${escapeHtml(title)}</h2>${body}</section>`);
      continue;
    }
    for (const { id, title, caption, svg, columns, rows } of chartsOf(record).filter(
      (chart) => chart.rows.length > 0,
    )) {
      writeFileSync(join(charts, `${id}.svg`), `${svg}\n`);
      const numbers = `<details><summary>Numbers</summary>${htmlTable(columns, rows)}</details>`;
      sections.push(
        `<section><h2>${escapeHtml(title)}</h2><figure>${svg}<figcaption>${escapeHtml(caption)}</figcaption></figure>${numbers}</section>`,
      );
    }
  }
  const { machine: at } = records[0];
  const versions = distinct(records.flatMap(({ rows }) => rows.map(({ version }) => version).filter(Boolean)));
  const html = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>physlm benchmarks: ${escapeHtml(at.cpu)}</title><style>${style}</style></head><body>
<h1>physlm benchmarks</h1>
<p>${escapeHtml(`${at.cpu}, ${at.nCore} cores, governor ${at.governor}, ${at.memoryGiB} GiB, ${at.os}, Node.js ${at.node}, ${at.compiler ?? 'no compiler'}`)}</p>
${headline(records)}
<p class="note">Contenders: ${escapeHtml(versions.join(' · '))}. Times are medians; every contender ran in fresh processes, in turns with the others.</p>
${sections.join('\n')}
<section><h2>Where the numbers come from</h2>${provenance(records)}</section>
</body></html>
`;
  const file = join(folder, 'report.html');
  writeFileSync(file, html);
  console.log(`written to ${relative(process.cwd(), file)}`);
}
