import type { Command } from './command.js';
import type { Device } from './device.js';
import { bytesPerElement, Memory, Tensor } from './tensor.js';

// How a recorded step is kept in bf16. The graph does not know: which of its intermediate results are narrow is decided here,
// when the step is planned.

/** Below this many rows a product reads its weight once anyway, so a copy in bf16 would only add traffic. */
const LEAST_ROWS = 64;

/**
 * The same commands with bf16 in place of f32 wherever every kernel that touches a memory allows it: intermediate results,
 * and one copy of the weights made at the start of the step. Memories in `kept` and those from before the recording stay.
 */
export function inHalfPrecision(
  device: Device,
  commands: readonly Command[],
  kept: ReadonlySet<Memory>,
): readonly Command[] {
  const narrow = new Map<Memory, Memory>();
  for (const memory of narrowMemories(device, commands, kept)) narrow.set(memory, new Memory(memory.byteLength / 2));
  const weights = weightCopies(device, commands, narrow);
  const half = (tensor: Tensor): Tensor => {
    const memory = narrow.get(tensor.memory);
    return memory === undefined ? tensor : new Tensor(device, memory, tensor.byteOffset / 2, 'bf16', tensor.shape);
  };
  const narrowed = commands.map((command) => ({
    ...command,
    inputs: command.inputs.map((x, i) => (isWeight(command, i, narrow) && weights.narrow(x)) || half(x)),
    outputs: command.outputs.map((x) => x && half(x)),
  }));
  return [...weights.casts, ...narrowed];
}

/** Planned f32 memories that nobody outside reads and that only kernels touch which take bf16 there. */
function narrowMemories(device: Device, commands: readonly Command[], kept: ReadonlySet<Memory>): Set<Memory> {
  const possible = new Set<Memory>();
  const wide = new Set<Memory>();
  for (const { kernel, inputs, outputs, native } of commands) {
    [...inputs, ...outputs].forEach((x, index) => {
      if (x === undefined || !x.memory.planned) return;
      const fits = native && x.dtype === 'f32' && device.takesBf16(kernel, index) && !kept.has(x.memory);
      (fits ? possible : wide).add(x.memory);
    });
  }
  for (const memory of wide) possible.delete(memory);
  return possible;
}

/** Input i of a product of many rows whose other operand is narrow, if it comes from before the recording. */
function isWeight({ kernel, inputs }: Command, i: number, narrow: ReadonlyMap<Memory, Memory>): boolean {
  if (i !== 1 || !/^(linear|matmul)/.test(kernel)) return false;
  const [x, w] = inputs as readonly [Tensor, Tensor];
  const isLive = !w.memory.planned && !narrow.has(w.memory) && w.dtype === 'f32';
  return isLive && narrow.has(x.memory) && x.size / x.shape.at(-1)! >= LEAST_ROWS;
}

interface WeightCopies {
  readonly casts: readonly Command[];
  /** The place of a weight in its memory's copy; undefined when it has none. */
  narrow(weight: Tensor): Tensor | undefined;
}

/** For each memory with weights one cast of the range they span: for a parameter arena, one pass over it. */
function weightCopies(device: Device, commands: readonly Command[], narrow: ReadonlyMap<Memory, Memory>): WeightCopies {
  const ranges = new Map<Memory, { from: number; to: number; lastUse: number }>();
  commands.forEach((command, at) => {
    command.inputs.forEach((x, i) => {
      if (!isWeight(command, i, narrow)) return;
      const [from, to] = [x.byteOffset, x.byteOffset + x.byteLength];
      const range = ranges.get(x.memory) ?? { from, to, lastUse: at };
      ranges.set(x.memory, { from: Math.min(range.from, from), to: Math.max(range.to, to), lastUse: at });
    });
  });
  // A copy made at the start would be stale for a use behind a write.
  for (const [memory, { lastUse }] of ranges) {
    const firstWrite = commands.findIndex(({ outputs }) => outputs.some((x) => x?.memory === memory));
    if (firstWrite >= 0 && firstWrite < lastUse) ranges.delete(memory);
  }
  const copies = new Map<Memory, { readonly copy: Memory; readonly from: number }>();
  const casts = [...ranges].map(([memory, { from, to }]) => {
    const size = (to - from) / bytesPerElement.f32;
    const copy = new Memory(size * bytesPerElement.bf16);
    copies.set(memory, { copy, from });
    return {
      kernel: 'cast_forward',
      inputs: [new Tensor(device, memory, from, 'f32', [size])],
      outputs: [new Tensor(device, copy, 0, 'bf16', [size])],
      attrs: [],
      native: true,
    };
  });
  return {
    casts,
    narrow: (weight) => {
      const found = copies.get(weight.memory);
      if (found === undefined) return undefined;
      const at = (weight.byteOffset - found.from) / 2;
      return new Tensor(device, found.copy, at, 'bf16', weight.shape);
    },
  };
}
