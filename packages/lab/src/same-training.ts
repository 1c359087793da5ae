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
    if (name === basename(run.path)) continue;
    const found = readRun(join(runs, name), (other) => {
      // The same experiment in two folders is there to be compared.
      const same = other.recipe === experiment.recipe && trainingDigest(other, measuredAfter) === wanted;
      return same && digest(other) !== own;
    });
    if (found?.checkpoint?.step !== nStep || found.environment?.device !== device) continue;
    const { checkpoint, metrics, environment } = found;
    run.writeText('metrics.jsonl', toJsonLines(metrics));
    run.writeCheckpoint(nStep, undefined, (folder) => cpSync(checkpoint.path, folder, { recursive: true }));
    const { commit, seconds } = environment;
    return { run: name, ...(commit !== undefined && { commit }), seconds };
  }
  return undefined;
}

/** What a folder holds when it is that of a wanted run; undefined as well when it cannot be read: then it is not to be taken from. */
function readRun(path: string, isWanted: (experiment: Experiment) => boolean) {
  const file = join(path, 'experiment.json');
  if (!existsSync(file)) return undefined;
  try {
    const experiment = JSON.parse(readFileSync(file, 'utf8')) as Experiment;
    if (!isWanted(experiment)) return undefined;
    // It may be somebody else's: nothing is written there.
    const run = RunDirectory.follow(path, experiment);
    return {
      checkpoint: run.latestCheckpoint(),
      metrics: run.metrics(),
      environment: run.readJson<Environment>('environment.json'),
    };
  } catch {
    return undefined;
  }
}
