// `physlm` with a recipe whose runs start from other runs, as a program of its own.
import { main } from '../src/cli/main.js';
import { DerivedRecipe } from './derived-recipe.js';

const recipe = new DerivedRecipe(process.env.DERIVED_LOG!);
recipe.baseMs = 1500;
const { stdout, stderr, env } = process;
process.exitCode = await main(process.argv.slice(2), { stdout, stderr, env, recipes: new Map([['capacity', recipe]]) });
