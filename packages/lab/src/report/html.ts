import type { Environment } from '../environment.js';
import { boundText, type Verdict } from '../laws/law.js';
import { type Expectation, type Experiment, runName } from '../recipes/recipe.js';
import type { Figure, ReportDocument } from './document.js';
import { count, duration, gibibytes } from './number-format.js';
import { escapeHtml, figureHtml, page, tableBody, tableHtml } from './page.js';
import { renderSvg } from './svg.js';

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

/** Sets the report of a run as a page that can be opened, mailed and archived as one file. */
export function renderReport(
  document: ReportDocument,
  experiment: Experiment,
  environment: Environment | undefined,
  judgements: readonly Judgement[],
): Promise<RenderedReport> {
  return renderDocument(document, {
    name: experiment.name,
    kicker: [experiment.recipe, `scale ${experiment.scale}`, `seed ${experiment.seed}`],
    judgement: judgementHtml(judgements),
    setting: settingHtml(experiment, environment),
  });
}

/** Sets any report as a page. `judgement` and `setting` are HTML. */
export async function renderDocument(
  document: ReportDocument,
  {
    name,
    kicker,
    judgement,
    setting,
  }: Readonly<Record<'name' | 'judgement' | 'setting', string>> & {
    readonly kicker: readonly string[];
  },
): Promise<RenderedReport> {
  const figures = new Map<string, { svg: string; data: Figure }>();
  const parts: string[] = [];
  for (const figure of document.figures) {
    const svg = await renderSvg(figure);
    figures.set(figure.id, { svg, data: figure });
    parts.push(figureHtml(figure, svg));
  }
  const body = [
    `<header><p class="kicker">${['physlm', ...kicker].map(escapeHtml).join(' · ')}</p>`,
    `<h1>${escapeHtml(document.title)}</h1><p class="summary">${escapeHtml(document.summary)}</p></header>`,
    headlineHtml(document, judgement),
    tableHtml(document.table),
    ...parts,
    ...document.tables.map(tableHtml),
    setting,
    `<section><h2>Sources</h2><ul>${document.sources.map((text) => `<li>${escapeHtml(text)}</li>`).join('')}</ul></section>`,
  ].join('\n');
  return { html: page({ title: `${document.title} ${name}`, body }), figures };
}

function headlineHtml({ headline }: ReportDocument, judgement: string): string {
  const number = `<p class="number"><b>${escapeHtml(headline.value)}</b> ${escapeHtml(headline.unit)}</p>`;
  return `<section class="headline">${number}<div><p>${escapeHtml(headline.text)}</p>${judgement}</div></section>`;
}

function judgementHtml(judgements: readonly Judgement[]): string {
  if (judgements.length === 0) return `<p class="note">${NO_VERDICT}</p>`;
  return judgements
    .map(({ verdict, claim, source, expect }) => {
      const bounds = expect.map((one) => `${boundText(one)} (${one.tests})`).join('; ');
      return (
        `<p class="verdict ${verdict}"><span>${verdict === 'holds' ? '✓ holds' : '✗ fails'}</span> ${escapeHtml(claim)}</p>` +
        `<p class="note">${escapeHtml(source)}. Criterion at this scale: ${escapeHtml(bounds)}.</p>`
      );
    })
    .join('');
}

function settingHtml(experiment: Experiment, environment: Environment | undefined): string {
  const rows: [string, string][] = [];
  if (environment !== undefined) {
    const { physlm, commit, node, os, cpu, cores, memoryBytes, device, threads, isa, started, seconds, trained } =
      environment;
    rows.push(
      ['physlm', commit === undefined ? physlm : `${physlm}, commit ${commit}`],
      ['device', `${device}${isa === undefined ? '' : `, ${isa}`}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`],
      ['machine', `${cpu}, ${count(cores)} cores, ${gibibytes(memoryBytes)}, ${os}, Node.js ${node}`],
      ['started', started],
      ['time', duration(seconds)],
    );
    if (trained !== undefined) rows.push(['trained in', `${trained.run}, which took ${duration(trained.seconds)}`]);
  }
  const again =
    environment === undefined
      ? ''
      : `<p>To run this again:</p><pre><code>${escapeHtml(environment.command)}</code></pre>`;
  const table = rows.length === 0 ? '' : tableBody({ columns: ['', ''], rows });
  return `<section class="setting"><h2>Experiment and environment</h2>${startHtml(experiment)}${again}${table}
<details><summary>The experiment as JSON</summary><pre><code>${escapeHtml(JSON.stringify(experiment, null, 2))}</code></pre></details></section>`;
}

/** The run that this one started from, whose folder lies beside this one's, or the checkpoint. */
function startHtml({ start, from }: Experiment): string {
  if (from !== undefined) {
    const which = `<code>${escapeHtml(from.path)}</code>, SHA-256 ${from.weights.slice(0, 12)}…`;
    return `<p>Training starts from the weights in ${which}</p>`;
  }
  if (start === undefined) return '';
  const name = runName(start.experiment);
  const link = `<a href="../${escapeHtml(encodeURIComponent(name))}/report.html">${escapeHtml(name)}</a>`;
  return `<p>Training starts from the weights of ${link}.</p>`;
}
