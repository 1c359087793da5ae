import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, DataError, digest, invariant, writeFileAtomic } from '@physlm/base';
import { z } from 'zod';
import type { Environment } from '../environment.js';
import { packageRoot } from '../package-root.js';
import { recipeNamed, recipes } from '../recipes/index.js';
import {
  type Experiment,
  type Interval,
  type Recipe,
  type Results,
  type ScaleName,
  scaleNames,
} from '../recipes/recipe.js';
import { criterion, type Law, type Measurement, settingOf, type Verdict } from './law.js';

const interval = z.object({ low: z.number(), high: z.number() });
const run = z.object({
  seed: z.number().int(),
  ours: z.number(),
  interval,
  measures: z.record(z.string(), z.number()),
  /** Seconds of work. */
  seconds: z.number(),
  /** ISO 8601, UTC. */
  date: z.string(),
  cpu: z.string(),
  cores: z.number(),
  device: z.string(),
  threads: z.number(),
  isa: z.string().optional(),
  os: z.string(),
  node: z.string(),
  physlm: z.string(),
  commit: z.string().optional(),
  command: z.string(),
});
const row = z.object({
  law: z.string(),
  scale: z.string(),
  /** Digest of what decides the measurement besides the seed. */
  setting: z.string(),
  runs: z.array(run).min(1),
});

/** One run in the ledger, with what it takes to trust and repeat it. */
export type LedgerRun = z.infer<typeof run>;

/** What is known about a law at a scale: one file of the ledger, one run for each seed. */
export type LedgerRow = z.infer<typeof row>;

/** One line of `physlm laws`. */
export interface LawReport {
  readonly id: string;
  readonly part: string;
  readonly claim: string;
  readonly source: string;
  /** The paper's figure. */
  readonly paper: string;
  readonly scale: ScaleName;
  /** Mean over seeds; null when not run. */
  readonly ours: number | null;
  readonly interval: Interval | null;
  readonly seeds: readonly number[];
  readonly verdict: Verdict | 'not run';
  /** Why there is no verdict, or what the verdict tests at this scale. */
  readonly note: string;
  /** Processor and cores of each run, without repeats. */
  readonly machine: string | null;
  /** Mean over seeds. */
  readonly seconds: number | null;
  readonly command: string;
}

/** The folder of the ledger that comes with this package. */
export function ledgerFolder(): string {
  return join(packageRoot(), 'ledger');
}

function rowFile(folder: string, law: string, scale: string): string {
  return join(folder, `${law}-${scale}.json`);
}

/**
 * What the ledger holds about a law at a scale; undefined when nothing.
 *
 * @throws DataError naming the file when it is not a row of the ledger.
 */
export function readLedgerRow(folder: string, law: string, scale: ScaleName): LedgerRow | undefined {
  const file = rowFile(folder, law, scale);
  if (!existsSync(file)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new DataError(file, 'JSON', (error as Error).message);
  }
  const parsed = row.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new DataError(file, `a row of the ledger (${issue.path.join('.')}: ${issue.message})`, 'another value');
}

/** The row with `added` in place of any run of its seed; runs of another setting are dropped. Seeds ascend. */
export function mergeRun(
  before: LedgerRow | undefined,
  key: { readonly law: string; readonly scale: string; readonly setting: string },
  added: LedgerRun,
): LedgerRow {
  const kept = before?.setting === key.setting ? before.runs.filter(({ seed }) => seed !== added.seed) : [];
  return { ...key, runs: [...kept, added].sort((a, b) => a.seed - b.seed) };
}

/** The experiments of a law at a scale, by member. */
export function membersOf(
  law: Law,
  scale: ScaleName,
  seed: number,
  among: ReadonlyMap<string, Recipe> = recipes,
): Readonly<Record<string, Experiment>> {
  return Object.fromEntries(
    Object.entries(law.scales[scale]?.members ?? {}).map(([name, member]) => [
      name,
      recipeNamed(member.recipe, among).experiment({
        scale: member.scale ?? scale,
        seed,
        parameters: member.parameters ?? {},
      }),
    ]),
  );
}

function settingDigest(members: Readonly<Record<string, Experiment>>): string {
  return digest(Object.fromEntries(Object.entries(members).map(([name, one]) => [name, settingOf(one)])));
}

/** A finished run, as the ledger needs it. */
export interface RecordedRun {
  readonly experiment: Experiment;
  readonly results: Results;
  readonly environment: Environment;
}

/**
 * Writes what the finished runs of all members of a law say into the ledger; returns the file. The machine is that of the
 * last one; seconds are those of all.
 *
 * @throws ConfigError when an experiment is not the member as it stands: its verdict would be another one's.
 * @throws OutputError when the file cannot be written.
 */
