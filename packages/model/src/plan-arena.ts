import type { Command } from './command.js';
import type { Memory } from './tensor.js';

const ALIGNMENT = 64;

/** First and last command that touch a memory, both inclusive. */
interface Lifetime {
  readonly memory: Memory;
  readonly byteLength: number;
  readonly first: number;
  last: number;
}

/**
 * Places every planned memory in one arena so that memories alive at the same command never overlap. Largest first, each
 * at the lowest offset that is free for its whole lifetime. Memories in `kept` live to the end. A result takes the place
 * of an input that nobody reads afterwards where the kernel may overwrite it.
 *
 * @see Pisarchyk and Lee 2020, arXiv:2001.03288, "greedy by size".
 */
export function planArena(
  commands: readonly Command[],
  kept: ReadonlySet<Memory>,
): { readonly offsets: ReadonlyMap<Memory, number>; readonly byteLength: number } {
  const lifetimes = new Map<Memory, Lifetime>();
  commands.forEach(({ inputs, outputs }, at) => {
    for (const tensor of [...inputs, ...outputs]) {
      const memory = tensor?.memory;
      if (!memory?.planned) continue;
      const known = lifetimes.get(memory);
      if (known !== undefined) known.last = at;
      else {
        const byteLength = Math.ceil(memory.byteLength / ALIGNMENT) * ALIGNMENT;
        lifetimes.set(memory, { memory, byteLength, first: at, last: at });
      }
    }
  });
  for (const lifetime of lifetimes.values()) if (kept.has(lifetime.memory)) lifetime.last = commands.length;

  const standsIn = shareDyingInputs(commands, lifetimes);

  const placed: { readonly lifetime: Lifetime; readonly offset: number }[] = [];
  const offsets = new Map<Memory, number>();
  let arenaBytes = 0;
  const largestFirst = [...lifetimes.values()].sort((a, b) => b.byteLength - a.byteLength || a.first - b.first);
  for (const lifetime of largestFirst) {
    let offset = 0;
    for (const other of placed) {
      const apart = other.lifetime.last < lifetime.first || lifetime.last < other.lifetime.first;
      if (apart || other.offset + other.lifetime.byteLength <= offset) continue;
      if (offset + lifetime.byteLength <= other.offset) break;
      offset = other.offset + other.lifetime.byteLength;
    }
    const at = placed.findIndex((other) => other.offset > offset);
    placed.splice(at < 0 ? placed.length : at, 0, { lifetime, offset });
    offsets.set(lifetime.memory, offset);
    arenaBytes = Math.max(arenaBytes, offset + lifetime.byteLength);
  }
  for (const [memory, place] of standsIn) offsets.set(memory, offsets.get(place)!);
  return { offsets, byteLength: arenaBytes };
}

/** Takes out of `lifetimes` every result that goes where a dying input lies; says whose place each takes. */
function shareDyingInputs(commands: readonly Command[], lifetimes: Map<Memory, Lifetime>): ReadonlyMap<Memory, Memory> {
  const standsIn = new Map<Memory, Memory>();
  commands.forEach(({ inputs, outputs, reuses = [] }, at) => {
    for (const [o, i] of reuses) {
      const [output, input] = [outputs[o], inputs[i]!];
      const born = output && lifetimes.get(output.memory);
      const place = standsIn.get(input.memory) ?? input.memory;
      const dying = lifetimes.get(place);
      if (output === undefined || born?.first !== at || dying?.last !== at || place === output.memory) continue;
      const whole = output.byteLength === input.byteLength && output.memory.byteLength === place.byteLength;
      if (!whole || output.byteOffset !== 0 || input.byteOffset !== 0) continue;
      dying.last = born.last;
      lifetimes.delete(output.memory);
      standsIn.set(output.memory, place);
    }
  });
  return standsIn;
}
