// Training that another run of the same folder of runs has already done.
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { digest, toJsonLines } from '@physlm/base';
import type { DeviceName } from '@physlm/model';
import { RunDirectory } from '@physlm/train';
import type { Environment, TrainedElsewhere } from './environment.js';
import type { Experiment, Recipe } from './recipes/recipe.js';

/** The same for two experiments exactly when they train the same model and write the same metrics while they do. */
export function trainingDigest(
  { recipe, seed, data, model, train, evaluate, start, ...rest }: Experiment,
  after: readonly string[],
): string {
  const { name: _, scale: __, source: ___, ...own } = rest;
  const live = Object.fromEntries(Object.entries(evaluate).filter(([key]) => !after.includes(key)));
  const from = start && trainingDigest({ ...start.experiment, evaluate: {} }, []);
  return digest({ ...own, recipe, seed, data, model, train, live, ...(from !== undefined && { from }) });
}

/**
 * Gives a run that has no checkpoint yet the last checkpoint and the metrics of a run beside it whose training was the same on the
 * same device, so that only measuring is left. Undefined when there is none; that run stays as it is.
 *
 * @throws OutputError when the files cannot be written.
 */
export function takeTraining(
  { measuredAfter }: Recipe,
  experiment: Experiment,
  run: RunDirectory,
  device: DeviceName,
): TrainedElsewhere | undefined {
  const { nStep } = experiment.train;
  if (measuredAfter === undefined || nStep === 0 || run.follows || run.latestCheckpoint() !== undefined)
    return undefined;
  const wanted = trainingDigest(experiment, measuredAfter);
  const own = digest(experiment);
  const runs = dirname(run.path);
  for (const name of readdirSync(runs).sort()) {
    const path = join(runs, name);
    const other = name === basename(run.path) ? undefined : readExperiment(path);
    if (other?.recipe !== experiment.recipe || trainingDigest(other, measuredAfter) !== wanted) continue;
    // The same experiment in two folders is there to be compared.
    if (digest(other) === own) continue;
    const trained = RunDirectory.open(path, other, 'resume');
    const checkpoint = trained.latestCheckpoint();
    const before = trained.readJson<Environment>('environment.json');
    if (checkpoint?.step !== nStep || before?.device !== device) continue;
    run.writeText('metrics.jsonl', toJsonLines(trained.metrics()));
    run.writeCheckpoint(nStep, undefined, (folder) => cpSync(checkpoint.path, folder, { recursive: true }));
    return { run: name, ...(before.commit !== undefined && { commit: before.commit }), seconds: before.seconds };
  }
  return undefined;
}

/** The experiment of a folder; undefined when it is no run's, or cannot be read: then it is not to be taken from either. */
function readExperiment(path: string): Experiment | undefined {
  const file = join(path, 'experiment.json');
  try {
    const found = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Partial<Experiment> | null) : undefined;
    return found?.recipe && found.evaluate ? (found as Experiment) : undefined;
  } catch {
    return undefined;
  }
}
