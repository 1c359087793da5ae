import type { Environment } from '../environment.js';
import { boundText, type Verdict } from '../laws/law.js';
import type { Expectation, Experiment } from '../recipes/recipe.js';
import { type Figure, figureData, type ReportDocument, type Table } from './document.js';
import { count, duration, gibibytes } from './number-format.js';
import { figureColours, inlineSvg, renderSvg } from './svg.js';

/** What the criterion of a law said about a run. */
export interface Judgement {
  readonly verdict: Verdict;
  readonly claim: string;
  readonly source: string;
  readonly expect: readonly Expectation[];
}

/** Why a run has no verdict. */
export const NO_VERDICT =
  'No verdict: no law is decided by this run alone, or its parameters are not those of the scale.';

/** A report in the forms it is kept in. */
export interface RenderedReport {
  /** One page without scripts that needs no other file and no network. */
  readonly html: string;
  /** Figures by id: the image and the numbers it is drawn from. */
  readonly figures: ReadonlyMap<string, { readonly svg: string; readonly data: Figure }>;
}

/** Sets a report as a page that can be opened, mailed and archived as one file. */
export async function renderReport(
  document: ReportDocument,
  experiment: Experiment,
  environment: Environment | undefined,
  judgements: readonly Judgement[],
): Promise<RenderedReport> {
  const figures = new Map<string, { svg: string; data: Figure }>();
  const parts: string[] = [];
  for (const figure of document.figures) {
    const svg = await renderSvg(figure);
    figures.set(figure.id, { svg, data: figure });
    parts.push(figureHtml(figure, svg));
  }
  const body = [
    `<header><p class="kicker">physlm · ${escapeHtml(experiment.recipe)} · scale ${escapeHtml(experiment.scale)} · seed ${experiment.seed}</p>`,
    `<h1>${escapeHtml(document.title)}</h1><p class="summary">${escapeHtml(document.summary)}</p></header>`,
    headlineHtml(document, judgements),
    tableHtml(document.table),
    ...parts,
    ...document.tables.map(tableHtml),
    settingHtml(experiment, environment),
    `<section><h2>Sources</h2><ul>${document.sources.map((text) => `<li>${escapeHtml(text)}</li>`).join('')}</ul></section>`,
  ].join('\n');
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(`${document.title} ${experiment.name}`)}</title>
<style>${style()}</style>
</head>
<body>
<main>
${body}
</main>
</body>
</html>
`;
  return { html, figures };
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

function headlineHtml({ headline }: ReportDocument, judgements: readonly Judgement[]): string {
  const number = `<p class="number"><b>${escapeHtml(headline.value)}</b> ${escapeHtml(headline.unit)}</p>`;
  const lines = [`<p>${escapeHtml(headline.text)}</p>`];
  for (const { verdict, claim, source, expect } of judgements) {
    const bounds = expect.map((one) => `${boundText(one)} (${one.tests})`).join('; ');
    lines.push(
      `<p class="verdict ${verdict}"><span>${verdict === 'holds' ? '✓ holds' : '✗ fails'}</span> ${escapeHtml(claim)}</p>`,
      `<p class="note">${escapeHtml(source)}. Criterion at this scale: ${escapeHtml(bounds)}.</p>`,
    );
  }
  if (judgements.length === 0) lines.push(`<p class="note">${NO_VERDICT}</p>`);
  return `<section class="headline">${number}<div>${lines.join('')}</div></section>`;
}

function cells(tag: string, row: readonly string[]): string {
  return `<tr>${row.map((cell, i) => `<${i === 0 ? 'th scope="row"' : tag}${/^ /.test(cell) ? ' class="in"' : ''}>${escapeHtml(cell)}</${i === 0 ? 'th' : tag}>`).join('')}</tr>`;
}

function tableBody({ columns, rows }: Pick<Table, 'columns' | 'rows'>): string {
  const head = `<tr>${columns.map((column) => `<th scope="col">${escapeHtml(column)}</th>`).join('')}</tr>`;
  return `<div class="wide"><table><thead>${head}</thead><tbody>${rows.map((row) => cells('td', row)).join('')}</tbody></table></div>`;
}

function tableHtml(table: Table): string {
  const note = table.note === undefined ? '' : `<p class="note">${escapeHtml(table.note)}</p>`;
  return `<section><h2>${escapeHtml(table.title)}</h2>${tableBody(table)}${note}</section>`;
}

function figureHtml(figure: Figure, svg: string): string {
  const { columns, rows } = figureData(figure);
  const data = tableBody({
    columns,
    rows: rows.map((row) => row.map((cell) => (typeof cell === 'number' ? String(Number(cell.toPrecision(6))) : cell))),
  });
  return `<section><h2>${escapeHtml(figure.title)}</h2><figure>${inlineSvg(svg, figure.title)}
