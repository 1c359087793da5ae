import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digest } from '@physlm/base';
import { describe, expect, it, vi } from 'vitest';
import { RunDirectory } from '../src/index.js';

const folder = (): string => mkdtempSync(join(tmpdir(), 'physlm-measured-'));
const experiment = { name: 'copy', seed: 1 };

describe('measured', () => {
  it('measures once, also for a run that is opened again', () => {
    const path = folder();
    const measure = vi.fn(() => ({ share: 1 / 3, bits: [0.1, 2 ** -1074, 1e300] }));
    const first = RunDirectory.open(path, experiment, 'new').measured('scores', measure);
    const again = RunDirectory.open(path, experiment, 'resume');
    expect(again.hasMeasured('scores')).toBe(true);
    expect(again.measured('scores', measure)).toEqual(first);
    expect(first).toEqual({ share: 1 / 3, bits: [0.1, 2 ** -1074, 1e300] });
    expect(measure).toHaveBeenCalledTimes(1);
    expect(readdirSync(join(path, 'measured'))).toEqual(['scores.json']);
  });

  it('gives at first what it gives when it is read back', () => {
    const run = RunDirectory.open(folder(), experiment, 'new');
    const value = { missing: undefined, none: Number.NaN, share: 0.5 };
    expect(Object.keys(run.measured('part', () => value))).toEqual(['none', 'share']);
    expect(run.measured('part', () => ({ none: 5 }))).toEqual({ none: null, share: 0.5 });
    expect(run.measured('nothing', () => undefined)).toBeUndefined();
    expect(run.measured<unknown>('nothing', () => 5)).toBeUndefined();
  });

  it('keeps nothing of a part that failed, and the others', () => {
    const run = RunDirectory.open(folder(), experiment, 'new');
    run.measured('one', () => 1);
    expect(() =>
      run.measured('two', () => {
        throw new Error('killed');
      }),
    ).toThrow('killed');
    expect([run.hasMeasured('one'), run.hasMeasured('two')]).toEqual([true, false]);
    expect(run.measured('two', () => 2)).toBe(2);
  });

  it('does not take a part of another experiment for its own', () => {
    const path = folder();
    const run = RunDirectory.open(path, experiment, 'new');
    run.measured('part', () => 1);
    const file = join(path, 'measured', 'part.json');
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ experiment: digest(experiment), value: 1 });
    writeFileSync(file, JSON.stringify({ experiment: digest({ ...experiment, seed: 2 }), value: 7 }));
    expect(run.hasMeasured('part')).toBe(false);
    expect(run.measured('part', () => 3)).toBe(3);
  });

  it('starts again with a fresh run, and goes when the results hold everything', () => {
    const path = folder();
    RunDirectory.open(path, experiment, 'new').measured('part', () => 1);
    const fresh = RunDirectory.open(path, experiment, 'fresh');
    expect(fresh.measured('part', () => 2)).toBe(2);
    fresh.dropMeasured();
    fresh.dropMeasured();
    expect(existsSync(join(path, 'measured'))).toBe(false);
  });

  it('says which file is damaged', () => {
    const path = folder();
    const run = RunDirectory.open(path, experiment, 'new');
    run.measured('part', () => 1);
    writeFileSync(join(path, 'measured', 'part.json'), '{');
    expect(() => run.measured('part', () => 2)).toThrow(/measured\/part\.json\] is not JSON/);
  });
});
