import { z } from 'zod';
import { lawsOfRecipe } from '../laws/index.js';
import type { Recipe } from '../recipes/recipe.js';
import { colours, type Io, recipesOf, say } from './io.js';

interface ParameterSchema {
  readonly type?: string;
  readonly description?: string;
  readonly enum?: readonly string[];
}

/** `physlm list`: every recipe with its scales and parameters. */
export function list(json: boolean, io: Io): void {
  const recipes = [...recipesOf(io).values()];
  if (json) {
    const rows = recipes.map((recipe) => ({
      name: recipe.name,
      describe: recipe.describe,
      source: recipe.source,
      laws: lawsOfRecipe(recipe.name).map(({ id }) => id),
      scales: recipe.scales,
      parameters: parametersOf(recipe),
    }));
    say(io, JSON.stringify(rows, null, 2));
    return;
  }
  const c = colours(io, 'stdout');
  for (const recipe of recipes) {
    say(io, `${c.bold(recipe.name)}  ${recipe.describe}`);
    say(io, c.dim(`  ${recipe.source}`));
    say(io);
    say(io, '  --scale');
    const parameters = Object.entries(parametersOf(recipe));
    const width = Math.max(...parameters.map(([name]) => name.length)) + 2;
    for (const [scale, describe] of Object.entries(recipe.scales)) say(io, `    ${scale.padEnd(width)}${describe}`);
    say(io);
    say(io, '  --set name=value');
    for (const [name, { type, enum: choices, description }] of parameters) {
      const kind = choices?.join(', ') ?? type ?? 'value';
      say(io, `    ${name.padEnd(width)}${description ?? ''} ${c.dim(`(${kind})`)}`);
    }
    say(io);
  }
  say(io, `Run one with: physlm run ${recipes[0]?.name ?? '<recipe>'} --scale tiny`);
}

function parametersOf(recipe: Recipe): Readonly<Record<string, ParameterSchema>> {
  const schema = z.toJSONSchema(recipe.parameters) as { properties?: Record<string, ParameterSchema> };
  return schema.properties ?? {};
}
