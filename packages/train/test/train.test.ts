import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Rng } from '@physlm/base';
import { buildModel, gpt2, type LanguageModel, openDevice } from '@physlm/model';
import { describe, expect, it } from 'vitest';
import {
  learningRateFraction,
  RunDirectory,
  StepProgram,
  type TrainConfig,
  type TrainingWindows,
  train,
} from '../src/index.js';

const folder = (): string => mkdtempSync(join(tmpdir(), 'physlm-train-'));
const experiment = { name: 'copy', data: { period: 5 }, train: { lrPeak: 0.01 } };

const model = (): LanguageModel =>
  buildModel(openDevice('js'), gpt2(1, 2, { dModel: 8, dVocab: 7, nCtx: 10 }), new Rng('weights'));

/** Counts modulo 5 from a random start: learnable in a few steps. Every third window ends in ignored targets. */
const windows: TrainingWindows = {
  nCtx: 10,
  window(index, ids, targets) {
    const start = new Rng('windows').at(index).below(5);
    for (let t = 0; t < 10; t++) {
      ids[t] = (start + t) % 5;
      targets[t] = index % 3 === 0 && t > 5 ? -1 : (start + t + 1) % 5;
    }
  },
};

const config: TrainConfig = {
  nStep: 12,
  batchSize: 4,
  optimizer: { lrPeak: 0.01, betas: [0.9, 0.98], eps: 1e-8, weightDecay: 0.1, clipNorm: 1 },
  schedule: { kind: 'cosine', nWarmup: 3, finalFraction: 0.1 },
  logEvery: 5,
  checkpointEvery: 4,
  evaluateAt: [0, 8, 12],
};

const weights = (m: LanguageModel): number[] => [...m.parameters().values()].flatMap((x) => x.toArray());

describe('train', () => {
  it('learns, and writes metrics and checkpoints', async () => {
    const run = RunDirectory.open(join(folder(), 'run'), experiment, 'new');
    const m = model();
    const evaluate = (step: number): Record<string, number> => ({ steps: step });
    const result = await train({
      model: m,
      windows,
      config: { ...config, nStep: 60 },
      run,
      evaluate,
      resume: false,
      files: { 'tokenizer.json': '{}' },
    });
    expect(result).toMatchObject({ stopped: 'finished', step: 60 });
    const records = run.metrics();
    expect(records[0]).toEqual({ step: 0, steps: 0 });
    const losses = records.flatMap((record) => record.loss ?? []);
    expect(losses.length).toBe(12);
    expect(losses[0]).toBeGreaterThan(1.6);
    expect(losses.at(-1)).toBeLessThan(0.8 * losses[0]!);
    expect(readdirSync(result.checkpoint).sort()).toEqual([
      'config.json',
      'model.safetensors',
      'optimizer.safetensors',
      'state.json',
      'tokenizer.json',
    ]);
    expect(JSON.stringify(records)).not.toMatch(/time|sec/i);
  });

  it('goes on after an abort as if nothing had happened, bit for bit', async () => {
    const whole = RunDirectory.open(join(folder(), 'run'), experiment, 'new');
    const uninterrupted = model();
    const evaluate = (): Record<string, number> => ({ constant: 1 });
    await train({ model: uninterrupted, windows, config, run: whole, evaluate, resume: false });

    const path = join(folder(), 'run');
    const abort = new AbortController();
    let nWindow = 0;
    const stopping: TrainingWindows = {
      ...windows,
      window(index, ids, targets) {
        if (++nWindow === 7 * 4) abort.abort();
        windows.window(index, ids, targets);
      },
    };
    const first = RunDirectory.open(path, experiment, 'new');
    const stopped = await train({
      model: model(),
      windows: stopping,
      config,
      run: first,
      evaluate,
      resume: false,
      signal: abort.signal,
    });
    expect(stopped).toMatchObject({ stopped: 'aborted', step: 7 });
    const second = RunDirectory.open(path, experiment, 'resume');
    // Lines of steps that the checkpoint does not cover, as a kill between two checkpoints leaves them.
    writeFileSync(
      join(path, 'metrics.jsonl'),
      `${readFileSync(join(path, 'metrics.jsonl'), 'utf8')}{"step":9,"loss":1}\n{"step":10,"lo`,
    );
    const resumed = model();
    await train({ model: resumed, windows, config, run: second, evaluate, resume: true });
    expect(weights(resumed)).toEqual(weights(uninterrupted));
    expect(second.metrics()).toEqual(whole.metrics());
    for (const name of ['model.safetensors', 'optimizer.safetensors', 'state.json']) {
      const read = (r: RunDirectory): Buffer => readFileSync(join(r.latestCheckpoint()!.path, name));
      expect(read(second).equals(read(whole)), name).toBe(true);
    }
  });

  it('splits a step without changing its loss or update', () => {
    const run = (nAccumulate: number): { loss: number; norm: number; w: number[] } => {
      const m = model();
      const program = new StepProgram(m, 10, 4, nAccumulate, config.optimizer);
      const { lossSum, nTarget, gradNorm } = program.run(windows, 0, 0.01);
      expect(nTarget).toBe(32);
      return { loss: lossSum, norm: gradNorm, w: weights(m) };
    };
    const [whole, parts] = [run(1), run(4)];
    expect(parts.loss).toBeCloseTo(whole.loss, 4);
    expect(parts.norm).toBeCloseTo(whole.norm, 6);
    parts.w.forEach((x, i) => {
      expect(Math.abs(x - whole.w[i]!)).toBeLessThan(1e-5);
    });
  });

  it('stops when the loss is no longer finite and keeps the last checkpoint', async () => {
    const run = RunDirectory.open(join(folder(), 'run'), experiment, 'new');
    const m = model();
    const poisoned: TrainingWindows = {
      ...windows,
      window(index, ids, targets) {
        if (index === 6 * 4) m.parameters().get('norm.weight')!.values()[0] = Number.NaN;
        windows.window(index, ids, targets);
      },
    };
    const failure = train({ model: m, windows: poisoned, config, run, resume: false });
    await expect(failure).rejects.toMatchObject({ code: 'diverged', message: expect.stringContaining('step 7') });
    expect(run.latestCheckpoint()?.step).toBe(4);
  });

  it('names every bad field at once', async () => {
    const run = RunDirectory.open(join(folder(), 'run'), experiment, 'new');
    const bad = { ...config, nStep: 0, batchSize: 3, nAccumulate: 2, optimizer: { ...config.optimizer, eps: 0 } };
    const failure = train({ model: model(), windows, config: bad, run, resume: false });
    await expect(failure).rejects.toThrow(/train\.nStep[\s\S]*train\.nAccumulate[\s\S]*train\.optimizer\.eps/);
  });
});

