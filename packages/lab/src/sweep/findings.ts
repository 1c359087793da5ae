import { ConfigError, nearest } from '@physlm/base';
import type { FinishedRun } from '../run-recipe.js';
import { type FitRequest, type PowerFit, powerFit } from './fit.js';
import type { SweepMember, SweepPlan } from './plan.js';

/** A member that is finished. */
export interface MeasuredMember {
  readonly member: SweepMember;
  readonly finished: FinishedRun;
}

/** Members that differ only in x and in the seed. */
export interface Curve {
  /** `nPeople = 300`; empty when there is one curve only. */
  readonly name: string;
  /** By x, then by seed. */
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** A power law through some of the points. */
export interface FitRow {
  readonly over: string;
  /** Undefined when the points have no slope. */
  readonly fit: PowerFit | undefined;
}

/** What a sweep found about two quantities. */
export interface Findings {
  readonly request: FitRequest;
  readonly curves: readonly Curve[];
  readonly fits: readonly FitRow[];
  /** The fit that the sweep is about. */
  readonly main: FitRow;
}

/**
 * The two quantities that a sweep is about when nobody says: those of the recipe, or, when they do not vary here, its
 * measure against the first axis of several numbers. Undefined when no axis is one.
 */
export function guessFit({ axes, recipe }: SweepPlan, measured: readonly MeasuredMember[]): FitRequest | undefined {
  const own = recipe.sweep?.fit;
  if (own !== undefined && new Set(measured.map((one) => quantity(one, own.x))).size > 1) return own;
  const x = axes.find(({ values }) => values.length > 1 && values.every((value) => typeof value === 'number'))?.name;
  const results = measured[0]?.finished.results;
  const y = own?.y ?? Object.keys(results?.intervals ?? {})[0] ?? Object.keys(results?.measures ?? {})[0];
  return x === undefined || y === undefined ? undefined : { y, x };
}

/**
 * Curves and fits of `request.y` against `request.x`. An axis that x does not depend on makes a curve for each of its
 * values.
 *
 * @throws ConfigError with the nearest name when a quantity is neither a measure nor a parameter that is a number.
 */
export function findingsOf(plan: SweepPlan, measured: readonly MeasuredMember[], request: FitRequest): Findings {
  for (const name of [request.y, request.x]) requireQuantity(name, measured);
  const points = measured
    .map((one) => ({ one, x: quantity(one, request.x), y: quantity(one, request.y) }))
    .sort((a, b) => a.x - b.x || a.one.member.seed - b.one.member.seed);
  const varying = plan.axes.filter(({ values }) => new Set(values).size > 1).map(({ name }) => name);
  const curveAxes = varying.filter((axis) => {
    const others = varying.filter((name) => name !== axis);
    return [...groupBy(points, ({ one }) => label(one, others)).values()].every(
      (group) => new Set(group.map(({ x }) => x)).size === 1,
    );
  });
  const groups = groupBy(points, ({ one }) => label(one, curveAxes));
  const curves = [...groups].map(([name, group]) => ({ name, points: group.map(({ x, y }) => [x, y] as const) }));
  const all = curves.flatMap((curve) => curve.points);
  const fits: FitRow[] =
    curves.length > 1
      ? curves.flatMap(({ name, points }) => {
          const fit = powerFit(points);
          return fit === undefined ? [] : [{ over: name, fit }];
        })
      : [];
  let main: FitRow = { over: 'all members', fit: powerFit(all) };
  fits.push(main);
  const own = plan.recipe.sweep;
  if (curves.length > 1 && own?.envelope !== undefined && own.fit.x === request.x && own.fit.y === request.y) {
    main = { over: own.envelope, fit: powerFit(envelope(curves)) };
    fits.push(main);
  }
  return { request, curves, fits, main };
}

/** The mean of y over seeds at each x, in the order of x. */
export function meanCurve(points: Curve['points']): Curve['points'] {
  return [...groupBy(points, ([x]) => String(x)).values()].map((group) => [
    group[0]![0],
    group.reduce((sum, [, y]) => sum + y, 0) / group.length,
  ]);
}

/** At each x the points of the curve with the largest mean. */
function envelope(curves: readonly Curve[]): Curve['points'] {
  const best = new Map<number, { mean: number; points: Curve['points'] }>();
  for (const { points } of curves) {
    for (const [x, mean] of meanCurve(points)) {
      if (mean > (best.get(x)?.mean ?? Number.NEGATIVE_INFINITY)) {
        best.set(x, { mean, points: points.filter((point) => point[0] === x) });
      }
    }
  }
  return [...best.values()].flatMap(({ points }) => points);
}

/** A measure of a finished run, or a parameter of the sweep; NaN when it has neither as a number. */
export function quantity({ member, finished }: MeasuredMember, name: string): number {
  const value = finished.results.measures[name] ?? member.parameters[name];
  return typeof value === 'number' ? value : Number.NaN;
}

function requireQuantity(name: string, measured: readonly MeasuredMember[]): void {
  if (measured.some((one) => !Number.isNaN(quantity(one, name)))) return;
  const known = measured.flatMap(({ member, finished }) => [
    ...Object.keys(finished.results.measures),
    ...Object.keys(member.parameters).filter((key) => typeof member.parameters[key] === 'number'),
  ]);
  throw new ConfigError(
    [
      {
        path: 'fit',
        expected: 'measures or parameters that are numbers',
        got: `'${name}'`,
        nearest: nearest(name, [...new Set(known)]),
      },
    ],
    'The runs are kept: give the command again with another --fit.',
  );
}

function label({ member }: MeasuredMember, axes: readonly string[]): string {
  return axes.map((name) => `${name} = ${member.parameters[name]}`).join(', ');
}

function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const name = key(item);
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [item]);
    else group.push(item);
  }
  return groups;
}
