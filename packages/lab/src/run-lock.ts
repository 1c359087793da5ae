import { existsSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigError, OutputError } from '@physlm/base';

/** The right to write into a run directory. */
export interface RunLock {
  release(): void;
}

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** Tells the process from a later one of the same number; absent where the system does not say. */
  readonly started?: string;
}

/** How to wait for another process. */
export interface LockOptions {
  /** How long to wait, in ms; half a minute when absent. */
  readonly waitMs?: number;
  /** Aborting ends the wait. */
  readonly signal?: AbortSignal | undefined;
}

/** How long to wait for a process that is saving, and how often to look. */
const [WAIT_MS, LOOK_MS] = [30_000, 200];
/** A process on another machine renews its lock; one that has not for this long is taken to be gone. */
const [RENEW_MS, STALE_MS] = [20_000, 600_000];

/**
 * Keeps a second process out of a run directory, as a killed sweep that is started again while its runs still save
 * would be. Waits for a holder that may be ending; a lock whose process is gone does not count.
 *
 * @returns undefined when the wait was aborted.
 * @throws ConfigError naming the process when it keeps the run.
 * @throws OutputError when the lock cannot be written.
 */
export function lockRun(path: string, tell: (text: string) => void): Promise<RunLock>;
export function lockRun(path: string, tell: (text: string) => void, options: LockOptions): Promise<RunLock | undefined>;
export async function lockRun(
  path: string,
  tell: (text: string) => void,
  { waitMs = WAIT_MS, signal }: LockOptions = {},
): Promise<RunLock | undefined> {
  const file = join(path, 'run.lock');
  const started = startOf(process.pid);
  const mine: Holder = { pid: process.pid, host: hostname(), ...(started !== undefined && { started }) };
  const begin = performance.now();
  for (let [told, taken] = [false, false]; ; ) {
    try {
      writeFileSync(file, JSON.stringify(mine), { flag: 'wx' });
      // Two that take over from the same dead process at once: the file says which of them has it.
      if (taken) await sleep(LOOK_MS);
      if (!taken || readHolder(file)?.pid === mine.pid) break;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'EEXIST') throw new OutputError(file, `cannot be written: ${message}`, { cause: error });
    }
    const holder = readHolder(file);
    if (holder === undefined && ageOf(file) < LOOK_MS) {
      await sleep(LOOK_MS);
      continue;
    }
    if (holder === undefined || !alive(holder, file)) {
      rmSync(file, { force: true });
      taken = true;
      continue;
    }
    const who = `process ${holder.pid}${holder.host === mine.host ? '' : ` on ${holder.host}`}`;
    if (performance.now() - begin > waitMs) {
      throw new ConfigError(
        [{ path: 'run', expected: 'a run that no other process works on', got: `${path}, which ${who} works on` }],
        `Wait for it, or stop it. If it is gone, delete ${file}.`,
      );
    }
    if (!told) tell(`Waiting for ${who}, which works on this run.`);
    told = true;
    await sleep(LOOK_MS);
    if (signal?.aborted) return undefined;
  }
  const renew = setInterval(() => {
    const now = new Date();
    if (existsSync(file)) utimesSync(file, now, now);
  }, RENEW_MS).unref();
  return {
    release() {
      clearInterval(renew);
      rmSync(file, { force: true });
    },
  };
}

/** Undefined when there is none any more, or it is not written to its end. */
function readHolder(file: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Holder;
  } catch {
    // Taken away between two looks, being written, or its writer was killed at that very moment.
    return undefined;
  }
}

function alive({ pid, host, started }: Holder, file: string): boolean {
  if (host !== hostname()) return ageOf(file) < STALE_MS;
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, and is another user's.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return startOf(pid) === started;
}

/** Milliseconds since a lock was written or renewed; infinite when it is gone. */
function ageOf(file: string): number {
  const found = statSync(file, { throwIfNoEntry: false });
  return found === undefined ? Number.POSITIVE_INFINITY : Date.now() - found.mtimeMs;
}

/** When a process began, in ticks since the machine did; undefined where /proc is missing. */
function startOf(pid: number): string | undefined {
  try {
    // The name, in parentheses, may hold spaces; the 22nd field is the 20th after it.
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')[19];
  } catch {
    // Not Linux, or gone.
    return undefined;
  }
}
