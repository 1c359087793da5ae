import { invariant } from '@physlm/base';
import { recordNode } from './autograd.js';
import type { Reuse } from './command.js';
import { ShapeError } from './error.js';
import { broadcastShape } from './strides.js';
import { type Dtype, type Shape, sizeOf, type Tensor } from './tensor.js';

// The closed list of differentiable primitives that every reference is written in. Shapes broadcast as in NumPy.

type Gradient = (dy: Tensor, output: Tensor) => readonly (Tensor | undefined)[];

interface Call {
  readonly attrs?: readonly number[];
  readonly dtype?: Dtype;
  /** Where to write the result instead of new memory. */
  readonly into?: Tensor | undefined;
  /** Whether the device's kernel of this name serves the call. */
  readonly native?: boolean;
  readonly reuses?: readonly Reuse[];
  readonly gradient?: Gradient;
}

function apply(name: string, inputs: readonly Tensor[], shape: Shape, call: Call = {}): Tensor {
  const { device } = inputs[0]!;
  const output = call.into ?? device.empty(shape, call.dtype ?? inputs[0]!.dtype);
  const kernel = `${name}_forward`;
  const native = call.native === true && output.dtype === 'f32' && device.kernelIndex(kernel) !== undefined;
  device.execute({ kernel, inputs, outputs: [output], attrs: call.attrs ?? [], native, reuses: call.reuses });
  const { gradient } = call;
  if (gradient !== undefined)
    recordNode(device, inputs, [output], ([dy]) => (dy === undefined ? [] : gradient(dy, output)));
  return output;
}

function elementwise(name: string, a: Tensor, b: Tensor, call: Call): Tensor {
  const shape = broadcastShape(a.shape, b.shape);
  if (shape === undefined) throw new ShapeError(name, `shapes that broadcast with [${a.shape}]`, `[${b.shape}]`);
  return apply(name, [a, b], shape, call);
}

/** a + b. */
export function add(a: Tensor, b: Tensor, into?: Tensor): Tensor {
  const gradient: Gradient = (dy) => [sumTo(dy, a.shape), sumTo(dy, b.shape)];
  return elementwise('add', a, b, {
    into,
    native: a.size === b.size,
    reuses: [
      [0, 0],
      [0, 1],
    ],
    gradient,
  });
}
/** a − b. */
export function sub(a: Tensor, b: Tensor): Tensor {
  return elementwise('sub', a, b, { gradient: (dy) => [sumTo(dy, a.shape), sumTo(scale(dy, -1), b.shape)] });
}
/** a · b, element by element. */
export function mul(a: Tensor, b: Tensor): Tensor {
  return elementwise('mul', a, b, { gradient: (dy) => [sumTo(mul(dy, b), a.shape), sumTo(mul(dy, a), b.shape)] });
}
/** a / b, element by element. */
export function div(a: Tensor, b: Tensor): Tensor {
  return elementwise('div', a, b, {
    gradient: (dy, y) => [sumTo(div(dy, b), a.shape), sumTo(scale(div(mul(dy, y), b), -1), b.shape)],
  });
}
/** factor · x. */
export function scale(x: Tensor, factor: number): Tensor {
  return apply('scale', [x], x.shape, { attrs: [factor], gradient: (dy) => [scale(dy, factor)] });
}
/** x + offset. */
export function shift(x: Tensor, offset: number): Tensor {
  return apply('shift', [x], x.shape, { attrs: [offset], gradient: (dy) => [dy] });
}
/** eˣ. */
export function exp(x: Tensor): Tensor {
  return apply('exp', [x], x.shape, { gradient: (dy, y) => [mul(dy, y)] });
}
/** ln x. */
export function log(x: Tensor): Tensor {
  return apply('log', [x], x.shape, { gradient: (dy) => [div(dy, x)] });
}
/** tanh x. */
export function tanh(x: Tensor): Tensor {
  return apply('tanh', [x], x.shape, { gradient: (dy, y) => [mul(dy, shift(scale(mul(y, y), -1), 1))] });
}
/** √x. */
export function sqrt(x: Tensor): Tensor {
  return apply('sqrt', [x], x.shape, { gradient: (dy, y) => [scale(div(dy, y), 0.5)] });
}

