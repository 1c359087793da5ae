import type { Expectation, Experiment, Interval, Results, ScaleName } from '../recipes/recipe.js';

/** What a criterion says about a measurement. */
export type Verdict = 'holds' | 'fails';

/** The number that a law is about, in its unit, with a 95 % interval. */
export interface Measurement {
  readonly ours: number;
  readonly interval: Interval;
}

/** What a law reads off its runs: its number, and everything that its bounds are about. */
export interface LawMeasurement extends Measurement {
  readonly measures: Readonly<Record<string, number>>;
}

/** One of the runs that a law compares: a recipe at a scale, with parameters that replace the scale's. */
export interface LawMember {
  readonly recipe: string;
  /** The law's own scale when left out. */
  readonly scale?: ScaleName;
  readonly parameters?: Readonly<Record<string, unknown>>;
}

/** How a law is tried at one scale. */
export interface LawScale {
  /** The runs that decide it, by a name that says what they differ in. */
  readonly members: Readonly<Record<string, LawMember>>;
  /** Bounds that the measures must keep. They belong to these members and to no others. */
  readonly expect: readonly Expectation[];
}

/** Measures that a law sets beside each other, for a picture. */
export interface LawComparison {
  readonly title: string;
  readonly caption: string;
  /** What the measures are, with their unit. */
  readonly label: string;
  /** Names in the picture, from top to bottom, and the measures that they stand for; those that a scale has not are left out. */
  readonly measures: Readonly<Record<string, string>>;
  /** The paper's numbers for some of these names. */
  readonly paper?: Readonly<Record<string, number>>;
}

/** A finding of the papers as an experiment that anyone can re-run. */
export interface Law {
  readonly id: string;
  /** Part of the series "Physics of Language Models", as `3.3`. */
  readonly part: string;
  readonly claim: string;
  readonly source: { readonly paper: string; readonly section: string };
  /** The paper's figure in words, and the unit of the number. */
  readonly paper: { readonly text: string; readonly unit: string };
  /** Every scale that is defined, smallest first. */
  readonly scales: Readonly<Partial<Record<ScaleName, LawScale>>>;
  readonly compares?: LawComparison;
  /** Why no scale is defined, for a law that cannot be tried here. */
  readonly untested?: string;
  /** Reads the law off the results of its members. */
  measure(results: Readonly<Record<string, Results>>): LawMeasurement;
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
export function settingOf({ data, model, train, evaluate, start }: Experiment): object {
  return { data, model, train, evaluate, ...(start && { start: settingOf(start.experiment) }) };
}
