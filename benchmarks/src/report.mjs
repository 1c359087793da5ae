// The page of charts from the results that are kept for this machine: results/<machine>/report.html and charts/*.svg.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { chartsOf, rooflines } from './figures.mjs';
import { median, percent, timeText } from './harness.mjs';
import { machine, machineName, root } from './machine.mjs';

/** Kept results, oldest first, as `{ what, isa, file, … }`. */
function kept(folder) {
  const age = ({ machine: at, time }) => time ?? at.date;
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((file) => {
      const record = JSON.parse(readFileSync(join(folder, file), 'utf8'));
      return { ...record, isa: record.machine.isa, file };
    })
    .toSorted((a, b) => (age(a) < age(b) ? -1 : Number(age(a) > age(b))));
}

/**
 * The latest result of each benchmark and instruction set. Training is measured size by size: sizes that the latest run left
 * out come from the runs before it.
 */
export function latest(records) {
  const newest = new Map();
  for (const record of records) {
    const key = `${record.what} ${record.isa}`;
    const before = newest.get(key);
    if (record.what !== 'train-step' || before === undefined) {
      newest.set(key, record);
      continue;
    }
    const measured = new Set(record.rows.map(({ size }) => size));
    const others = (list = []) => list.filter(({ size }) => !measured.has(size));
    const rows = [...others(before.rows), ...record.rows];
    const stillUsed = others(before.rows).length > 0;
    newest.set(key, {
      ...record,
      rows: rows.toSorted((a, b) => a.nParameter - b.nParameter),
      overlays: [...others(before.overlays), ...(record.overlays ?? [])],
      file: stillUsed ? `${before.file}, ${record.file}` : record.file,
    });
  }
  return [...newest.values()];
}

const distinct = (list) => [...new Set(list)];
const round = (x, digits = 3) => (x === undefined ? undefined : Number(x.toPrecision(digits)));

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
  if (what === 'gptq') {
    const cells = rows.map((row) => [
      row.nParameter,
      row.threads,
      timeText(row.seconds.median),
      timeText(row.processorSeconds),
      percent(row.waitShare),
    ]);
    return ['GPTQ to 4 bits', htmlTable(['parameters', 'threads', 'time', 'processor time', 'waited'], cells)];
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

/** The page of kept results, `html`, and its charts as `{ id, svg }`. */
export function page(records) {
  const sections = [];
  const charts = [];
  const draw = (chart) => {
    const { id, title, caption, svg, columns, rows } = chart;
    if (rows.length === 0) return;
    charts.push({ id, svg });
    const numbers = `<details><summary>Numbers</summary>${htmlTable(columns, rows)}</details>`;
    sections.push(
      `<section><h2>${escapeHtml(title)}</h2><figure>${svg}<figcaption>${escapeHtml(caption)}</figcaption></figure>${numbers}</section>`,
    );
  };
  for (const chart of rooflines(records)) draw(chart);
  for (const record of records) {
    if (['data', 'gptq', 'memory', 'side-by-side'].includes(record.what)) {
      const [title, body] = textSection(record);
      sections.push(`<section><h2>${escapeHtml(title)}</h2>${body}</section>`);
    } else for (const chart of chartsOf(record)) draw(chart);
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
  return { html, charts };
}

/** Writes the page and its charts; says where. */
export async function report() {
  const facts = machine();
  const folder = join(root, 'benchmarks', 'results', machineName(facts));
  const records = existsSync(folder) ? latest(kept(folder)).filter(({ rows }) => rows?.length > 0) : [];
  if (records.length === 0) {
    console.error('no results are kept for this machine: npm run bench, then try again');
    process.exit(1);
  }
  const { html, charts } = page(records);
  const pictures = join(folder, 'charts');
  rmSync(pictures, { recursive: true, force: true });
  mkdirSync(pictures, { recursive: true });
  for (const { id, svg } of charts) writeFileSync(join(pictures, `${id}.svg`), `${svg}\n`);
  const file = join(folder, 'report.html');
  writeFileSync(file, html);
  console.log(`written to ${relative(process.cwd(), file)}`);
}