<figcaption>${escapeHtml(figure.caption)}</figcaption></figure>
<details><summary>Numbers behind this figure</summary>${data}</details></section>`;
}

function settingHtml(experiment: Experiment, environment: Environment | undefined): string {
  const rows: [string, string][] = [];
  if (environment !== undefined) {
    const { physlm, commit, node, os, cpu, cores, memoryBytes, device, threads, isa, started, seconds } = environment;
    rows.push(
      ['physlm', commit === undefined ? physlm : `${physlm}, commit ${commit}`],
      ['device', `${device}${isa === undefined ? '' : `, ${isa}`}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`],
      ['machine', `${cpu}, ${count(cores)} cores, ${gibibytes(memoryBytes)}, ${os}, Node.js ${node}`],
      ['started', started],
      ['time', duration(seconds)],
    );
  }
  const again =
    environment === undefined
      ? ''
      : `<p>To run this again:</p><pre><code>${escapeHtml(environment.command)}</code></pre>`;
  const table = rows.length === 0 ? '' : tableBody({ columns: ['', ''], rows });
  return `<section class="setting"><h2>Experiment and environment</h2>${again}${table}
<details><summary>The experiment as JSON</summary><pre><code>${escapeHtml(JSON.stringify(experiment, null, 2))}</code></pre></details></section>`;
}

function style(): string {
  return `
:root { color-scheme: light dark; --page: #ffffff; --panel: #f5f7fa; --text: #1c2430; --muted: #5b6675; --rule: #e3e7ec;
  --good: #1a7f37; --bad: #c62828; ${figureColours(false)} }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161c; --panel: #1b212a; --text: #e6eaf0; --muted: #9aa6b5; --rule: #2b333e;
    --good: #56d27a; --bad: #ff8a80; ${figureColours(true)} }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 812px; margin: 0 auto; padding: 40px 24px 72px; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -0.015em; margin: 4px 0 12px; }
h2 { font-size: 19px; line-height: 1.3; margin: 0 0 12px; }
section { margin-top: 40px; }
.kicker { margin: 0; color: var(--muted); font-size: 14px; }
.summary { margin: 0; max-width: 66ch; }
.note, figcaption { color: var(--muted); font-size: 14px; margin: 8px 0 0; max-width: 78ch; }
.headline { display: flex; gap: 28px; align-items: center; background: var(--panel); border-radius: 12px; padding: 22px 26px; margin-top: 28px; }
.headline p { margin: 0 0 8px; }
.headline div p:last-child { margin: 0; }
.number { flex: none; white-space: nowrap; line-height: 1.25; color: var(--muted); font-size: 15px; }
.number b { display: block; font-size: 46px; line-height: 1.1; letter-spacing: -0.02em; color: var(--text); font-variant-numeric: tabular-nums; }
.verdict span { font-weight: 650; margin-right: 6px; }
.verdict.holds span { color: var(--good); }
.verdict.fails span { color: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 15px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--rule); text-align: right; font-weight: 400; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
th.in { padding-left: 22px; color: var(--muted); }
thead th { color: var(--muted); font-size: 14px; }
.setting td { text-align: left; }
.setting thead { display: none; }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; }
details { margin-top: 10px; font-size: 14px; }
summary { cursor: pointer; color: var(--muted); }
pre { background: var(--panel); border-radius: 8px; padding: 12px 16px; overflow-x: auto; font-size: 13.5px; line-height: 1.45; }
@media (max-width: 600px) { .headline { flex-direction: column; align-items: flex-start; gap: 12px; } }
@media print { main { padding: 0; max-width: none; } details { display: none; } section { break-inside: avoid; } }
`.trim();
}
