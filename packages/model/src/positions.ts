import type { Device } from './device.js';
import type { Tensor } from './tensor.js';

const cached = new WeakMap<Device, Map<string, Tensor>>();

/** The positions 0 … n − 1, `times` times over, as an i32 tensor; one for each device, length and count. */
export function positionsUpTo(device: Device, n: number, times = 1): Tensor {
  const bySize = cached.get(device) ?? new Map<string, Tensor>();
  cached.set(device, bySize);
  const key = `${n}×${times}`;
  let positions = bySize.get(key);
  if (positions === undefined) {
    const values = Array.from({ length: n * times }, (_, i) => i % n);
    positions = device.tensor(values, [n * times], 'i32');
    bySize.set(key, positions);
  }
  return positions;
}
