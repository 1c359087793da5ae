import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { KernelLibrary } from '../ts/binding.js';
import { loadNative } from '../ts/load.js';

// Calls CUDA kernels directly: on the GPU library that PHYSLM_CUDA_LIB names, else on the host. Every tensor lies in memory
// of its own between guard bytes; outputs start as NaN.

export const emulatedPath = fileURLToPath(new URL('../build/emulated/libphyslm_cuda_emulated.so', import.meta.url));
const path = process.env.PHYSLM_CUDA_LIB ?? emulatedPath;
const { binding } = loadNative();

/** Why nothing can be called here; empty when it can. */
export const absentCuda =
  binding === undefined
    ? 'no addon'
    : existsSync(path)
      ? ''
      : `${path} is not there: npx nx run native:build-emulated makes it`;
export const cuda = (absentCuda === '' ? binding!.openLibrary(path) : undefined) as KernelLibrary;

export type Kind = 'f32' | 'bf16' | 'i32';
export interface Operand {
  readonly shape: readonly number[];
  readonly kind?: Kind;
  /** Inputs only. */
  readonly data?: ArrayLike<number>;
}

const GUARD = 4096;
const bytesOf = { f32: 4, bf16: 2, i32: 4 } as const;
const code = { f32: 0, bf16: 3, i32: 2 } as const;

const word = new Uint32Array(1);
const real = new Float32Array(word.buffer);
/** The nearest bfloat16, as a number; ties to even. */
export function toBf16(x: number): number {
  real[0] = x;
  const bits = word[0]!;
  word[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return real[0]!;
}

function write(bytes: ArrayBuffer, at: number, kind: Kind, data: ArrayLike<number>): void {
  if (kind === 'bf16') {
    const to = new Uint16Array(bytes, at, data.length);
    for (let i = 0; i < data.length; i++) {
      real[0] = toBf16(data[i]!);
      to[i] = word[0]! >>> 16;
    }
  } else if (kind === 'f32') new Float32Array(bytes, at, data.length).set(data);
  else new Int32Array(bytes, at, data.length).set(data);
}

function read(bytes: ArrayBuffer, at: number, kind: Kind, size: number): Float64Array {
  if (kind === 'f32') return Float64Array.from(new Float32Array(bytes, at, size));
  if (kind === 'i32') return Float64Array.from(new Int32Array(bytes, at, size));
  return Float64Array.from(new Uint16Array(bytes, at, size), (bits) => {
    word[0] = bits << 16;
    return real[0]!;
  });
}

/** Runs `<name>_cuda`; an undefined output is not wanted. `shift` moves every tensor off its alignment by that many elements. */
export function runCuda(
  name: string,
  inputs: readonly Operand[],
  outputs: readonly (Operand | undefined)[],
  attrs: readonly number[] = [],
  shift = 0,
): (Float64Array | undefined)[] {
  const kernel = cuda.manifest().findIndex((entry) => entry.name === `${name}_cuda`);
  const buffers: ArrayBuffer[] = [];
  const words = [kernel, inputs.length, outputs.length, attrs.length];
  const places = [...inputs, ...outputs].map((operand) => {
    if (operand === undefined) {
      words.push(-1, 0, 0, 0);
      return undefined;
    }
    const { shape, kind = 'f32', data } = operand;
    const size = shape.reduce((a, b) => a * b, 1);
    const start = GUARD + shift * bytesOf[kind];
    const buffer = cuda.allocate!(start + size * bytesOf[kind] + GUARD, false);
    new Uint8Array(buffer).fill(0xff);
    if (data !== undefined) write(buffer, start, kind, data);
    words.push(buffers.length, start, code[kind], shape.length, ...shape);
    buffers.push(buffer);
    return { buffer, start, kind, size };
  });
  cuda.launch(Float64Array.from([...words, ...attrs]), buffers);
  cuda.synchronize!();
  for (const place of places) {
    if (place === undefined) continue;
    const bytes = new Uint8Array(place.buffer);
    const end = place.start + place.size * bytesOf[place.kind];
    if (!bytes.subarray(0, place.start).every((b) => b === 0xff) || !bytes.subarray(end).every((b) => b === 0xff))
      throw new Error(`${name} wrote outside a tensor`);
  }
  return places.slice(inputs.length).map((p) => p && read(p.buffer, p.start, p.kind, p.size));
}
