import type { LawReport } from '../laws/ledger.js';

/** A verdict as a small label; words carry it, colour only helps. */
export function verdictChip(verdict: LawReport['verdict'], before = ''): string {
  const mark = verdict === 'holds' ? '✓ ' : verdict === 'fails' ? '✗ ' : '';
  return `<span class="chip ${verdict.replace(' ', '-')}">${before}${mark}${verdict}</span>`;
}

/** What the pages of the ledger need beside the style of every page. */
export const siteCss = `
a { color: inherit; text-decoration-color: var(--muted); text-underline-offset: 3px; }
a:hover { text-decoration-color: currentColor; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 16px 0 0; }
dt { color: var(--muted); }
dd { margin: 0; }
.chip { display: inline-block; white-space: nowrap; border: 1px solid var(--rule); border-radius: 999px; padding: 1px 10px;
  font-size: 13.5px; font-weight: 400; line-height: 1.5; color: var(--muted); vertical-align: 1px; }
.chip.holds { color: var(--good); border-color: currentColor; }
.chip.fails { color: var(--bad); border-color: currentColor; }
.scale { border-top: 1px solid var(--rule); padding-top: 28px; }
.scale .wide { margin-top: 14px; }
.scale td:last-child, .scale th:last-child { padding-right: 0; }
.search { display: flex; gap: 14px; align-items: baseline; margin-top: 26px; }
.search[hidden] { display: none; }
.search input { flex: 1; min-width: 0; font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--rule); border-radius: 8px;
  padding: 9px 14px; }
.search input:focus-visible { outline: 2px solid var(--fig-accent); outline-offset: 1px; }
.search output:empty { display: none; }
.search output { color: var(--muted); font-size: 14px; white-space: nowrap; }
.law { border-top: 1px solid var(--rule); padding: 18px 0 20px; }
.law h3 { font-size: 17px; line-height: 1.4; font-weight: 600; margin: 0 0 4px; max-width: 66ch; }
.law h3 a { text-decoration: none; }
.law h3 a:hover { text-decoration: underline; }
.law p { margin: 0 0 4px; color: var(--muted); font-size: 14px; max-width: 78ch; }
.chips { display: flex; flex-wrap: wrap; gap: 6px 8px; margin-top: 10px; }
.part[hidden], .law[hidden] { display: none; }
`.trim();
