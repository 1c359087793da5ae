// Where rows of JSON go: to standard output as fast as its reader takes them, or to a file that is there whole or not at all.
import { once } from 'node:events';
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { makeFolder, OutputError, replaceablePath } from '@physlm/base';
import { exitCodes } from './exit-codes.js';
import { type Io, note } from './io.js';

/** Characters that are written to a file at once. */
const CHUNK = 65536;

/** Takes rows one after the other. */
interface RowWriter {
  /** Resolves when more rows may come. */
  write(row: unknown): Promise<void>;
  /** Whole lines, each a row. */
  writeText(lines: string): Promise<void>;
}

/**
 * Runs `produce` with a writer of JSON lines to `file`, or to standard output when there is none; returns the exit code.
 * A file appears under its name when `produce` is through. Ctrl-C and SIGTERM leave no part of it; memory does not grow with
 * the number of rows. A device or a pipe gets the rows as they come.
 *
 * @throws OutputError naming the file when it cannot be written.
 */
export async function writeRows(
  file: string | undefined,
  io: Io,
  produce: (writer: RowWriter) => Promise<void>,
): Promise<number> {
  if (file !== undefined) return writeFile(file, io, produce);
  const writeText = async (lines: string): Promise<void> => {
    if (!io.stdout.write(lines)) await once(io.stdout, 'drain');
  };
  // Each row at once: whoever writes a line and waits for its row must not wait for others.
  await produce({ write: (row) => writeText(`${JSON.stringify(row)}\n`), writeText });
  return exitCodes.ok;
}

async function writeFile(path: string, io: Io, produce: (writer: RowWriter) => Promise<void>): Promise<number> {
  const target = replaceablePath(path);
  const writing = target === undefined ? path : `${target}.${process.pid}.tmp`;
  const fail = (error: unknown): OutputError =>
    new OutputError(path, `cannot be written: ${(error as Error).message}`, { cause: error });
  makeFolder(dirname(writing));
  let handle: number;
  try {
    handle = openSync(writing, 'w');
  } catch (error) {
    throw fail(error);
  }
  const interruption = catchSignals();
  let text = '';
  const flush = (): void => {
    const bytes = Buffer.from(text);
    text = '';
    try {
      for (let offset = 0; offset < bytes.length; ) offset += writeSync(handle, bytes, offset);
    } catch (error) {
      throw fail(error);
    }
  };
  let kept = false;
  try {
    const writeText = async (lines: string): Promise<void> => {
      text += lines;
      if (text.length < CHUNK) return;
      flush();
      // Signals are delivered between turns of the event loop only.
      await setImmediate();
      if (interruption.code !== undefined) throw new Interrupted();
    };
    await produce({ write: (row) => writeText(`${JSON.stringify(row)}\n`), writeText });
    flush();
    try {
      if (target !== undefined) {
        fsyncSync(handle);
        renameSync(writing, target);
      }
    } catch (error) {
      throw fail(error);
    }
    kept = true;
    return exitCodes.ok;
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    note(io, `Stopped: ${path} was not written${target === undefined ? ' to its end' : ''}.`);
    return interruption.code!;
  } finally {
    closeSync(handle);
    if (!kept && target !== undefined) rmSync(writing, { force: true });
    interruption.release();
  }
}

class Interrupted extends Error {}

/** Remembers the first SIGINT or SIGTERM as the exit code that belongs to it. */
function catchSignals(): { code: number | undefined; release(): void } {
  const state = {
    code: undefined as number | undefined,
    release(): void {
      process.off('SIGINT', remember);
      process.off('SIGTERM', remember);
    },
  };
  const remember = (name: NodeJS.Signals): void => {
    state.code ??= name === 'SIGTERM' ? exitCodes.terminated : exitCodes.interrupted;
  };
  process.on('SIGINT', remember);
  process.on('SIGTERM', remember);
  return state;
}