/** Sums the axes along which `shape` has size 1 or none, so that the result has `shape`. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (x.shape.length === shape.length && x.shape.every((size, axis) => size === shape[axis])) return x;
  return apply('sumTo', [x], shape, { gradient: (dy) => [expand(dy, x.shape)] });
}
/** Sum along one axis, which keeps size 1. Negative axes count from the last. */
export function sum(x: Tensor, axis: number): Tensor {
  return sumTo(x, withoutAxis(x.shape, axis));
}
/** Largest value along one axis, which keeps size 1. No gradient flows through it. */
export function max(x: Tensor, axis: number): Tensor {
  return apply('maxTo', [x], withoutAxis(x.shape, axis));
}
/** Repeats axes of size 1 so that the result has `shape`. */
export function expand(x: Tensor, shape: Shape): Tensor {
  const zeros = x.device.empty(shape, x.dtype);
  fillInto(zeros, 0);
  return add(x, zeros);
}
/** The same values with no gradient through them. */
export function detach(x: Tensor): Tensor {
  return x.view(x.shape);
}

/** The same elements in the same order under another shape; no copy. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  if (sizeOf(shape) !== x.size) throw new ShapeError('reshape', `${x.size} elements`, `shape [${shape}]`);
  const y = x.view(shape);
  recordNode(x.device, [x], [y], ([dy]) => [dy?.view(x.shape)]);
  return y;
}

/** Axis `order[i]` of x becomes axis i. */
export function transpose(x: Tensor, order: readonly number[]): Tensor {
  const back = order.map((_, axis) => order.indexOf(axis));
  return apply(
    'transpose',
    [x],
    order.map((axis) => x.shape[axis]!),
    {
      attrs: order,
      gradient: (dy) => [transpose(dy, back)],
    },
  );
}

/** op(a)·op(b) on the last two axes; leading axes must be equal. */
export function matmul(
  a: Tensor,
  b: Tensor,
  { transA = false, transB = false }: { readonly transA?: boolean; readonly transB?: boolean } = {},
): Tensor {
  const [m, k] = transA ? [a.shape.at(-1)!, a.shape.at(-2)!] : [a.shape.at(-2)!, a.shape.at(-1)!];
  const [kB, n] = transB ? [b.shape.at(-1)!, b.shape.at(-2)!] : [b.shape.at(-2)!, b.shape.at(-1)!];
  const lead = a.shape.slice(0, -2);
  if (k !== kB || a.shape.length !== b.shape.length || lead.some((size, axis) => size !== b.shape[axis])) {
    throw new ShapeError('matmul', `leading axes [${lead}] and an inner size of ${k}`, `[${b.shape}]`);
  }
  return apply('matmul', [a, b], [...lead, m, n], {
    attrs: [Number(transA), Number(transB)],
    native: lead.length === 0,
    gradient: (dy) => [
      transA ? matmul(b, dy, { transA: transB, transB: true }) : matmul(dy, b, { transB: !transB }),
      transB ? matmul(dy, a, { transA: true, transB: transA }) : matmul(a, dy, { transA: !transA }),
    ],
  });
}

/** Elements [start, end) along an axis. */
export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  const at = axis < 0 ? axis + x.shape.length : axis;
  if (start < 0 || end > x.shape[at]! || start > end) {
    throw new ShapeError('slice', `0 ≤ start ≤ end ≤ ${x.shape[at]}`, `${start} … ${end}`);
  }
  return apply('slice', [x], x.shape.with(at, end - start), {
    attrs: [at, start],
    native: at === x.shape.length - 1,
    gradient: (dy) => [pad(dy, at, start, x.shape)],
  });
}

/** The transpose of slice: x among zeros, so that the result has `shape`. */
export function pad(x: Tensor, at: number, start: number, shape: Shape): Tensor {
  return apply('pad', [x], shape, {
    attrs: [at, start],
    native: at === shape.length - 1,
    gradient: (dy) => [slice(dy, at, start, start + x.shape[at]!)],
  });
}

