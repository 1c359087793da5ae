import { join } from 'node:path';
import { ConfigError, DataError, digest } from '@physlm/base';
import type { Experiment, Recipe, ScaleName } from '../recipes/recipe.js';
import { runCommand } from '../recipes/run-command.js';
import { runFolder } from '../run-recipe.js';
import { type GridAxis, type GridPoint, gridPoints } from './grid.js';

/** One run of a sweep. */
export interface SweepMember {
  readonly seed: number;
  readonly parameters: GridPoint;
  readonly experiment: Experiment;
  /** Run directory. */
  readonly path: string;
  /** The command that gives this run again on any machine. */
  readonly command: string;
  /** What sets it apart from the others: `nPeople=300 seed=2`. */
  readonly label: string;
}

/** The runs of a sweep, each experiment once. */
export interface SweepPlan {
  readonly recipe: Recipe;
  readonly scale: ScaleName;
  readonly seeds: readonly number[];
  readonly axes: readonly GridAxis[];
  readonly members: readonly SweepMember[];
  /** Points of the grid that are the same experiment as an earlier one, by label. */
  readonly repeated: readonly string[];
  /** Where tables, figures and manifest go: its name ends in the digest of all members. */
  readonly path: string;
}

/** What a sweep is made of. */
export interface SweepOptions {
  readonly scale: ScaleName;
  readonly seeds: readonly number[];
  readonly axes: readonly GridAxis[];
  /** Folder of run directories. */
  readonly runs: string;
  readonly device: string;
}

/** Wrong points that one message names. */
const MOST_PROBLEMS = 6;

/**
 * Writes down every run of a sweep; runs nothing. Members are the product of axes and seeds.
 *
 * @throws ConfigError when there is nothing to sweep over, or naming the points that are no experiment.
 */
export function planSweep(recipe: Recipe, { scale, seeds, axes, runs, device }: SweepOptions): SweepPlan {
  if (axes.length === 0 && seeds.length < 2) {
    throw new ConfigError([
      { path: 'grid', expected: 'at least one axis, as in --grid name=1,2, or several --seeds', got: 'none' },
    ]);
  }
  const members = new Map<string, SweepMember>();
  const repeated: string[] = [];
  const wrong: string[] = [];
  const varying = axes.filter(({ values }) => values.length > 1).map(({ name }) => name);
  for (const parameters of gridPoints(axes)) {
    for (const seed of seeds) {
      const assignments = Object.entries(parameters).map(([name, value]) => `${name}=${value}`);
      const differs = varying.map((name) => `${name}=${parameters[name]}`);
      const label = [...differs, ...(seeds.length > 1 || differs.length === 0 ? [`seed=${seed}`] : [])].join(' ');
      let experiment: Experiment;
      try {
        experiment = recipe.experiment({ scale, seed, parameters });
      } catch (error) {
        if (!(error instanceof ConfigError || error instanceof DataError)) throw error;
        wrong.push(`${label}: ${error.message.replaceAll('\n', '; ')}`);
        continue;
      }
      const id = digest(experiment);
      if (members.has(id)) {
        repeated.push(label);
        continue;
      }
      const command = runCommand({ recipe: recipe.name, scale, seed, assignments, device });
      members.set(id, { seed, parameters, experiment, path: runFolder(experiment, runs), command, label });
    }
  }
  if (wrong.length > 0) throw wrongPoints(wrong, recipe);
  const name = `sweep-${digest([...members.keys()].sort()).slice(0, 8)}`;
  return { recipe, scale, seeds, axes, members: [...members.values()], repeated, path: join(runs, name) };
}

function wrongPoints(wrong: readonly string[], recipe: Recipe): ConfigError {
  const shown = wrong.slice(0, MOST_PROBLEMS).map((text) => ({
    path: 'grid',
    expected: `an experiment of ${recipe.name}`,
    got: text,
  }));
  const rest = wrong.length - shown.length;
  return new ConfigError(shown, rest > 0 ? `So are ${rest} more points. Nothing was run.` : 'Nothing was run.');
}

/** Floating-point work of training, in arbitrary units: what progress and the order of work go by. */
export function workOf({ train, model }: Experiment): number {
  const { nLayer, dModel, dVocab, nCtx } = model;
  return (
    train.nStep * train.batchSize * nCtx * (12 * nLayer * dModel ** 2 + dVocab * dModel + 2 * nLayer * nCtx * dModel)
  );
}
