import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, DataError } from '@physlm/base';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  capacity,
  capacityTwoBits,
  combineSeeds,
  criterion,
  type Environment,
  type LedgerRun,
  lawReport,
  mergeRun,
  type Results,
  recordLaw,
} from '../src/index.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'physlm-ledger-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const environment: Environment = {
  physlm: '0.1.0',
  node: '20.19.0',
  os: 'linux x64',
  cpu: 'a processor',
  cores: 2,
  memoryBytes: 2 ** 33,
  device: 'cpu',
  threads: 2,
  command: 'physlm run capacity --scale tiny --seed 1',
  started: '2025-01-01T00:00:00.000Z',
  seconds: 10,
};
const resultsOf = (perParameter: number, shareOfCeiling: number): Results => ({
  recipe: 'capacity',
  measures: { perParameter, shareOfCeiling },
  intervals: { perParameter: { low: perParameter / 2, high: perParameter * 2 } },
});
const record = (seed: number, perParameter: number, shareOfCeiling: number) =>
  recordLaw(
    folder,
    capacityTwoBits,
    'tiny',
    {
      model: {
        experiment: capacity({ scale: 'tiny', seed }),
        results: resultsOf(perParameter, shareOfCeiling),
        environment,
      },
    },
    environment.command,
  );

describe('recording runs', () => {
  test('one seed keeps its own interval; several give their mean, one run each', () => {
    record(1, 0.1, 0.95);
    expect(lawReport(capacityTwoBits, 'tiny', folder)).toMatchObject({
      ours: 0.1,
      interval: { low: 0.05, high: 0.2 },
      seeds: [1],
      verdict: 'holds',
      machine: 'a processor, 2 cores, cpu',
      seconds: 10,
    });
    record(3, 0.13, 0.99);
    record(2, 0.11, 0.97);
    record(1, 0.12, 0.98);
    const { ours, interval, seeds } = lawReport(capacityTwoBits, 'tiny', folder);
    expect(seeds).toEqual([1, 2, 3]);
    expect(ours).toBeCloseTo(0.12, 12);
    // Student's t for 2 degrees of freedom times the standard error 0.01 / √3.
    expect(interval!.high - ours!).toBeCloseTo(4.303 * (0.01 / Math.sqrt(3)), 9);
  });

  test('the row holds the numbers of the run it was given', () => {
    const file = record(1, 0.1234, 0.95);
    const { runs } = JSON.parse(readFileSync(file, 'utf8'));
    expect(runs[0]).toMatchObject({
      ours: 0.1234,
      measures: resultsOf(0.1234, 0.95).measures,
      seed: 1,
      cpu: 'a processor',
    });
  });

  test('the verdict follows from the measures', () => {
    record(1, 0.05, 0.4);
    expect(lawReport(capacityTwoBits, 'tiny', folder).verdict).toBe('fails');
  });

  test('a run of other parameters is refused', () => {
    const experiment = capacity({ scale: 'tiny', seed: 1, parameters: { nLayer: 1 } });
    const model = { experiment, results: resultsOf(1, 1), environment };
    expect(() => recordLaw(folder, capacityTwoBits, 'tiny', { model }, environment.command)).toThrow(ConfigError);
  });

  test('runs of an earlier setting are not counted, and go when a new one comes', () => {
    const file = record(1, 0.1, 0.95);
    const row = JSON.parse(readFileSync(file, 'utf8'));
    writeFileSync(file, JSON.stringify({ ...row, setting: 'another' }));
    expect(lawReport(capacityTwoBits, 'tiny', folder)).toMatchObject({ verdict: 'not run', ours: null, seeds: [] });
    record(2, 0.11, 0.96);
    expect(lawReport(capacityTwoBits, 'tiny', folder).seeds).toEqual([2]);
  });

  test('a broken file is named', () => {
    const file = record(1, 0.1, 0.95);
    writeFileSync(file, '{');
    expect(() => lawReport(capacityTwoBits, 'tiny', folder)).toThrow(DataError);
    writeFileSync(file, '{"law": 3}');
    expect(() => lawReport(capacityTwoBits, 'tiny', folder)).toThrow(file);
  });
});

test('merging keeps one run for each seed, in order, whatever the order of arrival', () => {
  const key = { law: 'l', scale: 'tiny', setting: 's' };
  const runOf = (seed: number, ours: number): LedgerRun => ({
    ...environment,
    seed,
    ours,
    interval: { low: ours, high: ours },
    measures: {},
    date: environment.started,
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(5), fc.nat(100)), { minLength: 1 }), (arrivals) => {
      const [first, ...rest] = arrivals.map(([seed, ours]) => runOf(seed, ours));
      const row = rest.reduce((before, added) => mergeRun(before, key, added), mergeRun(undefined, key, first!));
      const latest = new Map(arrivals);
      expect(row.runs.map(({ seed, ours }) => [seed, ours])).toEqual([...latest].sort((a, b) => a[0] - b[0]));
    }),
  );
});

test('the interval over seeds holds their mean and grows with their spread', () => {
  const at = (ours: number) => ({ ours, interval: { low: ours, high: ours } });
  fc.assert(
    fc.property(fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 2, maxLength: 14 }), (values) => {
      const narrow = combineSeeds(values.map(at));
      const wide = combineSeeds(values.map((value) => at(3 * value)));
      expect(narrow.interval.low).toBeLessThanOrEqual(narrow.ours);
      expect(wide.interval.high - wide.ours).toBeCloseTo(3 * (narrow.interval.high - narrow.ours), 9);
    }),
  );
});

test('a bound holds at its edge, and a missing measure keeps none', () => {
  const bound = [{ measure: 'r', atLeast: 1, atMost: 2, tests: '' }];
  expect([0.999, 1, 2, 2.001].map((r) => criterion({ r }, bound))).toEqual(['fails', 'holds', 'holds', 'fails']);
  expect(criterion({}, bound)).toBe('fails');
});
