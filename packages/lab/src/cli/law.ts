import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, DataError, nearest } from '@physlm/base';
import { lawNamed, scalesOf } from '../laws/index.js';
import { boundText, criterion, type Law, type LawMeasurement } from '../laws/law.js';
import { combineSeeds, ledgerFolder, membersOf, recordLaw } from '../laws/ledger.js';
import { recipeNamed } from '../recipes/index.js';
import type { ScaleName } from '../recipes/recipe.js';
import { decimals } from '../report/number-format.js';
import { textTable } from '../report/text-table.js';
import { type FinishedRun, openFinishedRun, runFolder } from '../run-recipe.js';
import { type PlannedRun, writeManifest } from '../sweep/manifest.js';
import { memberState } from '../sweep/member-state.js';
import { execute } from './execute.js';
import { exitCodes } from './exit-codes.js';
import { colours, type Io, note, recipesOf, say } from './io.js';
import { runJobs } from './run-jobs.js';

/** Options of `physlm law`. */
export interface LawFlags {
  readonly scale: string;
  readonly seeds: readonly number[];
  readonly device: string;
  readonly threads?: number;
  /** Runs at a time, each in a process of its own; in this process, one by one, when left out. */
  readonly jobs?: number;
  /** Folder of the run directories. */
  readonly runs: string;
  readonly check?: true;
  /** `true` when given without a folder. */
  readonly ledger?: true | string;
}

/**
 * `physlm law`: runs whatever a law needs that is not finished yet, and judges it. Runs that several laws share are made
 * once; giving the command again after Ctrl-C goes on where it stopped.
 *
 * @throws ConfigError for a law or scale that does not exist; whatever made one of its runs impossible.
 */
export async function runLaw(id: string, flags: LawFlags, io: Io): Promise<number> {
  const law = lawNamed(id);
  const scale = scaleOf(law, flags.scale);
  if (flags.jobs !== undefined) {
    const code = await runMissing(law, scale, { ...flags, jobs: flags.jobs }, io);
    if (code !== exitCodes.ok) return code;
  }
  const measured: LawMeasurement[] = [];
  for (const seed of flags.seeds) {
    const runs: Record<string, FinishedRun> = {};
    for (const [name, experiment] of Object.entries(membersOf(law, scale, seed, recipesOf(io)))) {
      if (flags.jobs !== undefined) {
        runs[name] = openFinishedRun(runFolder(experiment, flags.runs));
        continue;
      }
      const path = runFolder(experiment, flags.runs);
      const found = memberState(path, experiment);
      if (found.state === 'damaged') throw new DataError(path, 'a run that can be read', found.problem, REPAIR);
      const recipe = recipeNamed(experiment.recipe, recipesOf(io));
      const again = lawCommand(law, scale, flags.seeds, flags.device);
      const about = `${recipe.scales[experiment.scale] ?? ''} (${name}, seed ${seed})`;
      const outcome = await execute(
        {
          recipe,
          experiment,
          path,
          command: again,
          again,
          device: flags.device,
          threads: flags.threads,
          unfinished: 'resume',
          about,
        },
        io,
      );
      if (outcome.stopped === 'aborted') return outcome.exitCode;
      runs[name] = outcome.finished;
    }
    measured.push(law.measure(Object.fromEntries(Object.entries(runs).map(([name, one]) => [name, one.results]))));
    if (flags.ledger !== undefined) {
      const folder = flags.ledger === true ? (io.ledger ?? ledgerFolder()) : flags.ledger;
      note(
        io,
        `ledger ${recordLaw(folder, law, scale, runs, `${lawCommand(law, scale, [seed], flags.device)} --ledger`, recipesOf(io))}`,
      );
    }
  }
  return conclude(law, scale, flags, measured, io);
}

const REPAIR = 'Move or remove this folder and give the command again.';

