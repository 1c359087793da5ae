import { Rng } from '@physlm/base';
import { expect } from 'vitest';
import { backward, type Device, type Tensor } from '../src/index.js';

/** Random numbers in [low, high), as an f64 leaf that requires a gradient. */
export function randomLeaf(device: Device, shape: readonly number[], rng: Rng, low = -1, high = 1): Tensor {
  const size = shape.reduce((product, n) => product * n, 1);
  const leaf = device.tensor(
    Array.from({ length: size }, () => low + (high - low) * rng.uniform()),
    shape,
    'f64',
  );
  leaf.requiresGrad = true;
  return leaf;
}

/**
 * Compares the reverse pass with central differences, for every element of every leaf: gradients of Σ seed·f(leaves) with
 * a random seed for each output. f64 throughout.
 */
export function expectGradients(leaves: readonly Tensor[], f: () => readonly Tensor[], tolerance = 1e-6): void {
  const { device } = leaves[0]!;
  const rng = new Rng('seeds');
  const outputs = f();
  const seeds = outputs.map((y) => randomLeaf(device, y.shape, rng));
  for (const leaf of leaves) leaf.grad = undefined;
  const objective = (): number =>
    device.withoutGrad(() =>
      f().reduce((total, y, i) => {
        const weights = seeds[i]!.values();
        return total + y.toArray().reduce((sum, value, j) => sum + value * weights[j]!, 0);
      }, 0),
    );
  const analytic = leaves.map(() => new Float64Array(0));
  outputs.forEach((y, i) => {
    for (const leaf of leaves) leaf.grad = undefined;
    backward(y, seeds[i]!);
    leaves.forEach((leaf, l) => {
      const grad = leaf.grad?.values() ?? new Float64Array(leaf.size);
      analytic[l] = Float64Array.from(grad, (g, j) => g + (analytic[l]![j] ?? 0));
    });
  });
  leaves.forEach((leaf, l) => {
    const values = leaf.values();
    for (let j = 0; j < leaf.size; j++) {
      const x = values[j]!;
      const h = 1e-5 * Math.max(1, Math.abs(x));
      values[j] = x + h;
      const above = objective();
      values[j] = x - h;
      const below = objective();
      values[j] = x;
      const numeric = (above - below) / (2 * h);
      const error = Math.abs(analytic[l]![j]! - numeric);
      expect(error, `leaf ${l} element ${j}: reverse ${analytic[l]![j]}, differences ${numeric}`).toBeLessThan(
        tolerance * Math.max(1, Math.abs(numeric)),
      );
    }
  });
}
