// Weights rounded to few bits, for evaluation: how much of what a model knows survives.
// Axes: O outputs (channels), I input features, B windows at once, T position, D dModel.
import { ConfigError, type ConfigProblem } from '@physlm/base';
import type { Device } from './device.js';
import { ExpertMlp } from './expert-mlp.js';
import { factorUpper } from './factor-upper.js';
import type { Block, LanguageModel } from './language-model.js';
import { Linear } from './layers.js';
import { Module } from './module.js';
import { matmul, reshape, slice } from './primitives.js';
import type { Tensor, Values } from './tensor.js';
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
 * Hessians are f32 products summed in f64, and so is what blocks of columns do to each other; within a block all is f64.
 * Deterministic.
 *
 * @throws ConfigError when bits is not in 2 … 16, there is no calibration text, windows differ in length, or the model has
 * weights that are no linear maps (mixtures of experts).
 * @see Frantar et al. 2023, GPTQ, arXiv:2210.17323, Algorithm 1. Differs from the paper: the equivalent form without the
 * inverse Hessian, in which column k aims at wₖ + Σ_{j<k} eⱼ·Rⱼₖ/Rₖₖ for H = R·Rᵀ, R upper triangular, and errors e.
 */
export function gptq(model: LanguageModel, { bits, windows, damp = 0.01 }: GptqOptions): void {
  requireBits('gptq', bits);
  requireWindows(model, windows);
  if (model.blocks.some((block) => expertsOf(block).length > 0)) {
    const expected = 'a model whose weights are linear maps';
    throw new ConfigError(
      [{ path: 'gptq.model', expected, got: 'one with a mixture of experts' }],
      'Round it to nearest.',
    );
  }
  const T = windows[0]!.length;
  const B = Math.max(1, Math.floor(ROWS_AT_ONCE / T));
  const parts = chunksOf(windows, B).map((some) => embedded(model, some, T));
  for (const block of model.blocks) {
    const linears = linearsInOrder(block, parts[0]!.x);
    for (const [i, linear] of linears.entries()) {
      // What the second map and those behind it are given is kept, so that no program begins again at the block's entrance. The
      // last one is often the widest, and is computed twice instead.
      const keeps = i > 0 && i < linears.length - 1;
      const hessian = new Float64Array(linear.weight.shape[1]! ** 2);
      for (const part of parts) addHessian(block, linear, part, keeps, hessian);
      const [nOut, nIn] = linear.weight.shape as [number, number];
      const matrix = { values: linear.weight.values() as Float32Array, nOut, nIn };
      roundByHessian(matrix, hessian, { bits, damp, device: model.device });
    }
    for (const part of parts) leaveBlock(block, part);
  }
}

/** Rows of calibration text that go through a block at once. */
const ROWS_AT_ONCE = 4096;

/** Batches of windows of one size, between two blocks. */
interface Part {
  /** Where a block reads a batch, [B, T, D]. */
  readonly x: Tensor;
  readonly batches: Float32Array[];
  /** Where the documents of a batch begin, in a model that tells them apart. */
  readonly starts: { readonly place: Tensor; readonly batches: readonly Values[] } | undefined;
  /** What maps of the present block were given, once they are rounded: where a program reads it, and the batches. */
  readonly inputs: Map<Linear, { readonly place: Tensor; readonly batches: Float32Array[] }>;
}

/** Adds the upper triangle of Σ x·xᵀ over what `linear` is given by the maps before it; and keeps that, if asked. */
function addHessian(block: Block, linear: Linear, part: Part, keeps: boolean, hessian: Float64Array): void {
  const nIn = linear.weight.shape[1]!;
  const { device } = part.x;
  const program = device.withoutGrad(() =>
    device.record(() => {
      const input = inputOf(block, linear, part);
      const rows = reshape(input, [input.size / nIn, nIn]);
      return { input, ...productsOf(rows) };
    }),
  );
  const kept: Float32Array[] = [];
  for (const batch of part.batches.keys()) {
    load(part, batch);
    program.run();
    const { input, ...products } = program.results as Record<string, Tensor>;
    let from = 0;
    for (const product of Object.values(products)) {
      const width = product.shape[1]!;
      addColumns(product.values(), width, from, hessian, nIn);
      from += width;
    }
    if (keeps) kept.push((input!.values() as Float32Array).slice());
  }
  if (keeps) part.inputs.set(linear, { place: device.zeros(program.results.input!.shape), batches: kept });
}

/** Columns of a Hessian that are computed at once: with all rows above them, which is all that symmetry leaves to do. */
const COLUMNS_AT_ONCE = 256;

