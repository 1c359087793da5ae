// What the laws of Part 3.1 share: their runs, and how they read numbers off them.
import { invariant } from '@physlm/base';
import { knowledgeScales } from '../../recipes/knowledge.js';
import type { Interval, Results, ScaleName } from '../../recipes/recipe.js';
import type { LawMeasurement, LawMember } from '../law.js';

type Parameters = Readonly<Record<string, unknown>>;

/**
 * A model that reads texts in this augmentation and is asked about half of the people, as is usual at a scale: among the texts
 * at those for one processor, after them at those of the paper. Laws share these runs.
 */
export const asked = (augmentation: string, rest: Parameters = {}): LawMember => ({
  recipe: 'knowledge',
  parameters: { augmentation, ...rest },
});

/**
 * The same, asked after all texts, by finetuning. At scales that ask among the texts, biographies fill the steps of the questions.
 */
export function askedAfterwards(scale: ScaleName, augmentation: string, rest: Parameters = {}): LawMember {
  const { exposures, qaShare } = knowledgeScales[scale];
  return asked(augmentation, {
    qaShare: 0,
    ...(qaShare > 0 && { exposures: Math.round(exposures / (1 - qaShare)) }),
    ...rest,
  });
}

/** Texts that differ in how much they are varied, from nothing to everything. */
export const AUGMENTED = {
  single: asked('single'),
  permute1: asked('single+permute1'),
  fullname: asked('single+fullname'),
  permute5: asked('single+permute5'),
  multi5: asked('multi5'),
  'multi5+permute': asked('multi5+permute'),
} as const;

export const source = (section: string): { readonly paper: string; readonly section: string } => ({
  paper: 'arXiv:2309.14316',
  section,
});

/** A measure that must be there. */
export function read(results: Results | undefined, name: string): number {
  const value = results?.measures[name];
  invariant(value !== undefined, `knowledge results without ${name}`);
  return value;
}

/** The number of a law. */
export function measured(ours: number, measures: Readonly<Record<string, number>>, interval: Interval): LawMeasurement {
  return { ours, interval, measures };
}

/** The interval of a − b, independent shares whose intervals are known. */
export function differenceInterval(a: Results | undefined, b: Results | undefined, name: string): Interval {
  const difference = read(a, name) - read(b, name);
  const half = (results: Results | undefined): number => {
    const { low, high } = results?.intervals[name] ?? { low: 0, high: 0 };
    return (high - low) / 2;
  };
  const width = Math.hypot(half(a), half(b));
  return { low: difference - width, high: difference + width };
}

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** Rank correlation: 1 when both lists rise together. Ties share their mean rank. */
export function spearman(xs: readonly number[], ys: readonly number[]): number {
  const ranks = (values: readonly number[]): number[] =>
    values.map((value) => {
      const below = values.filter((other) => other < value).length;
      const equal = values.filter((other) => other === value).length;
      return below + (equal - 1) / 2;
    });
  const [a, b] = [ranks(xs), ranks(ys)];
  const [meanA, meanB] = [mean(a), mean(b)];
  const product = a.reduce((sum, x, i) => sum + (x - meanA) * (b[i]! - meanB), 0);
  const norm = (list: readonly number[], centre: number): number =>
    Math.sqrt(list.reduce((sum, x) => sum + (x - centre) ** 2, 0));
  return product / (norm(a, meanA) * norm(b, meanB));
}
