import { ConfigError, nearest } from '@physlm/base';
import { capacityTwoBits } from './capacity-two-bits.js';
import type { Law } from './law.js';

/** Every law, in the order of the papers. */
export const laws: readonly Law[] = [capacityTwoBits];

/**
 * The laws of a part of the series: `3.3`, or `3` for all of its sections.
 *
 * @throws ConfigError with the nearest part that has laws.
 */
export function lawsOfPart(part: string): readonly Law[] {
  const found = laws.filter((law) => law.part === part || law.part.startsWith(`${part}.`));
  if (found.length > 0) return found;
  const parts = [...new Set(laws.map((law) => law.part))];
  throw new ConfigError([
    { path: 'part', expected: `one of ${parts.join(', ')}`, got: `'${part}'`, nearest: nearest(part, parts) },
  ]);
}

/** The laws that a recipe tests. */
export function lawsOfRecipe(recipe: string): readonly Law[] {
  return laws.filter((law) => law.recipe === recipe);
}
