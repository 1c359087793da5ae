import { copyFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { makeFolder, OutputError, writeFileAtomic } from '@physlm/base';
import type { Law } from '../laws/law.js';
import { decimals } from '../report/number-format.js';
import { escapeHtml, page } from '../report/page.js';
import { renderSvg } from '../report/svg.js';
import { comparison, type LawState, lawPage, lawState, runLinks } from './law-page.js';
import { siteCss, verdictChip } from './site-style.js';

/** What a site is made from. */
export interface LedgerSiteOptions {
  readonly laws: readonly Law[];
  /** Folder of the ledger. */
  readonly ledger: string;
  /** Folder of run directories: the reports of recorded runs that are there come with the site. */
  readonly runs: string;
}

/**
 * Writes the ledger as pages that need no network and are complete without scripts: `index.html`, one page for each law,
 * `figures/` with what laws compare, and `runs/` with the reports of recorded runs. Returns the path of the index.
 *
 * @throws DataError when a file of the ledger is broken.
 * @throws OutputError when a file cannot be written.
 */
export async function writeLedgerSite(folder: string, { laws, ledger, runs }: LedgerSiteOptions): Promise<string> {
  const states = laws.map((law) => lawState(law, ledger));
  for (const state of states) {
    const links = runLinks(state, runs);
    for (const { from, to } of links.values()) copy(from, join(folder, to));
    writeFileAtomic(join(folder, `${state.law.id}.html`), await lawPage(state, links));
    for (const scale of state.scales) {
      const figure = comparison(state.law, scale);
      if (figure !== undefined) writeFileAtomic(join(folder, 'figures', `${figure.id}.svg`), await renderSvg(figure));
    }
  }
  const index = join(folder, 'index.html');
  writeFileAtomic(index, indexPage(states));
  return index;
}

function copy(from: string, to: string): void {
  makeFolder(dirname(to));
  try {
    copyFileSync(from, to);
  } catch (error) {
    throw new OutputError(to, `cannot be written: ${(error as Error).message}`, { cause: error });
  }
}

function indexPage(states: readonly LawState[]): string {
  const verdicts = states.flatMap(({ scales }) => scales.map(({ report }) => report.verdict));
  const n = (verdict: string): number => verdicts.filter((one) => one === verdict).length;
  const parts = [...new Set(states.map(({ law }) => law.part))].sort((a, b) =>
    a.localeCompare(b, 'en', { numeric: true }),
  );
  const sections = parts.map((part) => {
    const items = states.filter(({ law }) => law.part === part).map(lawItem);
    return `<section class="part"><h2>Part ${escapeHtml(part)}</h2>${items.join('\n')}</section>`;
  });
  const body = [
    '<header><p class="kicker">physlm · Physics of Language Models</p><h1>Ledger of laws</h1>',
    `<p class="summary">What the papers found, as experiments that anyone can repeat, and what came out here. ${states.length} ${states.length === 1 ? 'law' : 'laws'}, each tried at several scales: `,
    `${n('holds')} scales hold, ${n('fails')} fail, ${n('not run')} are not run.</p></header>`,
    '<div class="search" role="search" hidden><input type="search" aria-label="Search the laws" placeholder="Search claims, sources, verdicts" autocomplete="off"><output></output></div>',
    ...sections,
  ].join('\n');
  return page({ title: 'Ledger of laws', body, css: siteCss, script: SEARCH });
}

function lawItem({ law, scales }: LawState): string {
  const chips = scales.map(({ scale, report: { verdict, ours } }) => {
    const number = ours === null ? '' : ` <span>${decimals(ours)}</span>`;
    return `<a href="${law.id}.html#${scale}">${verdictChip(verdict, `${scale}${number} `)}</a>`;
  });
  return `<article class="law"><h3><a href="${law.id}.html">${escapeHtml(law.claim)}</a></h3>
<p>${escapeHtml(`${law.id} · ${law.source.paper}, ${law.source.section}`)}</p>
<p>Paper: ${escapeHtml(law.paper.text)}</p>
${law.untested === undefined ? '' : `<p>Not tried here: ${escapeHtml(law.untested)}</p>`}<div class="chips">${chips.length > 0 ? chips.join('') : verdictChip('not run')}</div></article>`;
}

/** Shows the search field and hides the laws that hold none of its words. */
const SEARCH = `
const search = document.querySelector('.search');
const input = search.querySelector('input');
const laws = [...document.querySelectorAll('.law')].map((element) => ({ element, text: element.textContent.toLowerCase() }));
const show = () => {
  const words = input.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let count = 0;
  for (const { element, text } of laws) {
    element.hidden = !words.every((word) => text.includes(word));
    if (!element.hidden) count++;
  }
  for (const part of document.querySelectorAll('.part')) part.hidden = !part.querySelector('.law:not([hidden])');
  search.querySelector('output').textContent = words.length ? count + ' of ' + laws.length : '';
};
input.addEventListener('input', show);
search.hidden = false;
show();
`;
