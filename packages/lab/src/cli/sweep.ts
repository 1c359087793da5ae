import { existsSync, rmSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { ConfigError, makeFolder, writeFileAtomic } from '@physlm/base';
import { recipeNamed, scaleNamed } from '../recipes/index.js';
import { figureData } from '../report/document.js';
import { renderDocument } from '../report/html.js';
import { decimals } from '../report/number-format.js';
import { escapeHtml } from '../report/page.js';
import { textTable } from '../report/text-table.js';
import { type Findings, findingsOf, guessFit } from '../sweep/findings.js';
import { type FitRequest, parseFit } from '../sweep/fit.js';
import { axesOf, parseGrid } from '../sweep/grid.js';
import { writeManifest } from '../sweep/manifest.js';
import { memberState } from '../sweep/member-state.js';
import { planSweep, type SweepMember, type SweepPlan } from '../sweep/plan.js';
import { sweepReport } from '../sweep/sweep-report.js';
import { fitsTable, type MemberOutcome, membersTable, sweepCsv, sweepJson } from '../sweep/tables.js';
import { exitCodes } from './exit-codes.js';
import { colours, type Io, note, recipesOf, say } from './io.js';
import { runJobs } from './run-jobs.js';
import { dryRunSlurm, runThroughSlurm } from './sweep-slurm.js';

/** Options of `physlm sweep`. */
export interface SweepFlags {
  readonly scale: string;
  readonly grid?: readonly string[];
  readonly seeds: readonly number[];
  readonly jobs?: number;
  readonly threadsPerJob: number;
  readonly device: string;
  readonly runs: string;
  readonly fit?: string;
  readonly launcher: 'local' | 'slurm';
  /** Options of sbatch. */
  readonly slurm?: readonly string[];
  readonly dryRun?: true;
}

/** How the members that were missing have been run. */
export interface Launched {
  /** Why members are not finished, where that is known. */
  readonly problems: ReadonlyMap<SweepMember, string>;
  /** Exit code when somebody asked to stop. */
  readonly interrupted: number | undefined;
}

/**
 * `physlm sweep`: makes every run of a grid that is not finished yet, then shows what the grid says. Everything that can
 * be wrong is checked before anything runs; giving the command again runs what is missing and nothing else.
 *
 * @throws ConfigError for a grid, fit or launcher that cannot be used; OutputError when results cannot be written.
 */
export async function sweep(recipeName: string, flags: SweepFlags, io: Io): Promise<number> {
  const recipe = recipeNamed(recipeName, recipesOf(io));
  const scale = scaleNamed(recipe, flags.scale);
  const request = flags.fit === undefined ? undefined : parseFit(flags.fit);
  if (flags.slurm !== undefined && flags.launcher !== 'slurm') {
    throw new ConfigError([
      { path: 'slurm', expected: '--launcher slurm beside it', got: `--launcher ${flags.launcher}` },
    ]);
  }
  const own = recipe.sweep?.grid[scale] ?? {};
  const axes = flags.grid === undefined ? axesOf(own) : parseGrid(flags.grid, recipe);
  const plan = planSweep(recipe, { scale, seeds: flags.seeds, axes, runs: flags.runs, device: flags.device });
  for (const label of plan.repeated) note(io, `${label} is the same experiment as another member: it runs once.`);

  const states = plan.members.map((member) => ({ member, ...memberState(member.path, member.experiment) }));
  for (const one of states) {
    if (one.state === 'damaged') note(io, `Skipped, and left as it is: ${one.problem}`);
  }
  const todo = states.flatMap(({ member, state }, index) =>
    state === 'new' || state === 'unfinished' ? [{ index, run: member }] : [],
  );
  const nFinished = states.filter(({ state }) => state === 'finished').length;
  note(io, `${recipe.name}, scale ${scale}: ${plan.members.length} runs, ${nFinished} finished, ${todo.length} to do`);

  const manifest = join(plan.path, 'manifest.json');
  if (flags.dryRun) {
    if (flags.launcher === 'slurm') dryRunSlurm(plan, manifest, todo, flags, io);
    else for (const { run } of todo) say(io, run.command);
    return exitCodes.ok;
  }
  makeFolder(plan.path);
  writeManifest(manifest, plan.members);
  const launched = await launch(plan, manifest, todo, flags, io);
  const outcomes = plan.members.map((member) => outcomeOf(member, launched));
  return conclude(plan, outcomes, request, flags, launched.interrupted, io);
}

async function launch(
  plan: SweepPlan,
  manifest: string,
  todo: readonly { readonly index: number; readonly run: SweepMember }[],
  flags: SweepFlags,
  io: Io,
): Promise<Launched> {
  if (flags.launcher === 'slurm') return runThroughSlurm(plan, manifest, todo, flags, io);
  if (todo.length === 0) return { problems: new Map(), interrupted: undefined };
  const { jobs = 1, threadsPerJob, device } = flags;
  const { ends, interrupted } = await runJobs(manifest, todo, { jobs, threadsPerJob, device }, io);
  const problems = new Map<SweepMember, string>();
  for (const { run } of todo) {
    const end = ends.get(run);
    if (end?.ended === 'failed') problems.set(run, end.problem);
  }
  return { problems, interrupted };
}

function outcomeOf(member: SweepMember, { problems }: Launched): MemberOutcome {
  const now = memberState(member.path, member.experiment);
  if (now.state === 'finished' || now.state === 'damaged') return { member, ...now };
  const problem = problems.get(member);
  if (problem !== undefined) return { member, state: 'failed', problem };
  return { member, state: now.state === 'new' ? 'not run' : 'unfinished' };
}

async function conclude(
  plan: SweepPlan,
  outcomes: readonly MemberOutcome[],
  wanted: FitRequest | undefined,
  flags: SweepFlags,
  interrupted: number | undefined,
  io: Io,
): Promise<number> {
  const measured = outcomes.flatMap((one) => (one.state === 'finished' ? [one] : []));
  let findings: Findings | undefined;
  let problem: unknown;
  try {
    const request = wanted ?? guessFit(plan, measured);
    if (request !== undefined && measured.length > 0) findings = findingsOf(plan, measured, request);
  } catch (error) {
    // A fit of what is not there must not keep the table from being written: it is thrown when that is done.
    if (!(error instanceof ConfigError)) throw error;
    problem = error;
  }
  writeFileAtomic(join(plan.path, 'sweep.json'), `${JSON.stringify(sweepJson(plan, outcomes, findings), null, 2)}\n`);
  writeFileAtomic(join(plan.path, 'members.csv'), sweepCsv(plan, outcomes));
  await writeSweepReport(plan, outcomes, findings, sweepCommand(plan, flags));
  print(plan, outcomes, findings, io);
  if (problem !== undefined) throw problem;
  if (interrupted !== undefined) return interrupted;
  return measured.length === outcomes.length ? exitCodes.ok : exitCodes.failed;
}

function print(plan: SweepPlan, outcomes: readonly MemberOutcome[], findings: Findings | undefined, io: Io): void {
  const c = colours(io, 'stdout');
  say(io);
  say(io, textTable(membersTable(plan, outcomes, findings)));
  say(io);
  if (findings !== undefined) {
    const { main, request } = findings;
    if (main.fit !== undefined) {
      const { slope, interval } = main.fit;
      const range = interval === null ? '' : ` [${decimals(interval.low)}, ${decimals(interval.high)}]`;
      say(io, `${c.bold(`${decimals(slope)}${range}`)} slope of log ${request.y} on log ${request.x}`);
    } else {
      say(io, `No slope: a power law needs two different ${request.x} above 0 at which ${request.y} is above 0 too.`);
    }
    say(io, textTable(fitsTable(findings)));
    say(io);
  }
  for (const outcome of outcomes) {
    if ('problem' in outcome) {
      const what = outcome.state === 'damaged' ? 'damaged, left as it is' : 'failed';
      say(io, `${c.red(`✗ ${what}`)}  ${outcome.member.label}: ${outcome.problem}`);
      if (outcome.state === 'failed') say(io, `          ${outcome.member.path}`);
    }
  }
  if (outcomes.some(({ state }) => state === 'damaged')) {
    say(io, 'To make a damaged run again, move or remove its folder and give the command again.');
  }
  const count = (state: MemberOutcome['state']): number => outcomes.filter((one) => one.state === state).length;
  const parts = (['finished', 'failed', 'damaged', 'unfinished', 'not run'] as const)
    .filter((state) => state === 'finished' || count(state) > 0)
    .map((state) => `${count(state)} ${state}`);
  say(io, `members  ${parts.join(', ')}`);
  say(io, `table    ${join(plan.path, 'members.csv')}`);
  say(io, `report   ${join(plan.path, 'report.html')}`);
}

async function writeSweepReport(
  plan: SweepPlan,
  outcomes: readonly MemberOutcome[],
  findings: Findings | undefined,
  command: string,
): Promise<void> {
  const problems = outcomes.flatMap((one) => ('problem' in one ? [`${one.member.label}: ${one.problem}`] : []));
  const { html, figures } = await renderDocument(sweepReport(plan, outcomes, findings), {
    name: basename(plan.path),
    kicker: ['sweep', plan.recipe.name, `scale ${plan.scale}`],
    judgement: problems
      .map((text) => `<p class="verdict fails"><span>✗ missing</span> ${escapeHtml(text)}</p>`)
      .join(''),
    setting: settingHtml(plan, outcomes, command),
  });
  rmSync(join(plan.path, 'figures'), { recursive: true, force: true });
  for (const [id, { svg, data }] of figures) {
    writeFileAtomic(join(plan.path, 'figures', `${id}.svg`), svg);
    const json = JSON.stringify({ ...data, table: figureData(data) }, null, 2);
    writeFileAtomic(join(plan.path, 'figures', `${id}.json`), `${json}\n`);
  }
  writeFileAtomic(join(plan.path, 'report.html'), html);
}

function settingHtml(plan: SweepPlan, outcomes: readonly MemberOutcome[], command: string): string {
  const items = outcomes.map(({ member, state }) => {
    const page = join(member.path, 'report.html');
    const text = `${escapeHtml(member.label)}</a>${state === 'finished' ? '' : ` (${state})`}`;
    if (!existsSync(page)) return `<li>${text.replace('</a>', '')}</li>`;
    return `<li><a href="${escapeHtml(encodeURI(relative(plan.path, page).replaceAll('\\', '/')))}">${text}</li>`;
  });
  return `<section><h2>Runs</h2><p>To run this again, or whatever is missing of it:</p><pre><code>${escapeHtml(command)}</code></pre>
<details><summary>The report of each run</summary><ul>${items.join('')}</ul></details></section>`;
}

/** The command that gives this sweep again on any machine. */
function sweepCommand(plan: SweepPlan, { device, fit }: SweepFlags): string {
  const words = ['physlm', 'sweep', plan.recipe.name, '--scale', plan.scale, '--seeds', plan.seeds.join(',')];
  for (const { name, values } of plan.axes) words.push('--grid', `${name}=${values.join(',')}`);
  if (device !== 'auto') words.push('--device', device);
  if (fit !== undefined) words.push('--fit', fit);
  return words.map((word) => (/[^\w.,=+~-]/.test(word) ? `'${word}'` : word)).join(' ');
}
