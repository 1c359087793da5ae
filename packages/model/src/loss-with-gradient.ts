import type { Command } from './command.js';
import type { Device } from './device.js';
import type { Tensor } from './tensor.js';

// A recorded step knows what will follow. Where a device has a kernel `crossEntropyGradient`, which reads the logits once for the
// loss and for their gradient, it takes the place of the two that read them twice. The bits are the same.

const same = (a: Tensor, b: Tensor): boolean =>
  a.memory === b.memory && a.byteOffset === b.byteOffset && a.dtype === b.dtype && a.size === b.size;

/** The same commands with one for each loss whose backward pass follows and whose seed is known when the loss is. */
export function lossWithGradient(device: Device, commands: readonly Command[]): readonly Command[] {
  if (device.kernelIndex('crossEntropyGradient_forward') === undefined) return commands;
  const result: (Command | undefined)[] = [...commands];
  commands.forEach((forward, at) => {
    if (forward.kernel !== 'crossEntropy_forward' || !forward.native) return;
    const [logits, targets] = forward.inputs as readonly [Tensor, Tensor];
    const lse = forward.outputs[1];
    const follows = commands.findIndex(
      ({ kernel, inputs }, i) =>
        i > at &&
        kernel === 'crossEntropy_backward' &&
        same(inputs[0]!, logits) &&
        same(inputs[1]!, targets) &&
        lse !== undefined &&
        same(inputs[2]!, lse),
    );
    const backward = commands[follows];
    if (backward?.native !== true) return;
    const [, , , seed] = backward.inputs as readonly [Tensor, Tensor, Tensor, Tensor];
    const between = commands.slice(at, follows);
    const read = [logits, targets, seed].map(({ memory }) => memory);
    if (between.some(({ outputs }) => outputs.some((y) => y !== undefined && read.includes(y.memory)))) return;
    result[at] = {
      kernel: 'crossEntropyGradient_forward',
      inputs: [logits, targets, seed],
      outputs: [...forward.outputs, ...backward.outputs],
      attrs: forward.attrs,
      native: true,
      reuses: [[2, 0]],
    };
    result[follows] = undefined;
  });
  return result.filter((command) => command !== undefined);
}
