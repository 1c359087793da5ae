import type { Expectation, Experiment, Interval, Results, ScaleName } from '../recipes/recipe.js';

/** What a criterion says about a measurement. */
export type Verdict = 'holds' | 'fails';

/** The number that a law is about, in its unit, with a 95 % interval. */
export interface Measurement {
  readonly ours: number;
  readonly interval: Interval;
}

/** A finding of the papers as an experiment that anyone can re-run. */
export interface Law {
  readonly id: string;
  /** Part of the series "Physics of Language Models", as `3.3`. */
  readonly part: string;
  readonly claim: string;
  readonly source: { readonly paper: string; readonly section: string };
  /** The paper's figure: in words, and the range of the number. */
  readonly paper: { readonly text: string; readonly low: number; readonly high: number; readonly unit: string };
  readonly recipe: string;
  readonly scales: readonly ScaleName[];
  /** Reads the law's number off the results of one run. */
  measure(results: Results): Measurement;
}

/** Whether measured numbers keep every bound. A missing measure keeps none. */
export function criterion(measures: Readonly<Record<string, number>>, expect: readonly Expectation[]): Verdict {
  const kept = expect.every(({ measure, atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY }) => {
    const value = measures[measure] ?? Number.NaN;
    return value >= atLeast && value <= atMost;
  });
  return kept ? 'holds' : 'fails';
}

/** The bounds of an expectation in words: `shareOfCeiling ≥ 0.9`. */
export function boundText({ measure, atLeast, atMost }: Expectation): string {
  if (atLeast !== undefined && atMost !== undefined) return `${atLeast} ≤ ${measure} ≤ ${atMost}`;
  return atLeast !== undefined ? `${measure} ≥ ${atLeast}` : `${measure} ≤ ${atMost}`;
}

/** What decides a measurement besides the seed: two runs with equal settings belong to one row of the ledger. */
export function settingOf({ data, model, train, evaluate }: Experiment): object {
  return { data, model, train, evaluate };
}
