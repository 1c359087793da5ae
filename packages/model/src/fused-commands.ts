import type { Command } from './command.js';
import type { Device } from './device.js';
import type { Memory, Tensor } from './tensor.js';

// Neighbouring commands of a recorded step that one kernel of the device serves: what follows a product happens while its
// results are stored. Sums are then rounded once instead of twice, so only steps in bf16 are rewritten.

/** What commands `first`, `second` become, or undefined when the rule is not for them. */
type Rule = (first: Command, second: Command, isPassedOn: (x: Tensor) => boolean) => readonly Command[] | undefined;

/** y = product + r, in one command; r may be either term. */
const addToProduct: Rule = (first, second, isPassedOn) => {
  const [y] = first.outputs;
  if (!/^linear(Bias)?_forward$/.test(first.kernel) || second.kernel !== 'add_forward' || y === undefined)
    return undefined;
  const terms = second.inputs.filter((x) => x.memory !== y.memory);
  const [other, sum] = [terms[0], second.outputs[0]];
  if (terms.length !== 1 || other?.size !== y.size || sum === undefined || !isPassedOn(y)) return undefined;
  const kernel = first.kernel.replace('_forward', 'Add_forward');
  const inputs = [...first.inputs, other.view(y.shape)];
  return [{ ...first, kernel, inputs, outputs: [sum.view(y.shape)], reuses: [[0, inputs.length - 1]] }];
};

/** Rotary positions of the product's results. */
const turnOfProduct: Rule = (first, second, isPassedOn) => {
  const [y] = first.outputs;
  if (!/^linear(Bias)?_forward$/.test(first.kernel) || second.kernel !== 'rotary_forward' || y === undefined)
    return undefined;
  const [x, positions] = second.inputs as [Tensor, Tensor];
  const turned = second.outputs[0];
  if (x.memory !== y.memory || x.size !== y.size || turned === undefined || !isPassedOn(y)) return undefined;
  const kernel = first.kernel.replace('_forward', 'Rotary_forward');
  const inputs = [...first.inputs, positions];
  return [{ ...first, kernel, inputs, outputs: [turned.view(y.shape)], attrs: second.attrs }];
};

/** The gradients of queries and keys turned back where attention, within documents or not, makes them. */
const turnOfAttention: Rule = (first, second, isPassedOn) => {
  const [[dy], [dx]] = [first.outputs, second.outputs];
  if (!/^(attention|documentAttention)_backward$/.test(first.kernel) || second.kernel !== 'rotary_backward')
    return undefined;
  const [positions, given] = second.inputs as [Tensor, Tensor];
  const [nHead, nKvHead, dHead] = first.attrs as [number, number, number];
  const [nTurned, width, dRotary, base] = second.attrs as [number, number, number, number];
  if (nTurned !== nHead + nKvHead || width !== dHead || dy === undefined || dx === undefined) return undefined;
  if (given.memory !== dy.memory || !isPassedOn(dy)) return undefined;
  const kernel = first.kernel.replace('_backward', 'OfRotary_backward');
  const inputs = [...first.inputs, positions];
  return [{ ...first, kernel, inputs, outputs: [dx], attrs: [...first.attrs, dRotary, base] }];
};

/** The gradient before GELU comes out of the product that gives the gradient behind it, with its sums over rows. */
const slopeOfGelu: Rule = (first, second, isPassedOn) => {
  const [dx, ...rest] = first.outputs;
  if (first.kernel !== 'linearBias_backward' || second.kernel !== 'linearBiasGelu_backward' || dx === undefined)
    return undefined;
  const [x, w, pre, dy] = second.inputs as [Tensor, Tensor, Tensor, Tensor];
  if (dy.memory !== dx.memory || pre.size !== dx.size || !isPassedOn(dx)) return undefined;
  const [dPreX, dPreW, dPreB] = second.outputs;
  return [
    {
      ...first,
      kernel: 'linearBiasOfGelu_backward',
      inputs: [...first.inputs, pre.view(dx.shape)],
      outputs: [dx, ...rest, dPreB],
    },
    { ...second, kernel: 'linear_backward', inputs: [x, w, dx.view(dy.shape)], outputs: [dPreX, dPreW] },
  ];
};

/** silu(a)·b beside the product that gives [a | b]. */
const gateOfProduct: Rule = (first, second) => {
  const [gates, gated] = [first.outputs[0], second.outputs[0]];
  if (first.kernel !== 'linear_forward' || second.kernel !== 'siluGate_forward') return undefined;
  if (gates === undefined || gated === undefined || second.inputs[0]!.memory !== gates.memory) return undefined;
  if (gates.shape[0] !== gated.shape[0]) return undefined;
  return [{ ...first, kernel: 'linearSiluGate_forward', outputs: [gated, gates] }];
};

/** The gradients of both gates come out of the product that gives that of the gated value. */
const slopeOfGate: Rule = (first, second, isPassedOn) => {
  const [[dx, dw], [dGates]] = [first.outputs, second.outputs];
  if (first.kernel !== 'linear_backward' || second.kernel !== 'siluGate_backward') return undefined;
  const [gates, dy] = second.inputs as [Tensor, Tensor];
  if (dx === undefined || dGates === undefined || dy.memory !== dx.memory || !isPassedOn(dx)) return undefined;
  if (gates.shape[0] !== dx.shape[0]) return undefined;
  return [{ ...first, kernel: 'linearOfSiluGate_backward', inputs: [...first.inputs, gates], outputs: [dGates, dw] }];
};

const rules: readonly Rule[] = [addToProduct, turnOfProduct, turnOfAttention, slopeOfGelu, gateOfProduct, slopeOfGate];

/** The same step in fewer commands. Memories in `kept` are read by the caller. */
export function fuseNeighbours(
  device: Device,
  commands: readonly Command[],
  kept: ReadonlySet<Memory>,
): readonly Command[] {
  const readers = new Map<Memory, number>();
  for (const memory of commands.flatMap(({ inputs }) => [...new Set(inputs.map((x) => x.memory))])) {
    readers.set(memory, (readers.get(memory) ?? 0) + 1);
  }
  // Made by one command for the next and for nobody else.
  const isPassedOn = ({ memory }: Tensor): boolean => memory.planned && !kept.has(memory) && readers.get(memory) === 1;
  const fused: Command[] = [];
  for (let i = 0; i < commands.length; i++) {
    const [first, second] = [commands[i]!, commands[i + 1]];
    const match = second && first.native && second.native ? matchOf(device, first, second, isPassedOn) : undefined;
    fused.push(...(match ?? [first]));
    if (match !== undefined) i++;
  }
  return fused;
}

function matchOf(device: Device, ...pair: Parameters<Rule>): readonly Command[] | undefined {
  for (const rule of rules) {
    const commands = rule(...pair);
    if (commands?.every(({ kernel }) => device.kernelIndex(kernel) !== undefined)) return commands;
  }
  return undefined;
}
