import { ConfigError, nearest } from '@physlm/base';
import { lawsDecidedBy } from '../laws/index.js';
import { ledgerFolder, recordLaw } from '../laws/ledger.js';
import { recipeNamed, scaleNamed } from '../recipes/index.js';
import type { Experiment, Recipe } from '../recipes/recipe.js';
import { parameterValue, runCommand } from '../recipes/run-command.js';
import { type FinishedRun, judge, runFolder } from '../run-recipe.js';
import { execute } from './execute.js';
import { exitCodes } from './exit-codes.js';
import { type Io, recipesOf, say } from './io.js';
import { printFinished } from './print-finished.js';

/** Options of `physlm run`. */
export interface RunFlags {
  readonly scale: string;
  readonly seed: number;
  readonly set?: readonly string[];
  /** What follows the recipe and is no option: parameters of the recipe as `--name value` or `--name=value`. */
  readonly rest?: readonly string[];
  /** The options of the command, for the nearest one to a misspelt word. */
  readonly options?: readonly string[];
  readonly device: string;
  readonly threads?: number;
  readonly dataWorkers?: number;
  readonly ranks?: number;
  readonly out?: string;
  readonly resume?: true;
  readonly fresh?: true;
  readonly check?: true;
  /** `true` when given without a folder. */
  readonly ledger?: true | string;
}

/**
 * `physlm run`: everything that can be wrong is checked before anything is trained.
 *
 * @throws ConfigError, DataError, NativeError, OutputError, PhyslmError: whatever made the run impossible.
 */
export async function run(recipeName: string, flags: RunFlags, io: Io): Promise<number> {
  const recipe = recipeNamed(recipeName, recipesOf(io));
  const scale = scaleNamed(recipe, flags.scale);
  const assignments = [...(flags.set ?? []), ...assignmentsOf(recipe, flags)];
  const parameters = parseParameters(assignments, recipe);
  const { ranks = 1 } = flags;
  const experiment = amongRanks(recipe.experiment({ scale, seed: flags.seed, parameters }), ranks);
  requireLawFor(flags, assignments, recipe, experiment);
  const command = runCommand({ ...flags, recipe: recipe.name, assignments, ranks });
  const again = `${command}${flags.out === undefined ? '' : ` --out ${flags.out}`}`;
  const outcome = await execute(
    {
      recipe,
      experiment,
      path: flags.out ?? runFolder(experiment),
      again,
      anew: `${again} --fresh`,
      command,
      device: flags.device,
      threads: flags.threads,
      dataWorkers: flags.dataWorkers,
      ranks: flags.ranks,
      unfinished: flags.fresh ? 'fresh' : flags.resume ? 'resume' : 'refuse',
      about: `${recipe.scales[scale]}${assignments.length === 0 ? '' : `, with ${assignments.join(' ')}`}`,
    },
    io,
  );
  return outcome.stopped === 'aborted' ? outcome.exitCode : conclude(recipe, outcome.finished, flags, io);
}

/**
 * The experiment whose steps are cut into a part for each rank. Sums over parts are in order, so this is another experiment than the one
 * whose steps are whole, and the same however many processes compute the parts.
 */
function amongRanks(experiment: Experiment, ranks: number): Experiment {
  if (ranks === 1) return experiment;
  const { train } = experiment;
  if (train.batchSize % ranks !== 0) {
    const expected = `a divisor of the ${train.batchSize} windows of a step`;
    throw new ConfigError([{ path: 'ranks', expected, got: `${ranks}` }]);
  }
  return { ...experiment, train: { ...train, nAccumulate: ranks } };
}

function conclude(recipe: Recipe, finished: FinishedRun, flags: RunFlags, io: Io): number {
  printFinished(recipe, finished, io);
  const { experiment, results } = finished;
  if (flags.ledger !== undefined) {
    const folder = flags.ledger === true ? (io.ledger ?? ledgerFolder()) : flags.ledger;
    for (const { law, scale, member } of lawsDecidedBy(recipe, experiment)) {
      const file = recordLaw(
        folder,
        law,
        scale,
        { [member]: finished },
        `${finished.environment.command} --ledger`,
        recipesOf(io),
      );
      say(io, `ledger   ${file}`);
    }
  }
  const fails = judge(recipe, experiment, results).some(({ verdict }) => verdict === 'fails');
  return flags.check && fails ? exitCodes.criterion : exitCodes.ok;
}

/** Refuses --check and --ledger for a run that decides no law. */
function requireLawFor(flags: RunFlags, assignments: readonly string[], recipe: Recipe, experiment: Experiment): void {
  const asked = flags.check ? 'check' : flags.ledger !== undefined ? 'ledger' : undefined;
  if (asked === undefined || lawsDecidedBy(recipe, experiment).length > 0) return;
  const got = assignments.length === 0 ? 'one that decides no law alone' : assignments.join(' ');
  throw new ConfigError(
    [{ path: asked, expected: `a run that a law at scale '${flags.scale}' consists of`, got }],
    'The criterion of a law belongs to its own parameters. Laws of several runs: physlm law.',
  );
}

/** Parameters given as options of their own, as assignments for --set. */
function assignmentsOf(recipe: Recipe, { rest = [], options = [] }: RunFlags): string[] {
  const known = Object.keys(recipe.parameters.shape);
  const assignments: string[] = [];
  for (let i = 0; i < rest.length; i++) {
    const word = rest[i]!;
    const [name, given] = word.replace(/^--/, '').split(/=(.*)/s) as [string, string?];
    if (!word.startsWith('--') || !known.includes(name)) {
      const words = [...options, ...known.map((parameter) => `--${parameter}`), '--help'];
      throw new ConfigError([
        {
          path: 'run',
          expected: `an option, or a parameter of ${recipe.name}`,
          got: `'${word}'`,
          nearest: nearest(word.replace(/=.*/s, ''), words),
        },
      ]);
    }
    const value = given ?? rest[++i];
    if (value === undefined || (given === undefined && value.startsWith('--'))) {
      throw new ConfigError([{ path: `run.${name}`, expected: `a value, as in --${name} 1`, got: 'none' }]);
    }
    assignments.push(`${name}=${value}`);
  }
  return assignments;
}

function parseParameters(assignments: readonly string[], recipe: Recipe): Record<string, unknown> {
  const known = Object.keys(recipe.parameters.shape);
  const parameters: Record<string, unknown> = {};
  for (const assignment of assignments) {
    const at = assignment.indexOf('=');
    const name = at < 0 ? assignment : assignment.slice(0, at);
    if (at <= 0 || at === assignment.length - 1) {
      const meant = nearest(name, known) ?? 'name';
      throw new ConfigError([{ path: 'set', expected: `name=value, as in ${meant}=1`, got: `'${assignment}'` }]);
    }
    const text = assignment.slice(at + 1);
    parameters[name] = parameterValue(text);
  }
  return parameters;
}
