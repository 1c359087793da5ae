import type { Device } from './device.js';
import type { Module } from './module.js';
import { bytesPerElement, Tensor } from './tensor.js';

/** Where a parameter lies in the arena, in elements. */
export interface ParameterSlot {
  readonly name: string;
  readonly start: number;
  readonly tensor: Tensor;
}

/**
 * A model's trainable parameters and their gradients as two flat tensors, so that the optimiser is one pass over memory.
 * Matrices come first (they decay), then vectors (biases and gains, which do not). Slots start at multiples of 16 elements;
 * the gaps stay zero. Frozen parameters stay where they are.
 */
export class ParameterArena {
  /** All trainable parameters, f32. */
  readonly weights: Tensor;
  /** Their gradients, [slice, parameter]; the reverse pass writes to the first slice: see {@link Device.recordSlices}. */
  readonly gradients: Tensor;
  readonly slots: readonly ParameterSlot[];
  /** Elements at the start that weight decay applies to. */
  readonly nDecay: number;

  constructor(device: Device, model: Module, nSlice = 1) {
    const named = [...model.trainable()];
    const ordered = [...named.filter(([, x]) => x.shape.length > 1), ...named.filter(([, x]) => x.shape.length <= 1)];
    let end = 0;
    let nDecay = 0;
    this.slots = ordered.map(([name, tensor]) => {
      const start = end;
      end += Math.ceil(tensor.size / 16) * 16;
      if (tensor.shape.length > 1) nDecay = end;
      return { name, start, tensor };
    });
    this.nDecay = nDecay;
    this.weights = device.zeros([end]);
    this.gradients = device.zeros([nSlice, end]);
    for (const { start, tensor } of this.slots) {
      const byteOffset = start * bytesPerElement.f32;
      tensor.moveTo(this.weights.memory, byteOffset);
      tensor.grad = new Tensor(device, this.gradients.memory, byteOffset, 'f32', tensor.shape);
    }
  }

  /** A flat tensor of the same layout, zeroed: optimiser moments, accumulated gradients. */
  like(): Tensor {
    const { device, size } = this.weights;
    return device.zeros([size]);
  }
}
