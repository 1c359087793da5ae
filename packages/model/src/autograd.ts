import { complaint, invariant, PhyslmError } from '@physlm/base';
import type { Device } from './device.js';
import { add, copyInto } from './primitives.js';
import type { Tensor } from './tensor.js';

/** How a tensor was made: enough to turn gradients of its outputs into gradients of its inputs. */
export interface GradNode {
  /** Creation order; the reverse pass goes from high to low. */
  readonly order: number;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  /**
   * Gradients of the inputs, given those of the outputs (undefined: no gradient flows into that output). `place(i)` offers
   * memory for the gradient of input i; a rule may ignore it and return another tensor, or undefined for "none".
   */
  backward(
    gradOutputs: readonly (Tensor | undefined)[],
    place: (input: number) => Tensor | undefined,
  ): readonly (Tensor | undefined)[];
}

let nextOrder = 0;

/** Links outputs to inputs when a gradient may be asked for later. */
export function recordNode(
  device: Device,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  backward: GradNode['backward'],
): void {
  if (!device.gradEnabled || !inputs.some((x) => x.requiresGrad)) return;
  const node: GradNode = { order: nextOrder++, inputs, outputs, backward };
  for (const output of outputs) {
    if (output.dtype === 'i32') continue;
    output.node = node;
    output.requiresGrad = true;
  }
}

/**
 * Reverse pass: adds nothing, writes `grad` of every leaf that `output` depends on (= Σ seed · ∂output/∂leaf). A leaf
 * whose `grad` is already a tensor gets its gradient there, so a model's gradients can share one flat arena.
 *
 * @param seed gradient of the result with respect to `output`, same shape.
 * @throws PhyslmError 'shape' when the seed does not fit, 'config' when nothing requires a gradient.
 */
export function backward(output: Tensor, seed: Tensor): void {
  if (seed.size !== output.size || seed.dtype !== output.dtype) {
    const [expected, got] = [`shape [${output.shape}]`, `[${seed.shape}]`];
    throw new PhyslmError('shape', complaint('backward.seed', expected, got));
  }
  if (output.node === undefined) {
    throw new PhyslmError('config', complaint('backward', 'an output computed from parameters', 'a constant'));
  }
  const { device } = output;
  device.withoutGrad(() => {
    const gradients = new Map<Tensor, Tensor>([[output, seed.view(output.shape)]]);
    const written = new Set<Tensor>();
    for (const node of nodesBelow(output.node!)) {
      const gradOutputs = node.outputs.map((x) => gradients.get(x));
      for (const x of node.outputs) gradients.delete(x);
      const place = (i: number): Tensor | undefined => {
        const x = node.inputs[i]!;
        if (!x.requiresGrad) return undefined;
        const free = x.node === undefined && x.grad !== undefined && !written.has(x);
        // An input that is used twice by one op gets two gradients: only the first may go to the final place.
        return free && node.inputs.indexOf(x) === i ? x.grad : device.empty(x.shape, x.dtype);
      };
      node.backward(gradOutputs, place).forEach((dx, i) => {
        const x = node.inputs[i]!;
        if (dx === undefined || !x.requiresGrad) return;
        invariant(dx.size === x.size, `a gradient of shape [${dx.shape}] for [${x.shape}]`);
        if (x.node === undefined) accumulateLeaf(x, dx, written);
        else gradients.set(x, gradients.has(x) ? add(gradients.get(x)!, dx) : dx);
      });
    }
  });
}

function accumulateLeaf(x: Tensor, dx: Tensor, written: Set<Tensor>): void {
  if (written.has(x)) add(x.grad!, dx, x.grad!);
  else if (x.grad === undefined) x.grad = dx;
  else if (dx !== x.grad) copyInto(dx, x.grad);
  written.add(x);
}

/** Every node that `root` depends on, outputs before inputs. */
function nodesBelow(root: GradNode): GradNode[] {
  const seen = new Set<GradNode>([root]);
  const stack = [root];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    for (const { node: below } of node.inputs) {
      if (below === undefined || seen.has(below)) continue;
      seen.add(below);
      stack.push(below);
    }
  }
  return [...seen].sort((a, b) => b.order - a.order);
}
