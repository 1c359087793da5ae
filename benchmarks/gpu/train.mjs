// Trains a model on device cuda through the addon and the TypeScript loop: train.mjs tiny|train FOLDER RESULTS.json
// Leaves the first weights and every window in FOLDER, so that train.py can do the same work with PyTorch.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Rng } from '@physlm/base';
import { buildModel, gpt2, openDevice } from '@physlm/model';
import { StepProgram } from '@physlm/train';

const [which, folder, results] = process.argv.slice(2);
const sizes = {
  train: { nLayer: 12, nHead: 12, dModel: 768, dVocab: 50304, nCtx: 512, batchSize: 96, nStep: 60 },
  tiny: { nLayer: 4, nHead: 4, dModel: 256, dVocab: 512, nCtx: 512, batchSize: 8, nStep: 400 },
}[which];
const size = { ...sizes, ...JSON.parse(process.env.PHYSLM_SIZE ?? '{}') };
const { nLayer, nHead, dModel, dVocab, nCtx, batchSize, nStep } = size;
const config = gpt2(nLayer, nHead, { dModel, dVocab, nCtx });

// Token t+1 follows from token t by a rule with some noise: something to learn, the same on both sides.
const rng = new Rng('windows');
const windows = Array.from({ length: batchSize * 4 }, (_, i) => {
  const stream = rng.at(i);
  const tokens = new Int32Array(nCtx + 1);
  tokens[0] = stream.below(dVocab);
  for (let t = 1; t <= nCtx; t++)
    tokens[t] = stream.below(4) === 0 ? stream.below(dVocab) : (tokens[t - 1] * 5 + 7) % dVocab;
  return tokens;
});
const flat = new Int32Array(windows.length * (nCtx + 1));
for (const [i, tokens] of windows.entries()) flat.set(tokens, i * (nCtx + 1));
writeFileSync(join(folder, `${which}-windows.bin`), new Uint8Array(flat.buffer));

const device = openDevice('cuda', { precision: 'bf16' });
const model = buildModel(device, config, new Rng('weights'));
const optimizer = { lrPeak: 6e-4, betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0.1, clipNorm: 1 };
const program = new StepProgram(model, nCtx, batchSize, 1, optimizer);
const slots = program.arena.slots.map(({ name, start, tensor }) => ({ name, start, shape: tensor.shape }));
writeFileSync(join(folder, `${which}-weights.bin`), new Uint8Array(program.arena.weights.values().slice().buffer));
writeFileSync(
  join(folder, `${which}-plan.json`),
  JSON.stringify({ ...size, config, optimizer, nDecay: program.arena.nDecay, slots }),
);

const data = {
  nCtx,
  window(index, ids, targets) {
    const tokens = windows[index % windows.length];
    ids.set(tokens.subarray(0, nCtx));
    targets.set(tokens.subarray(1));
  },
};
const losses = [];
const times = [];
for (let step = 0; step < nStep; step++) {
  const start = performance.now();
  const { lossSum, nTarget } = program.run(data, step, optimizer.lrPeak);
  times.push(performance.now() - start);
  losses.push(lossSum / nTarget);
}
const steady = times.slice(Math.min(5, nStep >> 1)).sort((a, b) => a - b);
const ms = steady[steady.length >> 1];
const profile = [...program.profile()].sort((a, b) => b[1] - a[1]).map(([kernel, ns]) => ({ kernel, ms: ns / 1e6 }));
const report = {
  model: which,
  ...size,
  device: device.native.description(),
  msPerStep: ms,
  tokensPerSec: (1000 * batchSize * nCtx) / ms,
  arenaBytes: program.arenaBytes,
  nCommand: program.nCommand,
  losses,
  profile,
};
writeFileSync(results, JSON.stringify(report, null, 1));
console.log(
  `physlm ${which}: ${ms.toFixed(2)} ms/step, ${Math.round(report.tokensPerSec)} tokens/s, loss ${losses[0].toFixed(4)} -> ${losses.at(-1).toFixed(4)}`,
);
for (const { kernel, ms } of profile.slice(0, 12)) console.log(`  ${ms.toFixed(3).padStart(9)} ms  ${kernel}`);
