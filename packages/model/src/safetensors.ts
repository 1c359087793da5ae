import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { CheckpointError, invariant, writeFileAtomic } from '@physlm/base';
import { type Shape, sizeOf } from './tensor.js';

/** A named f32 array of a checkpoint. */
export interface StoredTensor {
  readonly shape: Shape;
  readonly values: Float32Array;
}

/** The largest header that the format's own reader accepts, in bytes. */
const MAX_HEADER_BYTES = 100_000_000;

/**
 * Writes tensors as safetensors (f32, little endian), whole or not at all. `format: pt` tells `transformers` that it may
 * read the file.
 *
 * @see https://github.com/huggingface/safetensors, "Format".
 */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt', ...metadata } };
  const parts: Uint8Array[] = [];
  let end = 0;
  for (const [name, { shape, values }] of tensors) {
    const start = end;
    end += values.byteLength;
    header[name] = { dtype: 'F32', shape, data_offsets: [start, end] };
    parts.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const padded = Math.ceil(text.length / 8) * 8;
  const head = new Uint8Array(8 + padded).fill(0x20, 8);
  new DataView(head.buffer).setBigUint64(0, BigInt(padded), true);
  head.set(text, 8);
  writeFileAtomic(path, [head, ...parts]);
}

/** One entry of the header, checked. */
interface Entry {
  readonly name: string;
  readonly shape: number[];
  readonly start: number;
  readonly end: number;
}

/**
 * Reads every tensor of a safetensors file with f32 values.
 *
 * @throws CheckpointError naming the file when it is missing, cut short, or its header lies: a length beyond the file,
 * broken JSON, offsets that overlap, leave gaps or overflow, sizes that do not fit their shapes, other dtypes.
 */
export function readSafetensors(path: string): Map<string, StoredTensor> {
  using file = new SafetensorsFile(path);
  return new Map([...file.shapes].map(([name, shape]) => [name, { shape, values: file.read(name, 0, sizeOf(shape)) }]));
}

/** A safetensors file with f32 values, held open to read parts of it; dispose it to close it. */
export class SafetensorsFile {
  /** Shape of each tensor by name, in the order of their values. */
  readonly shapes: ReadonlyMap<string, Shape>;
  readonly #file: number;
  readonly #starts: ReadonlyMap<string, number>;

  /** @throws CheckpointError as {@link readSafetensors} does. */
  constructor(private readonly path: string) {
    try {
      this.#file = openSync(path, 'r');
    } catch (error) {
      throw new CheckpointError(path, `cannot be opened: ${(error as Error).message}`, { cause: error });
    }
    try {
      const { entries, dataStart } = readHeader(path, this.#file, fstatSync(this.#file).size);
      this.shapes = new Map(entries.map(({ name, shape }) => [name, shape]));
      this.#starts = new Map(entries.map(({ name, start }) => [name, dataStart + start]));
    } catch (error) {
      closeSync(this.#file);
      throw error;
    }
  }

  /** Elements [start, end) of a tensor. */
  read(name: string, start: number, end: number): Float32Array<ArrayBuffer> {
    const shape = this.shapes.get(name);
    if (shape === undefined) throw new CheckpointError(this.path, `holds no tensor '${name}'`);
    invariant(start >= 0 && start <= end && end <= sizeOf(shape), `elements ${start} … ${end} of [${shape}]`);
    const values = new Float32Array(end - start);
    readFully(this.path, this.#file, new Uint8Array(values.buffer), this.#starts.get(name)! + 4 * start);
    return values;
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }
}

function readHeader(path: string, file: number, fileBytes: number): { entries: Entry[]; dataStart: number } {
  const fail = (problem: string): never => {
    throw new CheckpointError(path, `is not a safetensors file: ${problem}`);
  };
  if (fileBytes < 8) fail(`${fileBytes} bytes, too short for a header`);
  const prefix = new Uint8Array(8);
  readFully(path, file, prefix, 0);
  const headerBytes = Number(new DataView(prefix.buffer).getBigUint64(0, true));
  if (headerBytes > MAX_HEADER_BYTES) fail(`its header claims ${headerBytes} bytes, more than ${MAX_HEADER_BYTES}`);
  if (headerBytes > fileBytes - 8) fail(`its header claims ${headerBytes} bytes, the file has ${fileBytes - 8} more`);
  const text = new Uint8Array(headerBytes);
  readFully(path, file, text, 8);
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text));
  } catch (error) {
    fail(`its header is not JSON (${(error as Error).message})`);
  }
  if (header === null || typeof header !== 'object' || Array.isArray(header)) fail('its header is not an object');
  const entries: Entry[] = [];
  for (const [name, value] of Object.entries(header as object)) {
    if (name !== '__metadata__') entries.push(checkEntry(name, value, fail));
  }
  entries.sort((a, b) => a.start - b.start || a.end - b.end);
  let covered = 0;
  for (const { name, start, end } of entries) {
    if (start !== covered) fail(`tensor '${name}' starts at ${start}, expected ${covered} (overlap or gap)`);
    covered = end;
  }
  const dataBytes = fileBytes - 8 - headerBytes;
  if (covered !== dataBytes) fail(`its tensors take ${covered} bytes, the file holds ${dataBytes} (cut short?)`);
  return { entries, dataStart: 8 + headerBytes };
}

function checkEntry(name: string, value: unknown, fail: (problem: string) => never): Entry {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>;
  const natural = (x: unknown): x is number => Number.isSafeInteger(x) && (x as number) >= 0;
  if (!Array.isArray(shape) || !shape.every(natural))
    return fail(`tensor '${name}' has shape ${JSON.stringify(shape)}`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(natural)) {
    return fail(`tensor '${name}' has offsets ${JSON.stringify(offsets)}`);
  }
  if (dtype !== 'F32') return fail(`tensor '${name}' is ${JSON.stringify(dtype)}; this reader takes F32`);
  const [start, end] = offsets as [number, number];
  const bytes = 4 * sizeOf(shape);
  if (!Number.isSafeInteger(bytes) || end - start !== bytes) {
    return fail(`tensor '${name}' of shape [${shape}] needs ${bytes} bytes, its offsets give ${end - start}`);
  }
  return { name, shape, start, end };
}

function readFully(path: string, file: number, into: Uint8Array, position: number): void {
  for (let done = 0; done < into.length; ) {
    const n = readSync(file, into, done, into.length - done, position + done);
    if (n === 0)
      throw new CheckpointError(path, `ends after ${position + done} bytes, expected ${position + into.length}`);
    done += n;
  }
}
