import { appendFileSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import {
  CheckpointError,
  ConfigError,
  type ConfigProblem,
  canonicalJson,
  digest,
  invariant,
  makeFolder,
  OutputError,
  PhyslmError,
  readJsonLines,
  toJsonLines,
  writeFileAtomic,
} from '@physlm/base';

/** One line of metrics.jsonl: either a training record or the result of an evaluation. Holds no clock times. */
export interface MetricsRecord {
  /** Completed optimiser steps. */
  readonly step: number;
  /** Nats per target token since the last training record. */
  readonly loss?: number;
  readonly lr?: number;
  /** Global gradient norm of the last step, before clipping. */
  readonly gradNorm?: number;
  readonly [metric: string]: number | undefined;
}

/** `new`: refuse a folder that holds a run. `resume`: go on with it, or start. `fresh`: throw it away first. */
export type OpenMode = 'new' | 'resume' | 'fresh';

/**
 * A run as plain files: `experiment.json`, `environment.json`, `metrics.jsonl`, `checkpoints/<step>/`, `measured/<part>.json`
 * while it is evaluated, `results.json` once it is finished. Every file is written whole or not at all.
 */
export class RunDirectory {
  private constructor(
    /** The folder itself. */
    readonly path: string,
    readonly experiment: object,
    /** Whether another process keeps the run: this one reads its files and writes none. */
    readonly follows = false,
  ) {}

  /** The folder of a run that rank 0 of its ranks keeps. Whatever would be written is left to that one. */
  static follow(path: string, experiment: object): RunDirectory {
    return new RunDirectory(path, experiment, true);
  }

  /**
   * Opens or creates the folder of a run.
   *
   * @throws OutputError naming the path when it cannot be written.
   * @throws ConfigError when the folder holds another experiment (each differing field is named), or holds this one and
   * `mode` is `new`.
   */
  static open(path: string, experiment: object, mode: OpenMode): RunDirectory {
    const run = new RunDirectory(path, experiment);
    const file = join(path, 'experiment.json');
    if (mode === 'fresh' && existsSync(file)) {
      for (const name of readdirSync(path)) {
        if (ownNames.has(name)) rmSync(join(path, name), { recursive: true });
      }
    }
    if (existsSync(file)) {
      const before = readExperiment(file);
      const problems = differences(before, JSON.parse(canonicalJson(experiment)), '');
      if (problems.length > 0) {
        throw new ConfigError(problems, `${path} holds another experiment. Choose another folder, or start it afresh.`);
      }
      if (mode === 'new') {
        const state = run.finished ? 'a finished run' : 'an unfinished run';
        throw new ConfigError([{ path: 'out', expected: 'a folder without a run', got: `${path} with ${state}` }]);
      }
      checkWritable(path);
      return run;
    }
    makeFolder(path);
    run.writeJson('experiment.json', experiment);
    return run;
  }

  /** Whether `results.json` has been written. */
  get finished(): boolean {
    return existsSync(join(this.path, 'results.json'));
  }

  /** Every record of metrics.jsonl, in order. */
  metrics(): MetricsRecord[] {
    const file = join(this.path, 'metrics.jsonl');
    return existsSync(file) ? readJsonLines<MetricsRecord>(file) : [];
  }

  /** Replaces metrics.jsonl by the records of the first `step` steps: what a resumed run goes on from. */
  truncateMetrics(step: number): MetricsRecord[] {
    if (this.follows) return [];
    const kept = this.metrics().filter((record) => record.step <= step);
    this.writeText('metrics.jsonl', toJsonLines(kept));
    return kept;
  }

  /** @throws OutputError when the disk is full or cannot be written. */
  appendMetrics(record: MetricsRecord): void {
    if (this.follows) return;
    const file = join(this.path, 'metrics.jsonl');
    try {
      appendFileSync(file, toJsonLines([record]));
    } catch (error) {
      throw new OutputError(file, `cannot be written: ${(error as Error).message}`, { cause: error });
    }
  }

  writeJson(name: string, value: unknown): void {
    this.writeText(name, `${JSON.stringify(value, null, 2)}\n`);
  }

  /** The value of a JSON file of the run, or undefined when there is none. */
  readJson<T>(name: string): T | undefined {
    const file = join(this.path, name);
    if (!existsSync(file)) return undefined;
    try {
      return JSON.parse(readFileSync(file, 'utf8')) as T;
    } catch (error) {
      throw new PhyslmError('data', `[${file}] is not JSON: ${(error as Error).message}`, { cause: error });
    }
  }

  /** Whether {@link measured} would read this part back. */
  hasMeasured(name: string): boolean {
    return this.readJson<MeasuredPart>(partFile(name))?.experiment === digest(this.experiment);
  }

  /**
   * What `measure` gives, kept as `measured/<name>.json`: a run that was killed while it was being evaluated reads its finished
   * parts back. A part that was kept for another experiment is measured anew.
   *
   * The value is plain JSON, and is always the one that the file holds (no `undefined` fields, null for numbers that are not
   * finite), so that a resumed run goes on with the same value as an uninterrupted one.
   *
   * @throws OutputError when the file cannot be written.
   * @throws PhyslmError 'data' when the file is not JSON.
   */
  measured<T>(name: string, measure: () => T): T {
    const file = partFile(name);
    const experiment = digest(this.experiment);
    const before = this.readJson<MeasuredPart>(file);
    if (before?.experiment === experiment) return before.value as T;
    const text = JSON.stringify({ experiment, value: measure() } satisfies MeasuredPart);
    this.writeText(file, `${text}\n`);
    return (JSON.parse(text) as MeasuredPart).value as T;
  }

  /** Removes the parts that {@link measured} kept: for a run whose results hold them all. */
  dropMeasured(): void {
    if (this.follows) return;
    rmSync(join(this.path, 'measured'), { recursive: true, force: true });
  }

  writeText(name: string, text: string): void {
    if (this.follows) return;
    writeFileAtomic(join(this.path, name), text);
  }

  /** Steps and folders of the complete checkpoints, oldest first. */
  checkpoints(): { readonly step: number; readonly path: string }[] {
    const folder = join(this.path, 'checkpoints');
    if (!existsSync(folder)) return [];
    return readdirSync(folder)
      .filter((name) => /^\d+$/.test(name))
      .map((name) => ({ step: Number(name), path: join(folder, name) }))
      .sort((a, b) => a.step - b.step);
  }

  latestCheckpoint(): { readonly step: number; readonly path: string } | undefined {
    return this.checkpoints().at(-1);
  }

  /**
   * Writes a checkpoint: `write` fills a temporary folder, which then takes its final name. Older ones beyond `keep` go.
   *
   * @throws OutputError naming the file that could not be written; earlier checkpoints stay as they are.
   */
  writeCheckpoint(step: number, keep: number | undefined, write: (folder: string) => void): string {
    const folder = join(this.path, 'checkpoints');
    const final = join(folder, String(step).padStart(7, '0'));
    if (this.follows) return final;
    const temporary = `${final}.tmp`;
    try {
      rmSync(temporary, { recursive: true, force: true });
      makeFolder(temporary);
      write(temporary);
      // A checkpoint of this step can only be one that this very run wrote before it was resumed from an earlier one.
      rmSync(final, { recursive: true, force: true });
      renameSync(temporary, final);
    } catch (error) {
      rmSync(temporary, { recursive: true, force: true });
      if (error instanceof OutputError) throw error;
      throw new OutputError(final, `cannot be written: ${(error as Error).message}`, { cause: error });
    }
    if (keep !== undefined) for (const old of this.checkpoints().slice(0, -keep)) rmSync(old.path, { recursive: true });
    return final;
  }

  /**
   * Fails now rather than at the first checkpoint.
   *
   * @throws OutputError when the disk has less than `bytes` free, or the folder cannot be written.
   */
  requireSpace(bytes: number): void {
    if (this.follows) return;
    checkWritable(this.path);
    const { bavail, bsize } = statfsSync(this.path);
    const free = bavail * bsize;
    if (free < bytes) {
      const [needed, left] = [bytes, free].map((n) => `${(n / 2 ** 20).toFixed(1)} MiB`);
      throw new OutputError(this.path, `needs ${needed} for its checkpoints, the disk has ${left} left`);
    }
  }
}

/** A file that `measured` writes. */
interface MeasuredPart {
  /** Digest of the experiment that it belongs to. */
  readonly experiment: string;
  readonly value?: unknown;
}

function partFile(name: string): string {
  invariant(/^[\w.-]+$/.test(name) && !name.startsWith('.'), `a part called '${name}'`);
  return `measured/${name}.json`;
}

/** What a run may leave in its folder; `fresh` removes these and nothing else. */
const ownNames: ReadonlySet<string> = new Set([
  'experiment.json',
  'environment.json',
  'metrics.jsonl',
  'measured',
  'results.json',
  'checkpoints',
  'figures',
  'probes',
  'samples',
  'report.html',
  'report.md',
]);

function checkWritable(path: string): void {
  const probe = join(path, '.write-test');
  try {
    writeFileAtomic(probe, '');
    rmSync(probe);
  } catch (error) {
    if (error instanceof OutputError)
      throw new OutputError(path, error.message.replace(/^\[.*?\] /, ''), { cause: error });
    throw error;
  }
}

function readExperiment(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new CheckpointError(file, `cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

/** The fields in which two JSON values differ, by dotted path. */
function differences(before: unknown, after: unknown, path: string): ConfigProblem[] {
  if (canonicalJson(before) === canonicalJson(after)) return [];
  const isRecord = (x: unknown): x is Record<string, unknown> =>
    typeof x === 'object' && x !== null && !Array.isArray(x);
  if (!isRecord(before) || !isRecord(after)) {
    const show = (x: unknown): string => (x === undefined ? 'nothing' : JSON.stringify(x));
    return [{ path: path || 'experiment', expected: `${show(before)} as in the folder`, got: show(after) }];
  }
  const fields = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return fields.flatMap((field) => differences(before[field], after[field], path === '' ? field : `${path}.${field}`));
}
