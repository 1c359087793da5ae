import { invariant } from '@physlm/base';
import type { NativePlan } from '@physlm/native';
import { type Command, encodeCommands } from './command.js';
import { type Device, runJs } from './device.js';
import { inHalfPrecision } from './half-precision.js';
import { planArena } from './plan-arena.js';
import type { Memory, Tensor } from './tensor.js';

/** A step that was traced once and can be run any number of times. */
export interface Recorded<T extends Readonly<Record<string, Tensor>>> {
  /** What the step returned; holds the values of the latest run. */
  readonly results: T;
  /** Kernel calls in one run, after those nobody reads were dropped. */
  readonly nCommand: number;
  /** Bytes of the arena that all intermediate tensors share. */
  readonly arenaBytes: number;
  /** Runs the step on the current values of the tensors it reads. */
  run(): void;
  /** Runs the step and gives nanoseconds for each kernel name, summed over its calls. */
  profile(): ReadonlyMap<string, number>;
}

/** Collects the commands of a step while it is traced. */
export class Recorder {
  readonly #commands: Command[] = [];

  constructor(private readonly device: Device) {}

  push(command: Command): void {
    this.#commands.push(command);
  }

  /** Drops dead commands, places intermediates in one arena and hands the rest to the device. */
  finish<T extends Readonly<Record<string, Tensor>>>(results: T): Recorded<T> {
    const kept = new Set<Memory>(Object.values(results).map((tensor) => tensor.memory));
    const live = liveCommands(this.#commands, kept);
    const commands = this.device.precision === 'bf16' ? inHalfPrecision(this.device, live, kept) : live;
    // What the caller reads after each run lies near the host where that is another place.
    if (this.device.native?.allocate !== undefined) {
      for (const memory of kept) {
        if (!memory.planned) continue;
        const { buffer, start } = this.device.allocate(memory.byteLength, 'host').place();
        memory.assign(buffer, start);
      }
    }
    const { offsets, byteLength } = planArena(commands, kept);
    const arena = this.device.allocate(byteLength);
    const { buffer, start } = arena.place();
    for (const [memory, offset] of offsets) memory.assign(buffer, start + offset);
    return new Program(this.device, commands, results, byteLength);
  }
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

class Program<T extends Readonly<Record<string, Tensor>>> implements Recorded<T> {
  readonly nCommand: number;
  readonly #segments: readonly Segment[];

  constructor(
    private readonly device: Device,
    commands: readonly Command[],
    readonly results: T,
    readonly arenaBytes: number,
  ) {
    this.nCommand = commands.length;
    this.#segments = segmentsOf(device, commands);
  }

  run(): void {
    for (const segment of this.#segments) {
      if (segment.plan === undefined) segment.commands.forEach(runJs);
      else this.device.native!.run(segment.plan);
    }
  }

  profile(): ReadonlyMap<string, number> {
    const total = new Map<string, number>();
    const count = (kernel: string, ns: number): void => void total.set(kernel, (total.get(kernel) ?? 0) + ns);
    for (const { plan, commands } of this.#segments) {
      if (plan !== undefined) {
        for (const [i, ns] of this.device.native!.profile(plan).entries()) count(commands[i]!.kernel, ns);
        continue;
      }
      for (const command of commands) {
        const start = process.hrtime.bigint();
        runJs(command);
        count(command.kernel, Number(process.hrtime.bigint() - start));
      }
    }
    return total;
  }
}

/** Neighbouring commands that run in one native call, or one after another in TypeScript. */
interface Segment {
  readonly commands: Command[];
  readonly plan: NativePlan | undefined;
}

function segmentsOf(device: Device, commands: readonly Command[]): Segment[] {
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
    return { commands: group, plan: device.native!.compile(code, buffers) };
  });
}
