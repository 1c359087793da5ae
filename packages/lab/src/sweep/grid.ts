import { ConfigError, type ConfigProblem, nearest } from '@physlm/base';
import type { Recipe } from '../recipes/recipe.js';
import { type ParameterValue, parameterValue } from '../recipes/run-command.js';

/** One parameter of a recipe and the values that a sweep gives it. */
export interface GridAxis {
  readonly name: string;
  readonly values: readonly ParameterValue[];
}

/** The parameters of one point of a grid. */
export type GridPoint = Readonly<Record<string, ParameterValue>>;

/**
 * Reads axes as `name=v1,v2,…`.
 *
 * @throws ConfigError naming every axis that is empty, repeated, or no parameter of the recipe.
 */
export function parseGrid(texts: readonly string[], recipe: Recipe): readonly GridAxis[] {
  const known = Object.keys(recipe.parameters.shape);
  const problems: ConfigProblem[] = [];
  const axes: GridAxis[] = [];
  for (const text of texts) {
    const [name, list] = text.split(/=(.*)/s) as [string, string?];
    if (!known.includes(name)) {
      const expected = `name=v1,v2,… with a parameter of ${recipe.name}`;
      problems.push({ path: 'grid', expected, got: `'${text}'`, nearest: nearest(name, known) });
      continue;
    }
    const words = (list ?? '').split(',').map((word) => word.trim());
    if (words.some((word) => word === '')) {
      problems.push({ path: `grid.${name}`, expected: `values, as in ${name}=1,2`, got: `'${text}'` });
    }
    if (axes.some((axis) => axis.name === name)) {
      problems.push({ path: `grid.${name}`, expected: 'each parameter once', got: `a second axis '${text}'` });
    }
    axes.push({ name, values: words.map(parameterValue) });
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return axes;
}

/** The axes that a recipe's own sweep has at a scale. */
export function axesOf(grid: Readonly<Record<string, readonly ParameterValue[]>>): readonly GridAxis[] {
  return Object.entries(grid).map(([name, values]) => ({ name, values }));
}

/** Every combination of the axes' values; the last axis changes fastest. No axes have one point, without parameters. */
export function gridPoints(axes: readonly GridAxis[]): readonly GridPoint[] {
  return axes.reduce<readonly GridPoint[]>(
    (points, { name, values }) => points.flatMap((point) => values.map((value) => ({ ...point, [name]: value }))),
    [{}],
  );
}
