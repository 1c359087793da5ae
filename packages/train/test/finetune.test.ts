// Training some of a model's parameters: what moves, what stays, what a checkpoint holds.
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Rng } from '@physlm/base';
import {
  addLowRank,
  buildModel,
  deviceNames,
  deviceStatus,
  gpt2,
  type LanguageModel,
  loadModel,
  openDevice,
} from '@physlm/model';
import { describe, expect, it } from 'vitest';
import { RunDirectory, StepProgram, type TrainConfig, type TrainingWindows, train } from '../src/index.js';

const nCtx = 10;
const experiment = { name: 'finetune' };
const devices = deviceNames.filter((name) => name !== 'cuda' && deviceStatus(name).available);
const newRun = (): RunDirectory =>
  RunDirectory.open(join(mkdtempSync(join(tmpdir(), 'physlm-finetune-')), 'run'), experiment, 'new');

/** A base model; `seed` gives another one of the same shape. */
function base(device: 'js' | 'cpu', seed = 1): LanguageModel {
  return buildModel(openDevice(device), gpt2(1, 2, { dModel: 8, dVocab: 7, nCtx, initStd: 0.2 }), new Rng(seed));
}

function lowRank(device: 'js' | 'cpu', seed = 1): LanguageModel {
  const model = base(device, seed);
  addLowRank(model, { attention: { rank: 2, targets: ['q', 'v'] }, embedding: { rank: 3 }, scale: 4 }, new Rng(2));
  return model;
}

/** A question of 4 tokens and its answer; only the answer and the token after it are targets. */
const windows: TrainingWindows = {
  nCtx,
  window(index, ids, targets) {
    const start = new Rng('questions').at(index).below(5);
    for (let t = 0; t < nCtx; t++) {
      ids[t] = (start + t) % 5;
      targets[t] = t < 4 || t > 7 ? -1 : (start + t + 1) % 5;
    }
  },
};

const config: TrainConfig = {
  nStep: 12,
  batchSize: 4,
  optimizer: { lrPeak: 0.02, betas: [0.9, 0.98], eps: 1e-6, weightDecay: 0.1, clipNorm: 1 },
  schedule: { kind: 'cosine', nWarmup: 0, finalFraction: 0.1 },
  logEvery: 5,
  checkpointEvery: 4,
};

const all = (model: LanguageModel): Record<string, number[]> =>
  Object.fromEntries([...model.parameters()].map(([name, x]) => [name, x.toArray()]));
const logits = (model: LanguageModel): number[] =>
  model.forward(model.device.tensor([1, 2, 3, 4], [1, 4], 'i32')).toArray();

describe.each(devices as ('js' | 'cpu')[])('a finetune of low rank on %s', (device) => {
  it('learns and leaves frozen weights as they are; its checkpoint is an ordinary model', async () => {
    const model = lowRank(device);
    const before = all(model);
    const run = newRun();
    const { checkpoint } = await train({ model, windows, config: { ...config, nStep: 60 }, run, resume: false });
    const losses = run.metrics().flatMap(({ loss }) => loss ?? []);
    expect(losses.at(-1)).toBeLessThan(0.7 * losses[0]!);
    for (const [name, values] of Object.entries(all(model))) {
      if (name.includes('.update.')) expect(values, name).not.toEqual(before[name]);
      else expect(values, name).toEqual(before[name]);
    }
    expect(readdirSync(checkpoint).sort()).toEqual([
      'config.json',
      'model.safetensors',
      'optimizer.safetensors',
      'state.json',
      'trainable.safetensors',
    ]);
    const loaded = loadModel(checkpoint, openDevice(device));
    expect([...loaded.parameters().keys()].filter((name) => name.includes('update'))).toEqual([]);
    const [got, expected] = [logits(loaded), logits(model)];
    expect(Math.max(...got.map((x, i) => Math.abs(x - expected[i]!)))).toBeLessThan(1e-4);
  });

  it('goes on after an abort as if nothing had happened, bit for bit', async () => {
    const whole = newRun();
    const uninterrupted = lowRank(device);
    await train({ model: uninterrupted, windows, config, run: whole, resume: false });
    const abort = new AbortController();
    let nWindow = 0;
    const stopping: TrainingWindows = {
      nCtx,
      window(index, ids, targets) {
        if (++nWindow === 7 * 4) abort.abort();
        windows.window(index, ids, targets);
      },
    };
    const run = newRun();
    await train({ model: lowRank(device), windows: stopping, config, run, resume: false, signal: abort.signal });
    expect(run.latestCheckpoint()!.step).toBe(7);
    const resumed = lowRank(device);
    await train({ model: resumed, windows, config, run, resume: true });
    expect(all(resumed)).toEqual(all(uninterrupted));
    for (const name of readdirSync(whole.latestCheckpoint()!.path)) {
      const read = (r: RunDirectory): Buffer => readFileSync(join(r.latestCheckpoint()!.path, name));
      expect(read(run).equals(read(whole)), name).toBe(true);
    }
    expect(run.metrics()).toEqual(whole.metrics());
  });
});

describe('a finetune', () => {
  it('keeps moments for trainable parameters only, and decays its matrices', () => {
    const model = lowRank('js');
    const { arena, moments } = new StepProgram(model, nCtx, 4, 1, config.optimizer);
    // 7·3 + 8·3 of the embedding, 2·2·8 and 2·2·8 of queries and values, in slots of multiples of 16.
    expect(arena.slots.map(({ tensor }) => tensor.size)).toEqual([21, 24, 32, 16, 16]);
    expect([arena.weights.size, moments.m.size, moments.v.size, arena.nDecay]).toEqual([128, 128, 128, 128]);
  });

  it('is refused on other frozen weights, before anything is overwritten', async () => {
    const run = newRun();
    await train({ model: lowRank('js'), windows, config, run, resume: false });
    const longer = { ...config, nStep: 20 };
    const other = lowRank('js', 5);
    const before = all(other);
    await expect(train({ model: other, windows, config: longer, run, resume: true })).rejects.toThrow(
      /state\.json\] belongs to a model with other frozen weights: expected those of digest \w{12}, got those of digest \w{12}/,
    );
    expect(all(other)).toEqual(before);
    await expect(train({ model: base('js'), windows, config: longer, run, resume: true })).rejects.toThrow(
      /expected none, got those of digest/,
    );
    writeFileSync(join(run.latestCheckpoint()!.path, 'trainable.safetensors'), 'xx');
    await expect(train({ model: lowRank('js'), windows, config: longer, run, resume: true })).rejects.toThrow(
      'trainable.safetensors',
    );
  });

  it('may train any chosen parameters', async () => {
    const model = base('js');
    model.freeze();
    for (const [name, tensor] of model.parameters()) if (name.includes('Norm')) tensor.requiresGrad = true;
    const before = all(model);
    const run = newRun();
    await train({ model, windows, config, run, resume: false });
    const changed = Object.keys(before).filter((name) => String(all(model)[name]) !== String(before[name]));
    expect(changed).toEqual([...model.parameters().keys()].filter((name) => name.includes('Norm')));
    expect(all(loadModel(run.latestCheckpoint()!.path, openDevice('js')))).toEqual(all(model));
  });
});
