// Resident memory of a training run, every 200 steps over 2,000: it must not grow.
import { Rng } from '@physlm/base';
import { buildModel, openDevice } from '@physlm/model';
import { StepProgram } from '@physlm/train';
import { keep } from './machine.mjs';
import { optimizer, sizes, windowsOf } from './sizes.mjs';

export async function memory({ quick }) {
  const size = sizes.tiny;
  const model = buildModel(openDevice('cpu'), size.config, new Rng('benchmark'));
  const program = new StepProgram(model, size.T, size.B, 1, optimizer);
  const windows = windowsOf(size);
  const nStep = 2000;
  const rssMiB = [];
  for (let step = 1; step <= nStep; step++) {
    program.run(windows, step, optimizer.lrPeak);
    if (step % 200 === 0) rssMiB.push(Math.round(process.memoryUsage().rss / 2 ** 20));
  }
  const arenaMiB = program.arenaBytes / 2 ** 20;
  console.log(
    `\nmemory, tiny, ${nStep} steps: arena ${arenaMiB.toFixed(1)} MiB, RSS every 200 steps: ${rssMiB.join(' ')} MiB`,
  );
  if (!quick) keep('memory', { size: 'tiny', nStep, arenaMiB, rssMiB });
}
