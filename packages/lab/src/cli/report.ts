import { recipeNamed } from '../recipes/index.js';
import { openFinishedRun, writeReport } from '../run-recipe.js';
import { type Io, recipesOf } from './io.js';
import { printFinished } from './print-finished.js';

/**
 * `physlm report`: renders the report of a finished run again.
 *
 * @throws DataError when `path` holds no finished run.
 * @throws OutputError when the report cannot be written.
 */
export async function report(path: string, io: Io): Promise<void> {
  const finished = openFinishedRun(path);
  const recipe = recipeNamed(finished.experiment.recipe, recipesOf(io));
  await writeReport(recipe, finished);
  printFinished(recipe, finished, io);
}
