// Runs that differ in what they measure alone train once.
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { main } from '../src/cli/main.js';
import { type Experiment, recipeNamed, runFolder } from '../src/index.js';
import { trainingDigest } from '../src/same-training.js';
import { Captured } from './captured.js';

let sandbox: string;
beforeEach(() => {
  sandbox = mkdtempSync(join(tmpdir(), 'physlm-same-training-'));
});
afterEach(() => rmSync(sandbox, { recursive: true, force: true }));

const recipe = recipeNamed('igsm');
const small = {
  ...{
    nLayer: 1,
    dModel: 16,
    nHead: 2,
    nStep: 4,
    tokensPerStep: 224,
    opMax: 3,
    opTest: '4+5',
    nCtx: 112,
    nCtxTest: 128,
  },
  ...{ nProblem: 2, nProbeStep: 0 },
};
const experimentOf = (more: object, seed = 5): Experiment =>
  recipe.experiment({ scale: 'tiny', seed, parameters: { ...small, ...more } });

async function run(more: object, runs = 'runs', ...flags: string[]) {
  const path = runFolder(experimentOf(more), join(sandbox, runs));
  const options = Object.entries({ ...small, ...more }).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const [stdout, stderr] = [new Captured(), new Captured()];
  const argv = [
    'run',
    'igsm',
    '--scale',
    'tiny',
    '--seed',
    '5',
    '--device',
    'cpu',
    '--out',
    path,
    ...options,
    ...flags,
  ];
  const code = await main(argv, { stdout, stderr, env: {} });
  const read = (name: string): string => readFileSync(join(path, name), 'utf8');
  return { code, path, stderr: stderr.text, read, environment: JSON.parse(read('environment.json')) };
}
const folderName = (path: string): string => path.split('/').at(-1)!;

describe('a run that trains what another one has trained', () => {
  test('takes its weights, and measures what it would have measured', { timeout: 60_000 }, async () => {
    const first = await run({});
    expect([first.code, first.environment.trained]).toEqual([0, undefined]);
    const second = await run({ nProblem: 3, reask: false });
    expect(second.code).toBe(0);
    expect(second.stderr).toContain(`Its training is that of ${first.path}: only measuring is left.`);
    expect(second.environment.trained).toMatchObject({
      run: folderName(first.path),
      seconds: first.environment.seconds,
    });
    expect(second.read('report.html')).toContain(folderName(first.path));
    const alone = await run({ nProblem: 3, reask: false }, 'elsewhere');
    expect(alone.environment.trained).toBeUndefined();
    for (const file of ['results.json', 'metrics.jsonl', 'checkpoints/0000004/model.safetensors']) {
      expect(second.read(file)).toBe(alone.read(file));
    }
    // The same experiment once more is another run: somebody compares them.
    const copy = join(sandbox, 'elsewhere', 'copy');
    const again = await run({ nProblem: 3, reask: false }, 'elsewhere', '--out', copy);
    expect(again.stderr).not.toContain('only measuring is left');
    expect(readFileSync(join(copy, 'results.json'), 'utf8')).toBe(alone.read('results.json'));
    // The one that was taken from is as it was.
    expect(first.read('results.json')).not.toBe(second.read('results.json'));
  });

  test('trains when it is told to run afresh, and when that run has no last checkpoint', {
    timeout: 60_000,
  }, async () => {
    const first = await run({});
    await run({ nProblem: 3 });
    const afresh = await run({ nProblem: 3 }, 'runs', '--fresh');
    expect([afresh.code, afresh.environment.trained]).toEqual([0, undefined]);
    rmSync(join(first.path, 'checkpoints'), { recursive: true });
    rmSync(afresh.path, { recursive: true });
    const second = await run({ nProblem: 4 });
    expect([second.code, second.environment.trained]).toEqual([0, undefined]);
  });

  test('does not mind folders that are no runs, or damaged ones', { timeout: 60_000 }, async () => {
    for (const [name, text] of [
      ['a', '{'],
      ['b', '[]'],
      ['c', '{"recipe": "igsm"}'],
      ['d', '{"recipe": "igsm", "evaluate": null}'],
    ] as const) {
      mkdirSync(join(sandbox, 'runs', name), { recursive: true });
      writeFileSync(join(sandbox, 'runs', name, 'experiment.json'), text);
    }
    appendFileSync(join(sandbox, 'runs', 'file'), '');
    // It trained the same, and nobody can tell where.
    const torn = await run({ nProblem: 4 });
    writeFileSync(join(torn.path, 'environment.json'), '{');
    const first = await run({});
    expect([first.code, first.environment.trained]).toEqual([0, undefined]);
    expect(existsSync(join(first.path, 'results.json'))).toBe(true);
  });
});

test('training is the same exactly when nothing differs but what is measured after it', () => {
  const digestOf = (more: object, seed?: number): string =>
    trainingDigest(experimentOf(more, seed), recipe.measuredAfter!);
  const base = digestOf({});
  for (const more of [{ nProblem: 9 }, { nProbeStep: 3 }, { nBeam: 2 }, { opTest: '4' }])
    expect(digestOf(more)).toBe(base);
  // Fewest operations are also those of the problems that are solved while training goes on.
  for (const more of [
    { nStep: 5 },
    { lrPeak: 1e-4 },
    { dModel: 32 },
    { opLeast: 2 },
    { retry: 'retry' },
    { layout: 'qp' },
  ]) {
    expect(digestOf(more)).not.toBe(base);
  }
  expect(digestOf({}, 6)).not.toBe(base);
  const tuned = (more: object): string => digestOf({ retry: 'retry', finetune: 'full', ...more });
  expect(tuned({ nProblem: 9 })).toBe(tuned({}));
  expect(tuned({ dModel: 32 })).not.toBe(tuned({}));
});