/** The upper triangle of rowsᵀ·rows by columns, each block of columns down to its own last row. */
function productsOf(rows: Tensor): Record<string, Tensor> {
  const nIn = rows.shape[1]!;
  const products: Record<string, Tensor> = {};
  for (let from = 0; from < nIn; from += COLUMNS_AT_ONCE) {
    const to = Math.min(nIn, from + COLUMNS_AT_ONCE);
    const part = (begin: number): Tensor => (begin === 0 && to === nIn ? rows : slice(rows, 1, begin, to));
    products[`columns ${from}`] = matmul(part(0), part(from), { transA: true });
  }
  return products;
}

/** Adds the rows that a block of columns has. */
function addColumns(product: Values, width: number, from: number, hessian: Float64Array, nIn: number): void {
  for (let row = 0; row < from + width; row++) {
    for (let c = 0; c < width; c++) hessian[row * nIn + from + c]! += product[row * width + c]!;
  }
}

/** Takes every batch through a block whose maps are all rounded. */
function leaveBlock(block: Block, part: Part): void {
  const { device } = part.x;
  const forward = device.withoutGrad(() =>
    device.record(() =>
      intercepting(part, undefined, () => ({ y: block.forward(part.x, Trace.none, part.starts?.place) })),
    ),
  );
  for (const [batch, values] of part.batches.entries()) {
    load(part, batch);
    forward.run();
    values.set(forward.results.y.values());
  }
  part.inputs.clear();
}

function load({ x, batches, starts, inputs }: Part, batch: number): void {
  x.values().set(batches[batch]!);
  starts?.place.values().set(starts.batches[batch]!);
  for (const { place, batches: kept } of inputs.values()) place.values().set(kept[batch]!);
}

/** What `linear` is given in a forward pass in which maps whose inputs are kept take those. */
function inputOf(block: Block, linear: Linear, part: Part): Tensor {
  let seen: Tensor | undefined;
  const see = (x: Tensor): Tensor => {
    seen = x;
    return x;
  };
  intercepting(part, [linear, see], () => block.forward(part.x, Trace.none, part.starts?.place));
  return seen!;
}

function intercepting<T>({ inputs }: Part, other: [Linear, (x: Tensor) => Tensor] | undefined, body: () => T): T {
  for (const [linear, { place }] of inputs) linear.intercept = () => place;
  if (other !== undefined) other[0].intercept = other[1];
  try {
    return body();
  } finally {
    for (const linear of inputs.keys()) linear.intercept = undefined;
    if (other !== undefined) other[0].intercept = undefined;
  }
}

/** Batches of one size, then what is left over, if anything. */
function chunksOf(windows: readonly ArrayLike<number>[], size: number): (readonly ArrayLike<number>[])[][] {
  const nFull = Math.floor(windows.length / size);
  const full = Array.from({ length: nFull }, (_, i) => windows.slice(i * size, (i + 1) * size));
  const rest = windows.slice(nFull * size);
  return [full, rest.length === 0 ? [] : [rest]].filter((batches) => batches.length > 0);
}

/** What batches of one size are when they enter the first block. */
function embedded(model: LanguageModel, batches: readonly (readonly ArrayLike<number>[])[], T: number): Part {
  const { device, config } = model;
  const B = batches[0]!.length;
  const ids = device.zeros([B, T], 'i32');
  const program = device.withoutGrad(() =>
    device.record(() => {
      const trace = new Trace({ read: ['embed'] });
      model.forward(ids, trace);
      const starts = model.documentStarts(ids);
      return { embed: trace.activations().get('embed')!, ...(starts && { starts }) };
    }),
  );
  const results: { readonly embed: Tensor; readonly starts?: Tensor } = program.results;
  const starts = results.starts && { place: device.zeros([B, T], 'i32'), batches: [] as Values[] };
  return {
    x: device.zeros([B, T, config.dModel]),
    starts,
    inputs: new Map(),
    batches: batches.map((windows) => {
      for (const [b, window] of windows.entries()) for (let t = 0; t < T; t++) ids.values()[b * T + t] = window[t]!;
      program.run();
      if (starts !== undefined) starts.batches.push(results.starts!.values().slice());
      return (results.embed.values() as Float32Array).slice();
    }),
  };
}

/** Rounds each row to multiples of its own scale. */
export function roundRows({ values, nOut, nIn }: WeightMatrix, bits: number): void {
  for (let o = 0; o < nOut; o++) {
    const row = values.subarray(o * nIn, (o + 1) * nIn);
    const grid = gridOf(row, bits);
    for (let i = 0; i < nIn; i++) row[i] = nearestOn(grid, row[i]!);
  }
}

/** How {@link roundByHessian} rounds. */
export interface HessianRounding {
  readonly bits: number;
  /** What is added to the diagonal of the Hessian, as a share of its mean. */
  readonly damp: number;
  /** Where products of blocks of columns are made. */
  readonly device: Device;
}

