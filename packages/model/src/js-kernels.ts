import { DataError } from '@physlm/base';
import { documentStartsKernel } from './document-starts.js';
import { nextTokensKernel } from './next-tokens.js';
import { broadcastStrides, forEachRow, stridesOf } from './strides.js';
import type { Shape, Values } from './tensor.js';

/** What a TypeScript kernel sees of a tensor. */
export interface JsArray {
  readonly values: Values;
  readonly shape: Shape;
}

/** Reads inputs, writes every element of every output. Arithmetic in double precision, rounded when stored. */
export type JsKernel = (inputs: readonly JsArray[], outputs: readonly JsArray[], attrs: readonly number[]) => void;

function unary(f: (x: number, attr: number) => number): JsKernel {
  return ([x], [y], [attr = 0]) => {
    const [from, to] = [x!.values, y!.values];
    for (let i = 0; i < to.length; i++) to[i] = f(from[i]!, attr);
  };
}

function binary(f: (a: number, b: number) => number): JsKernel {
  return ([a, b], [y]) => {
    const [left, right, to] = [a!.values, b!.values, y!.values];
    if (left.length === to.length && right.length === to.length) {
      for (let i = 0; i < to.length; i++) to[i] = f(left[i]!, right[i]!);
      return;
    }
    const strides = [broadcastStrides(a!.shape, y!.shape), broadcastStrides(b!.shape, y!.shape)] as const;
    forEachRow(y!.shape, ...strides, (at, atA, atB, n, stepA, stepB) => {
      for (let i = 0; i < n; i++) to[at + i] = f(left[atA + i * stepA]!, right[atB + i * stepB]!);
    });
  };
}

/** Folds the axes along which the output has size 1 (or none), starting from `first`. */
function reduction(first: number, f: (sum: number, x: number) => number): JsKernel {
  return ([x], [y]) => {
    const strides = broadcastStrides(y!.shape, x!.shape);
    const sums = new Float64Array(y!.values.length).fill(first);
    const from = x!.values;
    forEachRow(x!.shape, strides, strides, (at, to, _, n, step) => {
      if (step === 0) {
        let sum = sums[to]!;
        for (let i = 0; i < n; i++) sum = f(sum, from[at + i]!);
        sums[to] = sum;
      } else {
        for (let i = 0; i < n; i++) sums[to + i * step] = f(sums[to + i * step]!, from[at + i]!);
      }
    });
    y!.values.set(sums);
  };
}

/** c = op(a)·op(b) for matrices on the last two axes; leading axes agree. attrs: transA, transB. */
const matmul: JsKernel = ([a, b], [c], [transA = 0, transB = 0]) => {
  const [m, n] = c!.shape.slice(-2) as [number, number];
  const k = a!.shape.at(transA ? -2 : -1)!;
  const batches = c!.values.length / (m * n || 1);
  const row = new Float64Array(n);
  for (let batch = 0; batch < batches; batch++) {
    const left = a!.values.subarray(batch * m * k, (batch + 1) * m * k);
    const right = b!.values.subarray(batch * k * n, (batch + 1) * k * n);
    for (let i = 0; i < m; i++) {
      row.fill(0);
      if (transB) {
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let l = 0; l < k; l++) sum += left[transA ? l * m + i : i * k + l]! * right[j * k + l]!;
          row[j] = sum;
        }
      } else {
        for (let l = 0; l < k; l++) {
          const x = left[transA ? l * m + i : i * k + l]!;
          for (let j = 0; j < n; j++) row[j]! += x * right[l * n + j]!;
        }
      }
      c!.values.set(row, (batch * m + i) * n);
    }
  }
};

/** attrs: axis order of the result. */
const transpose: JsKernel = ([x], [y], order) => {
  const own = stridesOf(x!.shape);
  const strides = order.map((axis) => own[axis]!);
  const [from, to] = [x!.values, y!.values];
  forEachRow(y!.shape, strides, strides, (at, start, _, n, step) => {
    for (let i = 0; i < n; i++) to[at + i] = from[start + i * step]!;
  });
};

/** Sizes before, along and after an axis. */
function around(shape: Shape, axis: number): [number, number, number] {
  const product = (sizes: Shape): number => sizes.reduce((p, s) => p * s, 1);
  return [product(shape.slice(0, axis)), shape[axis]!, product(shape.slice(axis + 1))];
}

