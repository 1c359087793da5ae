import { ConfigError, digest } from '@physlm/base';
import { recipeNamed } from '../recipes/index.js';
import { readManifestMember } from '../sweep/manifest.js';
import { execute } from './execute.js';
import { exitCodes } from './exit-codes.js';
import { type Io, recipesOf } from './io.js';
import { parentProcess } from './parent-process.js';
import { printFinished } from './print-finished.js';

/** Options of `physlm member`. */
export interface MemberFlags {
  readonly device: string;
  readonly threads: number;
}

/**
 * `physlm member`: makes one run of a manifest, or goes on with it. Sweeps start it, on this machine or through Slurm.
 *
 * @throws DataError when the manifest has no such member.
 * @throws ConfigError when the recipe gives another experiment than the one that the manifest was written for.
 */
export async function runMember(manifest: string, index: number, flags: MemberFlags, io: Io): Promise<number> {
  const {
    recipe: name,
    scale,
    seed,
    parameters,
    digest: id,
    path,
    command,
    label,
  } = readManifestMember(manifest, index);
  const recipe = recipeNamed(name, recipesOf(io));
  const experiment = recipe.experiment({ scale, seed, parameters });
  if (digest(experiment) !== id) {
    throw new ConfigError(
      [{ path: 'manifest', expected: `the experiment that ${label} was planned as`, got: 'another one' }],
      'Another version of physlm wrote it: give the command of the sweep again.',
    );
  }
  const parent = parentProcess();
  try {
    const outcome = await execute(
      {
        recipe,
        experiment,
        path,
        command,
        again: command,
        device: flags.device,
        threads: flags.threads,
        unfinished: 'resume',
        about: `${recipe.scales[scale] ?? ''}, with ${label}`,
        ...(parent && { parent }),
      },
      io,
    );
    if (outcome.stopped === 'aborted') return outcome.exitCode;
    printFinished(recipe, outcome.finished, io);
    return exitCodes.ok;
  } finally {
    parent?.release();
  }
}
