import { complaint, invariant, PhyslmError } from '@physlm/base';
import { type KernelLibrary, loadCuda, loadNative } from '@physlm/native';
import type { Command } from './command.js';
import { encodeCommands } from './command.js';
import { NativeError } from './error.js';
import { jsKernels } from './js-kernels.js';
import { type Recorded, Recorder, type Slices } from './record.js';
import { bytesPerElement, type Dtype, Memory, type Shape, sizeOf, Tensor, type Values } from './tensor.js';

/** `js`: plain TypeScript, always there, the oracle. `cpu`: native kernels. `cuda`: native kernels on an NVIDIA GPU. */
export type DeviceName = 'js' | 'cpu' | 'cuda';
export const deviceNames: readonly DeviceName[] = ['js', 'cpu', 'cuda'];

/** Whether a device can be used here, and if not, one sentence that says why. */
export type DeviceStatus = { readonly available: true } | { readonly available: false; readonly reason: string };

/**
 * How a device keeps the intermediate results of recorded steps. `f32` everywhere; `bf16` on `cuda` only: products of bf16
 * operands with f32 sums, while weights, their gradients, the optimiser's state and what a step returns stay f32.
 */
export type Precision = 'f32' | 'bf16';

/** What this machine offers under `name`. Never throws. */
export function deviceStatus(name: DeviceName): DeviceStatus {
  if (name === 'js') return { available: true };
  if (name === 'cuda') {
    const { reason } = loadCuda();
    return reason === undefined ? { available: true } : { available: false, reason };
  }
  const { binding, tried } = loadNative();
  if (binding !== undefined) return { available: true };
  const problems = tried.map(({ id, problem }) => `${id}: ${problem}`).join('; ');
  return { available: false, reason: `the native addon could not be loaded (${problems || 'switched off'})` };
}

/**
 * Opens a device. `nThread` sets how many threads native kernels use in this process; results do not depend on it.
 *
 * @throws NativeError with the reason when the device is not available here.
 */
export function openDevice(
  name: DeviceName,
  options: { readonly nThread?: number | undefined; readonly precision?: Precision } = {},
): Device {
  const { precision = 'f32' } = options;
  if (precision !== 'f32' && name !== 'cuda') {
    throw new PhyslmError('config', complaint('precision', `f32 on device ${name}`, precision));
  }
  const status = deviceStatus(name);
  if (!status.available) throw new NativeError(`device '${name}'`, status.reason);
  if (name === 'js') return new Device('js', undefined);
  if (name === 'cuda') return new Device('cuda', loadCuda().library, precision);
  const { binding } = loadNative();
  invariant(binding !== undefined, 'an available cpu device without its addon');
  if (options.nThread !== undefined) {
    if (!Number.isInteger(options.nThread) || options.nThread < 1) {
      throw new PhyslmError('config', complaint('nThread', 'a positive integer', String(options.nThread)));
    }
    binding.setThreads(options.nThread);
  }
  return new Device(name, binding);
}

/** Cache lines are 64 bytes; vector loads that cross them cost twice. */
const ALIGNMENT = 64;

/** Memory and kernels in one place. Tensors of different devices do not mix. */
export class Device {
  readonly #kernelIndex = new Map<string, number>();
  readonly #bf16 = new Map<string, number>();
  readonly #pool = new Map<number, ArrayBuffer[]>();
  readonly #scopes: Scope[] = [];
  #recorder: Recorder | undefined;
  #gradEnabled = true;

  constructor(
    readonly name: DeviceName,
    /** Its kernels; undefined on `js`. */
    readonly native: KernelLibrary | undefined,
    readonly precision: Precision = 'f32',
  ) {
    for (const [index, { name: kernel, bf16 }] of native?.manifest().entries() ?? []) {
      this.#kernelIndex.set(kernel, index);
      this.#bf16.set(kernel, bf16);
    }
  }

  /** Threads of this process that kernels use. */
  get nThread(): number {
    return this.name === 'cpu' ? (loadNative().binding?.threads() ?? 1) : 1;
  }

