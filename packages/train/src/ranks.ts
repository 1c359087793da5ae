import { ConfigError, type ConfigProblem } from '@physlm/base';
import type { Tensor } from '@physlm/model';

/** One process among those that train a model together, each on its own share of every step's windows. */
export interface RankPlan {
  /** 0 … worldSize − 1. Rank 0 keeps the run directory. */
  readonly rank: number;
  readonly worldSize: number;
  /** Where the ranks of one run on this machine meet: an empty folder of their own. */
  readonly folder?: string;
}

/** What the ranks of a run do together. Every call must be made by all of them, in the same order. */
export interface Ranks {
  readonly rank: number;
  readonly worldSize: number;
  /**
   * An f32 tensor of every rank becomes their sum, added in the order of ranks from +0 on: the same bits on every rank, and
   * those of one process that adds the same parts in turn.
   *
   * @throws PhyslmError 'ranks' when another rank has ended.
   */
  sum(x: Tensor): void;
  /** The same for a few numbers, in doubles; waits for all ranks. */
  sumNumbers(values: readonly number[]): number[];
  /** Leaves the others; they end with a message if they still wait for this one. */
  close(): void;
}

/** A process that trains alone. */
export const soleRank: Ranks = {
  rank: 0,
  worldSize: 1,
  sum() {},
  sumNumbers: (values) => [...values],
  close() {},
};

/**
 * The plan that a launcher left in the environment: PHYSLM_RANK, PHYSLM_WORLD_SIZE and PHYSLM_RANKS_FOLDER. Without them this
 * process trains alone.
 *
 * @throws ConfigError for numbers that make no plan.
 */
export function rankPlan(environment: Readonly<Record<string, string | undefined>>): RankPlan {
  const { PHYSLM_RANK: rank, PHYSLM_WORLD_SIZE: worldSize, PHYSLM_RANKS_FOLDER: folder } = environment;
  if (rank === undefined && worldSize === undefined) return { rank: 0, worldSize: 1 };
  const plan = { rank: toNumber(rank), worldSize: toNumber(worldSize), ...(folder !== undefined && { folder }) };
  checkRankPlan(plan);
  return plan;
}

/** @throws ConfigError with every field that makes no plan. */
export function checkRankPlan({ rank, worldSize, folder }: RankPlan): void {
  const problems: ConfigProblem[] = [];
  const most = 1024;
  const isSize = Number.isInteger(worldSize) && worldSize >= 1 && worldSize <= most;
  if (!isSize) problems.push({ path: 'ranks.worldSize', expected: `1 … ${most}`, got: String(worldSize) });
  if (!Number.isInteger(rank) || rank < 0 || (isSize && rank >= worldSize)) {
    const expected = isSize ? `0 … ${worldSize - 1}, for ${worldSize} ranks` : 'a rank from 0 on';
    problems.push({ path: 'ranks.rank', expected, got: String(rank) });
  }
  if (isSize && worldSize > 1 && (folder ?? '') === '') {
    problems.push({ path: 'ranks.folder', expected: 'a folder where the ranks meet', got: 'none' });
  }
  if (problems.length > 0) {
    throw new ConfigError(problems, 'Set by PHYSLM_RANK, PHYSLM_WORLD_SIZE and PHYSLM_RANKS_FOLDER.');
  }
}

function toNumber(text: string | undefined): number {
  return text === undefined || text.trim() === '' ? Number.NaN : Number(text);
}
