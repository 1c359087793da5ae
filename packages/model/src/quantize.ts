// Weights rounded to few bits, for evaluation: how much of what a model knows survives.
// Axes: O outputs (channels), I input features, B windows at once, T position, D dModel.
import { ConfigError, type ConfigProblem } from '@physlm/base';
import { factorUpper } from './factor-upper.js';
import type { LanguageModel } from './language-model.js';
import { Linear } from './layers.js';
import { Module } from './module.js';
import { matmul, reshape } from './primitives.js';
import type { Tensor } from './tensor.js';
import { Trace } from './trace.js';

/** A matrix [O, I], row-major. */
export interface WeightMatrix {
  readonly values: Float32Array;
  readonly nOut: number;
  readonly nIn: number;
}

/** How GPTQ is calibrated. */
export interface GptqOptions {
  readonly bits: number;
  /** Windows of tokens, all of one length, of text like that of training. */
  readonly windows: readonly ArrayLike<number>[];
  /** What is added to the diagonal of each Hessian, as a share of its mean; 0.01 when absent. */
  readonly damp?: number;
}

/**
 * Rounds the weights of every linear map inside the blocks to `bits` bits, in place, each output channel with a scale of its
 * own: w → s·round(w/s), s = max|w| / (2^(bits − 1) − 1). Embeddings, the output layer, norms and biases stay as they are.
 *
 * @throws ConfigError when bits is not in 2 … 16.
 */
export function roundToNearest(model: LanguageModel, { bits }: { readonly bits: number }): void {
  requireBits('roundToNearest', bits);
  for (const matrix of matricesOf(model)) roundRows(matrix, bits);
}

/**
 * Rounds the same weights to the same grid as {@link roundToNearest}, in place, but chooses for every output channel the
 * grid points that keep its outputs on the calibration text, column by column: the error of a column is made up for by the
 * columns behind it. Blocks come in order, and maps within a block too, each calibrated on what the already rounded maps
 * before it give. Columns with the strongest inputs come first.
 *
 * Hessians are f32 products summed in f64; the rest is f64. Deterministic.
 *
 * @throws ConfigError when bits is not in 2 … 16, there is no calibration text, windows differ in length, or the model has
 * weights that are no linear maps (mixtures of experts).
 * @see Frantar et al. 2023, GPTQ, arXiv:2210.17323, Algorithm 1. Differs from the paper: the equivalent form without the
 * inverse Hessian, in which column k aims at wₖ + Σ_{j<k} eⱼ·Rⱼₖ/Rₖₖ for H = R·Rᵀ, R upper triangular, and errors e.
 */
export function gptq(model: LanguageModel, { bits, windows, damp = 0.01 }: GptqOptions): void {
  requireBits('gptq', bits);
  requireWindows(model, windows);
  const { device } = model;
  const T = windows[0]!.length;
  const B = Math.max(1, Math.floor(ROWS_AT_ONCE / T));
  const parts = chunksOf(windows, B).map((some) => embedded(model, some, T));
  for (const block of model.blocks) {
    for (const linear of linearsInOrder(block, parts[0]![0]!.x)) {
      const [nOut, nIn] = linear.weight.shape as [number, number];
      const hessian = new Float64Array(nIn * nIn);
      for (const batches of parts) {
        const { x } = batches[0]!;
        const program = device.withoutGrad(() =>
          device.record(() => {
            const rows = watch(linear, () => block.forward(x, Trace.none));
            const flat = reshape(rows, [rows.size / nIn, nIn]);
            return { hessian: matmul(flat, flat, { transA: true }) };
          }),
        );
        for (const { values } of batches) {
          x.values().set(values);
          program.run();
          const part = program.results.hessian.values();
          for (let i = 0; i < hessian.length; i++) hessian[i]! += part[i]!;
        }
      }
      const values = linear.weight.values() as Float32Array;
      roundByHessian({ values, nOut, nIn }, hessian, bits, damp);
    }
    for (const batches of parts) {
      const { x } = batches[0]!;
      const forward = device.withoutGrad(() => device.record(() => ({ y: block.forward(x, Trace.none) })));
      for (const { values } of batches) {
        x.values().set(values);
        forward.run();
        values.set(forward.results.y.values());
      }
    }
  }
}

/** Rows of calibration text that go through a block at once. */
const ROWS_AT_ONCE = 4096;

/** What some windows are between two blocks. */
interface Batch {
  /** Where a block reads it, [B, T, D]; one tensor for all batches of one size. */
  readonly x: Tensor;
  readonly values: Float32Array;
}

/** Batches of one size, then what is left over, if anything. */
function chunksOf(windows: readonly ArrayLike<number>[], size: number): (readonly ArrayLike<number>[])[][] {
  const nFull = Math.floor(windows.length / size);
  const full = Array.from({ length: nFull }, (_, i) => windows.slice(i * size, (i + 1) * size));
  const rest = windows.slice(nFull * size);
  return [full, rest.length === 0 ? [] : [rest]].filter((batches) => batches.length > 0);
}

/** What batches of one size are when they enter the first block. */
function embedded(model: LanguageModel, batches: readonly (readonly ArrayLike<number>[])[], T: number): Batch[] {
  const { device, config } = model;
  const B = batches[0]!.length;
  const ids = device.zeros([B, T], 'i32');
  const x = device.zeros([B, T, config.dModel]);
  const program = device.withoutGrad(() =>
    device.record(() => {
      const trace = new Trace({ read: ['embed'] });
      model.forward(ids, trace);
      return { embed: trace.activations().get('embed')! };
    }),
  );
  return batches.map((windows) => {
    for (const [b, window] of windows.entries()) for (let t = 0; t < T; t++) ids.values()[b * T + t] = window[t]!;
    program.run();
    return { x, values: Float32Array.from(program.results.embed.values()) };
  });
}