  /** Waits until the host may read and write tensors; does nothing where kernels have finished when they return. */
  synchronize(): void {
    this.native?.synchronize?.();
  }

  /** Index of a native kernel in the manifest, or undefined when there is none of that name. */
  kernelIndex(kernel: string): number | undefined {
    return this.#kernelIndex.get(`${kernel}_${this.name}`);
  }

  /** Whether tensor `index` of a native kernel, inputs before outputs, may be bf16. */
  takesBf16(kernel: string, index: number): boolean {
    return (((this.#bf16.get(`${kernel}_${this.name}`) ?? 0) >>> index) & 1) === 1;
  }

  /** A tensor holding a copy of `values`; its own memory even while a step is recorded. */
  tensor(values: ArrayLike<number>, shape: Shape, dtype: Dtype = 'f32'): Tensor {
    invariant(values.length === sizeOf(shape), `${values.length} values for shape [${shape}]`);
    const tensor = new Tensor(this, this.allocate(sizeOf(shape) * bytesPerElement[dtype]), 0, dtype, shape);
    tensor.values().set(values);
    return tensor;
  }

  /** A tensor of zeros with its own memory; on a GPU near the host if the host reads or writes it at every step. */
  zeros(shape: Shape, dtype: Dtype = 'f32', near: 'device' | 'host' = 'device'): Tensor {
    return new Tensor(this, this.allocate(sizeOf(shape) * bytesPerElement[dtype], near), 0, dtype, shape);
  }

  /** Where an op puts a result: unwritten memory of the current scope, or a planned place of the step being recorded. */
  empty(shape: Shape, dtype: Dtype = 'f32'): Tensor {
    const byteLength = sizeOf(shape) * bytesPerElement[dtype];
    if (this.#recorder !== undefined) return new Tensor(this, new Memory(byteLength), 0, dtype, shape);
    const scope = this.#scopes.at(-1);
    const memory = scope === undefined ? this.allocate(byteLength) : scope.own(this.#fromPool(byteLength));
    return new Tensor(this, memory, 0, dtype, shape);
  }

  /** Zeroed memory that belongs to whoever holds it, aligned for vector loads on native devices. */
  allocate(byteLength: number, near: 'device' | 'host' = 'device'): Memory {
    return new Memory(byteLength, this.#aligned(this.buffer(byteLength + ALIGNMENT, near)));
  }

  /** Zeroed bytes that the kernels of this device can reach. */
  buffer(byteLength: number, near: 'device' | 'host' = 'device'): ArrayBuffer {
    return this.native?.allocate?.(byteLength, near === 'host') ?? new ArrayBuffer(byteLength);
  }

  /**
   * Frees everything that ops create until it is disposed, except what was kept:
   * `using scope = device.scope('eval'); … return scope.keep(x);`
   */
  scope(name = 'scope'): Scope {
    const scope = new Scope(name, this);
    this.#scopes.push(scope);
    return scope;
  }

  /** Whether ops link their results to their inputs for a reverse pass. */
  get gradEnabled(): boolean {
    return this.#gradEnabled;
  }

  /** Runs `body` without linking results to inputs: for evaluation, generation and the reverse pass itself. */
  withoutGrad<T>(body: () => T): T {
    return this.#setGrad(false, body);
  }

  /** Links results to inputs again inside `withoutGrad`: the reverse pass differentiates a reference this way. */
  withGrad<T>(body: () => T): T {
    return this.#setGrad(true, body);
  }

  #setGrad<T>(enabled: boolean, body: () => T): T {
    const before = this.#gradEnabled;
    this.#gradEnabled = enabled;
    try {
      return body();
    } finally {
      this.#gradEnabled = before;
    }
  }

  /** Runs a command now, or adds it to the step being recorded. */
  execute(command: Command): void {
    if (this.#recorder !== undefined) this.#recorder.push(command);
    else this.run(command);
  }

  /** Runs a command now. */
  run(command: Command): void {
    const index = command.native ? this.kernelIndex(command.kernel) : undefined;
    if (index === undefined) {
      runJs(command);
      return;
    }
    const { code, buffers } = encodeCommands([command], () => index);
    this.native!.launch(code, buffers);
  }

  /**
   * Traces `step` once without running it, plans where its intermediate tensors live, and gives back a program that runs
   * it any number of times in one native call. Tensors made before are read and written in place; the tensors that
   * `step` returns stay readable after each run. The bits are those of running `step` eagerly.
   */
  record<T extends Readonly<Record<string, Tensor>>>(step: () => T): Recorded<T> {
    return this.#record(step);
  }

  /**
   * As {@link record}, for a step that runs once for each slice of a batch. `step` is traced on the first slice: of the
   * tensors in `slices.sliced` it gets the first part, and whatever else it writes must be its own. Slices keep the
   * intermediate tensors small enough to stay in cache; lanes run several at once without waiting for each other at every op.
   */
  recordSlices<T extends Readonly<Record<string, Tensor>>>(
    slices: Slices,
    step: (...firstParts: Tensor[]) => T,
  ): Recorded<T> {
    for (const { shape } of slices.sliced) {
      invariant(shape[0] === slices.nSlice, `a leading axis of ${slices.nSlice} slices, got [${shape}]`);
    }
    const firstParts = slices.sliced.map(
      ({ memory, byteOffset, dtype, shape }) => new Tensor(this, memory, byteOffset, dtype, shape.slice(1)),
    );
    return this.#record(() => step(...firstParts), slices);
  }

  #record<T extends Readonly<Record<string, Tensor>>>(step: () => T, slices?: Slices): Recorded<T> {
    invariant(this.#recorder === undefined, 'a recording inside a recording');
    const recorder = new Recorder(this);
    this.#recorder = recorder;
    let results: T;
    try {
      results = step();
    } finally {
      this.#recorder = undefined;
    }
    return recorder.finish(results, slices);
  }

  /** @internal Called by scopes. */
  closeScope(scope: Scope, freed: Iterable<ArrayBuffer>): void {
    const at = this.#scopes.indexOf(scope);
    if (at >= 0) this.#scopes.splice(at, 1);
    for (const buffer of freed) {
      const bucket = this.#pool.get(buffer.byteLength);
      if (bucket === undefined) this.#pool.set(buffer.byteLength, [buffer]);
      else bucket.push(buffer);
    }
  }

  #fromPool(byteLength: number): Memory {
    const buffer = this.#pool.get(byteLength + ALIGNMENT)?.pop() ?? this.buffer(byteLength + ALIGNMENT);
    return new Memory(byteLength, this.#aligned(buffer));
  }

  #aligned(buffer: ArrayBuffer): { buffer: ArrayBuffer; start: number } {
    const past = this.native?.addressModulo(buffer, ALIGNMENT) ?? 0;
    return { buffer, start: past === 0 ? 0 : ALIGNMENT - past };
  }
}

/** Runs a command's TypeScript kernel. */
export function runJs({ kernel, inputs, outputs, attrs }: Command): void {
  const run = jsKernels[kernel];
  invariant(run !== undefined, `no kernel '${kernel}'`);
  run(
    inputs.map((x) => ({ values: x.values(), shape: x.shape })),
    outputs.map((x) => ({
      values: x === undefined ? (undefined as unknown as Values) : x.values(),
      shape: x?.shape ?? [],
    })),
    attrs,
  );
}

/** The tensors made while it was open; disposing it frees them. */
export class Scope {
  readonly #memories = new Set<Memory>();
  #closed = false;

  constructor(
    readonly name: string,
    private readonly device: Device,
  ) {}

  /** @internal Called by the device. */
  own(memory: Memory): Memory {
    this.#memories.add(memory);
    return memory;
  }

  /** Lets a tensor outlive the scope. */
  keep<T extends Tensor>(tensor: T): T {
    this.#memories.delete(tensor.memory);
    return tensor;
  }

  /** Number of allocations that disposing would free. */
  get nOwned(): number {
    return this.#memories.size;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    const buffers = [...this.#memories].map((memory) => memory.place().buffer);
    for (const memory of this.#memories) memory.free(this.name);
    this.device.closeScope(this, buffers);
  }
}
