// What the laws of Part 3.3 share: their runs, and how they read numbers off them.
import { invariant } from '@physlm/base';
import type { Interval, Results } from '../../recipes/recipe.js';
import type { LawMeasurement, LawMember } from '../law.js';

/** A capacity run of the scale, with parameters that replace the scale's. Laws share runs of equal parameters. */
export const capacityRun = (parameters: Readonly<Record<string, unknown>> = {}): LawMember => ({
  recipe: 'capacity',
  parameters,
});

export const source = (section: string): { readonly paper: string; readonly section: string } => ({
  paper: 'arXiv:2404.05405',
  section,
});

/** A measure that must be there. */
export function read(results: Results | undefined, name: string): number {
  const value = results?.measures[name];
  invariant(value !== undefined, `capacity results without ${name}`);
  return value;
}

/** R: bits per parameter. */
export const perParameter = (results: Results | undefined): number => read(results, 'perParameter');

/** R of one run over R of another, with an interval from those of both, over people. */
export function ratioOf(above: Results | undefined, below: Results | undefined): { ours: number; interval: Interval } {
  const relative = (results: Results | undefined): number => {
    const { low, high } = results?.intervals.perParameter ?? { low: Number.NaN, high: Number.NaN };
    return (high - low) / 2 / Math.abs(perParameter(results));
  };
  const ours = perParameter(above) / perParameter(below);
  const half = Math.abs(ours) * Math.hypot(relative(above), relative(below));
  return { ours, interval: { low: ours - half, high: ours + half } };
}

/** R of every run, by the name of its member. */
export function allPerParameter(runs: Readonly<Record<string, Results>>): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(runs).map(([name, one]) => [`R.${name}`, perParameter(one)]));
}

/** A law whose number is one ratio: what it is about first, then R of every run. */
export function measuredRatio(
  name: string,
  runs: Readonly<Record<string, Results>>,
  ratio: { readonly ours: number; readonly interval: Interval },
  others: Readonly<Record<string, number>> = {},
): LawMeasurement {
  return { ...ratio, measures: { [name]: ratio.ours, ...others, ...allPerParameter(runs) } };
}

/** The run with the most bits per parameter among those whose names start with `prefix`: the best of several rates. */
export function bestOf(runs: Readonly<Record<string, Results>>, prefix: string): Results {
  const found = Object.entries(runs).filter(([name]) => name.startsWith(prefix));
  const best = found.reduce<Results | undefined>(
    (best, [, one]) => (best === undefined || perParameter(one) > perParameter(best) ? one : best),
    undefined,
  );
  invariant(best !== undefined, `no capacity run called ${prefix}…`);
  return best;
}
