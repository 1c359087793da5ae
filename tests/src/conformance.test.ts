import { Rng } from '@physlm/base';
import {
  type AnyOp,
  backward,
  type Device,
  type Dims,
  deviceNames,
  deviceStatus,
  Memory,
  NativeError,
  openDevice,
  ops,
  Tensor,
  type Tolerance,
} from '@physlm/model';
import { describe, expect, it } from 'vitest';

// Every declared op on every native device: against its reference in f64, on ragged shapes, with guard words around every
// buffer, twice and with several thread counts for equal bits.

const GUARD = 64;
const GUARD_BYTE = 0xa5;
const js = openDevice('js');

type Values = ArrayLike<number>;

/** The inputs of a call as plain numbers, so that each device gets the same ones. f32 values are exact in f64. */
function randomInputs(op: AnyOp, dims: Dims, rng: Rng): Record<string, { shape: number[]; values: number[] }> {
  return Object.fromEntries(
    Object.entries<string>(op.inputs).map(([name, axes]) => {
      const shape = [...axes].map((axis) => (axis === '1' ? 1 : dims[axis]!));
      const size = shape.reduce((p, n) => p * n, 1);
      const stream = rng.fork(name);
      if (name === 'starts') return [name, { shape, values: drawStarts(shape as [number, number], stream) }];
      return [name, { shape, values: Array.from({ length: size }, () => draw(op, name, dims, stream)) }];
    }),
  );
}

function draw(op: AnyOp, name: string, dims: Dims, rng: Rng): number {
  if (name === 'ids') return rng.below(dims.V!);
  if (name === 'targets') return rng.below(dims.V! + 1) - 1; // −1 is ignored
  if (name === 'positions') return rng.below(300);
  if (name === 'position') return rng.below(dims.S!);
  if (name === 'lengths') return rng.below(dims.V! + 1);
  if (name === 'v' && op.name === 'adamW') return Math.fround(rng.uniform());
  if (name === 'norm') return 3;
  return Math.fround(rng.normal());
}

/** Where the document of each position begins: short documents, long ones and, in the last sequence, one alone. */
function drawStarts([B, T]: readonly [number, number], rng: Rng): number[] {
  return Array.from({ length: B }, (_, b) => {
    const mean = 2 ** (1 + rng.below(6));
    let start = 0;
    return Array.from({ length: T }, (_, t) => {
      if ((b < B - 1 || B === 1) && rng.below(mean) === 0) start = t;
      return start;
    });
  }).flat();
}

/** AdamW's hyper-parameters after ten steps, with clipping at work. */
const hyper = [0.01, 0.9, 0.98, 1e-8, 0.1, 1 - 0.9 ** 10, 1 - 0.98 ** 10, 1];

interface Result {
  readonly outputs: Readonly<Record<string, Values>>;
  readonly grads: Readonly<Record<string, Values>>;
}

/** Calls an op and differentiates every differentiable output with random seeds. */
function call(
  op: AnyOp,
  dtype: 'f32' | 'f64',
  impl: 'native' | 'reference',
  inputs: ReturnType<typeof randomInputs>,
  attrs: AnyOp['cases'][number]['attrs'],
  make: (values: number[], shape: number[], dtype: 'f32' | 'f64' | 'i32') => Tensor,
): Result {
  const tensors = Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, values }]) => {
      const integer = op.integers?.includes(name) === true;
      const filled = op.name === 'adamW' && name === 'hyper' ? hyper.map(Math.fround) : values;
      const tensor = make(filled, shape, integer ? 'i32' : dtype);
      tensor.requiresGrad = !integer && op.backward !== 'none';
      return [name, tensor];
    }),
  );
  const results = op(tensors, attrs, { impl }) as Record<string, Tensor>;
  const outputs = Object.fromEntries(Object.entries(results).map(([name, y]) => [name, y.values().slice()]));
  const grads: Record<string, Values> = {};
  if (op.backward === 'none') return { outputs, grads };
  const differentiable = Object.keys(op.outputs).filter((name) => !op.auxiliary?.includes(name));
  for (const name of differentiable) {
    const rng = new Rng(`seed ${name}`);
    const y = results[name]!;
    const seed = make(
      Array.from({ length: y.size }, () => Math.fround(rng.normal())),
      [...y.shape],
      dtype,
    );
    backward(y, seed);
  }
  for (const [name, x] of Object.entries(tensors)) if (x.grad !== undefined) grads[name] = x.grad.values().slice();
  return { outputs, grads };
}

function expectClose(got: Values, expected: Values, { atol, rtol }: Tolerance, what: string): void {
  expect(got.length, what).toBe(expected.length);
  const scale = Math.max(1, Math.sqrt(Array.from(expected).reduce((s, x) => s + x * x, 0) / expected.length));
  let worst = 0;
  let at = 0;
  for (let i = 0; i < got.length; i++) {
    // Sums cancel: an element is as exact as the terms it is made of, whose size the whole array shows.
    const used = Math.abs(got[i]! - expected[i]!) / (atol * scale + rtol * Math.abs(expected[i]!));
    if (!(used <= worst)) [worst, at] = [used, i];
  }
  expect(
    worst,
    `${what}[${at}]: got ${got[at]}, expected ${expected[at]} (budget used: ${(100 * worst).toFixed(0)} %)`,
  ).toBeLessThanOrEqual(1);
}

