// Where the published papers and the released code of iGSM differ, as named switches; and the two sizes of problems.
import { ConfigError, nearest } from '@physlm/base';

/** The choice of each difference. */
export interface Variant {
  /** How the operations count is kept: `code` draws it once and redraws everything else until it fits; `paper` redraws it too. */
  readonly opDraw: Choice;
  /** Which abstract parameters the necessary set takes first: of low (`code`) or of high level (`paper`). */
  readonly necessary: Choice;
  /** A new edge prefers parents that nothing placed needs yet (`code`), or those that something needs (`paper`). */
  readonly edgeBonus: Choice;
  /** Whether the random number may still be drawn as a parent after the coin refused it: yes (`code`), no (`paper`). */
  readonly randomParent: Choice;
  /** Training buckets of the template hash: 0 … 15 (`code`) or 0 … 16 (`paper`) of 23. */
  readonly split: Choice;
  /** retry_weak may insert the very next parameter (`code`), or only later ones (`paper`). */
  readonly retryWeak: Choice;
}

export type Choice = 'code' | 'paper';

const all = (choice: Choice): Variant => ({
  opDraw: choice,
  necessary: choice,
  edgeBonus: choice,
  randomParent: choice,
  split: choice,
  retryWeak: choice,
});

/** All switches one way. */
export const VARIANTS: Readonly<Record<Choice, Variant>> = { code: all('code'), paper: all('paper') };

/** How large problems are. */
export interface Level {
  /** Operations of a natural problem: 1 … opMax. */
  readonly opMax: number;
  /** Most instance parameters, which is most sentences. */
  readonly ipMax: number;
  /** Tokens of a training window. */
  readonly nCtx: number;
}

/** iGSM-med and iGSM-hard. @see Ye et al. 2024, arXiv:2407.20311, Section 2.4. */
export const LEVELS = {
  med: { opMax: 15, ipMax: 20, nCtx: 768 },
  hard: { opMax: 21, ipMax: 28, nCtx: 1024 },
} as const satisfies Readonly<Record<string, Level>>;

export type LevelName = keyof typeof LEVELS;

/** @throws ConfigError with the nearest name when there is no such level. */
export function levelNamed(name: string): Level {
  if (name in LEVELS) return LEVELS[name as LevelName];
  const problem = { path: 'level', expected: `one of ${Object.keys(LEVELS).join(', ')}`, got: `'${name}'` };
  throw new ConfigError([{ ...problem, nearest: nearest(name, Object.keys(LEVELS)) }]);
}
