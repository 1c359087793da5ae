import type { Figure, LineFigure, ReportDocument } from '../report/document.js';
import { decimals } from '../report/number-format.js';
import { type Findings, type MeasuredMember, meanCurve } from './findings.js';
import type { SweepPlan } from './plan.js';
import { fitsTable, type MemberOutcome, membersTable } from './tables.js';

/** What a sweep shows: its members, how one quantity goes with another, and the power laws through them. */
export function sweepReport(
  plan: SweepPlan,
  outcomes: readonly MemberOutcome[],
  findings: Findings | undefined,
): ReportDocument {
  const { recipe, scale, axes, seeds } = plan;
  const own = recipe.sweep;
  const measured = outcomes.flatMap((one) => (one.state === 'finished' ? [one] : []));
  const grid = axes.map(({ name, values }) => `${name} = ${values.join(', ')}`).join('; ');
  const missing = outcomes.length - measured.length;
  const isOwn = findings !== undefined && own?.fit.x === findings.request.x && own.fit.y === findings.request.y;
  const figure =
    findings === undefined ? bars(measured) : lines(findings, isOwn ? own?.paper : undefined, own?.caption);
  return {
    title: isOwn ? own.title : `A sweep of ${recipe.name}`,
    summary:
      `${measured.length} of ${outcomes.length} runs of ${recipe.name} at scale ${scale}` +
      `${grid === '' ? '' : `, with ${grid}`}${seeds.length > 1 ? `, and seeds ${seeds.join(', ')}` : ''}.` +
      (missing > 0 ? ` ${missing} ${missing === 1 ? 'is' : 'are'} missing: figures and fits are without them.` : ''),
    headline: headline(findings, measured.length, outcomes.length),
    table: { title: 'Members', ...membersTable(plan, outcomes, findings) },
    figures: figure === undefined ? [] : [figure],
    tables:
      findings === undefined
        ? []
        : [
            {
              title: 'Power laws',
              note: `Slopes of log ${findings.request.y} against log ${findings.request.x}, by least squares; in the third column the 95 % bootstrap interval over members.`,
              ...fitsTable(findings),
            },
          ],
    sources: own?.sources ?? [recipe.source],
  };
}

function headline(findings: Findings | undefined, nMeasured: number, nMember: number): ReportDocument['headline'] {
  const fit = findings?.main.fit;
  if (findings === undefined || fit === undefined) {
    return { value: String(nMeasured), unit: `of ${nMember} runs`, text: 'There are too few numbers for a power law.' };
  }
  const { y, x } = findings.request;
  const { slope, interval, nPoint } = fit;
  const range = interval === null ? '' : ` [${decimals(interval.low)}, ${decimals(interval.high)}]`;
  return {
    value: decimals(slope),
    unit: `slope of log ${y} on log ${x}`,
    text: `${y} grows as the power ${decimals(slope)}${range} of ${x}, over ${nPoint} points (${findings.main.over}).`,
  };
}

function lines(
  { request: { x, y }, curves, main }: Findings,
  paper: Pick<LineFigure, 'series' | 'rays'> | undefined,
  caption = '',
): LineFigure {
  const points = curves.flatMap((curve) => curve.points);
  const all = [...points, ...(paper?.series ?? []).flatMap((series) => series.points)];
  const log = (axis: 0 | 1): boolean => all.every((point) => point[axis] > 0);
  const ours = curves.map(({ name, points }) => ({ name: name || y, points: meanCurve(points) }));
  const [least, most] = [Math.min(...points.map(([at]) => at)), Math.max(...points.map(([at]) => at))];
  const fitted =
    main.fit === undefined
      ? []
      : [
          {
            name: `fit, slope ${decimals(main.fit.slope)}`,
            points: [least, most].map((at) => [at, main.fit!.coefficient * at ** main.fit!.slope] as const),
            fit: true,
          },
        ];
  return {
    kind: 'line',
    id: 'fit',
    title: `${y} against ${x}`,
    caption: `Each point is a run${curves.some((curve) => meanCurve(curve.points).length < curve.points.length) ? ', or the mean over its seeds' : ''}.${paper === undefined ? '' : ` ${caption}`}`,
    x: { label: x, log: log(0) },
    y: {
      label: y,
      log: log(1),
      ...(log(1) && { min: 10 ** Math.floor(Math.log10(Math.min(...all.map((point) => point[1])))) }),
    },
    series: [...(paper?.series ?? []), ...ours, ...fitted],
    ...(paper?.rays && { rays: paper.rays }),
  };
}

/** For axes that are no numbers: the first measure with an interval, a bar for each run. */
function bars(measured: readonly MeasuredMember[]): Figure | undefined {
  const results = measured[0]?.finished.results;
  const name = Object.keys(results?.intervals ?? {})[0] ?? Object.keys(results?.measures ?? {})[0];
  if (name === undefined) return undefined;
  return {
    kind: 'bar',
    id: 'members',
    title: `${name} of each member`,
    caption: 'Each bar is a run.',
    x: { label: name },
    categories: measured.map(({ member }) => member.label),
    series: [{ name, values: measured.map(({ finished }) => finished.results.measures[name] ?? Number.NaN) }],
  };
}
