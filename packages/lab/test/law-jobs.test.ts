import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'tsup';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { main } from '../src/cli/main.js';
import { Captured } from './captured.js';
import { FakeRecipe } from './fake-recipe.js';

// The members of a law in processes of their own, which train nothing.

let script = '';
beforeAll(async () => {
  // Beside node_modules, so that the program finds the packages.
  const outDir = fileURLToPath(new URL('../.vitest/fake-cli', import.meta.url));
  const entry = { 'fake-cli': fileURLToPath(new URL('./fake-cli.ts', import.meta.url)) };
  const outExtension = () => ({ js: '.mjs' });
  await build({
    entry,
    outDir,
    format: ['esm'],
    target: 'node20',
    silent: true,
    config: false,
    dts: false,
    outExtension,
  });
  script = join(outDir, 'fake-cli.mjs');
}, 60_000);

let sandbox: string;
beforeEach(() => {
  sandbox = mkdtempSync(join(tmpdir(), 'physlm-law-jobs-'));
});
afterEach(() => {
  rmSync(sandbox, { recursive: true, force: true });
  delete process.env.FAKE_BEHAVIOUR;
  delete process.env.FAKE_COUNT;
});

async function law(...flags: string[]) {
  const [stdout, stderr] = [new Captured(), new Captured()];
  process.env.FAKE_COUNT = join(sandbox, 'count');
  const argv = ['law', 'capacity-two-bits', '--device', 'js', '--runs', join(sandbox, 'runs'), ...flags];
  const code = await main(argv, {
    stdout,
    stderr,
    env: {},
    ledger: join(sandbox, 'ledger'),
    recipes: new Map([['capacity', new FakeRecipe()]]),
    self: [process.execPath, script],
  });
  return { code, stdout: stdout.text, stderr: stderr.text };
}
const count = (): number => (existsSync(join(sandbox, 'count')) ? readFileSync(join(sandbox, 'count')).length : 0);

describe('law --jobs', () => {
  test('makes the missing runs in processes of their own, once, and judges them as without', async () => {
    const { code, stdout, stderr } = await law('--seeds', '1,2', '--jobs', '2', '--ledger');
    expect([code, count(), stdout]).toEqual([0, 2, expect.stringContaining('✓ holds')]);
    expect(stderr).toContain('2 runs to do');
    const row = JSON.parse(readFileSync(join(sandbox, 'ledger', 'capacity-two-bits-tiny.json'), 'utf8'));
    expect(row.runs.map(({ seed }: { seed: number }) => seed)).toEqual([1, 2]);
    expect(row.runs[0].threads).toBe(1);
    expect((await law('--seeds', '1,2', '--jobs', '2')).stdout).toBe(stdout);
    expect((await law('--seeds', '1,2')).stdout).toBe(stdout);
    expect(count()).toBe(2);
  });

  test('a run that fails is kept and named, and there is no verdict until it is made', async () => {
    process.env.FAKE_BEHAVIOUR = 'diverge';
    const { code, stdout, stderr } = await law('--seeds', '1,2', '--jobs', '1');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr.match(/✗ model, seed [12]: \[train\.step 5\] got NaN\. Try less\./g)).toHaveLength(2);
    expect(stderr).toContain('Failed, and kept: model, seed 1');
    process.env.FAKE_BEHAVIOUR = 'finish';
    expect((await law('--seeds', '1,2', '--jobs', '2')).code).toBe(0);
  });

  test('a damaged run is named and left alone', async () => {
    await law('--jobs', '1');
    const again = await law();
    expect(again.stderr).toMatch(
      /finished: nothing was trained\. To run it again: remove \S+, then physlm law capacity-two-bits --scale tiny/,
    );
    const [run] = readdirSync(join(sandbox, 'runs'));
    const file = join(sandbox, 'runs', run!, 'results.json');
    writeFileSync(file, '{');
    const { code, stderr } = await law('--jobs', '1');
    expect([code, readFileSync(file, 'utf8')]).toEqual([1, '{']);
    expect(stderr).toContain(file);
    const alone = await law();
    expect([alone.code, alone.stdout, readFileSync(file, 'utf8')]).toEqual([2, '', '{']);
    for (const text of [stderr, alone.stderr]) expect(text).toContain('Move or remove this folder');
    expect(alone.stderr).not.toContain('finished');
  });
});

test('a manifest that another version wrote is refused', async () => {
  const manifest = join(sandbox, 'manifest.json');
  const member = { recipe: 'capacity', scale: 'tiny', seed: 1, parameters: {}, path: 'run', command: '', label: 'it' };
  writeFileSync(manifest, JSON.stringify({ members: [{ ...member, digest: 'another' }] }));
  const [stdout, stderr] = [new Captured(), new Captured()];
  const recipes = new Map([['capacity', new FakeRecipe()]]);
  const code = await main(['member', manifest, '0', '--device', 'js'], { stdout, stderr, env: {}, recipes });
  expect([code, stderr.text]).toEqual([2, expect.stringContaining('give the command of the sweep again')]);
  expect(existsSync(join(sandbox, 'run'))).toBe(false);
});