/** Tensors one after another along an axis; their other sizes agree. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  const first = parts[0]!;
  const at = axis < 0 ? axis + first.shape.length : axis;
  const total = parts.reduce((sizes, part) => sizes + part.shape[at]!, 0);
  const shape = first.shape.with(at, total);
  let start = 0;
  const padded = parts.map((part) => {
    const from = start;
    start += part.shape[at]!;
    return pad(part, at, from, shape);
  });
  return padded.reduce((a, b) => add(a, b));
}

/** x with `value` where the key position is after the query position; last two axes are T, S and end together. */
export function causalFill(x: Tensor, value: number): Tensor {
  return apply('causalFill', [x], x.shape, { attrs: [value], gradient: (dy) => [causalFill(dy, 0)] });
}

/** Scores x[B, H, T, S] with `value` where key s lies before starts[b, t], an i32 tensor. */
export function fillBefore(x: Tensor, starts: Tensor, value: number): Tensor {
  return apply('fillBefore', [x, starts], x.shape, { attrs: [value], gradient: (dy) => [fillBefore(dy, starts, 0)] });
}

/** Rows of w[V, D] chosen by ids[R], shape RD. */
export function gather(w: Tensor, ids: Tensor): Tensor {
  return apply('gather', [w, ids], [ids.size, w.shape[1]!], {
    gradient: (dy) => [apply('scatter', [dy, ids], w.shape)],
  });
}

/** Column ids[r] of each row of x[R, V], shape R; 0 where ids[r] = ignore. */
export function pick(x: Tensor, ids: Tensor, ignore: number): Tensor {
  return apply('pick', [x, ids], [ids.size], {
    attrs: [ignore],
    gradient: (dy) => [apply('unpick', [dy, ids], x.shape, { attrs: [ignore] })],
  });
}

/**
 * 1 at the largest of each row of x[R, E] (the first of equals), 0 elsewhere; also 0 where `capacity` earlier rows of the same
 * `group` rows have their largest in the same column. Not differentiable.
 */
export function topOne(x: Tensor, group: number, capacity: number): Tensor {
  return apply('topOne', [x], x.shape, { attrs: [group, capacity] });
}

/** x[R], zeroed where ids[r] = ignore. */
export function keepTargets(x: Tensor, ids: Tensor, ignore: number): Tensor {
  return apply('keepTargets', [x, ids], x.shape, {
    attrs: [ignore],
    gradient: (dy) => [keepTargets(dy, ids, ignore)],
  });
}

/** Cosines, then sines, of position · base^(−2i/dRotary): shape [T, dRotary]. */
export function rotaryTable(positions: Tensor, dRotary: number, base: number, dtype: Dtype): Tensor {
  return apply('rotaryTable', [positions], [positions.size, dRotary], { attrs: [base], dtype });
}

/** cache[B, S, …] with row `position[0]` replaced by rows[B, …]. Not differentiable. */
export function setRow(cache: Tensor, rows: Tensor, position: Tensor): Tensor {
  return apply('setRow', [cache, rows, position], cache.shape);
}

/** −∞ in x[…, S] after `position[0]`. Not differentiable. */
export function maskAfter(x: Tensor, position: Tensor): Tensor {
  return apply('maskAfter', [x, position], x.shape);
}

/** Distances position[0] − s of the rows s < n of a cache, kept within 0 … limit; i32[n]. */
export function distancesBefore(position: Tensor, n: number, limit: number): Tensor {
  return apply('distancesBefore', [position], [n], { attrs: [limit], dtype: 'i32' });
}

/** min(1, maxNorm/(norm + 1e-6)); 1 where maxNorm is 0. Not differentiable. */
export function clipScale(norm: Tensor, maxNorm: Tensor): Tensor {
  return apply('clipScale', [norm, maxNorm], [1]);
}

/** Overwrites `to` with the values of x. */
export function copyInto(x: Tensor, to: Tensor): void {
  invariant(x.size === to.size, `a copy of [${x.shape}] into [${to.shape}]`);
  x.device.execute({ kernel: 'copy_forward', inputs: [x], outputs: [to], attrs: [], native: false });
}

/** Overwrites every element of `to`. */
export function fillInto(to: Tensor, value: number): void {
  const native = to.dtype === 'f32' && to.device.kernelIndex('fill_forward') !== undefined;
  to.device.execute({ kernel: 'fill_forward', inputs: [], outputs: [to], attrs: [value], native });
}

function withoutAxis(shape: Shape, axis: number): number[] {
  return shape.with(axis < 0 ? axis + shape.length : axis, 1);
}
