import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, DataError, digest } from '@physlm/base';
import { openDevice } from '@physlm/model';
import { RunDirectory } from '@physlm/train';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  findingsOf,
  gridPoints,
  type JobEnd,
  memberState,
  parseFit,
  parseGrid,
  parseTasks,
  planSweep,
  powerFit,
  readManifestMember,
  recipeNamed,
  recipes,
  runPool,
  runRecipe,
  type SweepPlan,
  slurmScript,
  sweepCsv,
  writeManifest,
} from '../src/index.js';
import { FakeRecipe } from './fake-recipe.js';

let sandbox: string;
let fake: FakeRecipe;
beforeEach(() => {
  sandbox = mkdtempSync(join(tmpdir(), 'physlm-sweep-'));
  fake = new FakeRecipe();
});
afterEach(() => rmSync(sandbox, { recursive: true, force: true }));

const plan = (grid: readonly string[], seeds = [1]): SweepPlan =>
  planSweep(fake, { scale: 'tiny', seeds, axes: parseGrid(grid, fake), runs: sandbox, device: 'js' });

async function finish({ members }: SweepPlan) {
  const finished = [];
  for (const member of members) {
    const run = RunDirectory.open(member.path, member.experiment, 'new');
    const { experiment, command } = member;
    const device = openDevice('js');
    const outcome = await runRecipe({ recipe: fake, experiment, run, device, command, resume: false });
    if (outcome.stopped === 'finished') finished.push({ member, finished: outcome.finished });
  }
  return finished;
}

describe('a grid', () => {
  test('is the product of its axes, each point once', () => {
    const axis = fc.uniqueArray(fc.integer(), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.array(axis, { maxLength: 4 }), (lists) => {
        const points = gridPoints(lists.map((values, i) => ({ name: `p${i}`, values })));
        expect(points).toHaveLength(lists.reduce((n, values) => n * values.length, 1));
        expect(new Set(points.map((point) => JSON.stringify(point))).size).toBe(points.length);
        for (const [i, values] of lists.entries()) {
          expect(new Set(points.map((point) => point[`p${i}`]))).toEqual(new Set(values));
        }
      }),
    );
  });

  test('reads numbers, truth values and words', () => {
    expect(parseGrid(['n=1,2.5,1e3, true,false,word'], fake)).toEqual([
      { name: 'n', values: [1, 2.5, 1000, true, false, 'word'] },
    ]);
  });

  test.each([
    [['n='], 'grid.n', "values, as in n=1,2, got 'n='"],
    [['n=1,,2'], 'grid.n', 'values'],
    [['n'], 'grid.n', 'values'],
    [['n=1', 'n=2'], 'grid.n', "each parameter once, got a second axis 'n=2'"],
    [['m=1'], 'grid', "Did you mean 'n'?"],
  ])('%j is refused', (texts, path, said) => {
    expect(() => parseGrid(texts, fake)).toThrow(ConfigError);
    expect(() => parseGrid(texts, fake)).toThrow(`[${path}]`);
    expect(() => parseGrid(texts, fake)).toThrow(said);
  });

  test('every wrong axis is named at once', () => {
    expect(() => parseGrid(['n=', 'nn=1'], fake)).toThrow(/\[grid\.n\][\s\S]*\[grid\]/);
  });
});

