// A run of the igsm recipe from beginning to end, what laws read off it, and a run that starts from another.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDevice } from '@physlm/model';
import { RunDirectory } from '@physlm/train';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { criterion, type Experiment, laws, recipeNamed, runRecipe, scalesOf } from '../src/index.js';
import type { IgsmExperiment } from '../src/recipes/igsm.js';
import type { IgsmResults } from '../src/run-igsm.js';

const sandbox = mkdtempSync(join(tmpdir(), 'physlm-igsm-run-'));
afterAll(() => rmSync(sandbox, { recursive: true, force: true }));
const recipe = recipeNamed('igsm');

/** Small enough to take seconds; nothing is learnt. */
const small = {
  nLayer: 1,
  dModel: 16,
  nHead: 2,
  nStep: 4,
  tokensPerStep: 224,
  nProblem: 4,
  opMax: 3,
  opTest: '4+5',
  nCtx: 112,
  nCtxTest: 128,
};
const everything = { nBeam: 2, nRetry: 1, nProbeStep: 2, probeLayers: true };

function experimentOf(parameters: object): Experiment {
  const standard = recipe.experiment({
    scale: 'tiny',
    seed: 5,
    parameters: { ...small, ...parameters },
  }) as IgsmExperiment;
  const sizes = { probeBatch: 4, nProbeProblem: 60, nProbeTest: 24 };
  return { ...standard, evaluate: { ...standard.evaluate, ...sizes } };
}

async function runIn(name: string, experiment: Experiment) {
  const run = RunDirectory.open(join(sandbox, name), experiment, 'new');
  const device = openDevice('cpu');
  const outcome = await runRecipe({ recipe, experiment, run, device, command: 'physlm run igsm', resume: false });
  if (outcome.stopped === 'aborted') throw new Error('nobody asked for that');
  return { results: outcome.finished.results as IgsmResults, path: run.path };
}

let whole: Awaited<ReturnType<typeof runIn>>;
beforeAll(async () => {
  whole = await runIn(
    'whole',
    experimentOf({ ...everything, nLayer: 2, unseen: 'traits', vocabulary: 'words', nCtx: 160, nCtxTest: 160 }),
  );
}, 60_000);

describe('an igsm run', () => {
  test('solves every kind of problems, greedily, with a beam and by going back', () => {
    const names = whole.results.cells.map(({ name }) => name);
    expect(names).toEqual([
      ...['in', 'seen', 'op2', 'op3', 'op4', 'op5', 'reask', 'unseen.traits', 'wording.traits'],
      ...['beam.op3', 'beam.op4', 'beam.op5', 'perfect.op3', 'perfect.op4', 'perfect.op5'],
      ...['regret.op3', 'regret.op4', 'regret.op5'],
    ]);
    for (const { n, nRight, failures } of whole.results.cells) {
      // A model that learnt nothing solves nothing, and every failure has a kind.
      expect([n, nRight]).toEqual([4, 0]);
      expect(Object.values(failures).reduce((sum, count) => sum + count, 0)).toBe(4);
    }
  });

  test('accuracies over several cells are those of their problems', () => {
    const { measures, intervals } = whole.results;
    for (const cell of ['in', 'max', 'ood', 'all', 'beam.all', 'regret.ood', 'perfect.max']) {
      expect(measures[`accuracy.${cell}`]).toBe(0);
      expect(intervals[`accuracy.${cell}`]!.low).toBe(0);
    }
    // 8 problems beyond training, 12 with the most operations of training.
    expect(intervals['accuracy.ood']!.high).toBeGreaterThan(intervals['accuracy.all']!.high);
  });

  test('probes have all their tasks, both tests and both layers', () => {
    const { tests, byLayer, mistakes } = whole.results.probes!;
    const tasks = ['can_next', 'dep', 'known', 'nece', 'nece_next', 'regret', 'value'];
    expect(Object.keys(tests.in!).sort()).toEqual(tasks);
    expect(Object.keys(tests.ood!).sort()).toEqual(tasks);
    expect(byLayer).toHaveLength(2);
    expect(tests.in!.nece!.all).toMatchObject({ n: 24, majority: expect.any(Number), randomModel: expect.any(Number) });
    expect(mistakes.unnecessary).toEqual({ accuracy: 0, interval: { low: 0, high: 1 }, n: 0 });
  });

  test('leaves a report with every figure, and nothing of the run can break its page', () => {
    expect(readdirSync(join(whole.path, 'figures')).sort()).toEqual(
      ['accuracy-by-operations', 'layers', 'learning', 'loss', 'probes'].flatMap((id) => [`${id}.json`, `${id}.svg`]),
    );
    const html = readFileSync(join(whole.path, 'report.html'), 'utf8');
    expect(html).toContain('Failures by their first mistake');
    expect(html).not.toMatch(/<\|/);
  });

  test('every law of Part 2 reads its number and what its bounds are about off such runs', () => {
    const found = laws.filter(({ part }) => part.startsWith('2.'));
    expect(found).toHaveLength(20);
    // A wrong sentence and an unnecessary parameter, which an untrained model does not write in order.
    const measures: Record<string, number> = {
      ...whole.results.measures,
      'mistakes.unnecessary': 0.4,
      'mistakes.canNext': 0.6,
      'mistakes.regret': 0.6,
    };
    for (const group of ['0', '1', 'unnecessary 0', 'unnecessary 1']) {
      for (const task of ['nece', 'dep', 'can_next']) measures[`probe.${task}.${group}`] ??= 0.5;
    }
    for (let layer = 1; layer <= 2; layer++) {
      for (let distance = 0; distance <= 3; distance++) measures[`layer${layer}.nece.${distance}`] ??= 0.5;
    }
    for (const law of found) {
      for (const scale of scalesOf(law)) {
        const { members, expect: bounds } = law.scales[scale]!;
        const runs = Object.fromEntries(Object.keys(members).map((name) => [name, { ...whole.results, measures }]));
        const read = law.measure(runs);
        expect([law.id, Number.isFinite(read.ours), read.interval.low <= read.ours]).toEqual([law.id, true, true]);
        for (const { measure } of bounds) expect([law.id, measure, read.measures[measure]]).not.toContain(undefined);
        expect(['holds', 'fails']).toContain(criterion(read.measures, bounds));
        // Their runs can be written down.
        for (const member of Object.values(members)) {
          expect(recipe.experiment({ scale, seed: 1, parameters: member.parameters ?? {} }).recipe).toBe('igsm');
        }
      }
    }
  });
});

