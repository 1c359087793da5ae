// `physlm` with the fake recipe, as a program of its own: what the pool of a test starts.
// FAKE_BEHAVIOUR says what its executions do; FAKE_COUNT is a file that gets a line for each.
import { appendFileSync } from 'node:fs';
import { main } from '../src/cli/main.js';
import { type Behaviour, FakeRecipe } from './fake-recipe.js';

const fake = new FakeRecipe();
fake.behaviour = (process.env.FAKE_BEHAVIOUR as Behaviour | undefined) ?? 'finish';
process.on('exit', () => appendFileSync(process.env.FAKE_COUNT!, '.'.repeat(fake.nExecution)));
const { stdout, stderr, env } = process;
process.exitCode = await main(process.argv.slice(2), { stdout, stderr, env, recipes: new Map([['capacity', fake]]) });
