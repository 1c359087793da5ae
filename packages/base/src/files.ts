import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { OutputError, PhyslmError } from './error.js';

/**
 * Writes a file whole or not at all: to a neighbour first, forced to disk, then renamed over `path`. Symbolic links stay, and
 * what they point at is replaced; a device or a pipe is written to.
 *
 * @throws OutputError naming `path` when it is a folder, the disk is full or the folder cannot be written; the old file stays.
 */
export function writeFileAtomic(path: string, data: string | Uint8Array | readonly Uint8Array[]): void {
  const target = replaceablePath(path);
  const parts = typeof data === 'string' ? [Buffer.from(data)] : data instanceof Uint8Array ? [data] : data;
  const temporary = `${target}.${process.pid}.tmp`;
  try {
    if (target === undefined) {
      writeFileSync(path, Buffer.concat(parts));
      return;
    }
    createFolder(dirname(target));
    const file = openSync(temporary, 'w');
    try {
      for (const part of parts) {
        for (let offset = 0; offset < part.byteLength; ) {
          offset += writeSync(file, part, offset, part.byteLength - offset);
        }
      }
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, target);
  } catch (error) {
    removeQuietly(temporary);
    throw new OutputError(path, `cannot be written: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * The path that a file written to `path` must be renamed to: `path` itself, or behind symbolic links what they point at.
 * Undefined for a device or a pipe, which must be written to and never replaced.
 *
 * @throws OutputError when `path` is empty or a folder.
 */
export function replaceablePath(path: string): string | undefined {
  if (path === '') throw new OutputError("''", 'cannot be written: it is no name of a file');
  let found: Stats | undefined;
  try {
    found = statSync(path, { throwIfNoEntry: false });
  } catch {
    // Below a file, or behind a folder that may not be entered: said by whoever writes there.
  }
  if (found === undefined) return path;
  if (found.isDirectory()) throw new OutputError(path, 'cannot be written: it is a folder');
  return found.isFile() ? realpathSync(path) : undefined;
}

/**
 * Makes a folder and those above it, where they are missing.
 *
 * @throws OutputError naming the folder that cannot be made.
 */
export function makeFolder(path: string): void {
  try {
    createFolder(path);
  } catch (error) {
    throw new OutputError(path, `cannot be created: ${(error as Error).message}`, { cause: error });
  }
}

/** One by one: on file systems that take no folders, as /proc, the recursive call of Node.js tries again without end. */
function createFolder(path: string): void {
  if (existsSync(path)) return;
  const above = dirname(path);
  if (above !== path) createFolder(above);
  try {
    mkdirSync(path);
  } catch (error) {
    // Another process was faster.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** One JSON value for each line, each line whole. */
export function toJsonLines(values: Iterable<unknown>): string {
  let text = '';
  for (const value of values) text += `${JSON.stringify(value)}\n`;
  return text;
}

/**
 * Reads a JSON-lines file. A last line without its newline is what a killed writer leaves behind: it is dropped.
 *
 * @throws PhyslmError 'data' naming the file and line when any other line is not JSON.
 */
export function readJsonLines<T = unknown>(path: string): T[] {
  const lines = readFileSync(path, 'utf8').split('\n');
  lines.pop();
  return lines.map((line, i) => {
    try {
      return JSON.parse(line) as T;
    } catch (error) {
      throw new PhyslmError('data', `[${path}:${i + 1}] expected a line of JSON, got ${line.slice(0, 60)}`, {
        cause: error,
      });
    }
  });
}

/** Removes a file if it is there; a path below something that is not a folder (ENOTDIR) has nothing to remove. */
function removeQuietly(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOTDIR') throw error;
  }
}
