import { invariant, PhyslmError } from '@physlm/base';
import type { GradNode } from './autograd.js';
import type { Device } from './device.js';

/**
 * Element types: IEEE single and double, signed 32-bit integers for tokens and positions, and bfloat16, which only
 * intermediate results of a recorded step on a GPU may have.
 */
export type Dtype = 'f32' | 'f64' | 'i32' | 'bf16';
/** Sizes of the axes, row-major, last axis contiguous. */
export type Shape = readonly number[];
/** The typed array that holds a tensor's elements. */
export type Values = Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

/** Bytes of one element. */
export const bytesPerElement: Readonly<Record<Dtype, number>> = { f32: 4, f64: 8, i32: 4, bf16: 2 };

/** Number of elements of a shape. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * One allocation. It holds values (`live`), stands for a place that a recorded step will assign (`planned`), or has been
 * given back by its scope (`freed`).
 */
export class Memory {
  #buffer: ArrayBuffer | undefined;
  #start = 0;
  #freedBy: string | undefined;

  constructor(
    readonly byteLength: number,
    place?: { readonly buffer: ArrayBuffer; readonly start: number },
  ) {
    if (place !== undefined) this.assign(place.buffer, place.start);
  }

  /** Gives planned memory its place. */
  assign(buffer: ArrayBuffer, start: number): void {
    this.#buffer = buffer;
    this.#start = start;
  }

  /** Marks the values as gone; any later use throws and names the scope. */
  free(scope: string): void {
    this.#buffer = undefined;
    this.#freedBy = scope;
  }

  get planned(): boolean {
    return this.#buffer === undefined && this.#freedBy === undefined;
  }

  /** @throws PhyslmError 'disposed' when the values are gone, or not there yet. */
  place(): { readonly buffer: ArrayBuffer; readonly start: number } {
    if (this.#buffer !== undefined) return { buffer: this.#buffer, start: this.#start };
    if (this.#freedBy !== undefined) {
      throw new PhyslmError(
        'disposed',
        `[tensor] expected a live tensor, got one freed by the scope '${this.#freedBy}'`,
      );
    }
    throw new PhyslmError('disposed', '[tensor] expected values, got a tensor of a step that is still being recorded');
  }
}

/** A dense, row-major array on a device, with what the reverse pass needs to know about its origin. */
export class Tensor {
  /** True for parameters and for everything computed from them while gradients are recorded. */
  requiresGrad = false;
  /** For a leaf: where its gradient goes. Assign a tensor beforehand to choose the place. */
  grad: Tensor | undefined;
  /** The operation that made this tensor; undefined for leaves. */
  node: GradNode | undefined;
  #memory: Memory;
  #byteOffset: number;

  constructor(
    readonly device: Device,
    memory: Memory,
    byteOffset: number,
    readonly dtype: Dtype,
    readonly shape: Shape,
  ) {
    this.#memory = memory;
    this.#byteOffset = byteOffset;
    invariant(byteOffset + this.byteLength <= memory.byteLength, `a tensor of shape [${shape}] leaves its memory`);
  }

  get memory(): Memory {
    return this.#memory;
  }
  /** Bytes from the start of the memory to the first element. */
  get byteOffset(): number {
    return this.#byteOffset;
  }
  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }
  get byteLength(): number {
    return this.size * bytesPerElement[this.dtype];
  }

  /** The same elements under another shape; shares memory. Not differentiable: see `reshape`. */
  view(shape: Shape): Tensor {
    invariant(sizeOf(shape) === this.size, `a view of shape [${shape}] on [${this.shape}]`);
    return new Tensor(this.device, this.#memory, this.#byteOffset, this.dtype, shape);
  }

  /** Moves a leaf's values to another place, as into one flat arena. Steps recorded before still use the old place. */
  moveTo(memory: Memory, byteOffset: number): void {
    const from = this.values();
    this.#memory = memory;
    this.#byteOffset = byteOffset;
    this.values().set(from);
  }

  /**
   * The elements themselves, not a copy: writing to them writes to the tensor. Waits for the device; after more work was
   * given to it, ask again before reading or writing.
   *
   * @throws PhyslmError 'disposed' when a scope has freed them or a recording has not run yet.
   */
  values(): Values {
    const { buffer, start } = this.#memory.place();
    this.device.synchronize();
    const at = start + this.#byteOffset;
    if (this.dtype === 'f32') return new Float32Array(buffer, at, this.size);
    if (this.dtype === 'f64') return new Float64Array(buffer, at, this.size);
    invariant(this.dtype === 'i32', 'the host does not read bf16');
    return new Int32Array(buffer, at, this.size);
  }

  /** A copy of the elements as plain numbers. */
  toArray(): number[] {
    return Array.from(this.values());
  }

  /** The only element. */
  item(): number {
    invariant(this.size === 1, `item() of shape [${this.shape}]`);
    return this.values()[0]!;
  }
}
