// Runs that several processes train together, from the command.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDevice } from '@physlm/model';
import { RunDirectory } from '@physlm/train';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { main } from '../src/cli/main.js';
import { type Experiment, recipeNamed, runRecipe } from '../src/index.js';
import { builtCli } from './built-cli.js';
import { Captured } from './captured.js';

const sandbox = mkdtempSync(join(tmpdir(), 'physlm-run-ranks-'));
afterAll(() => rmSync(sandbox, { recursive: true, force: true }));
let self: readonly [string, string];
beforeAll(async () => {
  self = await builtCli('rank-cli');
}, 60_000);

const parameters = { nPeople: 40, exposures: 5, dModel: 16, nLayer: 1 };

async function physlm(name: string, argv: readonly string[], own: readonly [string, ...string[]] = self) {
  const [stdout, stderr] = [new Captured(), new Captured()];
  const options = Object.entries(parameters).flatMap(([key, value]) => [`--${key}`, String(value)]);
  const path = join(sandbox, name);
  const fixed = ['run', 'capacity', '--scale', 'tiny', '--out', path, ...options];
  const code = await main([...fixed, ...argv], { stdout, stderr, env: {}, self: own });
  return { code, path, stderr: stderr.text };
}
const read = (path: string, file: string): Buffer => readFileSync(join(path, file));

describe('a run of two ranks', () => {
  test('leaves the files of one process that computes both parts', { timeout: 60_000 }, async () => {
    const together = await physlm('together', ['--ranks', '2', '--device', 'cpu']);
    expect([together.code, together.stderr]).toEqual([0, expect.stringContaining('2 ranks')]);
    const experiment = JSON.parse(read(together.path, 'experiment.json').toString()) as Experiment;
    const plain = recipeNamed('capacity').experiment({ scale: 'tiny', seed: 1, parameters });
    expect(experiment).toEqual({ ...plain, train: { ...plain.train, nAccumulate: 2 } });
    const run = RunDirectory.open(join(sandbox, 'alone'), experiment, 'new');
    const device = openDevice('cpu', { nThread: 1 });
    await runRecipe({ recipe: recipeNamed('capacity'), experiment, run, device, command: '', resume: false });
    const step = String(experiment.train.nStep).padStart(7, '0');
    for (const file of ['metrics.jsonl', 'results.json', `checkpoints/${step}/model.safetensors`]) {
      expect(read(together.path, file).equals(read(run.path, file)), file).toBe(true);
    }
    const environment = JSON.parse(read(together.path, 'environment.json').toString());
    expect(environment).toMatchObject({ ranks: 2, command: expect.stringMatching(/ --ranks 2$/) });
    expect(existsSync(join(together.path, 'run.lock'))).toBe(false);
  });

  test('ends with the message of the rank that failed', { timeout: 60_000 }, async () => {
    const failing = join(sandbox, 'failing.mjs');
    // As the command, but for what it reads.
    writeFileSync(
      failing,
      `process.argv.splice(3, 1, process.argv[3] + '-elsewhere'); await import(${JSON.stringify(self[1])});`,
    );
    const { code, stderr, path } = await physlm('failed', ['--ranks', '2'], [process.execPath, failing]);
    expect(code).toBe(1);
    expect(stderr).toContain(
      `[ranks] rank 1: [${path}-elsewhere] expected the folder of a run, got no experiment.json`,
    );
  });

  test('is refused where a step cannot be divided', async () => {
    const { code, stderr } = await physlm('refused', ['--ranks', '7']);
    expect([code, stderr]).toEqual([2, 'physlm: [ranks] expected a divisor of the 16 windows of a step, got 7\n']);
  });
});
