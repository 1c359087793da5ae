// A run that another one starts from.
import { dirname } from 'node:path';
import { DataError, invariant } from '@physlm/base';
import { RunDirectory } from '@physlm/train';
import { recipeNamed } from './recipes/index.js';
import type { Experiment } from './recipes/recipe.js';
import { lockRun } from './run-lock.js';
import { type FinishedRun, type RunOutcome, type RunRecipeOptions, runFolder, runRecipe } from './run-recipe.js';
import { memberState } from './sweep/member-state.js';

/**
 * The finished run of `start.experiment`, in its folder beside the run of `options`. A run that is missing or unfinished is made
 * first, on the same device; while another process makes it, this one waits, so that no run is made twice.
 *
 * @throws DataError when the folder is damaged: it holds something else, or a finished run without a checkpoint.
 * @throws PhyslmError as the recipe of that run does.
 */
export async function baseRun({ start }: Experiment, options: RunRecipeOptions): Promise<RunOutcome> {
  invariant(start !== undefined, 'an experiment that starts from another');
  const { run, recipes, signal, tell = () => undefined } = options;
  const { experiment } = start;
  const recipe = recipeNamed(experiment.recipe, recipes);
  const path = runFolder(experiment, dirname(run.path));
  const ready = finishedRun(path, experiment);
  if (ready !== undefined) return { stopped: 'finished', finished: ready };

  const directory = RunDirectory.open(path, experiment, 'resume');
  const lock = await lockRun(path, (text) => tell(`${path}: ${text}`), { waitMs: Number.POSITIVE_INFINITY, signal });
  if (lock === undefined) return { stopped: 'aborted', step: 0, checkpoint: undefined };
  try {
    const made = finishedRun(path, experiment);
    if (made !== undefined) return { stopped: 'finished', finished: made };
    tell(`First the run that this one starts from: ${path}`);
    const outcome = await runRecipe({ ...options, recipe, experiment, run: directory, resume: true });
    if (outcome.stopped === 'finished') tell(`It is finished; now ${run.path}`);
    return outcome;
  } finally {
    lock.release();
  }
}

/** Undefined when there is a run to be made or to go on with. */
function finishedRun(path: string, experiment: Experiment): FinishedRun | undefined {
  const found = memberState(path, experiment);
  const fix = 'Move that folder away to have the run made again.';
  if (found.state === 'damaged') throw new DataError(path, 'a run to start from', found.problem, fix);
  if (found.state !== 'finished') return undefined;
  const { finished } = found;
  if (finished.run.latestCheckpoint() !== undefined) return finished;
  throw new DataError(path, 'a run to start from', 'one without a checkpoint', fix);
}