describe('run directory', () => {
  it('refuses another experiment and names the fields', () => {
    const path = join(folder(), 'run');
    RunDirectory.open(path, experiment, 'new');
    const changed = { ...experiment, train: { lrPeak: 0.02 }, extra: 1 };
    expect(() => RunDirectory.open(path, changed, 'resume')).toThrow(
      '[train.lrPeak] expected 0.01 as in the folder, got 0.02\n[extra] expected nothing as in the folder, got 1',
    );
    expect(() => RunDirectory.open(path, experiment, 'new')).toThrow('an unfinished run');
  });
  it('throws an old run away only when asked, and leaves foreign files alone', () => {
    const path = join(folder(), 'run');
    const run = RunDirectory.open(path, experiment, 'new');
    run.writeJson('results.json', {});
    expect(run.finished).toBe(true);
    writeFileSync(join(path, 'notes.txt'), 'mine');
    const fresh = RunDirectory.open(path, { ...experiment, name: 'other' }, 'fresh');
    expect(fresh.finished).toBe(false);
    expect(existsSync(join(path, 'notes.txt'))).toBe(true);
  });
  it.skipIf(process.getuid?.() === 0)(
    'names a folder that cannot be written (not as root, who can write anywhere)',
    () => {
      const parent = folder();
      chmodSync(parent, 0o500);
      expect(() => RunDirectory.open(join(parent, 'run'), experiment, 'new')).toThrow(/cannot be/);
    },
  );
  it('names a path below a file, and a disk without room', () => {
    const file = join(folder(), 'file');
    writeFileSync(file, '');
    expect(() => RunDirectory.open(join(file, 'run'), experiment, 'new')).toThrow(join(file, 'run'));
    const run = RunDirectory.open(join(folder(), 'run'), experiment, 'new');
    expect(() => run.requireSpace(2 ** 60)).toThrow(/needs .* MiB for its checkpoints/);
  });
  it('leaves earlier checkpoints alone when one cannot be written, and drops old ones beyond the limit', () => {
    const run = RunDirectory.open(join(folder(), 'run'), experiment, 'new');
    for (const step of [1, 2, 3]) run.writeCheckpoint(step, 2, (path) => writeFileSync(join(path, 'x'), String(step)));
    expect(run.checkpoints().map(({ step }) => step)).toEqual([2, 3]);
    const fail = (): string =>
      run.writeCheckpoint(4, 2, () => {
        throw new Error('ENOSPC: no space left on device');
      });
    expect(fail).toThrow(/0000004\] cannot be written: ENOSPC/);
    expect(readdirSync(join(run.path, 'checkpoints'))).toEqual(['0000002', '0000003']);
  });
  it('refuses a damaged checkpoint by name and changes nothing', async () => {
    const run = RunDirectory.open(join(folder(), 'run'), experiment, 'new');
    await train({ model: model(), windows, config: { ...config, nStep: 4, evaluateAt: [] }, run, resume: false });
    const file = join(run.latestCheckpoint()!.path, 'model.safetensors');
    truncateSync(file, 500);
    const before = readFileSync(join(run.path, 'metrics.jsonl'), 'utf8');
    const again = train({ model: model(), windows, config, run, resume: true });
    await expect(again).rejects.toMatchObject({ code: 'checkpoint', message: expect.stringContaining(file) });
    expect(readFileSync(join(run.path, 'metrics.jsonl'), 'utf8')).toBe(before);
  });
});

describe('learning rate', () => {
  it('warms up in a line, then follows its kind to the final fraction', () => {
    const at = (kind: 'constant' | 'linear' | 'cosine', step: number): number =>
      learningRateFraction({ kind, nWarmup: 10, finalFraction: 0.1 }, step, 110);
    expect([0, 4, 9].map((step) => at('cosine', step))).toEqual([0.1, 0.5, 1]);
    expect(at('constant', 109)).toBe(1);
    expect(at('linear', 60)).toBeCloseTo(0.55, 12);
    expect(at('cosine', 60)).toBeCloseTo(0.55, 12);
    expect(at('cosine', 110)).toBeCloseTo(0.1, 12);
    expect(at('cosine', 35)).toBeCloseTo(0.1 + 0.9 * 0.5 * (1 + Math.SQRT1_2), 12);
  });
});