/** Tensors of `device` with guard bytes before and behind; results of ops get them too. */
function guarded(device: Device): { make: Parameters<typeof call>[5]; check: () => void; restore: () => void } {
  const buffers: { bytes: Uint8Array; start: number; length: number }[] = [];
  const allocate = (byteLength: number): Memory => {
    const buffer = device.buffer(GUARD + byteLength + GUARD);
    const bytes = new Uint8Array(buffer).fill(GUARD_BYTE);
    // Poison: a kernel that adds to its output instead of writing it would show.
    new Float32Array(buffer, GUARD, byteLength / 4).fill(Number.NaN);
    buffers.push({ bytes, start: GUARD, length: byteLength });
    return new Memory(byteLength, { buffer, start: GUARD });
  };
  const empty = device.empty.bind(device);
  device.empty = (shape, dtype = 'f32') => {
    const size = shape.reduce((p, n) => p * n, 1);
    return new Tensor(device, allocate(size * 4), 0, dtype, shape);
  };
  return {
    make: (values, shape, dtype) => {
      const tensor = new Tensor(device, allocate(values.length * 4), 0, dtype, shape);
      tensor.values().set(values);
      return tensor;
    },
    check: () => {
      for (const { bytes, start, length } of buffers) {
        const outside = [...bytes.subarray(0, start), ...bytes.subarray(start + length)];
        expect(outside.every((byte) => byte === GUARD_BYTE)).toBe(true);
      }
    },
    restore: () => {
      device.empty = empty;
    },
  };
}

const show = (dims: Dims): string =>
  Object.entries(dims)
    .map(([axis, n]) => `${axis}${n}`)
    .join(' ');

for (const name of deviceNames.filter((device) => device !== 'js')) {
  const status = deviceStatus(name);
  if (!status.available) {
    it.skipIf(!status.available)(`ops on ${name} (skipped: ${status.reason})`, () => {});
    continue;
  }
  describe(`ops on ${name}`, () => {
    it('include all there are, forward and backward', () => {
      const kernels = ops.flatMap(({ name: op, backward: rule }) =>
        rule === 'none' || rule === 'autodiff' ? [`${op}_forward`] : [`${op}_forward`, `${op}_backward`],
      );
      const device = openDevice(name);
      expect(kernels.filter((kernel) => device.kernelIndex(kernel) === undefined)).toEqual([]);
    });
    for (const op of ops) {
      op.cases.forEach(({ dims, attrs }: { dims: Dims; attrs: AnyOp['cases'][number]['attrs'] }) => {
        it(`${op.name} ${show(dims)}`, () => {
          const inputs = randomInputs(op, dims, new Rng(`${op.name}/${show(dims)}`));
          const expected = call(op, 'f64', 'reference', inputs, attrs, (v, s, d) => js.tensor(v, s, d));
          const run = (nThread: number): Result => {
            const device = openDevice(name, { nThread });
            const guard = guarded(device);
            try {
              const result = call(op, 'f32', 'native', inputs, attrs, guard.make);
              guard.check();
              return result;
            } finally {
              guard.restore();
            }
          };
          const got = run(1);
          for (const [output, values] of Object.entries(expected.outputs)) {
            expectClose(got.outputs[output]!, values, op.tolerance, `${op.name}.${output}`);
          }
          expect(Object.keys(got.grads)).toEqual(Object.keys(expected.grads));
          for (const [input, values] of Object.entries(expected.grads)) {
            expectClose(got.grads[input]!, values, op.tolerance, `d ${op.name}.${input}`);
          }
          for (const nThread of [1, 2, 3]) expect(run(nThread)).toEqual(got);
        });
      });
    }
  });
}

describe('op declarations', () => {
  it('say where a call does not fit', () => {
    const op = ops.find(({ name }) => name === 'linear')!;
    const x = js.zeros([2, 3]);
    expect(() => op({ x, w: js.zeros([4, 5]) }, {})).toThrow('[linear.w] expected I=3, got 5');
    expect(() => op({ x: js.zeros([3]), w: js.zeros([4, 3]) }, {})).toThrow(
      '[linear.x] expected axes RI, got shape [3]',
    );
    expect(() => op({ x, w: js.zeros([4, 3], 'f64') }, {})).toThrow('[linear.w] expected f32, got f64');
    expect(() => op({ x, w: js.zeros([4, 3]) }, {}, { impl: 'native' })).toThrow(NativeError);
    expect(() => op({ x, w: js.zeros([4, 3]) }, {}, { impl: 'native' })).toThrow('device js has no fused kernels');
  });
  it('refuse tokens that are not in the vocabulary, on every device', () => {
    const op = ops.find(({ name }) => name === 'embedding')!;
    for (const name of deviceNames.filter((device) => deviceStatus(device).available)) {
      const device = openDevice(name);
      const ids = device.tensor([0, 7], [2], 'i32');
      expect(() => op({ ids, w: device.zeros([5, 4]) }, {})).toThrow(/7/);
    }
  });
});
