import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lives, outcome, runsOf, start, sweep, sweepOf, until, workers } from './sweep-command.js';

// The command as users start it, with real runs in processes of their own.

const sandbox = mkdtempSync(join(tmpdir(), 'physlm-sweep-'));
afterAll(() => rmSync(sandbox, { recursive: true, force: true }));
const folder = (name: string): string => mkdtempSync(join(sandbox, `${name}-`));
const grid = ['--grid', 'lrPeak=0.002,0.004,0.008', '--jobs', '2'];
const started = (at: string) => runsOf(at).filter((run) => existsSync(join(run, 'metrics.jsonl')));
const results = (at: string) => runsOf(at).filter((run) => existsSync(join(run, 'results.json')));

/** A sweep that nobody disturbs. */
let calm = '';
beforeAll(async () => {
  calm = folder('calm');
  const { code, stdout, stderr } = await sweep(calm, grid).ended;
  expect([code, stderr]).toEqual([0, expect.stringContaining('3 runs, 0 finished, 3 to do')]);
  expect(stdout).toContain('members  3 finished');
}, 120_000);

describe('a sweep', () => {
  test('leaves a table, JSON, a figure and a page', () => {
    const at = sweepOf(calm);
    const { members, fits } = JSON.parse(readFileSync(join(at, 'sweep.json'), 'utf8'));
    expect(members.map(({ state, parameters }: never) => [state, (parameters as { lrPeak: number }).lrPeak])).toEqual([
      ['finished', 0.002],
      ['finished', 0.004],
      ['finished', 0.008],
    ]);
    // Models of one size have no slope against parameters: the axis that varies takes their place.
    expect(fits[0]).toMatchObject({ y: 'bits', x: 'lrPeak' });
    const rows = readFileSync(join(at, 'members.csv'), 'utf8').trim().split('\r\n');
    expect(rows).toHaveLength(4);
    const column = rows[0]!.split(',').indexOf('bits');
    for (const [i, { measures }] of members.entries()) {
      expect(Number(rows[i + 1]!.split(',')[column])).toBe(measures.bits);
    }
    const html = readFileSync(join(at, 'report.html'), 'utf8');
    expect(html.match(/<svg/g)).toHaveLength(1);
    expect(html).not.toMatch(/<script|<link|<img|https?:/i);
    for (const run of runsOf(calm)) expect(html).toContain(`../${basename(run)}/report.html`);
    expect(existsSync(join(at, 'figures', 'fit.svg'))).toBe(true);
  });

  test('given again it runs nothing; with a value more it runs that one', async () => {
    const before = results(calm).map((run) => statSync(join(run, 'results.json')).mtimeMs);
    const again = await sweep(calm, grid).ended;
    expect([again.code, again.stderr]).toEqual([0, expect.stringContaining('3 runs, 3 finished, 0 to do')]);
    expect(results(calm).map((run) => statSync(join(run, 'results.json')).mtimeMs)).toEqual(before);
    const more = await sweep(calm, ['--grid', 'lrPeak=0.004,0.001', '--dry-run']).ended;
    expect(more.stdout.trim().split('\n')).toEqual([expect.stringContaining('--set lrPeak=0.001')]);
  });

  test('killed without a word it leaves nobody behind, and given again it ends as if nothing had been', async () => {
    const at = folder('killed');
    const { child, ended } = sweep(at, grid);
    await until('two runs', () => started(at).length === 2 && workers(at).length === 2);
    const pids = workers(at);
    child.kill('SIGKILL');
    await ended;
    await until('processes that end when their parent is gone', () => !pids.some(lives));
    const kept = results(at);
    expect(kept.length).toBeLessThan(3);
    for (const run of started(at)) expect([existsSync(join(run, 'checkpoints')), run]).toEqual([true, run]);
    const again = await sweep(at, grid).ended;
    expect([again.code, again.stderr]).toEqual([0, expect.stringContaining(`${kept.length} finished`)]);
    expect(runsOf(at).map((run) => basename(run))).toEqual(runsOf(calm).map((run) => basename(run)));
    for (const [i, run] of runsOf(at).entries()) expect(outcome(run)).toBe(outcome(runsOf(calm)[i]!));
  });

  test('started again while runs of a killed one still save, it waits for them', async () => {
    const at = folder('hurried');
    const { child } = sweep(at, grid);
    await until('two runs', () => started(at).length === 2);
    child.kill('SIGKILL');
    expect((await sweep(at, grid).ended).code).toBe(0);
    for (const [i, run] of runsOf(at).entries()) expect(outcome(run)).toBe(outcome(runsOf(calm)[i]!));
  });

  test('Ctrl-C saves every run and ends with 130', async () => {
    const at = folder('interrupted');
    const { child, ended } = sweep(at, grid);
    await until('two runs', () => started(at).length === 2 && workers(at).length === 2);
    const pids = workers(at);
    child.kill('SIGINT');
    const { code, stderr, stdout } = await ended;
    expect([code, pids.some(lives), workers(at)]).toEqual([130, false, []]);
    expect(stderr).toContain('Give the command again to go on');
    expect(stdout).toContain('not run');
    expect((await sweep(at, grid).ended).code).toBe(0);
  });

  test('a run that fails and a folder that is damaged are named; the others go on', async () => {
    const at = folder('failing');
    const rates = ['--grid', 'lrPeak=0.004,1e30,0.002', '--jobs', '2'];
    const failed = await sweep(at, rates).ended;
    expect(failed.code).toBe(1);
    expect(failed.stdout).toMatch(/✗ failed {2}lrPeak=1e\+30: \[train\.step \d+\] expected finite numbers/);
    expect(failed.stdout).toContain('members  2 finished, 1 failed');

    const broken = join(results(at)[0]!, 'results.json');
    writeFileSync(broken, '{"half');
    const damaged = await sweep(at, rates).ended;
    expect([damaged.code, readFileSync(broken, 'utf8')]).toEqual([1, '{"half']);
    expect(damaged.stderr).toContain(broken.slice(at.length + 1));
    expect(damaged.stdout).toContain('members  1 finished, 1 failed, 1 damaged');
    expect(damaged.stdout).toContain('No slope: a power law needs two different ');
    expect(damaged.stdout).toContain('To make a damaged run again, move or remove its folder');
    const csv = readFileSync(join(sweepOf(at), 'members.csv'), 'utf8');
    for (const state of ['finished', 'failed', 'damaged']) expect(csv).toContain(`,${state},`);
  });

  test('a fit of what was not measured is refused after the table is kept', async () => {
    const { code, stderr } = await sweep(calm, [...grid, '--fit', 'bitz~lrPeak']).ended;
    expect([code, stderr]).toEqual([2, expect.stringContaining("did you mean 'bits'?")]);
    expect(readFileSync(join(sweepOf(calm), 'members.csv'), 'utf8')).toContain('finished');
  });
});

describe('before anything runs', () => {
  test.each([
    [['--grid', 'nLayer='], 'values, as in nLayer=1,2'],
    [['--grid', 'nLayer=1', '--grid', 'nLayer=2'], 'each parameter once'],
    [['--grid', 'nLayr=1'], "did you mean 'nLayer'?"],
    [['--grid', 'nLayer=0,1'], 'nLayer=0'],
    [['--fit', 'bits'], 'y~x'],
    [['--launcher', 'pbs'], 'local, slurm'],
    [['--jobs', '0'], '--jobs'],
  ])('%j is refused', async (args, said) => {
    const at = folder('refused');
    const { code, stderr } = await start(at, ['sweep', 'capacity', ...args]).ended;
    expect([code, stderr]).toEqual([2, expect.stringContaining(said)]);
    expect(existsSync(join(at, 'runs'))).toBe(false);
  });
});