export function recordLaw(
  folder: string,
  law: Law,
  scale: ScaleName,
  runs: Readonly<Record<string, RecordedRun>>,
  command: string,
  among: ReadonlyMap<string, Recipe> = recipes,
): string {
  const all = Object.values(runs);
  const last = all.at(-1)!;
  const { seed } = last.experiment;
  const setting = settingDigest(Object.fromEntries(Object.entries(runs).map(([name, one]) => [name, one.experiment])));
  if (setting !== settingDigest(membersOf(law, scale, seed, among))) {
    throw new ConfigError(
      [{ path: 'ledger', expected: `scale '${scale}' as it stands`, got: 'other parameters' }],
      'The ledger holds runs without --set only.',
    );
  }
  const { cpu, cores, device, threads, isa, os, node, physlm, commit, started, finished } = last.environment;
  const measured = law.measure(Object.fromEntries(Object.entries(runs).map(([name, one]) => [name, one.results])));
  const added: LedgerRun = {
    seed,
    ours: measured.ours,
    interval: measured.interval,
    measures: { ...measured.measures },
    seconds: Number(all.reduce((sum, { environment }) => sum + secondsOf(environment), 0).toFixed(1)),
    date: finished ?? started,
    cpu,
    cores,
    device,
    threads,
    ...(isa !== undefined && { isa }),
    os,
    node,
    physlm,
    ...(commit !== undefined && { commit }),
    command,
  };
  const before = readLedgerRow(folder, law.id, scale);
  const file = rowFile(folder, law.id, scale);
  const merged = mergeRun(before, { law: law.id, scale, setting }, added);
  writeFileAtomic(file, `${JSON.stringify(merged, null, 2)}\n`);
  return file;
}

/** With the run that trained in its place. */
const secondsOf = ({ seconds, trained }: Environment): number => seconds + (trained?.seconds ?? 0);

/** Two-sided 95 % points of Student's t for 1 … 9 degrees of freedom, then the normal limit: seeds are few. */
const STUDENT_T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];

/**
 * Combines the runs of several seeds: the mean and its 95 % interval. One seed keeps its own interval, over people; more
 * give Student's t interval over seeds, which also holds the chance of initial weights and order.
 */
export function combineSeeds(runs: readonly Measurement[]): Measurement {
  const [first] = runs;
  if (runs.length === 1) return { ours: first!.ours, interval: first!.interval };
  const n = runs.length;
  const mean = runs.reduce((sum, { ours }) => sum + ours, 0) / n;
  const variance = runs.reduce((sum, { ours }) => sum + (ours - mean) ** 2, 0) / (n - 1);
  const half = (STUDENT_T[n - 2] ?? 1.96) * Math.sqrt(variance / n);
  return { ours: mean, interval: { low: mean - half, high: mean + half } };
}

/** What is known about `law` at each of its scales; one line that says why when it has none. */
export function lawReports(law: Law, folder: string): LawReport[] {
  const scales = scaleNames.filter((scale) => law.scales[scale] !== undefined);
  if (scales.length > 0) return scales.map((scale) => lawReport(law, scale, folder));
  return [
    {
      id: law.id,
      part: law.part,
      claim: law.claim,
      source: `${law.source.paper}, ${law.source.section}`,
      paper: law.paper.text,
      scale: 'paper',
      ours: null,
      interval: null,
      seeds: [],
      verdict: 'not run',
      note: law.untested ?? '',
      machine: null,
      seconds: null,
      command: '',
    },
  ];
}

/** A row whose runs were made with the law's setting as it stands; undefined for one of an earlier setting. */
export function currentRow(law: Law, scale: ScaleName, row: LedgerRow | undefined): LedgerRow | undefined {
  if (row === undefined) return undefined;
  return row.setting === settingDigest(membersOf(law, scale, row.runs[0]!.seed)) ? row : undefined;
}

/** The mean of each measure over runs. */
export function meanMeasures(runs: readonly LedgerRun[]): Readonly<Record<string, number>> {
  const mean = (name: string): number =>
    runs.reduce((sum, run) => sum + (run.measures[name] ?? Number.NaN), 0) / runs.length;
  return Object.fromEntries(Object.keys(runs[0]?.measures ?? {}).map((name) => [name, mean(name)]));
}

/** What is known about `law` at `scale`. The verdict follows from the recorded measures by today's criterion. */
export function lawReport(law: Law, scale: ScaleName, folder: string): LawReport {
  const recorded = readLedgerRow(folder, law.id, scale);
  const current = currentRow(law, scale, recorded);
  const defined = law.scales[scale];
  invariant(defined !== undefined, `law ${law.id} has no scale ${scale}`);
  const fixed = {
    id: law.id,
    part: law.part,
    claim: law.claim,
    source: `${law.source.paper}, ${law.source.section}`,
    paper: law.paper.text,
    scale,
  };
  if (current === undefined) {
    return {
      ...fixed,
      ours: null,
      interval: null,
      seeds: [],
      verdict: 'not run',
      note:
        recorded === undefined ? describeMembers(law, scale) : 'the recorded runs were made with an earlier setting',
      machine: null,
      seconds: null,
      command: `physlm law ${law.id} --scale ${scale} --ledger`,
    };
  }
  const { runs } = current;
  const measures = meanMeasures(runs);
  const machines = runs.map((run) => `${run.cpu}, ${run.cores} cores, ${run.device}`);
  return {
    ...fixed,
    ...combineSeeds(runs),
    seeds: runs.map(({ seed }) => seed),
    verdict: criterion(measures, defined.expect),
    note: [...new Set(defined.expect.map(({ tests }) => tests))].join('; '),
    machine: [...new Set(machines)].join('; '),
    seconds: runs.reduce((sum, { seconds }) => sum + seconds, 0) / runs.length,
    command: runs.at(-1)!.command,
  };
}

/** What a scale of a law trains, in a few words. */
export function describeMembers(law: Law, scale: ScaleName): string {
  const members = Object.entries(law.scales[scale]?.members ?? {});
  const texts = members.map(([, member]) => recipeNamed(member.recipe).scales[member.scale ?? scale] ?? '');
  const names = members.length > 1 ? `${members.map(([name]) => name).join(', ')}: ` : '';
  return names + [...new Set(texts)].join('; ');
}
