// What the laws of Part 1 share: their runs, and how they read numbers off them.
import { invariant } from '@physlm/base';
import type { PositionScheme } from '@physlm/model';
import type { Interval, Results } from '../../recipes/recipe.js';
import type { LawMeasurement, LawMember } from '../law.js';

/** A model with these positions on the scale's own grammar, with everything measured: laws share these runs. */
export const withPosition = (position: PositionScheme): LawMember => ({ recipe: 'cfg', parameters: { position } });

/** Runs that only score sentences. */
export const scoresOnly = { nProbeStep: 0, nAttention: 0 } as const;

export const source = (section: string): { readonly paper: string; readonly section: string } => ({
  paper: 'arXiv:2305.13673',
  section,
});

/** A measure that must be there. */
export function read(results: Results | undefined, name: string): number {
  const value = results?.measures[name];
  invariant(value !== undefined, `cfg results without ${name}`);
  return value;
}

/** Levels that have a measure `<kind>.<level>`, nearest to the root first. */
export function levelsOf(results: Results | undefined, kind: string): string[] {
  return Object.keys(results?.measures ?? {}).flatMap((name) => {
    const found = new RegExp(`^${kind}\\.(NT\\d+)$`).exec(name);
    return found === null ? [] : [found[1]!];
  });
}

/** The number of a law, with the interval of a measure if it has one, otherwise without width. */
export function measured(
  ours: number,
  measures: Readonly<Record<string, number>>,
  interval?: Interval,
): LawMeasurement {
  return { ours, interval: interval ?? { low: ours, high: ours }, measures };
}

/** The interval of a ratio of two independent numbers whose intervals are known, to first order. */
export function ratioInterval(
  [a, aInterval]: readonly [number, Interval | undefined],
  [b, bInterval]: readonly [number, Interval | undefined],
): Interval {
  const relative = (value: number, { low, high }: Interval = { low: value, high: value }): number =>
    (high - low) / 2 / value;
  const half = Math.hypot(relative(a, aInterval), relative(b, bInterval));
  return { low: (a / b) * (1 - half), high: (a / b) * (1 + half) };
}