/** Rounds each row to multiples of its own scale. */
export function roundRows({ values, nOut, nIn }: WeightMatrix, bits: number): void {
  for (let o = 0; o < nOut; o++) {
    const row = values.subarray(o * nIn, (o + 1) * nIn);
    const grid = gridOf(row, bits);
    for (let i = 0; i < nIn; i++) row[i] = nearestOn(grid, row[i]!);
  }
}

/** Channels whose errors are carried along together, so that a row of the factor is read once for all of them. */
const CHANNELS_AT_ONCE = 16;

/**
 * Rounds each row w to grid points q such that (w − q)·H·(w − q)ᵀ stays small, H = Σ x·xᵀ over the inputs x [I, I].
 * Overwrites `hessian` with its factor.
 */
export function roundByHessian(
  { values, nOut, nIn }: WeightMatrix,
  hessian: Float64Array,
  bits: number,
  damp: number,
): void {
  const diagonal = Float64Array.from({ length: nIn }, (_, i) => hessian[i * nIn + i]!);
  const order = [...diagonal.keys()].sort((a, b) => diagonal[b]! - diagonal[a]! || a - b);
  const mean = diagonal.reduce((sum, h) => sum + h, 0) / nIn;
  const factor = permuted(hessian, order);
  // Inputs that are always zero ask for nothing: any positive number keeps the factor regular.
  for (let i = 0; i < nIn; i++) factor[i * nIn + i]! += mean > 0 ? damp * mean : 1;
  factorUpper(factor, nIn);

  const carried = new Float64Array(CHANNELS_AT_ONCE * nIn);
  for (let o0 = 0; o0 < nOut; o0 += CHANNELS_AT_ONCE) {
    const n = Math.min(CHANNELS_AT_ONCE, nOut - o0);
    const rows = Array.from({ length: n }, (_, o) => values.subarray((o0 + o) * nIn, (o0 + o + 1) * nIn));
    const grids = rows.map((row) => gridOf(row, bits));
    carried.fill(0);
    for (let k = 0; k < nIn; k++) {
      const column = order[k]!;
      const line = factor.subarray(k * nIn, (k + 1) * nIn);
      for (let o = 0; o < n; o++) {
        const w = rows[o]![column]!;
        const sum = carried.subarray(o * nIn, (o + 1) * nIn);
        const q = nearestOn(grids[o]!, w + sum[k]! / line[k]!);
        rows[o]![column] = q;
        const error = w - q;
        for (let j = k + 1; j < nIn; j++) sum[j]! += error * line[j]!;
      }
    }
  }
}

/** Rows and columns in a new order. */
function permuted(matrix: Float64Array, order: readonly number[]): Float64Array {
  const n = order.length;
  const result = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const row = matrix.subarray(order[i]! * n, (order[i]! + 1) * n);
    for (let j = 0; j < n; j++) result[i * n + j] = row[order[j]!]!;
  }
  return result;
}

interface Grid {
  readonly step: number;
  readonly most: number;
}

function gridOf(row: Float32Array, bits: number): Grid {
  const most = 2 ** (bits - 1) - 1;
  let largest = 0;
  for (const w of row) largest = Math.max(largest, Math.abs(w));
  return { step: largest / most, most };
}

function nearestOn({ step, most }: Grid, w: number): number {
  return step === 0 ? 0 : step * Math.max(-most, Math.min(most, Math.round(w / step)));
}

function requireBits(where: string, bits: number): void {
  if (Number.isInteger(bits) && bits >= 2 && bits <= 16) return;
  throw new ConfigError([{ path: `${where}.bits`, expected: 'an integer in 2 … 16', got: `${bits}` }]);
}

function requireWindows({ config }: LanguageModel, windows: readonly ArrayLike<number>[]): void {
  const problems: ConfigProblem[] = [];
  const T = windows[0]?.length ?? 0;
  if (T < 1 || T > config.nCtx) {
    const expected = `windows of 1 … ${config.nCtx} tokens to calibrate on`;
    problems.push({ path: 'gptq.windows', expected, got: windows.length === 0 ? 'none' : `one of ${T}` });
  }
  const other = windows.find((window) => window.length !== T);
  if (other !== undefined) {
    problems.push({ path: 'gptq.windows', expected: `all of ${T} tokens`, got: `one of ${other.length}` });
  }
  if (problems.length > 0) throw new ConfigError(problems);
}

/** The weights of linear maps inside the blocks. */
function matricesOf(model: LanguageModel): WeightMatrix[] {
  return model.blocks.flatMap((block) =>
    linearsOf(block).map(({ weight }) => ({
      values: weight.values() as Float32Array,
      nOut: weight.shape[0]!,
      nIn: weight.shape[1]!,
    })),
  );
}

function linearsOf(part: Module): Linear[] {
  return Object.values(part).flatMap((field) =>
    field instanceof Linear ? [field] : field instanceof Module ? linearsOf(field) : [],
  );
}

/** The linear maps of a block in the order in which a forward pass comes to them. */
function linearsInOrder(block: LanguageModel['blocks'][number], x: Tensor): Linear[] {
  const order: Linear[] = [];
  const all = linearsOf(block);
  for (const linear of all) linear.observer = () => order.push(linear);
  try {
    x.device.withoutGrad(() => x.device.record(() => ({ y: block.forward(x, Trace.none) })));
  } finally {
    for (const linear of all) linear.observer = undefined;
  }
  return order;
}

/** What `linear` is given while `body` runs. */
function watch(linear: Linear, body: () => void): Tensor {
  let seen: Tensor | undefined;
  linear.observer = (input) => {
    seen = input;
  };
  try {
    body();
  } finally {
    linear.observer = undefined;
  }
  return seen!;
}
