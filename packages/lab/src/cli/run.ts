import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, digest, nearest } from '@physlm/base';
import { openDevice } from '@physlm/model';
import { RunDirectory } from '@physlm/train';
import { type Environment, requireSameDevice } from '../environment.js';
import { lawsOfRecipe } from '../laws/index.js';
import { settingOf } from '../laws/law.js';
import { ledgerFolder, recordRun } from '../laws/ledger.js';
import { recipeNamed, scaleNamed } from '../recipes/index.js';
import type { Experiment, Recipe } from '../recipes/recipe.js';
import { type FinishedRun, judge, openFinishedRun, runRecipe, writeReport } from '../run-recipe.js';
import { chooseDevice } from './choose-device.js';
import { exitCodes } from './exit-codes.js';
import { colours, type Io, note, recipesOf, say } from './io.js';
import { printFinished } from './print-finished.js';
import { ProgressLine } from './progress-line.js';

/** Options of `physlm run`. */
export interface RunFlags {
  readonly scale: string;
  readonly seed: number;
  readonly set?: readonly string[];
  readonly device: string;
  readonly threads?: number;
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
  const parameters = parseParameters(flags.set ?? [], recipe);
  const experiment = recipe.experiment({ scale, seed: flags.seed, parameters });
  const standard = isStandard(recipe, experiment);
  if (!standard) requireStandardFor(flags);
  const path = flags.out ?? join('runs', `${experiment.name}-${digest(experiment).slice(0, 8)}`);
  const command = commandOf(recipe, flags);

  const found = existsSync(join(path, 'experiment.json')) && !flags.fresh;
  const directory = found ? RunDirectory.open(path, experiment, 'resume') : undefined;
  const before = directory?.readJson<Environment>('environment.json');
  const { name, because } = chooseDevice(flags.device, before?.device);
  if (before !== undefined) requireSameDevice(before.device, name);
  if (directory?.finished) {
    note(io, `This run is finished: nothing was trained. To run it again: ${command} --fresh`);
    const finished = openFinishedRun(path);
    if (!existsSync(join(path, 'report.html'))) await writeReport(recipe, finished, standard);
    return conclude(recipe, finished, standard, flags, io);
  }
  if (directory !== undefined && !flags.resume) {
    const at = directory.latestCheckpoint();
    throw new ConfigError(
      [{ path: 'out', expected: 'a new or a finished run', got: `${path} with an unfinished one` }],
      `Use --resume to go on ${at === undefined ? '(it has no checkpoint yet)' : `from step ${at.step}`}, or --fresh to start again.`,
    );
  }

  const device = openDevice(name, { nThread: flags.threads, precision: name === 'cuda' ? 'bf16' : 'f32' });
  if (because !== undefined) {
    note(io, `Using device js, which is slow: ${because}. physlm doctor shows what is missing.`);
  }
  const target = directory ?? RunDirectory.open(path, experiment, flags.fresh ? 'fresh' : 'new');
  const native =
    device.native === undefined
      ? ''
      : ` (${device.native.description()}, ${
          device.name === 'cpu' ? `${device.nThread} ${device.nThread === 1 ? 'thread' : 'threads'}` : device.precision
        })`;
  note(io, `${experiment.name}: ${recipe.scales[scale]}${standard ? '' : ', with --set'}`);
  note(io, `device ${device.name}${native}, ${path}`);

  const progress = new ProgressLine(io);
  const interrupt = interruption(io, progress);
  try {
    const outcome = await runRecipe({
      recipe,
      experiment,
      run: target,
      device,
      command,
      standard,
      resume: directory !== undefined,
      signal: interrupt.signal,
      onProgress: (now) => progress.update(now),
    });
    progress.stop();
    if (outcome.stopped === 'aborted') {
      note(io, `Stopped after step ${outcome.step}; saved ${outcome.checkpoint}.`);
      note(io, `To go on: ${command}${flags.out === undefined ? '' : ` --out ${flags.out}`} --resume`);
      return interrupt.exitCode();
    }
    return conclude(recipe, outcome.finished, standard, flags, io);
  } finally {
    progress.stop();
    interrupt.release();
  }
}

/** Whether an experiment is its scale as it stands, bounds included: the criterion was calibrated for nothing else. */
export function isStandard(recipe: Recipe, experiment: Experiment): boolean {
  const { scale, seed } = experiment;
  const decisive = (one: Experiment): string => digest({ setting: settingOf(one), expect: one.expect });
  return decisive(recipe.experiment({ scale, seed })) === decisive(experiment);
}

function conclude(recipe: Recipe, finished: FinishedRun, standard: boolean, flags: RunFlags, io: Io): number {
  printFinished(recipe, finished, standard, io);
  if (flags.ledger !== undefined) {
    const folder = flags.ledger === true ? (io.ledger ?? ledgerFolder()) : flags.ledger;
    for (const law of lawsOfRecipe(recipe.name)) say(io, `ledger   ${recordRun(folder, law, finished)}`);
  }
  const verdict = judge(finished.experiment, finished.results)?.verdict;
  return flags.check && verdict === 'fails' ? exitCodes.criterion : exitCodes.ok;
}

function requireStandardFor(flags: RunFlags): void {
  const asked = flags.check ? 'check' : flags.ledger !== undefined ? 'ledger' : undefined;
  if (asked === undefined) return;
  throw new ConfigError(
    [{ path: asked, expected: `scale '${flags.scale}' as it stands`, got: `--set ${flags.set?.join(' --set ')}` }],
    'The criterion of a law belongs to the scale without --set.',
  );
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
    parameters[name] = Number.isNaN(Number(text)) ? (booleans[text] ?? text) : Number(text);
  }
  return parameters;
}

const booleans: Readonly<Record<string, boolean>> = { true: true, false: false };

/** The command that gives the same run: without folders, which are this machine's. */
function commandOf(recipe: Recipe, { scale, seed, set = [], device }: RunFlags): string {
  const words = ['physlm', 'run', recipe.name, '--scale', scale, '--seed', String(seed)];
  for (const assignment of set) words.push('--set', /[^\w.=+-]/.test(assignment) ? `'${assignment}'` : assignment);
  if (device !== 'auto') words.push('--device', device);
  return words.join(' ');
}

interface Interruption {
  readonly signal: AbortSignal;
  exitCode(): number;
  release(): void;
}

/** The first Ctrl-C asks the run to save and stop, the second one ends the process. SIGTERM asks as well. */
function interruption(io: Io, progress: ProgressLine): Interruption {
  const controller = new AbortController();
  let code: number = exitCodes.interrupted;
  const ask = (name: NodeJS.Signals): void => {
    progress.stop();
    if (controller.signal.aborted) process.exit(exitCodes.interrupted);
    if (name === 'SIGTERM') code = exitCodes.terminated;
    note(io, `${colours(io, 'stderr').yellow('Stopping:')} saving a checkpoint. Ctrl-C again stops without it.`);
    controller.abort();
  };
  process.on('SIGINT', ask);
  process.on('SIGTERM', ask);
  return {
    signal: controller.signal,
    exitCode: () => code,
    release() {
      process.off('SIGINT', ask);
      process.off('SIGTERM', ask);
    },
  };
}
