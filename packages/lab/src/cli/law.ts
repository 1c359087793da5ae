import { ConfigError, nearest } from '@physlm/base';
import { lawNamed, scalesOf } from '../laws/index.js';
import { boundText, criterion, type Law, type LawMeasurement } from '../laws/law.js';
import { combineSeeds, ledgerFolder, membersOf, recordLaw } from '../laws/ledger.js';
import { recipeNamed } from '../recipes/index.js';
import type { ScaleName } from '../recipes/recipe.js';
import { decimals } from '../report/number-format.js';
import { textTable } from '../report/text-table.js';
import { type FinishedRun, runFolder } from '../run-recipe.js';
import { execute } from './execute.js';
import { exitCodes } from './exit-codes.js';
import { colours, type Io, note, recipesOf, say } from './io.js';

/** Options of `physlm law`. */
export interface LawFlags {
  readonly scale: string;
  readonly seeds: readonly number[];
  readonly device: string;
  readonly threads?: number;
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
  const measured: LawMeasurement[] = [];
  for (const seed of flags.seeds) {
    const runs: Record<string, FinishedRun> = {};
    for (const [name, experiment] of Object.entries(membersOf(law, scale, seed, recipesOf(io)))) {
      const recipe = recipeNamed(experiment.recipe, recipesOf(io));
      const again = `physlm law ${id} --scale ${scale} --seeds ${flags.seeds.join(',')}`;
      const about = `${recipe.scales[experiment.scale] ?? ''} (${name}, seed ${seed})`;
      const outcome = await execute(
        {
          recipe,
          experiment,
          path: runFolder(experiment, flags.runs),
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
        `ledger ${recordLaw(folder, law, scale, runs, `physlm law ${id} --scale ${scale} --seeds ${seed} --ledger`, recipesOf(io))}`,
      );
    }
  }
  return conclude(law, scale, flags, measured, io);
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
