import type { Command } from './command.js';
import type { Device } from './device.js';
import type { Tensor } from './tensor.js';

// Gradients of weights of several layers in one command. Nobody waits for them before the end of the step, and one alone is too
// little for a GPU: that of a 768×768 matrix occupies 24 of an H100's 132 multiprocessors.

const GROUP = 'linearWeights_backward';

/**
 * Results after which a group is large enough: those of three layers of GPT-2 124M, of which an H100 computes a seventh at a time. Until a
 * group is run, the gradients of its layers' outputs take memory.
 */
const LARGE = 20e6;

/** dw = dyᵀ·x, to be computed later. */
interface Gradient {
  readonly x: Tensor;
  readonly dy: Tensor;
  readonly dw: Tensor;
}

/** Whether two tensors share bytes. Planned memories will share theirs only where the planner sees that nobody minds. */
function overlap(a: Tensor, b: Tensor): boolean {
  const [p, q] = [placeOf(a), placeOf(b)];
  return p.of === q.of && p.start < q.start + b.byteLength && q.start < p.start + a.byteLength;
}

function placeOf({ memory, byteOffset }: Tensor): { readonly of: object; readonly start: number } {
  if (memory.planned) return { of: memory, start: byteOffset };
  const { buffer, start } = memory.place();
  return { of: buffer, start: start + byteOffset };
}

/** The gradient of its weight that a backward command of a product in bf16 computes beside what else it gives. */
function weightGradient({ kernel, inputs: [x, , dy], outputs: [, dw], native }: Command): Gradient | undefined {
  if (!native || !/^linear(Bias|BiasOfGelu|OfSiluGate)?_backward$/.test(kernel)) return undefined;
  if (x?.dtype !== 'bf16' || dy?.dtype !== 'bf16' || dw?.dtype !== 'f32') return undefined;
  return { x, dy, dw };
}

/** The same step with the gradients of weights put off until there are enough of them, or until someone needs one. */
export function groupWeightGradients(device: Device, commands: readonly Command[]): readonly Command[] {
  if (device.kernelIndex(GROUP) === undefined) return commands;
  const grouped: Command[] = [];
  let waiting: Gradient[] = [];
  const compute = (): void => {
    if (waiting.length === 0) return;
    const inputs = waiting.flatMap(({ x, dy }) => [x, dy]);
    grouped.push({ kernel: GROUP, inputs, outputs: waiting.map(({ dw }) => dw), attrs: [], native: true });
    waiting = [];
  };
  for (const command of commands) {
    const { inputs, outputs } = command;
    const isNeeded = waiting.some(
      ({ x, dy, dw }) =>
        inputs.some((tensor) => overlap(tensor, dw)) ||
        outputs.some((tensor) => tensor && [x, dy, dw].some((used) => overlap(tensor, used))),
    );
    if (isNeeded) compute();
    const gradient = weightGradient(command);
    if (gradient === undefined) {
      grouped.push(command);
      continue;
    }
    waiting.push(gradient);
    const others = outputs.map((tensor, i) => (i === 1 ? undefined : tensor));
    if (others.some((tensor) => tensor !== undefined)) grouped.push({ ...command, outputs: others });
    if (waiting.reduce((size, { dw }) => size + dw.size, 0) >= LARGE) compute();
  }
  compute();
  return grouped;
}