/** The command that gives the runs of a law again on any machine. */
function lawCommand(law: Law, scale: ScaleName, seeds: readonly number[], device: string): string {
  const words = ['physlm', 'law', law.id, '--scale', scale, '--seeds', seeds.join(',')];
  return [...words, ...(device === 'auto' ? [] : ['--device', device])].join(' ');
}

/** Makes the runs that are missing, several at a time; returns the exit code that ends the command when any still is. */
async function runMissing(
  law: Law,
  scale: ScaleName,
  { seeds, runs, jobs, threads = 1, device }: LawFlags & { readonly jobs: number },
  io: Io,
): Promise<number> {
  const command = lawCommand(law, scale, seeds, device);
  const planned = new Map<string, PlannedRun>();
  const damaged: string[] = [];
  for (const seed of seeds) {
    for (const [name, experiment] of Object.entries(membersOf(law, scale, seed, recipesOf(io)))) {
      const path = runFolder(experiment, runs);
      const found = memberState(path, experiment);
      const parameters = law.scales[scale]!.members[name]!.parameters ?? {};
      if (found.state === 'damaged') damaged.push(found.problem);
      else if (found.state !== 'finished')
        planned.set(path, { experiment, parameters, path, command, label: `${name}, seed ${seed}` });
    }
  }
  for (const problem of damaged) note(io, `Damaged, and left as it is: ${problem}\n${REPAIR}`);
  const todo = [...planned.values()];
  if (todo.length > 0) {
    const folder = mkdtempSync(join(tmpdir(), 'physlm-law-'));
    try {
      const manifest = join(folder, 'manifest.json');
      writeManifest(manifest, todo);
      note(io, `${law.id}, scale ${scale}: ${todo.length} runs to do`);
      const jobRuns = todo.map((run, index) => ({ index, run }));
      const { ends, interrupted } = await runJobs(manifest, jobRuns, { jobs, threadsPerJob: threads, device }, io);
      if (interrupted !== undefined) return interrupted;
      const failed = [...ends].filter(([, { ended }]) => ended !== 'finished');
      for (const [{ label, path }] of failed) note(io, `Failed, and kept: ${label} in ${path}`);
      if (failed.length > 0) return exitCodes.failed;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return damaged.length > 0 ? exitCodes.failed : exitCodes.ok;
}

function conclude(law: Law, scale: ScaleName, flags: LawFlags, measured: readonly LawMeasurement[], io: Io): number {
  const { expect } = law.scales[scale]!;
  const { ours, interval } = combineSeeds(measured);
  const names = Object.keys(measured[0]!.measures);
  const mean = (name: string): number =>
    measured.reduce((sum, { measures }) => sum + (measures[name] ?? Number.NaN), 0) / measured.length;
  const measures = Object.fromEntries(names.map((name) => [name, mean(name)]));
  const verdict = criterion(measures, expect);
  const c = colours(io, 'stdout');
  say(io);
  say(io, law.claim);
  say(io, `paper  ${law.paper.text}`);
  say(io, `ours   ${decimals(ours)} [${decimals(interval.low)}, ${decimals(interval.high)}] ${law.paper.unit}`);
  say(io);
  const columns = ['measure', ...flags.seeds.map((seed) => `seed ${seed}`)];
  say(
    io,
    textTable({
      columns,
      rows: names.map((name) => [name, ...measured.map((one) => decimals(one.measures[name] ?? Number.NaN))]),
    }),
  );
  say(io);
  say(io, verdict === 'holds' ? c.green('✓ holds') : c.red('✗ fails'));
  for (const one of expect) say(io, `  ${c.dim(`${boundText(one)}; ${one.tests}`)}`);
  return flags.check && verdict === 'fails' ? exitCodes.criterion : exitCodes.ok;
}

function scaleOf(law: Law, name: string): ScaleName {
  const known = scalesOf(law);
  const found = known.find((scale) => scale === name);
  if (found !== undefined) return found;
  throw new ConfigError([
    { path: 'scale', expected: `one of ${known.join(', ')}`, got: `'${name}'`, nearest: nearest(name, known) },
  ]);
}
