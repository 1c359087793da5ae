// Greedy decoding in a process of its own: node generate-child.mjs SIZE THREADS FOLDER BATCH PROMPT NEW REPEATS. Prints one
// JSON line. Writes the model's weights to FOLDER, so that peers decode with the same ones.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Rng } from '@physlm/base';
import { buildModel, generate, openDevice, saveModel } from '@physlm/model';
import { sizes, token } from './sizes.mjs';

const [size, threads, folder, ...counts] = process.argv.slice(2);
const [nBatch, nPrompt, nNew, nRepeat] = counts.map(Number);
const { config } = sizes[size];
const device = openDevice('cpu', { nThread: Number(threads) });
const model = buildModel(device, config, new Rng('benchmark'));
if (!existsSync(join(folder, 'model.safetensors'))) saveModel(folder, model);
const prompts = Array.from({ length: nBatch }, (_, b) =>
  Int32Array.from({ length: nPrompt }, (_, k) => token(b, k, config.dVocab)),
);
generate(model, prompts, { nNew: Math.min(nNew, 4) });
const seconds = [];
let tokens = [];
for (let i = 0; i < nRepeat; i++) {
  const start = performance.now();
  tokens = generate(model, prompts, { nNew });
  seconds.push((performance.now() - start) / 1000);
}
const version = `physlm, ${device.native.isa()}, ${device.nThread} threads`;
console.log(JSON.stringify({ seconds, tokens: tokens.map((row) => Array.from(row)), version }));
process.stdin.resume();
