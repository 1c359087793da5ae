/** One kernel of the manifest; its place there is the kernel index of a command. */
export interface KernelEntry {
  /** `<op>_<forward|backward>_<device>`, such as `attention_backward_cpu`. */
  readonly name: string;
  readonly nIn: number;
  readonly nOut: number;
  /** A backward kernel takes the attributes of its forward kernel. */
  readonly nAttr: number;
}

/** A checked command list that {@link NativeBinding.run} replays; it keeps its buffers alive. Opaque. */
export interface NativePlan {
  readonly __brand: 'NativePlan';
}

/**
 * The addon. Commands lie one after another in a Float64Array:
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
export interface NativeBinding {
  abiVersion(): number;
  manifest(): KernelEntry[];
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
   * dtype, shapes that do not fit each other, overlapping memory.
   */
  compile(commands: Float64Array, buffers: readonly ArrayBuffer[], slices?: Float64Array): NativePlan;
  /**
   * Runs every command in order; with slices, all commands on each of `nSlice` slices from `firstSlice` on (all of them when
   * left out), as many at a time as there are lanes and threads. Each slice gets the same bits either way.
   *
   * @throws Error with the command, the kernel's name and its reason (a token out of range, no memory); commands before it
   * have run. Also when a buffer was detached since {@link compile}.
   */
  run(plan: NativePlan, firstSlice?: number, nSlice?: number): void;
  /** As {@link run}, slices in turn. @returns nanoseconds spent in each command. */
  profile(plan: NativePlan, firstSlice?: number, nSlice?: number): Float64Array;
  /** {@link compile} and {@link run} once, keeping nothing: for eager ops. */
  launch(commands: Float64Array, buffers: readonly ArrayBuffer[]): void;
}