/** attrs: axis, start. The output's size along the axis says how much. */
const slice: JsKernel = ([x], [y], [axis = 0, start = 0]) => {
  const [outer, size, inner] = around(x!.shape, axis);
  const taken = y!.shape[axis]! * inner;
  for (let o = 0; o < outer; o++) {
    const from = (o * size + start) * inner;
    y!.values.set(x!.values.subarray(from, from + taken), o * taken);
  }
};

/** The transpose of slice: zeros around x. attrs: axis, start. */
const pad: JsKernel = ([x], [y], [axis = 0, start = 0]) => {
  const [outer, size, inner] = around(y!.shape, axis);
  const taken = x!.shape[axis]! * inner;
  y!.values.fill(0);
  for (let o = 0; o < outer; o++) {
    y!.values.set(x!.values.subarray(o * taken, (o + 1) * taken), (o * size + start) * inner);
  }
};

/** Keeps s ≤ t + (S − T) on the last two axes, writes attrs[0] elsewhere. */
const causalFill: JsKernel = ([x], [y], [value = 0]) => {
  const [nQuery, nKey] = x!.shape.slice(-2) as [number, number];
  y!.values.set(x!.values);
  for (let row = 0; row < y!.values.length / nKey; row++) {
    const firstMasked = (row % nQuery) + nKey - nQuery + 1;
    y!.values.fill(value, row * nKey + Math.max(0, firstMasked), (row + 1) * nKey);
  }
};

/** attrs: the value put before starts[b, t] in row t of each [T, S] matrix of x[B, H, T, S]. */
const fillBefore: JsKernel = ([x, starts], [y], [value = 0]) => {
  const [, H, T, S] = x!.shape as [number, number, number, number];
  y!.values.set(x!.values);
  for (let row = 0; row < y!.values.length / S; row++) {
    const sequence = Math.floor(row / (H * T));
    y!.values.fill(value, row * S, row * S + starts!.values[sequence * T + (row % T)]!);
  }
};

function checkToken(op: string, row: number, id: number, dVocab: number): void {
  if (id < 0 || id >= dVocab) {
    throw new DataError(`${op}.row ${row}`, `a token in 0 … ${dVocab - 1}`, String(id));
  }
}

/** Rows of w[V, D] chosen by ids[R]. */
const gather: JsKernel = ([w, ids], [y]) => {
  const d = w!.shape[1]!;
  ids!.values.forEach((id, row) => {
    checkToken('embedding', row, id, w!.shape[0]!);
    y!.values.set(w!.values.subarray(id * d, (id + 1) * d), row * d);
  });
};

/** The transpose of gather: adds each row of dy[R, D] to row ids[R] of zeros[V, D], in order of R. */
const scatter: JsKernel = ([dy, ids], [dw]) => {
  const d = dw!.shape[1]!;
  dw!.values.fill(0);
  ids!.values.forEach((id, row) => {
    for (let i = 0; i < d; i++) dw!.values[id * d + i]! += dy!.values[row * d + i]!;
  });
};

/** Column ids[r] of row r of x[R, V]; 0 where the id is attrs[0] (ignored). */
const pick: JsKernel = ([x, ids], [y], [ignore = -1]) => {
  const width = x!.shape[1]!;
  ids!.values.forEach((id, row) => {
    if (id !== ignore) checkToken('crossEntropy', row, id, width);
    y!.values[row] = id === ignore ? 0 : x!.values[row * width + id]!;
  });
};

/** The transpose of pick. */
const unpick: JsKernel = ([dy, ids], [dx], [ignore = -1]) => {
  const width = dx!.shape[1]!;
  dx!.values.fill(0);
  ids!.values.forEach((id, row) => {
    if (id !== ignore) dx!.values[row * width + id] = dy!.values[row]!;
  });
};

/** x[R], zeroed where ids[R] is attrs[0]. */
const keepTargets: JsKernel = ([x, ids], [y], [ignore = -1]) => {
  ids!.values.forEach((id, row) => {
    y!.values[row] = id === ignore ? 0 : x!.values[row]!;
  });
};

/** positions[T] → cosines then sines [T, dRotary] of position · base^(−2i/dRotary), i < dRotary/2. attrs: base. */
const rotaryTable: JsKernel = ([positions], [y], [base = 10_000]) => {
  const dRotary = y!.shape[1]!;
  const half = dRotary / 2;
  positions!.values.forEach((position, t) => {
    for (let i = 0; i < half; i++) {
      const angle = position * base ** ((-2 * i) / dRotary);
      y!.values[t * dRotary + i] = Math.cos(angle);
      y!.values[t * dRotary + half + i] = Math.sin(angle);
    }
  });
};

