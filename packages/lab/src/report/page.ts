import { type Figure, figureData, type Table } from './document.js';
import { figureColours, inlineSvg } from './svg.js';

/** What goes into a page. */
export interface PageParts {
  readonly title: string;
  /** HTML of the page's main part. */
  readonly body: string;
  /** CSS that only this page needs. */
  readonly css?: string;
  /** A script that makes a complete page handier. */
  readonly script?: string;
}

/** A whole page in the style of the house, light and dark, that needs no other file and no network. */
export function page({ title, body, css = '', script }: PageParts): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${[style(), css].filter((part) => part !== '').join('\n')}</style>
</head>
<body>
<main>
${body}
</main>
${script === undefined ? '' : `<script>${script}</script>\n`}</body>
</html>
`;
}

/** Text as it must be written between tags and in attributes. */
export function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

function cells(tag: string, row: readonly string[]): string {
  return `<tr>${row.map((cell, i) => `<${i === 0 ? 'th scope="row"' : tag}${/^ /.test(cell) ? ' class="in"' : ''}>${escapeHtml(cell)}</${i === 0 ? 'th' : tag}>`).join('')}</tr>`;
}

/** A table without a heading. */
export function tableBody({ columns, rows }: Pick<Table, 'columns' | 'rows'>): string {
  const head = `<tr>${columns.map((column) => `<th scope="col">${escapeHtml(column)}</th>`).join('')}</tr>`;
  return `<div class="wide"><table><thead>${head}</thead><tbody>${rows.map((row) => cells('td', row)).join('')}</tbody></table></div>`;
}

/** A table with its heading and note. */
export function tableHtml(table: Table): string {
  const note = table.note === undefined ? '' : `<p class="note">${escapeHtml(table.note)}</p>`;
  return `<section><h2>${escapeHtml(table.title)}</h2>${tableBody(table)}${note}</section>`;
}

/** A figure with its caption and the numbers behind it. */
export function figureHtml(figure: Figure, svg: string): string {
  const { columns, rows } = figureData(figure);
  const data = tableBody({
    columns,
    rows: rows.map((row) => row.map((cell) => (typeof cell === 'number' ? String(Number(cell.toPrecision(6))) : cell))),
  });
  return `<section><h2>${escapeHtml(figure.title)}</h2><figure>${inlineSvg(svg, figure.title)}
<figcaption>${escapeHtml(figure.caption)}</figcaption></figure>
<details><summary>Numbers behind this figure</summary>${data}</details></section>`;
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
@media (max-width: 600px) { .headline flex-direction: column; align-items: flex-start; gap: 12px; }
@media print { main padding: 0; max-width: none; details display: none; section break-inside: avoid; }
`.trim();
}
