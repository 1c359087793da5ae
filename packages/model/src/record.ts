import { invariant } from '@physlm/base';
import type { NativePlan } from '@physlm/native';
import { type Command, encodeCommands } from './command.js';
import { type Device, runJs } from './device.js';
import { fuseNeighbours } from './fused-commands.js';
import { inHalfPrecision } from './half-precision.js';
import { lossWithGradient } from './loss-with-gradient.js';
import { planArena } from './plan-arena.js';
import { type Memory, Tensor } from './tensor.js';
import { groupWeightGradients } from './weight-gradients.js';

/** How a step runs over the slices of its inputs: {@link Device.recordSlices}. */
export interface Slices {
  readonly nSlice: number;
  /** Slices that may be at work at once, each on one thread with an arena of its own; 1: slices in turn, on all threads. */
  readonly nLane: number;
  /** Tensors with a leading axis of nSlice, of which each slice sees its own part. */
  readonly sliced: readonly Tensor[];
}

/** A step that was traced once and can be run any number of times. */
export interface Recorded<T extends Readonly<Record<string, Tensor>>> {
  /** What the step returned; holds the values of the latest run. Of a step over slices, with a leading axis of nSlice. */
  readonly results: T;
  /** Kernel calls in one run, after those nobody reads were dropped. */
  readonly nCommand: number;
  /** Bytes of the arena that all intermediate tensors share; of all lanes together. */
  readonly arenaBytes: number;
  /** Runs the step on the current values of the tensors it reads; of a step over slices, on all of them. */
  run(): void;
  /** Of a step over slices: on this one alone. */
  runSlice(slice: number): void;
  /** @internal The step over slices as one native call, where it is one. */
  readonly slicePlan: NativePlan | undefined;
  /** Runs the step and gives nanoseconds for each kernel name, summed over its calls. */
  profile(): ReadonlyMap<string, number>;
}

/** One slice of a step over slices. */
export interface SliceTask {
  readonly step: Pick<Recorded<Readonly<Record<string, Tensor>>>, 'runSlice' | 'slicePlan'>;
  readonly slice: number;
}

/**
 * Runs slices of steps that were recorded on `device`, as many at a time as they have lanes. No two tasks may leave results in one place.
 */
export function runSlices({ native }: Device, tasks: readonly SliceTask[]): void {
  const plans = tasks.flatMap(({ step }) => step.slicePlan ?? []);
  if (tasks.length > 1 && plans.length === tasks.length) {
    native!.runEach(
      plans,
      tasks.map(({ slice }) => slice),
    );
  } else {
    for (const { step, slice } of tasks) step.runSlice(slice);
  }
}

/** Collects the commands of a step while it is traced. */
export class Recorder {
  readonly #commands: Command[] = [];

  constructor(private readonly device: Device) {}

  push(command: Command): void {
    this.#commands.push(command);
  }

  /** Drops dead commands, places intermediates in one arena for each lane and hands the rest to the device. */
  finish<T extends Readonly<Record<string, Tensor>>>(results: T, slices?: Slices): Recorded<T> {
    const kept = new Set<Memory>(Object.values(results).map((tensor) => tensor.memory));
    const live = lossWithGradient(this.device, liveCommands(this.#commands, kept));
    const commands =
      this.device.precision === 'bf16'
        ? groupWeightGradients(this.device, inHalfPrecision(this.device, fuseNeighbours(this.device, live, kept), kept))
        : live;
    if (slices === undefined) {
      // What the caller reads after each run lies near the host where that is another place.
      if (this.device.native?.allocate !== undefined) {
        for (const memory of kept) {
          if (!memory.planned) continue;
          const { buffer, start } = this.device.allocate(memory.byteLength, 'host').place();
          memory.assign(buffer, start);
        }
      }
      const { offsets, byteLength } = planArena(commands, kept);
      this.#place(offsets, byteLength);
      return new Program(this.device, commands, results, byteLength);
    }
    const { nSlice, nLane, sliced } = slices;
    const strides = new Map<ArrayBuffer, Strides>();
    for (const { memory, byteLength } of sliced) {
      strides.set(memory.place().buffer, { slice: byteLength / nSlice, lane: 0, memories: [memory] });
    }
    const whole = Object.entries(results).map(([name, { memory, dtype, shape, byteLength }]) => {
      const all = this.device.allocate(byteLength * nSlice, 'host');
      const { buffer, start } = all.place();
      memory.assign(buffer, start);
      strides.set(buffer, { slice: byteLength, lane: 0, memories: [memory] });
      return [name, new Tensor(this.device, all, 0, dtype, [nSlice, ...shape])];
    });
    const { offsets, byteLength } = planArena(commands, new Set());
    const arena = this.#place(offsets, byteLength, nLane);
    strides.set(arena, { slice: 0, lane: byteLength, memories: [] });
    return new Program(this.device, commands, Object.fromEntries(whole) as T, byteLength * nLane, {
      nSlice,
      nLane,
      strides,
    });
  }

  #place(offsets: ReadonlyMap<Memory, number>, byteLength: number, nLane = 1): ArrayBuffer {
    const { buffer, start } = this.device.allocate(byteLength * nLane).place();
    for (const [memory, offset] of offsets) memory.assign(buffer, start + offset);
    return buffer;
  }
}

/** What distinguishes the slices, and the lanes, within one buffer; and the memories that move with the slice. */
interface Strides {
  readonly slice: number;
  readonly lane: number;
  readonly memories: readonly Memory[];
}

/** The commands whose results someone reads: a later live command, the caller, or memory from before the recording. */
function liveCommands(commands: readonly Command[], kept: ReadonlySet<Memory>): Command[] {
  const read = new Set(kept);
  const live: Command[] = [];
  for (const command of commands.toReversed()) {
    const wanted = command.outputs.map((x) => (x && (!x.memory.planned || read.has(x.memory)) ? x : undefined));
    if (wanted.every((x) => x === undefined)) continue;
    for (const input of command.inputs) read.add(input.memory);
    // A TypeScript kernel writes all its outputs; a native one skips those nobody wants.
    live.push(command.native ? { ...command, outputs: wanted } : command);
  }
  return live.reverse();
}

interface SlicePlan {
  readonly nSlice: number;
  readonly nLane: number;
  readonly strides: ReadonlyMap<ArrayBuffer, Strides>;
}

class Program<T extends Readonly<Record<string, Tensor>>> implements Recorded<T> {
  readonly nCommand: number;
  readonly #segments: readonly Segment[];

