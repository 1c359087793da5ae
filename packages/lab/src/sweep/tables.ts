import type { Table } from '../report/document.js';
import { decimals, duration } from '../report/number-format.js';
import type { Findings } from './findings.js';
import type { MemberState } from './member-state.js';
import type { SweepMember, SweepPlan } from './plan.js';

/** A member and what its run directory, or the process that ran it, says. */
export type MemberOutcome = { readonly member: SweepMember } & (
  | Extract<MemberState, { state: 'finished' | 'damaged' }>
  | { readonly state: 'not run' | 'unfinished' }
  | { readonly state: 'failed'; readonly problem: string }
);

/** What becomes of a sweep, as JSON: every member with its measures. */
export function sweepJson(plan: SweepPlan, outcomes: readonly MemberOutcome[], findings: Findings | undefined): object {
  return {
    recipe: plan.recipe.name,
    scale: plan.scale,
    seeds: plan.seeds,
    grid: Object.fromEntries(plan.axes.map(({ name, values }) => [name, values])),
    fits: findings === undefined ? [] : findings.fits.map(({ over, fit }) => ({ ...findings.request, over, ...fit })),
    members: outcomes.map((outcome) => ({
      run: outcome.member.path,
      seed: outcome.member.seed,
      parameters: outcome.member.parameters,
      state: outcome.state,
      ...('problem' in outcome && { problem: outcome.problem }),
      ...(outcome.state === 'finished' && {
        seconds: outcome.finished.environment.seconds,
        measures: outcome.finished.results.measures,
        intervals: outcome.finished.results.intervals,
      }),
    })),
  };
}

/** One row for each member: run, state, seed, parameters, measures, and both ends of each interval. RFC 4180. */
export function sweepCsv(plan: SweepPlan, outcomes: readonly MemberOutcome[]): string {
  const results = outcomes.flatMap((one) => (one.state === 'finished' ? [one.finished.results] : []));
  const measures = [...new Set(results.flatMap(({ measures }) => Object.keys(measures)))];
  const intervals = [...new Set(results.flatMap(({ intervals }) => Object.keys(intervals)))];
  const axes = plan.axes.map(({ name }) => name);
  const header = [
    'run',
    'state',
    'scale',
    'seed',
    // A recipe may measure what it was given; the name must not stand twice.
    ...axes.map((name) => (measures.includes(name) ? `parameter.${name}` : name)),
    ...measures,
    ...intervals.flatMap((name) => [`${name}.low`, `${name}.high`]),
    'seconds',
  ];
  const rows = outcomes.map((outcome) => {
    const finished = outcome.state === 'finished' ? outcome.finished : undefined;
    return [
      outcome.member.path,
      outcome.state,
      plan.scale,
      outcome.member.seed,
      ...axes.map((name) => outcome.member.parameters[name]),
      ...measures.map((name) => finished?.results.measures[name]),
      ...intervals.flatMap((name) => [finished?.results.intervals[name]?.low, finished?.results.intervals[name]?.high]),
      finished?.environment.seconds,
    ];
  });
  return [header, ...rows].map((row) => `${row.map(csvCell).join(',')}\r\n`).join('');
}

function csvCell(value: unknown): string {
  const text = String(value ?? '');
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Members with the measures that a reader looks for first: those that are fitted, and those with an interval. */
export function membersTable(
  plan: SweepPlan,
  outcomes: readonly MemberOutcome[],
  findings: Findings | undefined,
): Pick<Table, 'columns' | 'rows'> {
  const axes = plan.axes.map(({ name }) => name);
  const first = outcomes.flatMap((one) => (one.state === 'finished' ? [one.finished.results] : []))[0];
  const wanted = [findings?.request.x, findings?.request.y, ...Object.keys(first?.intervals ?? {})];
  const measures = [...new Set(wanted)].filter(
    (name): name is string => name !== undefined && first?.measures[name] !== undefined && !axes.includes(name),
  );
  const several = plan.seeds.length > 1;
  return {
    columns: ['member', ...axes, ...(several ? ['seed'] : []), ...measures, 'time', 'state'],
    rows: outcomes.map((outcome, i) => [
      String(i),
      ...axes.map((name) => String(outcome.member.parameters[name])),
      ...(several ? [String(outcome.member.seed)] : []),
      ...measures.map((name) =>
        outcome.state === 'finished' ? decimals(outcome.finished.results.measures[name]!) : '',
      ),
      outcome.state === 'finished' ? duration(outcome.finished.environment.seconds) : '',
      outcome.state,
    ]),
  };
}

/** Every fit of a sweep with its interval. */
export function fitsTable({ fits }: Findings): Pick<Table, 'columns' | 'rows'> {
  return {
    columns: ['slope over', 'slope', '95 % interval', 'points'],
    rows: fits.map(({ over, fit }) => [
      over,
      fit === undefined ? '–' : decimals(fit.slope),
      fit?.interval ? `${decimals(fit.interval.low)} … ${decimals(fit.interval.high)}` : '–',
      fit === undefined ? '–' : String(fit.nPoint),
    ]),
  };
}
