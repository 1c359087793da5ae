// Runs that start from other runs.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { digest, Rng } from '@physlm/base';
import { WordTokenizer } from '@physlm/data';
import { buildModel, gpt2, openDevice, saveModel } from '@physlm/model';
import { build } from 'tsup';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { main } from '../src/cli/main.js';
import { openCheckpoint, runFolder } from '../src/index.js';
import { lockRun } from '../src/run-lock.js';
import { Captured } from './captured.js';
import { DerivedRecipe } from './derived-recipe.js';

let sandbox: string;
let recipe: DerivedRecipe;
const logFile = (): string => join(sandbox, 'log');
beforeEach(() => {
  sandbox = mkdtempSync(join(tmpdir(), 'physlm-base-run-'));
  recipe = new DerivedRecipe(logFile());
});
afterEach(() => {
  rmSync(sandbox, { recursive: true, force: true });
  delete process.env.DERIVED_LOG;
});

const log = (): string[] => (existsSync(logFile()) ? readFileSync(logFile(), 'utf8').trim().split('\n') : []);
const experiment = (parameters: Record<string, unknown>) => recipe.experiment({ scale: 'tiny', seed: 1, parameters });
const folder = (parameters: Record<string, unknown>): string =>
  runFolder(experiment(parameters), join(sandbox, 'runs'));

async function physlm(argv: readonly string[], self?: readonly [string, ...string[]]) {
  const [stdout, stderr] = [new Captured(), new Captured()];
  const recipes = new Map([['capacity', recipe]]);
  const code = await main([...argv], { stdout, stderr, env: {}, recipes, ...(self && { self }) });
  return { code, stdout: stdout.text, stderr: stderr.text };
}
const derived = (n: number, ...flags: string[]) =>
  physlm([
    ...['run', 'capacity', '--scale', 'tiny', '--device', 'js', '--n', String(n), '--from', '7'],
    ...['--out', folder({ n, from: 7 }), ...flags],
  ]);

describe('a run that starts from another', () => {
  test('has that run made first, once for all that start from it', async () => {
    const first = await derived(1);
    expect(first.stderr).toContain(`First the run that this one starts from: ${folder({ n: 7 })}`);
    expect([first.code, (await derived(2)).code]).toEqual([0, 0]);
    const checkpoint = join(folder({ n: 7 }), 'checkpoints', '0000005');
    expect(log()).toEqual(['base 7', `derived 1 from ${checkpoint}`, `derived 2 from ${checkpoint}`]);
    expect(readdirSync(folder({ n: 7 }))).toEqual(expect.arrayContaining(['results.json', 'report.html']));
    expect(existsSync(join(folder({ n: 7 }), 'run.lock'))).toBe(false);
    expect(JSON.parse(readFileSync(join(folder({ n: 7 }), 'experiment.json'), 'utf8'))).toEqual(experiment({ n: 7 }));
  });

  test('is another experiment than one that starts afresh, or from elsewhere', () => {
    const ids = [{ n: 1 }, { n: 1, from: 7 }, { n: 1, from: 8 }].map((parameters) => digest(experiment(parameters)));
    expect(new Set(ids).size).toBe(3);
  });

  test('names it in its report, with a link that works wherever the folder of runs is moved', async () => {
    await derived(1);
    const html = readFileSync(join(folder({ n: 1, from: 7 }), 'report.html'), 'utf8');
    const link = /Training starts from the weights of <a href="([^"]+)">([^<]+)</.exec(html)!;
    expect(link[2]).toBe(folder({ n: 7 }).split('/').at(-1));
    expect(existsSync(join(folder({ n: 1, from: 7 }), decodeURIComponent(link[1]!)))).toBe(true);
    expect(readFileSync(join(folder({ n: 7 }), 'report.html'), 'utf8')).not.toContain('Training starts from');
  });

  test('stops with it, and goes on with it', async () => {
    recipe.baseBehaviour = 'interrupt';
    const stopped = await derived(1);
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toContain(`saved ${folder({ n: 7 })}/checkpoints/0000005`);
    expect(stopped.stderr).toMatch(/To go on: physlm run capacity .*--resume/);
    recipe.baseBehaviour = 'finish';
    expect((await derived(1, '--resume')).code).toBe(0);
    expect(log().map((line) => line.split(' from')[0])).toEqual(['base 7', 'base 7', 'derived 1']);
  });

  test('waits for a process that makes it, until somebody asks to stop', async () => {
    mkdirSync(folder({ n: 7 }), { recursive: true });
    const lock = await lockRun(folder({ n: 7 }), () => undefined);
    const waiting = derived(1);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(log()).toEqual([]);
    process.listeners('SIGINT').at(-1)?.('SIGINT');
    const { code, stderr } = await waiting;
    expect(code).toBe(130);
    expect(stderr).toContain(`${folder({ n: 7 })}: Waiting for process ${process.pid}`);
    expect(stderr).toContain('Stopped before it began.');
    lock.release();
    expect((await derived(1, '--resume')).code).toBe(0);
  });

  test('is refused when that run is damaged, with its folder and what is wrong', async () => {
    await derived(1);
    const file = join(folder({ n: 7 }), 'results.json');
    const whole = readFileSync(file, 'utf8');
    writeFileSync(file, whole.slice(0, 20));
    const refused = await derived(2);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain(`[${folder({ n: 7 })}] expected a run to start from, got`);
    expect(refused.stderr).toContain('Move that folder away');
    writeFileSync(file, whole);
    rmSync(join(folder({ n: 7 }), 'checkpoints'), { recursive: true });
    expect((await derived(3)).stderr).toContain('expected a run to start from, got one without a checkpoint');
    writeFileSync(join(folder({ n: 7 }), 'experiment.json'), '{}');
    expect((await derived(4)).stderr).toContain('holds another experiment');
    expect(log().filter((line) => line.startsWith('base'))).toEqual(['base 7']);
  });

  test('in processes that start together: one makes it, the other waits', { timeout: 60_000 }, async () => {
    const outDir = fileURLToPath(new URL('../.vitest/derived-cli', import.meta.url));
    const entry = { 'derived-cli': fileURLToPath(new URL('./derived-cli.ts', import.meta.url)) };
    const options = { format: ['esm' as const], target: 'node20', silent: true, config: false as const, dts: false };
    await build({ entry, outDir, ...options, outExtension: () => ({ js: '.mjs' }) });
    process.env.DERIVED_LOG = logFile();
    const { code, stderr } = await physlm(
      [
        ...['sweep', 'capacity', '--scale', 'tiny', '--device', 'js', '--grid', 'n=1,2', '--grid', 'from=7'],
        ...['--jobs', '2', '--runs', join(sandbox, 'runs')],
      ],
      [process.execPath, join(outDir, 'derived-cli.mjs')],
    );
    expect([code, stderr]).toEqual([0, expect.any(String)]);
    expect(
      log()
        .map((line) => line.split(' from')[0])
        .sort(),
    ).toEqual(['base 7', 'derived 1', 'derived 2']);
    const logs = [1, 2].map((n) => readFileSync(join(folder({ n, from: 7 }), 'log.txt'), 'utf8'));
    expect(logs.filter((text) => text.includes('First the run that this one starts from'))).toHaveLength(1);
    expect(logs.filter((text) => /Waiting for process \d+/.test(text))).toHaveLength(1);
  });
});

