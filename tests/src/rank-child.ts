// One rank of a small training run: node rank-child.mjs FOLDER DEVICE ACCUMULATE STEP_DELAY_MS NAME. The plan is in the environment.
import { digest, Rng } from '@physlm/base';
import { buildModel, type DeviceName, gpt2, openDevice } from '@physlm/model';
import { joinRanks, RunDirectory, rankPlan, type TrainConfig, type TrainingWindows, train } from '@physlm/train';

const [folder, device, accumulate, delay, name] = process.argv.slice(2) as [string, DeviceName, string, string, string];
const config: TrainConfig = {
  nStep: 6,
  batchSize: 6,
  nAccumulate: Number(accumulate),
  optimizer: { lrPeak: 1e-2, betas: [0.9, 0.98], eps: 1e-8, weightDecay: 0.01, clipNorm: 1 },
  schedule: { kind: 'cosine', nWarmup: 2, finalFraction: 0.1 },
  logEvery: 2,
  checkpointEvery: 2,
};
const [nCtx, dVocab] = [12, 11];
const windows: TrainingWindows = {
  nCtx,
  window(index, ids, targets) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(delay));
    const rng = new Rng('windows').at(index);
    for (let t = 0; t < nCtx; t++) {
      ids[t] = rng.below(dVocab);
      targets[t] = rng.below(dVocab + 1) - 1; // some rows have no target: shares differ in how many there are
    }
  },
};
const experiment = { name };
try {
  const plan = rankPlan(process.env);
  const ranks = joinRanks(plan, digest(experiment), { meetingMs: Number(process.env.MEETING_MS ?? 20_000) });
  const run =
    plan.rank === 0 ? RunDirectory.open(folder, experiment, 'resume') : RunDirectory.follow(folder, experiment);
  const nThread = 1;
  const model = buildModel(
    openDevice(device, device === 'js' ? {} : { nThread }),
    gpt2(1, 2, { dModel: 8, dVocab, nCtx }),
    new Rng('weights'),
  );
  const evaluate = (): Record<string, number> => ({ one: 1 });
  const { step } = await train({ model, windows, config, run, ranks, evaluate, resume: true });
  const weights = [...model.trainable().values()].map((tensor) => digest(tensor.toArray()));
  ranks.close();
  console.log(JSON.stringify({ step, weights }));
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
