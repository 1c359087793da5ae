// Runs one kernel on tensors that lie between guard words, so that a write out of place is seen.
import { loadNative, type NativeBinding } from '../ts/index.js';

export const report = loadNative();
export const native = report.binding as NativeBinding;
/** For `describe.skipIf`: true, and said once, when no addon could be built here. */
export const absent = report.binding === undefined;
if (absent) console.log(`native tests skipped: ${report.tried.map((t) => `${t.id}: ${t.problem}`).join('; ')}`);

export interface Spec {
  readonly shape: readonly number[];
  /** Data of an input; an output's starting contents. NaN when absent. */
  readonly data?: ArrayLike<number>;
  readonly dtype?: 'f32' | 'i32';
  /** Index of the input whose memory this output is. */
  readonly alias?: number;
  /** A null output. */
  readonly absent?: boolean;
}

const GUARD = 24;
const GUARD_WORD = 0x5ca1ab1e;

export const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Outputs as float64 copies (empty for null ones). Throws when a guard word changed. */
export function runKernel(
  name: string,
  inputs: readonly Spec[],
  outputs: readonly Spec[],
  attrs: readonly number[] = [],
  how: 'launch' | 'plan' = 'launch',
): Float64Array[] {
  const kernel = native.manifest().findIndex((k) => k.name === `${name}_cpu`);
  if (kernel < 0) throw new Error(`no kernel ${name}`);
  const all = [...inputs, ...outputs];
  const starts: number[] = [];
  let at = GUARD;
  all.forEach((spec, i) => {
    if (spec.alias !== undefined) starts[i] = starts[spec.alias] as number;
    else if (spec.absent) starts[i] = -1;
    else {
      starts[i] = at;
      at += size(spec.shape) + GUARD + (i % 3); // odd distances: alignment to 4 bytes is all that is promised
    }
  });
  const buffer = new ArrayBuffer(4 * at);
  const f = new Float32Array(buffer);
  const n = new Int32Array(buffer);
  n.fill(GUARD_WORD);
  const mine = new Uint8Array(at);
  all.forEach((spec, i) => {
    if (spec.absent || spec.alias !== undefined) return;
    const start = starts[i] as number;
    const count = size(spec.shape);
    mine.fill(1, start, start + count);
    if (spec.data) (spec.dtype === 'i32' ? n : f).set(spec.data, start);
    else f.fill(Number.NaN, start, start + count);
  });
  const commands = [kernel, inputs.length, outputs.length, attrs.length];
  all.forEach((spec, i) => {
    const start = starts[i] as number;
    commands.push(
      start < 0 ? -1 : 0,
      Math.max(0, 4 * start),
      spec.dtype === 'i32' ? 2 : 0,
      spec.shape.length,
      ...spec.shape,
    );
  });
  commands.push(...attrs);
  const words = Float64Array.from(commands);
  const before = n.slice();
  if (how === 'launch') native.launch(words, [buffer]);
  else native.run(native.compile(words, [buffer]));
  for (let i = 0; i < at; i++) {
    if (mine[i] === 0 && n[i] !== GUARD_WORD) throw new Error(`${name} wrote outside its tensors, at word ${i}`);
  }
  // Inputs stay as they were, unless an output lies there.
  inputs.forEach((spec, i) => {
    if (outputs.some((o) => o.alias === i)) return;
    const start = starts[i] as number;
    for (let w = start; w < start + size(spec.shape); w++) {
      if (n[w] !== before[w]) throw new Error(`${name} wrote to input ${i}`);
    }
  });
  return outputs.map((spec, i) => {
    const start = starts[inputs.length + i] as number;
    if (start < 0) return new Float64Array(0);
    return Float64Array.from(f.subarray(start, start + size(spec.shape)));
  });
}

/** Standard-normal-ish numbers, exact in f32, from a seed. */
export function noise(count: number, seed: number, scale = 1): Float64Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
  return Float64Array.from({ length: count }, () => Math.fround(scale * (next() + next() + next() - 1.5) * 2));
}

/** Largest |got − want| / (atol + rtol·|want|), so at most 1 is good. NaN must meet NaN, ±Infinity its like. */
export function misfit(got: Float64Array, want: Float64Array, atol: number, rtol = atol): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < got.length; i++) {
    const g = got[i] as number;
    const w = want[i] as number;
    if (Object.is(g, w) || (g === w && !Number.isFinite(w)) || (Number.isNaN(g) && Number.isNaN(w))) continue;
    const error = Math.abs(g - w) / (atol + rtol * Math.abs(w));
    worst = Math.max(worst, Number.isNaN(error) ? Number.POSITIVE_INFINITY : error);
  }
  return worst;
}

const THREADS = [1, 2, 3, 8];

/** Expected values of an output, and how far off they may be. */
export interface Want {
  readonly values: Float64Array;
  readonly atol: number;
}

/** Runs on every thread count: the first must fit the reference, the others must have its bits. */
export function check(
  name: string,
  inputs: Spec[],
  outputs: Spec[],
  attrs: number[],
  wants: readonly (Want | undefined)[],
): void {
  let first: Float64Array[] | undefined;
  for (const n of THREADS) {
    native.setThreads(n);
    const got = runKernel(name, inputs, outputs, attrs, n === 2 ? 'plan' : 'launch');
    if (first) {
      const bits = (values: Float64Array): Buffer => Buffer.from(values.buffer);
      const kept = first;
      const same = got.every((values, i) => bits(values).equals(bits(kept[i] as Float64Array)));
      if (!same) throw new Error(`${name} [${inputs.map((s) => s.shape.join('×'))}] has other bits on ${n} threads`);
      continue;
    }
    first = got;
    wants.forEach((want, i) => {
      if (!want) return;
      const worst = misfit(got[i] as Float64Array, want.values, want.atol);
      if (!(worst <= 1)) {
        throw new Error(
          `${name} [${inputs.map((s) => s.shape.join('×'))}] (${attrs}) output ${i}: ${worst} times the tolerance`,
        );
      }
    });
  }
}

/** A float input. */
export const f = (shape: number[], data: ArrayLike<number>): Spec => ({ shape, data });
/** An integer input. */
export const ids = (shape: number[], data: ArrayLike<number>): Spec => ({ shape, data, dtype: 'i32' });
/** An output. */
export const out = (...shape: number[]): Spec => ({ shape });
export const want = (values: Float64Array, atol: number): Want => ({ values, atol });
