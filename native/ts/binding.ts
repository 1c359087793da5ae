/** One kernel of the manifest; its place there is the kernel index of a command. */
export interface KernelEntry {
  /** `<op>_<forward|backward>_<device>`, such as `attention_backward_cpu`. */
  readonly name: string;
  readonly nIn: number;
  readonly nOut: number;
  /** A backward kernel takes the attributes of its forward kernel. */
  readonly nAttr: number;
  /** Bit i: tensor i, inputs before outputs, may be bf16 instead of f32. */
  readonly bf16: number;
  /** A command may hold several sets of nIn inputs and nOut outputs: first the inputs of all, then the outputs. */
  readonly repeats: boolean;
}

/** A checked command list that {@link KernelLibrary.run} replays; it keeps its buffers alive. Opaque. */
export interface NativePlan {
  readonly __brand: 'NativePlan';
}

/**
 * The kernels of one device. Commands lie one after another in a Float64Array:
 *
 * `[kernelIndex, nIn, nOut, nAttr, tensor × (nIn + nOut), attr × nAttr]` with
 * tensor = `[bufferIndex, byteOffset, dtype, rank, shape × rank]`.
 *
 * `bufferIndex` −1 is a null output: not wanted, not computed. `dtype` is 0 f32, 1 f64, 2 i32, 3 bf16. Tensors are
 * contiguous and row-major. Inputs and outputs may not overlap, except that an op that works in place (`add`, `gelu`,
 * `rotary`, `crossEntropy` backward, `adamW`, the caches of `attentionStep`) may get exactly an input's memory as output.
 *
 * Every kernel is bitwise deterministic: same inputs and instruction set, same bits, for any number of threads. In products
 * `x·wᵀ` of more than 8 rows, and in every op on rows, a row's bits do not depend on the rows around it. Threads
 * of Node (worker_threads) take turns. Errors are plain `Error` with `code` `'native'`.
 */
export interface KernelLibrary {
  manifest(): KernelEntry[];
  /** What the kernels run on: the instruction set, or the GPU with its driver. */
  description(): string;
  /** Base address of the buffer's bytes modulo `modulus`, so that sub-allocations can be aligned. */
  addressModulo(buffer: ArrayBuffer, modulus: number): number;
  /**
   * Checks and resolves a command list once.
   *
   * With `slices` = `[nSlice, nLane, (sliceStride, laneStride) of each buffer]` the list runs once for each slice: a tensor
   * of slice s then lies s·sliceStride bytes behind its encoded place, and where lane l works, l·laneStride more. Slices share
   * what they only read (strides 0), own what they leave behind (a slice stride), and borrow what they need in between (a
   * lane stride). Slices run side by side, each on one thread, when there are lanes; so they may not write what others touch.
   *
   * @throws Error naming the command: unknown kernel, wrong arity, a tensor out of its buffer's bounds or misaligned, wrong
   * dtype, shapes that do not fit each other, overlapping memory, memory that the device cannot reach.
   */
  compile(commands: Float64Array, buffers: readonly ArrayBuffer[], slices?: Float64Array): NativePlan;
  /**
   * Runs every command in order; on a device with {@link synchronize} it may return before they are done. With slices, all
   * commands on each of `nSlice` slices from `firstSlice` on (all of them when left out), as many at a time as there are lanes
   * and threads. Each slice gets the same bits either way.
   *
   * @throws Error with the command, the kernel's name and its reason (a token out of range, no memory); commands before it
   * have run. Also when a buffer was detached since {@link compile}.
   */
  run(plan: NativePlan, firstSlice?: number, nSlice?: number): void;
  /**
   * As {@link run} of slice `slices[i]` of `plans[i]` for every i, as many at a time as all of them have lanes. Tasks may not write what
   * others touch: slices of different plans that leave their results in different places.
   *
   * @throws Error as {@link run}; also for a plan without slices.
   */
  runEach(plans: readonly NativePlan[], slices: readonly number[]): void;
  /** As {@link run}, slices in turn. @returns nanoseconds spent in each command. */
  profile(plan: NativePlan, firstSlice?: number, nSlice?: number): Float64Array;
  /** {@link compile} and {@link run} once, keeping nothing: for eager ops. */
  launch(commands: Float64Array, buffers: readonly ArrayBuffer[]): void;
  /**
   * Zeroed memory that both the host and the device reach; absent where kernels take any ArrayBuffer. The host may read and
   * write it after {@link synchronize} only. It lies near the device; with `host` near the host, for what the host reads or
   * writes all the time.
   *
   * @throws Error when the device has no memory left.
   */
  allocate?(byteLength: number, host: boolean): ArrayBuffer;
  /**
   * Waits until every command is done; absent where run() waits.
   *
   * @throws Error with what went wrong since the last call (a token out of range, a lost device).
   */
  synchronize?(): void;
  /** Why this process cannot join others with a device each; undefined when it can. Absent where there is no such thing. */
  groupUnavailable?(): string | undefined;
  /** A name for a new group: 128 bytes that every process of it joins with. */
  groupId?(): Uint8Array;
  /** Waits for the other processes of the group. */
  groupJoin?(id: Uint8Array, rank: number, size: number): void;
  /**
   * n floats of every process become their sum, added in the order of ranks: the same bits everywhere. Waits until it is done.
   *
   * @throws Error when another process has ended meanwhile.
   */
  groupSum?(buffer: ArrayBuffer, byteOffset: number, n: number): void;
}

/** The addon: the CPU kernels, and the way to those of other devices. */
export interface NativeBinding extends KernelLibrary {
  abiVersion(): number;
  /** Instruction set in use: `avx512`, `avx2` or `generic`. The environment variable `PHYSLM_CPU_ISA` sets the first. */
  isa(): string;
  /** The instruction sets this CPU can run, best first. */
  isas(): string[];
  /** Takes effect for plans too. @returns false, changing nothing, when this CPU cannot run it. */
  setIsa(name: string): boolean;
  /** Threads a kernel may use, the caller included; at first the cores this process may use. */
  threads(): number;
  /** @throws Error when `n` is not a whole number from 1 on. More than 64 means 64. */
  setThreads(n: number): void;
  /**
   * Loads a library of kernels for another device; it stays loaded until the process ends.
   *
   * @throws Error with one sentence: no such file, another ABI version, no such device on this machine.
   */
  openLibrary(path: string): KernelLibrary;
}
