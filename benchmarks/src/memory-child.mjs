// A training run of the tiny size: node memory-child.mjs STEPS. Prints one JSON line with its resident memory on the way.
import { Rng } from '@physlm/base';
import { buildModel, openDevice } from '@physlm/model';
import { StepProgram } from '@physlm/train';
import { optimizer, sizes, windowsOf } from './sizes.mjs';

const nStep = Number(process.argv[2]);
const size = sizes.tiny;
const model = buildModel(openDevice('cpu'), size.config, new Rng('benchmark'));
const program = new StepProgram(model, size.T, size.B, 1, optimizer);
const windows = windowsOf(size);
const rssMiB = [];
for (let step = 1; step <= nStep; step++) {
  program.run(windows, step, optimizer.lrPeak);
  if (step % Math.ceil(nStep / 10) === 0) rssMiB.push(Math.round(process.memoryUsage().rss / 2 ** 20));
}
console.log(JSON.stringify({ arenaMiB: program.arenaBytes / 2 ** 20, rssMiB }));
process.stdin.resume();