describe('a plan', () => {
  test('runs equal points once, and says which', () => {
    const { members, repeated } = plan(['n=1,2,1'], [1, 2]);
    expect(members.map(({ label }) => label)).toEqual(['n=1 seed=1', 'n=1 seed=2', 'n=2 seed=1', 'n=2 seed=2']);
    expect(repeated).toEqual(['n=1 seed=1', 'n=1 seed=2']);
  });

  test('names runs by the digest of their experiment, and itself by those of all of them', () => {
    const [small, large] = [plan(['n=1,2']), plan(['n=1,2,3'])];
    for (const { path, experiment } of large.members) {
      expect(path).toBe(join(sandbox, `${experiment.name}-${digest(experiment).slice(0, 8)}`));
    }
    expect(new Set(large.members.map(({ path }) => path)).size).toBe(3);
    expect(large.members.slice(0, 2).map(({ path }) => path)).toEqual(small.members.map(({ path }) => path));
    expect(small.path).not.toBe(large.path);
    expect(plan(['n=2,1']).path).toBe(small.path);
  });

  test('gives each member the command that repeats it', () => {
    expect(plan(['n=3,4']).members[0]!.command).toBe('physlm run capacity --scale tiny --seed 1 --set n=3 --device js');
  });

  test('refuses nothing to sweep over, and points that are no experiment', () => {
    expect(() => plan([])).toThrow(/\[grid\] expected at least one axis/);
    const capacity = recipeNamed('capacity');
    const axes = parseGrid(['nLayer=0,1', 'dModel=32,33'], capacity);
    const bad = () => planSweep(capacity, { scale: 'tiny', seeds: [1], axes, runs: sandbox, device: 'js' });
    expect(bad).toThrow(ConfigError);
    expect(bad).toThrow(/nLayer=0 dModel=32[\s\S]*nLayer=1 dModel=33[\s\S]*Nothing was run/);
  });

  test("each recipe's own grid is one of experiments, at every scale that it has", () => {
    for (const recipe of recipes.values()) {
      for (const scale of Object.keys(recipe.sweep?.grid ?? {})) expect(Object.keys(recipe.scales)).toContain(scale);
      const grid = recipe.sweep?.grid.tiny;
      if (grid === undefined) continue;
      const axes = Object.entries(grid).map(([name, values]) => ({ name, values }));
      const { members } = planSweep(recipe, { scale: 'tiny', seeds: [1], axes, runs: '', device: 'auto' });
      expect(members.length).toBeGreaterThan(3);
    }
  });

  test('goes through a manifest unharmed', () => {
    const { members } = plan(['n=1,2'], [1, 2]);
    const file = join(sandbox, 'below', 'manifest.json');
    writeManifest(file, members);
    for (const [i, member] of members.entries()) {
      const { path, seed, parameters, digest: id } = readManifestMember(file, i);
      expect([path, seed, parameters]).toEqual([member.path, member.seed, member.parameters]);
      expect(id).toBe(digest(member.experiment));
    }
    expect(() => readManifestMember(file, 4)).toThrow(DataError);
    writeFileSync(file, '{"members": []}');
    expect(() => readManifestMember(file, 0)).toThrow(file);
  });
});

describe('the state of a member', () => {
  test('is read off its folder', async () => {
    const planned = plan(['n=1,2']);
    const [{ path, experiment }] = planned.members as [SweepPlan['members'][0]];
    const state = () => memberState(path, experiment).state;
    expect(state()).toBe('new');
    // The log of a process that failed before it came to make its run directory.
    mkdirSync(path);
    writeFileSync(join(path, 'log.txt'), '');
    expect(state()).toBe('new');
    rmSync(path, { recursive: true });
    await finish(planned);
    expect(state()).toBe('finished');
    rmSync(join(path, 'results.json'));
    expect(state()).toBe('unfinished');
  });

  test.each([
    ['experiment.json', '{'],
    ['experiment.json', '{}'],
    ['results.json', '{"measures": 3}'],
    ['results.json', ''],
    ['environment.json', '[]'],
    ['environment.json', '{'],
  ])('%s holding %j is damage, which is named and left alone', async (name, text) => {
    const planned = plan(['n=1,2']);
    const [{ path, experiment }] = planned.members as [SweepPlan['members'][0]];
    await finish(planned);
    writeFileSync(join(path, name), text);
    const found = memberState(path, experiment);
    expect(found).toMatchObject({ state: 'damaged', problem: expect.stringContaining(join(path, name)) });
    expect(readFileSync(join(path, name), 'utf8')).toBe(text);
  });

  test('a file in place of the folder, and a run that lost one of its files, are damage', async () => {
    const planned = plan(['n=1,2']);
    const [{ path, experiment }] = planned.members as [SweepPlan['members'][0]];
    writeFileSync(path, 'mine');
    expect(memberState(path, experiment)).toEqual({ state: 'damaged', problem: `[${path}] is not a folder` });
    rmSync(path);
    await finish(planned);
    writeFileSync(join(path, 'results.json'), '[]');
    const problem = `[${join(path, 'results.json')}] Invalid input: expected object, received array`;
    expect(memberState(path, experiment)).toEqual({ state: 'damaged', problem });
    await finish(plan(['n=3']));
    const [{ path: other, experiment: third }] = plan(['n=3']).members as [SweepPlan['members'][0]];
    rmSync(join(other, 'environment.json'));
    expect(memberState(other, third)).toMatchObject({ problem: expect.stringContaining('environment.json') });
  });
});