describe('a checkpoint that is opened by its folder', () => {
  const device = openDevice('js');
  const words = ['Ada', 'was', 'born', 'in', 'Bath'];
  const tokenizer = new WordTokenizer('facts', words);

  function saved(): string {
    const path = join(sandbox, 'run', 'checkpoints', '0000009');
    mkdirSync(path, { recursive: true });
    saveModel(path, buildModel(device, gpt2(1, 1, { dModel: 8, dVocab: tokenizer.dVocab, nCtx: 16 }), new Rng(1)));
    writeFileSync(join(path, 'tokenizer.json'), JSON.stringify(tokenizer.toJSON()));
    writeFileSync(join(sandbox, 'run', 'experiment.json'), '{"name":"facts"}');
    return path;
  }

  test('brings its model and tokenizer, by the run as by the checkpoint', () => {
    const path = saved();
    for (const from of [path, join(sandbox, 'run')]) {
      const opened = openCheckpoint(from, device, { tokenizer: new WordTokenizer('same', words), nCtx: 16 });
      expect(opened.path).toBe(path);
      expect(opened.tokenizer.encode('Ada was born in Bath.')).toEqual(tokenizer.encode('Ada was born in Bath.'));
      expect(opened.model.config.nCtx).toBe(16);
    }
  });

  test('is refused for data that mean other things by their tokens, or longer windows, naming both sides', () => {
    const path = saved();
    const open = (other: readonly string[], nCtx: number) => () =>
      openCheckpoint(path, device, { tokenizer: new WordTokenizer('questions', other), nCtx });
    expect(open(words.toReversed(), 8)).toThrow(
      `[data.tokenizer] expected the tokens of 'facts' of 7 tokens, as in ${path}, got 'questions' of 7 tokens: token 2 is 'Bath', not 'Ada'`,
    );
    expect(open([...words, 'Where'], 32)).toThrow(/token 7, 'Where', is new[\s\S]*data\.nCtx\] expected at most 16/);
    expect(open(words.slice(0, 3), 8)).not.toThrow();
  });

  test('is refused when a file of it is missing or broken', () => {
    const path = saved();
    writeFileSync(join(path, 'tokenizer.json'), '{"kind":');
    expect(() => openCheckpoint(path, device)).toThrow(`[${join(path, 'tokenizer.json')}] cannot be read`);
    rmSync(join(path, 'tokenizer.json'));
    expect(() => openCheckpoint(path, device)).toThrow(`[${join(path, 'tokenizer.json')}] cannot be read`);
    rmSync(path, { recursive: true });
    expect(() => openCheckpoint(join(sandbox, 'run'), device)).toThrow('holds no checkpoint');
  });
});
