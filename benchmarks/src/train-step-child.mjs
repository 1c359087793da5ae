// One contender in a process of its own: node train-step-child.mjs SIZE THREADS STEPS FOLDER [profile]. Prints one JSON line.
// Writes its first weights to FOLDER, so that peers start from the same ones.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Rng } from '@physlm/base';
import { buildModel, openDevice, saveModel } from '@physlm/model';
import { StepProgram } from '@physlm/train';
import { optimizer, sizes, windowsOf } from './sizes.mjs';

const [size, threads, nStep, folder, profile] = process.argv.slice(2);
const { T, B, config } = sizes[size];
const device = openDevice('cpu', { nThread: Number(threads) });
const model = buildModel(device, config, new Rng('benchmark'));
if (!existsSync(join(folder, 'model.safetensors'))) saveModel(folder, model);
const program = new StepProgram(model, T, B, 1, optimizer);
const windows = windowsOf(sizes[size]);
const ms = [];
const losses = [];
for (let step = 0; step < Number(nStep); step++) {
  const start = performance.now();
  const { lossSum, nTarget } = program.run(windows, step, optimizer.lrPeak);
  ms.push(performance.now() - start);
  losses.push(lossSum / nTarget);
}
const { rss } = process.memoryUsage();
const nProfile = 3;
const kernelMs = {};
for (let i = 0; profile && i < nProfile; i++) {
  for (const [kernel, ns] of program.profile()) kernelMs[kernel] = (kernelMs[kernel] ?? 0) + ns / 1e6 / nProfile;
}
console.log(
  JSON.stringify({
    ms: ms.slice(1),
    losses,
    nParameter: model.nParameter,
    rssMiB: rss / 2 ** 20,
    arenaMiB: program.arenaBytes / 2 ** 20,
    ...(profile && { kernelMs }),
    version: `physlm, ${device.native.isa()}, ${device.nThread} threads`,
  }),
);
process.stdin.resume();
