// A small training run in a process of its own, to be killed: node train-child.mjs FOLDER DEVICE THREADS STEP_DELAY_MS WHAT,
// where WHAT is `all`, or `low-rank` for updates of a frozen model.
import { Rng } from '@physlm/base';
import { packWindows } from '@physlm/data';
import { biographies, bioSMini, wordTokenizerFor } from '@physlm/data/bio';
import { addLowRank, buildModel, type DeviceName, gpt2, openDevice } from '@physlm/model';
import { RunDirectory, type TrainConfig, train } from '@physlm/train';

const [folder, device, threads, delay, what] = process.argv.slice(2) as [string, DeviceName, string, string, string];
const config: TrainConfig = {
  nStep: 20,
  batchSize: 2,
  optimizer: { lrPeak: 3e-3, betas: [0.9, 0.98], eps: 1e-8, weightDecay: 0.01, clipNorm: 1 },
  schedule: { kind: 'cosine', nWarmup: 4, finalFraction: 0.1 },
  logEvery: 3,
  checkpointEvery: 5,
  evaluateAt: [0, 7, 10, 20],
};
const population = bioSMini({ nPeople: 40, seed: 1 });
const tokenizer = wordTokenizerFor(population);
const source = biographies(population, { tokenizer, seed: 2 });
const windows = packWindows(source, { nCtx: 64, eos: tokenizer.eos, dVocab: tokenizer.dVocab });
const model = buildModel(
  openDevice(device, device === 'js' ? {} : { nThread: Number(threads) }),
  gpt2(2, 2, { dModel: 16, dRotary: 8, dVocab: tokenizer.dVocab, nCtx: 64 }),
  new Rng(3).fork('model'),
);
if (what === 'low-rank') {
  const attention = { rank: 2, targets: ['q', 'v'] as const };
  addLowRank(model, { attention, embedding: { rank: 4 }, scale: 4 }, new Rng(4));
}
const slow = {
  nCtx: windows.nCtx,
  window(index: number, ids: Int32Array, targets: Int32Array): void {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(delay));
    windows.window(index, ids, targets);
  },
};
const run = RunDirectory.open(folder, { name: 'kill-and-resume', config }, 'resume');
const [watched] = [...model.trainable().values()];
const evaluate = (): Record<string, number> => ({ weight: watched!.values()[0]! });
const result = await train({ model, windows: slow, config, run, evaluate, resume: true });
process.stdout.write(JSON.stringify(result));
