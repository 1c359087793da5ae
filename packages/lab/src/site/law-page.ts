import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { scalesOf } from '../laws/index.js';
import { boundText, criterion, type Law } from '../laws/law.js';
import {
  currentRow,
  describeMembers,
  type LawReport,
  type LedgerRow,
  lawReport,
  meanMeasures,
  membersOf,
  readLedgerRow,
} from '../laws/ledger.js';
import type { ScaleName } from '../recipes/recipe.js';
import type { BarFigure, IntervalFigure } from '../report/document.js';
import { decimals, duration } from '../report/number-format.js';
import { escapeHtml, figureHtml, page, tableBody } from '../report/page.js';
import { renderSvg } from '../report/svg.js';
import { runFolder } from '../run-recipe.js';
import { siteCss, verdictChip } from './site-style.js';

/** What is known about a law at one scale. */
export interface ScaleState {
  readonly scale: ScaleName;
  readonly report: LawReport;
  /** Undefined when nothing is recorded for the setting as it stands. */
  readonly row: LedgerRow | undefined;
}

/** A law with all of its scales, smallest first. */
export interface LawState {
  readonly law: Law;
  readonly scales: readonly ScaleState[];
}

/** A report of a run that comes with the site. */
export interface RunLink {
  /** Where it lies now. */
  readonly from: string;
  /** Its place in the site. */
  readonly to: string;
}

/**
 * Reads what a ledger knows about a law.
 *
 * @throws DataError when a file of the ledger is broken.
 */
export function lawState(law: Law, ledger: string): LawState {
  const scales = scalesOf(law).map((scale) => ({
    scale,
    report: lawReport(law, scale, ledger),
    row: currentRow(law, scale, readLedgerRow(ledger, law.id, scale)),
  }));
  return { law, scales };
}

/** The reports of a law's recorded runs that are found under `runs`. */
export function runLinks({ law, scales }: LawState, runs: string): ReadonlyMap<string, RunLink> {
  const links = new Map<string, RunLink>();
  for (const { scale, row } of scales) {
    for (const { seed } of row?.runs ?? []) {
      for (const [member, experiment] of Object.entries(membersOf(law, scale, seed))) {
        const folder = runFolder(experiment, '');
        const from = join(runs, folder, 'report.html');
        if (existsSync(from)) links.set(linkKey(scale, seed, member), { from, to: `runs/${folder}.html` });
      }
    }
  }
  return links;
}

const linkKey = (scale: string, seed: number, member: string): string => `${scale} ${seed} ${member}`;

/** What a law sets beside each other, as measured at a scale; undefined when it sets nothing, or has no row. */
export function comparison(law: Law, { scale, row }: ScaleState): BarFigure | undefined {
  if (law.compares === undefined || row === undefined) return undefined;
  const { title, caption, label, measures, paper = {} } = law.compares;
  const means = meanMeasures(row.runs);
  const rows = Object.entries(measures).flatMap(([name, measure]) =>
    means[measure] === undefined ? [] : [{ name, value: means[measure], paper: paper[name] ?? null }],
  );
  const seeds = row.runs.length === 1 ? 'one seed' : `mean of ${row.runs.length} seeds`;
  return {
    kind: 'bar',
    id: `${law.id}-${scale}`,
    title,
    caption: `${caption} Scale ${scale}, ${seeds}.`,
    x: { label },
    categories: rows.map(({ name }) => name),
    series: [
      { name: `here, ${seeds}`, values: rows.map(({ value }) => value) },
      ...(rows.some((one) => one.paper !== null)
        ? [{ name: 'paper', values: rows.map((one) => one.paper), quiet: true }]
        : []),
    ],
  };
}

/** The page of a law: claim, source, what was measured at each scale, and how to measure it again. */
export async function lawPage(state: LawState, links: ReadonlyMap<string, RunLink>): Promise<string> {
  const { law, scales } = state;
  const figure = intervals(state);
  const summary = tableBody({
    columns: ['scale', `ours, ${law.paper.unit}`, '95 % interval', 'seeds', 'time', 'verdict'],
    rows: scales.map(({ scale, report: { ours, interval, seeds, seconds, verdict } }) => [
      scale,
      ours === null ? '' : decimals(ours),
      interval === null ? '' : `${decimals(interval.low)} … ${decimals(interval.high)}`,
      seeds.join(' '),
      seconds === null ? '' : duration(seconds),
      verdict,
    ]),
  }).replace(
    /<td>(holds|fails|not run)<\/td>/g,
    (_, verdict: LawReport['verdict']) => `<td>${verdictChip(verdict)}</td>`,
  );
  const body = [
    `<header><p class="kicker"><a href="index.html">Ledger</a> · Part ${escapeHtml(law.part)} · ${escapeHtml(law.id)}</p>`,
    `<h1>${escapeHtml(law.claim)}</h1>`,
    `<dl><dt>Source</dt><dd>${escapeHtml(`${law.source.paper}, ${law.source.section}`)}</dd>`,
    `<dt>Paper</dt><dd>${escapeHtml(law.paper.text)}</dd></dl></header>`,
    scales.length === 0
      ? `<section><h2>Not tried here</h2><p class="summary">${escapeHtml(capital(law.untested ?? ''))}.</p></section>`
      : `<section><h2>At each scale</h2>${summary}</section>`,
    figure === undefined ? '' : figureHtml(figure, await renderSvg(figure)),
    ...(await Promise.all(scales.map((one) => scaleHtml(law, one, links)))),
  ].join('\n');
  return page({ title: `${law.id}: ${law.claim}`, body, css: siteCss });
}

