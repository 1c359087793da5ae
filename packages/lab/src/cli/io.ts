import type { DeviceName } from '@physlm/model';
import pc from 'picocolors';
import { recipes } from '../recipes/index.js';
import type { Recipe } from '../recipes/recipe.js';

/** Where the command reads and writes. `process` is one. */
export interface Io {
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** Nothing when absent. */
  readonly stdin?: AsyncIterable<Buffer | string>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Recipes to offer instead of the package's. */
  readonly recipes?: ReadonlyMap<string, Recipe>;
  /** Ledger to use instead of the package's. */
  readonly ledger?: string;
  /** The words that start this command as a process of its own, instead of Node.js and the package's. */
  readonly self?: readonly [string, ...string[]];
}

/** What the user may write after --device. */
export type DeviceChoice = DeviceName | 'auto';

/** The recipes that `io` offers. */
export function recipesOf(io: Io): ReadonlyMap<string, Recipe> {
  return io.recipes ?? recipes;
}

/** Colours for a stream: none when it is not a terminal or NO_COLOR is set. */
export function colours(io: Io, stream: 'stdout' | 'stderr'): ReturnType<typeof pc.createColors> {
  const { NO_COLOR, FORCE_COLOR, TERM } = io.env;
  const refused = (NO_COLOR ?? '') !== '' || TERM === 'dumb';
  return pc.createColors(!refused && (io[stream].isTTY === true || !['', '0', 'false'].includes(FORCE_COLOR ?? '')));
}

/** Writes a line of result. */
export function say(io: Io, text = ''): void {
  io.stdout.write(`${text}\n`);
}

/** Writes a line about what is going on, which no program should have to read past. */
export function note(io: Io, text: string): void {
  io.stderr.write(`${text}\n`);
}
