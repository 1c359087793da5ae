import type { Shape } from './tensor.js';

/** Elements to skip for one step along each axis of a row-major array. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis]!;
  }
  return strides;
}

/** Strides with which an array of `shape` is read as if it had the larger shape `as`; 0 along repeated axes. */
export function broadcastStrides(shape: Shape, as: Shape): number[] {
  const own = stridesOf(shape);
  const lead = as.length - shape.length;
  return as.map((_, axis) => (axis < lead || shape[axis - lead] === 1 ? 0 : own[axis - lead]!));
}

/** The shape that both broadcast to: sizes agree axis by axis from the last, or one of them is 1 or missing. */
export function broadcastShape(a: Shape, b: Shape): number[] | undefined {
  const rank = Math.max(a.length, b.length);
  const shape: number[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const [sizeA, sizeB] = [a[axis - rank + a.length] ?? 1, b[axis - rank + b.length] ?? 1];
    if (sizeA !== sizeB && sizeA !== 1 && sizeB !== 1) return undefined;
    shape.push(sizeA === 1 ? sizeB : sizeA);
  }
  return shape;
}

/**
 * Walks a row-major array of `shape` along its last axis: calls `row` with the offset of each row in the array itself and
 * in two others that are read with the given strides.
 */
export function forEachRow(
  shape: Shape,
  stridesA: readonly number[],
  stridesB: readonly number[],
  row: (offset: number, offsetA: number, offsetB: number, length: number, strideA: number, strideB: number) => void,
): void {
  const last = shape.length - 1;
  if (last < 0) {
    row(0, 0, 0, 1, 0, 0);
    return;
  }
  const length = shape[last]!;
  const index = new Array<number>(last).fill(0);
  const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
  let [offsetA, offsetB] = [0, 0];
  for (let r = 0; r < rows; r++) {
    row(r * length, offsetA, offsetB, length, stridesA[last]!, stridesB[last]!);
    for (let axis = last - 1; axis >= 0; axis--) {
      offsetA += stridesA[axis]!;
      offsetB += stridesB[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      offsetA -= stridesA[axis]! * shape[axis]!;
      offsetB -= stridesB[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
}