function intervals({ law, scales }: LawState): IntervalFigure | undefined {
  const rows = scales.flatMap(({ scale, report: { ours, interval }, row }) =>
    ours === null || interval === null || row === undefined
      ? []
      : [{ name: scale, value: ours, ...interval, singles: row.runs.map((run) => run.ours) }],
  );
  if (rows.length === 0) return undefined;
  return {
    kind: 'interval',
    id: law.id,
    title: 'What was measured',
    caption: `The mean over seeds at each scale with its 95 % interval: Student's t over seeds, or, with one seed, the run's own interval. The paper: ${law.paper.text}.`,
    x: { label: law.paper.unit },
    rows,
    names: { value: 'mean over seeds', interval: '95 % interval', single: 'one seed' },
  };
}

async function scaleHtml(law: Law, state: ScaleState, links: ReadonlyMap<string, RunLink>): Promise<string> {
  const { scale, report, row } = state;
  const { expect, members } = law.scales[scale]!;
  const commands = row === undefined ? [report.command] : [...new Set(row.runs.map(({ command }) => command))];
  const again = `<p>To ${row === undefined ? 'run' : 'repeat'} this:</p><pre><code>${escapeHtml(commands.join('\n'))}</code></pre>`;
  const head = `<h2 id="${scale}">Scale ${scale} ${verdictChip(report.verdict)}</h2><p class="summary">${escapeHtml(capital(describeMembers(law, scale)))}.</p>`;
  const measures = row === undefined ? {} : meanMeasures(row.runs);
  const bounds = tableBody({
    columns: ['criterion', ...(row === undefined ? [] : ['measured', ''])],
    rows: expect.map((one) => [
      `${boundText(one)}: ${one.tests}`,
      ...(row === undefined
        ? []
        : [decimals(measures[one.measure] ?? Number.NaN), criterion(measures, [one]) === 'holds' ? 'kept' : 'broken']),
    ]),
  });
  if (row === undefined) {
    const why =
      report.note === describeMembers(law, scale) ? '' : `<p class="note">${escapeHtml(capital(report.note))}.</p>`;
    return `<section class="scale">${head}${why}${bounds}${again}</section>`;
  }
  const runs = tableBody({
    columns: ['seed', 'ours', '95 % interval', 'time', 'date', 'machine'],
    rows: row.runs.map((run) => [
      String(run.seed),
      decimals(run.ours),
      `${decimals(run.interval.low)} … ${decimals(run.interval.high)}`,
      duration(run.seconds),
      run.date.slice(0, 10),
      `${run.cpu}, ${run.cores} cores, ${run.device}${run.isa === undefined ? '' : ` ${run.isa}`}, ${run.threads} ${run.threads === 1 ? 'thread' : 'threads'}`,
    ]),
  });
  const versions = [
    ...new Set(
      row.runs.map(({ physlm, commit, node, os }) =>
        [`physlm ${physlm}`, commit && `commit ${commit}`, `Node.js ${node}`, os].filter(Boolean).join(', '),
      ),
    ),
  ];
  const found = row.runs.flatMap(({ seed }) =>
    Object.keys(members).flatMap((member) => {
      const link = links.get(linkKey(scale, seed, member));
      const name = Object.keys(members).length > 1 ? `${member}, seed ${seed}` : `seed ${seed}`;
      return link === undefined ? [] : [`<a href="${escapeHtml(link.to)}">${escapeHtml(name)}</a>`];
    }),
  );
  const reports = found.length === 0 ? '' : `<p class="note">Reports of the runs: ${found.join(' · ')}</p>`;
  const all = Object.entries(measures).map(([name, value]) => [name, String(Number(value.toPrecision(6)))]);
  const compared = comparison(law, state);
  const picture = compared === undefined ? '' : figureHtml(compared, await renderSvg(compared));
  return (
    `<section class="scale">${head}${bounds}${picture}${runs}${reports}<p class="note">${escapeHtml(versions.join('; '))}.</p>${again}` +
    `<details><summary>Every measure, mean over seeds</summary>${tableBody({ columns: ['measure', 'mean'], rows: all })}</details></section>`
  );
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
