// What the laws of Part 2 share: their runs, and how they read numbers off them.
import { invariant } from '@physlm/base';
import type { RetryKind, RetryMask } from '@physlm/data/igsm';
import type { Interval, Results } from '../../recipes/recipe.js';
import type { Law, LawMeasurement, LawMember } from '../law.js';

/** The scale's own run, with everything measured: laws about accuracy, probes and going back share it. */
export const plain: LawMember = { recipe: 'igsm', parameters: {} };

/** Runs that only solve problems. */
const solvesOnly = { nProbeStep: 0, nBeam: 0, nRetry: 0, probeLayers: false } as const;

/** A run that only solves problems, with these parameters. */
export const solving = (parameters: Readonly<Record<string, unknown>>): LawMember => ({
  recipe: 'igsm',
  parameters: { ...solvesOnly, ...parameters },
});

/** Pretraining on solutions with mistakes that are taken back. */
export const withRetry = (
  retryRate: number,
  { kind = 'retry', mask }: { readonly kind?: RetryKind; readonly mask?: RetryMask } = {},
): LawMember => solving({ retry: kind, retryRate, ...(mask && { retryMask: mask }) });

/** The scale's own run, finetuned on solutions with mistakes: all of it, or updates of this rank. */
export const finetuned = (retryRate: number, rank?: number): LawMember =>
  solving({ retry: 'retry', retryRate, finetune: rank === undefined ? 'full' : 'lora', ...(rank && { rank }) });

export const part21 = (section: string): Law['source'] => ({ paper: 'arXiv:2407.20311', section });
export const part22 = (section: string): Law['source'] => ({ paper: 'arXiv:2408.16293', section });

/** A measure that must be there. */
export function read(results: Results | undefined, name: string): number {
  const value = results?.measures[name];
  invariant(value !== undefined, `igsm results without ${name}`);
  return value;
}

/** Those of these measures that a run has: what it was too small to show is missing. */
export function readSome(results: Results | undefined, names: readonly string[]): Record<string, number> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = results?.measures[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** Without this much solved, nothing follows from how problems are solved. */
export const solvesSome = (measure: string) =>
  ({ measure, atLeast: 0.3, tests: 'enough problems are solved for the rest to mean something' }) as const;

/** The number of a law, with an interval if one is known, otherwise without width. */
export function measured(
  ours: number,
  measures: Readonly<Record<string, number>>,
  interval?: Interval,
): LawMeasurement {
  return { ours, interval: interval ?? { low: ours, high: ours }, measures };
}

/** The interval of a difference of two independent numbers whose intervals are known. */
export function differenceInterval(
  [a, aInterval]: readonly [number, Interval | undefined],
  [b, bInterval]: readonly [number, Interval | undefined],
): Interval {
  const half = ({ low, high }: Interval = { low: 0, high: 0 }): number => (high - low) / 2;
  const width = Math.hypot(half(aInterval), half(bInterval));
  return { low: a - b - width, high: a - b + width };
}

/** `accuracy.<cell>` of a run. */
export function accuracy(results: Results | undefined, cell: string): readonly [number, Interval | undefined] {
  return [read(results, `accuracy.${cell}`), results?.intervals[`accuracy.${cell}`]];
}

/** What a probe says of the model's own mistakes; without any it is 0, anywhere in 0 … 1. */
export function mistake(results: Results | undefined, kind: string): readonly [number, Interval] {
  const name = `mistakes.${kind}`;
  if (read(results, `${name}.n`) === 0) return [0, { low: 0, high: 1 }];
  const share = read(results, name);
  return [share, results?.intervals[name] ?? { low: share, high: share }];
}