test('finetuning goes on from the run without mistakes, and trains updates of low rank only', async () => {
  const experiment = experimentOf({
    retry: 'retry',
    retryRate: 0.5,
    finetune: 'lora',
    rank: 2,
    nProbeStep: 0,
    reask: false,
  });
  const { start: standard, data, evaluate } = experiment as IgsmExperiment;
  const start = { experiment: { ...standard!.experiment, evaluate } };
  expect((start.experiment as IgsmExperiment).data).toEqual({ ...data, retry: undefined });
  const { path, results } = await runIn('tuned', { ...experiment, start });
  expect(readdirSync(sandbox).filter((name) => name.startsWith('igsm-tiny-numbers-op3-pq-s5-'))).toHaveLength(1);
  expect(readdirSync(join(path, 'checkpoints', '0000004'))).toContain('trainable.safetensors');
  expect(results.cells.map(({ name }) => name)).toEqual(['in', 'seen', 'op2', 'op3', 'op4', 'op5']);
}, 60_000);

test('goes on from any checkpoint whose tokens are the same', async () => {
  const first = await runIn('first', experimentOf({ nProbeStep: 0, reask: false, nStep: 6 }));
  const checkpoint = join(first.path, 'checkpoints', '0000006');
  const { nLayer: _, dModel: __, nHead: ___, ...rest } = { ...small, nProbeStep: 0, reask: false };
  const make = (parameters: object): IgsmExperiment =>
    recipe.experiment({ scale: 'tiny', seed: 6, parameters: { ...rest, ...parameters } }) as IgsmExperiment;
  const made = make({ from: first.path });
  expect(made.from!.path).toBe(checkpoint);
  expect(made.from).toEqual(make({ from: checkpoint, retry: 'retry', finetune: 'lora', rank: 2 }).from);
  expect(made.model).toEqual(experimentOf({}).model);
  expect(made.finetune).toEqual({ kind: 'full' });
  const weights = (folder: string): Buffer => readFileSync(join(folder, 'model.safetensors'));
  // Steps too small for f32 leave the weights that they began with.
  const still = { ...made, train: { ...made.train, optimizer: { ...made.train.optimizer, lrPeak: 1e-30 } } };
  const { path } = await runIn('still', still);
  expect(weights(join(path, 'checkpoints', '0000004')).equals(weights(checkpoint))).toBe(true);
  expect(readFileSync(join(path, 'report.html'), 'utf8')).toContain(made.from!.weights.slice(0, 12));

  expect(() => make({ from: join(sandbox, 'nowhere') })).toThrow('nowhere] there is no such folder');
  expect(() => make({ from: first.path, nLayer: 2 })).toThrow(
    '[nLayer] expected nothing with from, which says what the model is, got 2',
  );
  expect(() => make({ from: first.path, modulus: 7 })).toThrow('[data.tokenizer] expected the tokens of');
  expect(() => make({ from: first.path, nCtxTest: 200 })).toThrow('[data.nCtx] expected at most 256');
  cpSync(checkpoint, join(sandbox, 'copy'), { recursive: true });
  const copied = make({ from: join(sandbox, 'copy') });
  const file = join(sandbox, 'copy', 'model.safetensors');
  writeFileSync(file, Buffer.concat([readFileSync(file).subarray(0, -4), Buffer.alloc(4)]));
  await expect(runIn('other', copied)).rejects.toThrow(
    `[${file}] holds other weights than when this experiment was set up`,
  );
}, 60_000);

test.each([
  [{ finetune: 'full' }, '[retry] expected mistakes to learn from when finetune is set'],
  [
    { finetune: 'lora', retry: 'retry' },
    '[rank] expected rank and finetune lora together, got finetune lora without rank',
  ],
  [{ rank: 4 }, 'got rank without finetune lora'],
])('%o', (parameters, message) => {
  expect(() => recipe.experiment({ scale: 'tiny', seed: 1, parameters })).toThrow(message);
});
