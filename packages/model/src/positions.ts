import type { Device } from './device.js';
import type { Tensor } from './tensor.js';

const cached = new WeakMap<Device, Map<number, Tensor>>();

/** The positions 0 … n − 1 as an i32 tensor; one for each device and length. */
export function positionsUpTo(device: Device, n: number): Tensor {
  const byLength = cached.get(device) ?? new Map<number, Tensor>();
  cached.set(device, byLength);
  let positions = byLength.get(n);
  if (positions === undefined) {
    positions = device.tensor(
      Array.from({ length: n }, (_, t) => t),
      [n],
      'i32',
    );
    byLength.set(n, positions);
  }
  return positions;
}