describe('a power fit', () => {
  const positive = fc.double({ min: 0.01, max: 100, noNaN: true });
  test('finds the law that points follow, whatever their units', () => {
    fc.assert(
      fc.property(
        fc.double({ min: -3, max: 3, noNaN: true }),
        positive,
        fc.uniqueArray(fc.integer({ min: 1, max: 1000 }), { minLength: 3, maxLength: 8 }),
        (slope, coefficient, xs) => {
          const fit = powerFit(
            xs.map((x) => [x, coefficient * x ** slope]),
            { nResample: 50 },
          )!;
          expect(fit.slope).toBeCloseTo(slope, 6);
          expect(Math.log(fit.coefficient)).toBeCloseTo(Math.log(coefficient), 5);
          expect(fit.interval!.low).toBeCloseTo(slope, 6);
          expect(fit.interval!.high).toBeCloseTo(slope, 6);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('its interval holds the slope that noisy points are drawn from, and is the same each time', () => {
    const points = Array.from({ length: 40 }, (_, i) => [i + 1, (i + 1) ** 0.8 * (i % 2 === 0 ? 1.2 : 0.8)] as const);
    const { interval, slope } = powerFit(points)!;
    expect(interval!.low).toBeLessThan(slope);
    expect(interval!.high).toBeGreaterThan(slope);
    expect(interval!.low).toBeLessThan(0.8);
    expect(interval!.high).toBeGreaterThan(0.8);
    expect(powerFit(points)).toEqual(powerFit(points));
  });

  test('leaves out what has no logarithm, and has no slope without two different x', () => {
    expect(
      powerFit([
        [1, 1],
        [2, 2],
        [3, -1],
        [0, 5],
        [4, Number.NaN],
      ]),
    ).toMatchObject({ nPoint: 2, interval: null });
    expect(
      powerFit([
        [1, 1],
        [1, 2],
        [1, 3],
      ]),
    ).toBeUndefined();
    expect(powerFit([])).toBeUndefined();
  });

  test('is asked for as y~x', () => {
    expect(parseFit(' bits ~nParameter')).toEqual({ y: 'bits', x: 'nParameter' });
    for (const text of ['bits', 'bits~', '~x', 'a~b~c']) expect(() => parseFit(text)).toThrow(ConfigError);
  });
});

describe('findings', () => {
  test('an axis that x does not depend on makes curves, and a wrong quantity names the nearest', async () => {
    const planned = plan(['n=1,2,3'], [1, 2]);
    const measured = await finish(planned);
    const along = findingsOf(planned, measured, { y: 'perParameter', x: 'n' });
    expect(along.curves.map(({ points }) => points.length)).toEqual([6]);
    const apart = findingsOf(planned, measured, { y: 'perParameter', x: 'shareOfCeiling' });
    expect(apart.curves.map(({ name }) => name)).toEqual(['n = 1', 'n = 2', 'n = 3']);
    expect(() => findingsOf(planned, measured, { y: 'perParamter', x: 'n' })).toThrow("Did you mean 'perParameter'?");
  });

  test('CSV has a row for each member and quotes what it must', async () => {
    const planned = plan(['n=1,2']);
    const measured = await finish(planned);
    const csv = sweepCsv(planned, [
      { member: measured[0]!.member, state: 'finished', finished: measured[0]!.finished },
      { member: { ...planned.members[1]!, path: 'a "b", c' }, state: 'failed', problem: 'x' },
    ]);
    const [header, first, second, end] = csv.split('\r\n');
    expect(header).toMatch(/^run,state,scale,seed,n,perParameter,shareOfCeiling,perParameter\.low,perParameter\.high/);
    expect(first).toContain(',finished,tiny,1,1,0.25,0.99,0.2,0.3,');
    expect(second).toBe('"a ""b"", c",failed,tiny,1,2,,,,,');
    expect(end).toBe('');
  });
});

describe('a pool', () => {
  const job = (label: string, script: string, work = 1) => ({
    label,
    argv: [process.execPath, '-e', script] as const,
    log: join(sandbox, label, 'log.txt'),
    work,
  });
  const endOf = (ends: ReadonlyMap<{ label: string }, JobEnd>) =>
    Object.fromEntries([...ends].map(([{ label }, end]) => [label, end]));

  test('a job that fails is told with its last words; the others go on', async () => {
    const ends = await runPool(
      [
        job('good', "console.log('said')"),
        job('bad', "console.error('physlm: [x] is wrong\\nmore'); process.exit(2)"),
        job('shot', "process.kill(process.pid, 'SIGKILL')"),
        { ...job('none', ''), argv: [join(sandbox, 'no-such-program')] },
      ],
      { nSlot: 2 },
    );
    expect(endOf(ends)).toMatchObject({
      good: { ended: 'finished' },
      bad: { ended: 'failed', problem: '[x] is wrong' },
      shot: { ended: 'failed', problem: 'ended by SIGKILL' },
      none: { ended: 'failed', problem: expect.stringContaining('ENOENT') },
    });
    expect(readFileSync(join(sandbox, 'good', 'log.txt'), 'utf8')).toBe('said\n');
  });

  test('runs at most so many at a time, the longest first', async () => {
    const seen: number[] = [];
    const order: string[] = [];
    const jobs = [1, 5, 3, 4, 2].map((work) => job(`w${work}`, 'setTimeout(() => {}, 50)', work));
    await runPool(jobs, {
      nSlot: 1,
      onProgress({ running, latest }) {
        seen.push(running.length);
        if (latest !== undefined) order.push(latest.label);
      },
    });
    expect(Math.max(...seen)).toBeLessThanOrEqual(1);
    expect(order).toEqual(['w5', 'w4', 'w3', 'w2', 'w1']);
  });

  test('asked to stop, it closes the channels, waits for the running jobs and starts no other', async () => {
    const saved = join(sandbox, 'saved');
    const script = `
      process.on('disconnect', () => { require('node:fs').writeFileSync(${JSON.stringify(saved)}, ''); process.exit(143); });
      process.send({ step: 1, nStep: 4 });`;
    const stop = new AbortController();
    const fractions: number[] = [];
    const ends = await runPool([job('long', script, 9), job('later', '')], {
      nSlot: 1,
      signal: stop.signal,
      onProgress({ running: [first] }) {
        if (first === undefined) return;
        fractions.push(first.fraction);
        stop.abort();
      },
    });
    expect(fractions).toContain(0.25);
    expect(endOf(ends)).toEqual({ long: { ended: 'stopped' }, later: { ended: 'stopped' } });
    expect([existsSync(saved), existsSync(join(sandbox, 'later'))]).toEqual([true, false]);
  });
});

describe('Slurm', () => {
  const script = slurmScript({
    name: 'sweep-1',
    indices: [5, 0, 1, 2],
    nSlot: 3,
    threads: 2,
    folder: '/a b',
    logs: '/logs',
    argv: ['/bin/node', "it's", 'member', '/m.json'],
    flags: ['--threads', '2'],
    options: ['--time=01:00:00'],
  });

  test('the script asks for the missing members, so many at a time', () => {
    expect(script).toContain('#SBATCH --array=0-2,5%3\n');
    expect(script).toContain('#SBATCH --cpus-per-task=2\n');
    expect(script).toContain('#SBATCH --chdir="/a b"\n');
    expect(script).toContain('#SBATCH --time=01:00:00\n');
    expect(script).toContain(`exec /bin/node 'it'\\''s' member /m.json "$SLURM_ARRAY_TASK_ID" --threads 2\n`);
  });

  test('tasks that have begun and those that wait are read from one answer', () => {
    const text =
      'JobId=12 ArrayJobId=11 ArrayTaskId=0 JobName=x JobState=TIMEOUT Reason=TimeLimit Dependency=(null)\n' +
      'JobId=11 ArrayJobId=11 ArrayTaskId=2-3,7%2 JobName=x JobState=PENDING Reason=Resources\n';
    expect(parseTasks(text).map(({ index, state }) => `${index} ${state}`)).toEqual([
      '0 TIMEOUT',
      '2 PENDING',
      '3 PENDING',
      '7 PENDING',
    ]);
    expect(parseTasks('')).toEqual([]);
  });
});
