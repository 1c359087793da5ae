// npm run bench -- [train-step|memory] [--quick]: every benchmark, or the named ones.
import { memory } from './memory.mjs';
import { trainStep } from './train-step.mjs';

const benchmarks = { 'train-step': trainStep, memory };

const args = process.argv.slice(2);
const names = args.filter((arg) => !arg.startsWith('-'));
const unknown = names.find((name) => !(name in benchmarks));
if (unknown !== undefined) {
  console.error(`no benchmark is called ${unknown}; there are ${Object.keys(benchmarks).join(', ')}`);
  process.exit(2);
}
for (const name of names.length > 0 ? names : Object.keys(benchmarks)) {
  await benchmarks[name]({ quick: args.includes('--quick') });
}
