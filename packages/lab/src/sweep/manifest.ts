import { readFileSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { DataError, digest, writeFileAtomic } from '@physlm/base';
import { z } from 'zod';
import { type Experiment, scaleNames } from '../recipes/recipe.js';

const member = z.object({
  recipe: z.string(),
  scale: z.enum(scaleNames),
  seed: z.number().int(),
  parameters: z.record(z.string(), z.unknown()),
  /** Digest of the experiment that these give. */
  digest: z.string(),
  /** Run directory, from the folder of the manifest. */
  path: z.string(),
  /** What goes into the run's report as the command that gives it again. */
  command: z.string(),
  label: z.string(),
});
const manifest = z.object({ members: z.array(member).min(1) });

/** One run as a process of its own finds it: by its place in a manifest. */
export type ManifestMember = z.infer<typeof member>;

/** What a manifest is written from. */
export interface PlannedRun {
  readonly experiment: Experiment;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly path: string;
  readonly command: string;
  readonly label: string;
}

/**
 * Writes runs down for the processes that make them.
 *
 * @throws OutputError when the file cannot be written.
 */
export function writeManifest(file: string, runs: readonly PlannedRun[]): void {
  const members: ManifestMember[] = runs.map(({ experiment, parameters, path, command, label }) => ({
    recipe: experiment.recipe,
    scale: experiment.scale,
    seed: experiment.seed,
    parameters: { ...parameters },
    digest: digest(experiment),
    path: relative(resolve(dirname(file)), resolve(path)),
    command,
    label,
  }));
  writeFileAtomic(file, `${JSON.stringify({ members }, null, 2)}\n`);
}

/**
 * The run at `index` of a manifest, with its run directory as a path of its own.
 *
 * @throws DataError naming the file when it is no manifest or has no such member.
 */
export function readManifestMember(file: string, index: number): ManifestMember {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new DataError(file, 'the manifest of a sweep', (error as Error).message);
  }
  const parsed = manifest.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new DataError(file, 'the manifest of a sweep', `${issue.path.join('.')}: ${issue.message}`);
  }
  const { members } = parsed.data;
  const found = members[index];
  if (found === undefined) throw new DataError(file, `a member below ${members.length}`, String(index));
  return { ...found, path: resolve(dirname(file), found.path) };
}