/** cache[B, S, …] with row `position` of each batch entry replaced by rows[B, …]. */
const setRow: JsKernel = ([cache, rows, position], [y]) => {
  const [nBatch, nCtx] = cache!.shape as [number, number];
  const width = rows!.values.length / nBatch;
  if (y!.values.byteOffset !== cache!.values.byteOffset || y!.values.buffer !== cache!.values.buffer) {
    y!.values.set(cache!.values);
  }
  for (let b = 0; b < nBatch; b++) {
    y!.values.set(rows!.values.subarray(b * width, (b + 1) * width), (b * nCtx + position!.values[0]!) * width);
  }
};

/** −∞ in x[…, S] after `position`. */
const maskAfter: JsKernel = ([x, position], [y]) => {
  const nKey = x!.shape.at(-1)!;
  y!.values.set(x!.values);
  for (let row = 0; row < y!.values.length / nKey; row++) {
    y!.values.fill(Number.NEGATIVE_INFINITY, row * nKey + position!.values[0]! + 1, (row + 1) * nKey);
  }
};

/** `position` − s for each element s, kept within 0 … attrs[0]. */
const distancesBefore: JsKernel = ([position], [y], [limit = 0]) => {
  for (let s = 0; s < y!.values.length; s++) {
    y!.values[s] = Math.min(limit, Math.max(0, position!.values[0]! - s));
  }
};

/** 1 at the largest of each row, for the first attrs[1] rows of each attrs[0] rows that share it. */
const topOne: JsKernel = ([x], [y], [group = 1, capacity = 1]) => {
  const [nRow, width] = x!.shape as [number, number];
  const taken = new Int32Array(width);
  y!.values.fill(0);
  for (let r = 0; r < nRow; r++) {
    if (r % group === 0) taken.fill(0);
    const row = x!.values.subarray(r * width, (r + 1) * width);
    let best = 0;
    for (let e = 1; e < width; e++) if (row[e]! > row[best]!) best = e;
    if (taken[best]!++ < capacity) y!.values[r * width + best] = 1;
  }
};

/** min(1, maxNorm / (norm + 1e-6)), or 1 where maxNorm is 0. */
const clipScale: JsKernel = ([norm, maxNorm], [y]) => {
  const limit = maxNorm!.values[0]!;
  // Written so that a norm of NaN stays NaN.
  const scale = limit / (norm!.values[0]! + 1e-6);
  y!.values[0] = limit === 0 || scale > 1 ? 1 : scale;
};

/** The TypeScript kernels by name. Fused ops have none: without a native kernel their reference runs instead. */
export const jsKernels: Readonly<Record<string, JsKernel>> = {
  add_forward: binary((a, b) => a + b),
  sub_forward: binary((a, b) => a - b),
  mul_forward: binary((a, b) => a * b),
  div_forward: binary((a, b) => a / b),
  scale_forward: unary((x, factor) => x * factor),
  shift_forward: unary((x, offset) => x + offset),
  exp_forward: unary(Math.exp),
  log_forward: unary(Math.log),
  tanh_forward: unary(Math.tanh),
  sqrt_forward: unary(Math.sqrt),
  copy_forward: ([x], [y]) => y!.values.set(x!.values),
  fill_forward: (_, [y], [value = 0]) => void y!.values.fill(value),
  sumTo_forward: reduction(0, (sum, x) => sum + x),
  maxTo_forward: reduction(Number.NEGATIVE_INFINITY, (max, x) => (x > max || Number.isNaN(x) ? x : max)),
  matmul_forward: matmul,
  transpose_forward: transpose,
  slice_forward: slice,
  pad_forward: pad,
  causalFill_forward: causalFill,
  fillBefore_forward: fillBefore,
  documentStarts_forward: documentStartsKernel,
  gather_forward: gather,
  scatter_forward: scatter,
  pick_forward: pick,
  unpick_forward: unpick,
  keepTargets_forward: keepTargets,
  rotaryTable_forward: rotaryTable,
  setRow_forward: setRow,
  maskAfter_forward: maskAfter,
  distancesBefore_forward: distancesBefore,
  clipScale_forward: clipScale,
  nextTokens_forward: nextTokensKernel,
  topOne_forward: topOne,
};