  constructor(
    private readonly device: Device,
    commands: readonly Command[],
    readonly results: T,
    readonly arenaBytes: number,
    private readonly slices?: SlicePlan,
  ) {
    this.nCommand = commands.length;
    this.#segments = segmentsOf(device, commands, slices);
  }

  run(): void {
    const { native } = this.device;
    const [only] = this.#segments;
    if (this.#segments.length === 1 && only!.plan !== undefined) {
      native!.run(only!.plan);
      return;
    }
    this.#eachSlice((slice) => this.#runSegments(slice));
  }

  runSlice(slice: number): void {
    this.#eachSlice((one) => this.#runSegments(one), slice, 1);
  }

  get slicePlan(): NativePlan | undefined {
    const { nSlice, nLane } = this.slices ?? { nSlice: 1, nLane: 1 };
    return this.#segments.length === 1 && (nSlice > 1 || nLane > 1) ? this.#segments[0]!.plan : undefined;
  }

  #runSegments(slice: number): void {
    for (const { plan, commands } of this.#segments) {
      if (plan === undefined) commands.forEach(runJs);
      else this.device.native!.run(plan, slice, 1);
    }
  }

  profile(): ReadonlyMap<string, number> {
    const total = new Map<string, number>();
    const count = (kernel: string, ns: number): void => void total.set(kernel, (total.get(kernel) ?? 0) + ns);
    const [only] = this.#segments;
    if (this.#segments.length === 1 && only!.plan !== undefined) {
      for (const [i, ns] of this.device.native!.profile(only!.plan).entries()) count(only!.commands[i]!.kernel, ns);
      return total;
    }
    this.#eachSlice((slice) => {
      for (const { plan, commands } of this.#segments) {
        for (const command of plan === undefined ? commands : []) {
          const start = process.hrtime.bigint();
          runJs(command);
          count(command.kernel, Number(process.hrtime.bigint() - start));
        }
        if (plan === undefined) continue;
        for (const [i, ns] of this.device.native!.profile(plan, slice, 1).entries()) count(commands[i]!.kernel, ns);
      }
    });
    return total;
  }

  /** Calls `body` for slices with the sliced memories moved to them, as TypeScript kernels see them; for all when not told which. */
  #eachSlice(body: (slice: number) => void, first = 0, count = this.slices?.nSlice ?? 1): void {
    const strides = this.slices?.strides ?? new Map<ArrayBuffer, Strides>();
    const home = [...strides].flatMap(([, { slice, memories }]) =>
      memories.map((memory) => ({ memory, ...memory.place(), stride: slice })),
    );
    try {
      for (let slice = first; slice < first + count; slice++) {
        for (const { memory, buffer, start, stride } of home) memory.assign(buffer, start + slice * stride);
        body(slice);
      }
    } finally {
      for (const { memory, buffer, start } of home) memory.assign(buffer, start);
    }
  }
}

/** Neighbouring commands that run in one native call, or one after another in TypeScript. */
interface Segment {
  readonly commands: Command[];
  readonly plan: NativePlan | undefined;
}

function segmentsOf(device: Device, commands: readonly Command[], slices: SlicePlan | undefined): Segment[] {
  const groups: Command[][] = [];
  for (const command of commands) {
    const last = groups.at(-1);
    if (last !== undefined && last[0]!.native === command.native) last.push(command);
    else groups.push([command]);
  }
  return groups.map((group) => {
    if (!group[0]!.native) return { commands: group, plan: undefined };
    const { code, buffers } = encodeCommands(group, (kernel) => {
      const index = device.kernelIndex(kernel);
      invariant(index !== undefined, `no native kernel '${kernel}' on ${device.name}`);
      return index;
    });
    return { commands: group, plan: device.native!.compile(code, buffers, encodeSlices(slices, buffers)) };
  });
}

/** The flat form of slices, lanes and strides: see `NativeBinding.compile`. */
function encodeSlices(slices: SlicePlan | undefined, buffers: readonly ArrayBuffer[]): Float64Array | undefined {
  if (slices === undefined) return undefined;
  const strides = buffers.flatMap((buffer) => {
    const { slice, lane } = slices.strides.get(buffer) ?? { slice: 0, lane: 0 };
    return [slice, lane];
  });
  return Float64Array.from([slices.nSlice, slices.nLane, ...strides]);
}