/** Columns that are rounded one after another before what they err is passed on to all behind them. */
const BLOCK = 64;

/**
 * Rounds each row w to grid points q such that (w − q)·H·(w − q)ᵀ stays small, H = Σ x·xᵀ over the inputs x [I, I], of which
 * the upper triangle is read. Overwrites `hessian` with the factor.
 */
export function roundByHessian(
  { values, nOut, nIn }: WeightMatrix,
  hessian: Float64Array,
  { bits, damp, device }: HessianRounding,
): void {
  const diagonal = Float64Array.from({ length: nIn }, (_, i) => hessian[i * nIn + i]!);
  const order = Int32Array.from(diagonal.keys()).sort((a, b) => diagonal[b]! - diagonal[a]! || a - b);
  const mean = diagonal.reduce((sum, h) => sum + h, 0) / nIn;
  const factor = permuted(hessian, order);
  // Inputs that are always zero ask for nothing: any positive number keeps the factor regular.
  for (let i = 0; i < nIn; i++) factor[i * nIn + i]! += mean > 0 ? damp * mean : 1;
  factorUpper(factor, nIn, device);

  const grids = Array.from({ length: nOut }, (_, o) => gridOf(values.subarray(o * nIn, (o + 1) * nIn), bits));
  const carried = new Float64Array(nOut * nIn); // Σ eⱼ·Rⱼₖ over the columns before k, in the new order
  for (let begin = 0; begin < nIn; begin += BLOCK) {
    const end = Math.min(nIn, begin + BLOCK);
    const errors = device.zeros([nOut, end - begin]);
    const error_OK = errors.values();
    for (const [o, grid] of grids.entries()) {
      for (let k = begin; k < end; k++) {
        const at = o * nIn + order[k]!;
        const w = values[at]!;
        const q = nearestOn(grid, w + carried[o * nIn + k]! / factor[k * nIn + k]!);
        values[at] = q;
        const error = w - q;
        error_OK[o * (end - begin) + k - begin] = error;
        for (let j = k + 1; j < end; j++) carried[o * nIn + j]! += error * factor[k * nIn + j]!;
      }
    }
    if (end < nIn) passOn(errors, factor, begin, end, carried);
  }
}

/** carried += errors·R over the columns behind a block. */
function passOn(errors: Tensor, factor: Float64Array, begin: number, end: number, carried: Float64Array): void {
  const { device } = errors;
  const nOut = errors.shape[0]!;
  const nIn = carried.length / nOut;
  const nBehind = nIn - end;
  const lines = device.zeros([end - begin, nBehind]);
  for (let k = begin; k < end; k++) {
    lines.values().set(factor.subarray(k * nIn + end, (k + 1) * nIn), (k - begin) * nBehind);
  }
  using _scope = device.scope('gptq');
  const sums = device.withoutGrad(() => matmul(errors, lines)).values();
  for (let o = 0; o < nOut; o++) {
    for (let j = 0; j < nBehind; j++) carried[o * nIn + end + j]! += sums[o * nBehind + j]!;
  }
}

/** Rows and columns in a new order; of both, the upper triangle. */
function permuted(matrix: Float64Array, order: Int32Array): Float64Array {
  const n = order.length;
  const result = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      const [row, column] = order[i]! < order[j]! ? [order[i]!, order[j]!] : [order[j]!, order[i]!];
      result[i * n + j] = matrix[row * n + column]!;
    }
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

/** The weights of linear maps inside the blocks; the outputs of all experts are channels of one matrix. */
function matricesOf(model: LanguageModel): WeightMatrix[] {
  const weights = model.blocks.flatMap((block) => [
    ...linearsOf(block).map(({ weight }) => weight),
    ...expertsOf(block).flatMap(({ up, down }) => [up, down]),
  ]);
  return weights.map((weight) => {
    const nIn = weight.shape.at(-1)!;
    return { values: weight.values() as Float32Array, nOut: weight.size / nIn, nIn };
  });
}

function expertsOf(part: Module): ExpertMlp[] {
  return Object.values(part).filter((field) => field instanceof ExpertMlp);
}

function linearsOf(part: Module): Linear[] {
  return Object.values(part).flatMap((field) =>
    field instanceof Linear ? [field] : field instanceof Module ? linearsOf(field) : [],
  );
}

/** The linear maps of a block in the order in which a forward pass comes to them. */
function linearsInOrder(block: Block, x: Tensor): Linear[] {
  const order: Linear[] = [];
  const all = linearsOf(block);
  for (const linear of all) {
    linear.intercept = (input) => {
      order.push(linear);
      return input;
    };
  }
  try {
    x.device.withoutGrad(() => x.device.record(() => ({ y: block.forward(x, Trace.none) })));
  } finally {
    for (const linear of all) linear.intercept = undefined;
  }
  return order;
}
