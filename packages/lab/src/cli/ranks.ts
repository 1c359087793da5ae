// Several processes that train one run together, each on its own share of every step: one for each GPU, or for some cores each.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ConfigError } from '@physlm/base';
import { type DeviceName, openDevice } from '@physlm/model';
import { RunDirectory, rankPlan, stayAway } from '@physlm/train';
import { recipeNamed } from '../recipes/index.js';
import { readExperiment, runRecipe } from '../run-recipe.js';
import type { RankTeam } from '../training.js';
import { exitCodes } from './exit-codes.js';
import { type Io, recipesOf } from './io.js';
import { plainText, selfCommand } from './run-jobs.js';

/** What every rank does the same. */
export interface RankFlags {
  readonly device: DeviceName;
  readonly threads?: number | undefined;
  readonly dataWorkers?: number | undefined;
}

/** A team whose folder of meeting is to be removed. */
export interface OwnTeam extends RankTeam {
  release(): void;
}

/**
 * The team of rank 0, this process, for the run in `path`: the others are processes of `physlm rank`. On `cuda` each is shown one of
 * the GPUs that this process sees, this one too, so that no device may have been opened before.
 */
export function teamOf(worldSize: number, path: string, { device, threads, dataWorkers }: RankFlags, io: Io): OwnTeam {
  const folder = mkdtempSync(join(tmpdir(), 'physlm-ranks-'));
  const gpu = gpuOf(io.env.CUDA_VISIBLE_DEVICES);
  if (device === 'cuda') process.env.CUDA_VISIBLE_DEVICES = gpu(0);
  const flags = Object.entries({ device, threads, 'data-workers': dataWorkers }).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, String(value)],
  );
  const [file, ...words] = selfCommand(io);
  const start = (rank: number): Promise<string | undefined> => {
    const child = spawn(file, [...words, 'rank', resolve(path), ...flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ...plainText(process.env),
        PHYSLM_RANK: String(rank),
        PHYSLM_WORLD_SIZE: String(worldSize),
        PHYSLM_RANKS_FOLDER: folder,
        ...(device === 'cuda' && { CUDA_VISIBLE_DEVICES: gpu(rank) }),
      },
      // Ctrl-C is for rank 0, with which all stop behind the same step.
      detached: true,
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    return new Promise((end) => {
      child.on('error', (error) => end(`[ranks] rank ${rank} cannot be started: ${error.message}`));
      child.on('close', (code, signal) => {
        const reason = said.trim().replace(/^physlm: /, '') || `it ended with ${signal ?? `exit code ${code}`}`;
        end(code === 0 ? undefined : `[ranks] rank ${rank}: ${reason}`);
      });
    });
  };
  return {
    plan: { rank: 0, worldSize, folder },
    call() {
      const others = Promise.all(Array.from({ length: worldSize - 1 }, (_, i) => start(i + 1)));
      const ended = others.then((complaints) => complaints.find((complaint) => complaint !== undefined));
      return { ended: () => ended };
    },
    release() {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The GPU of a rank, among those that this process sees. */
function gpuOf(visible: string | undefined): (rank: number) => string {
  const ids = visible === undefined || visible.trim() === '' ? undefined : visible.split(',');
  return (rank) => (ids === undefined ? String(rank) : (ids[rank]?.trim() ?? ''));
}

/**
 * `physlm rank`: a rank behind the first; its number is in the environment. Trains with the others and ends.
 *
 * @throws ConfigError without a plan in the environment. @throws PhyslmError as training does.
 */
export async function runRank(
  path: string,
  { device: name, threads, dataWorkers }: RankFlags,
  io: Io,
): Promise<number> {
  const plan = rankPlan(process.env);
  if (plan.rank === 0) {
    throw new ConfigError([{ path: 'rank', expected: 'PHYSLM_RANK from 1 on', got: `${plan.rank}` }]);
  }
  try {
    const experiment = readExperiment(path);
    const recipe = recipeNamed(experiment.recipe, recipesOf(io));
    const device = openDevice(name, { nThread: threads, precision: name === 'cuda' ? 'bf16' : 'f32' });
    const run = RunDirectory.follow(path, experiment);
    await runRecipe({ recipe, experiment, run, device, command: '', resume: false, dataWorkers, team: { plan } });
    return exitCodes.ok;
  } catch (error) {
    stayAway(plan.rank, plan.folder!);
    throw error;
  }
}
