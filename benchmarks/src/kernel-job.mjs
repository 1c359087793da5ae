// A kernel call written down as JSON, and the numbers it runs on: the same in every contender.
import { ops } from '@physlm/model';

/** The declaration of a job's op. */
export function opOf({ op }) {
  const found = ops.find(({ name }) => name === op);
  if (found === undefined) throw new Error(`no op is called ${op}`);
  return found;
}

/** Element i of input `stream`: a function of both only, uniform with mean 0 and variance 1. */
export function value(stream, i) {
  let x = (Math.imul(i, 0x9e3779b1) + Math.imul(stream, 0x85ebca77)) >>> 0;
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) >>> 0;
  x = Math.imul(x ^ (x >>> 12), 0x297a2d39) >>> 0;
  x = (x ^ (x >>> 15)) >>> 0;
  return Math.fround((x / 2 ** 32 - 0.5) * Math.sqrt(12));
}

/** Sizes of axis letters. */
export function shapeOf(axes, dims) {
  return [...axes].map((axis) => (axis === '1' ? 1 : dims[axis]));
}

/** AdamW after ten steps, with clipping at work; the learning rate is small, so that weights stay where they are. */
const hyper = [1e-6, 0.9, 0.98, 1e-8, 0.1, 1 - 0.9 ** 10, 1 - 0.98 ** 10, 1];

/** What an input holds, where that is not just numbers. */
function special(op, name, dims) {
  if (name === 'hyper') return (i) => hyper[i];
  if (name === 'norm') return () => 3;
  if (name === 'v' && op.name === 'adamW') return (i) => Math.abs(value(4, i)) + 0.1;
  if (name === 'ids' || name === 'targets')
    return (i) => Math.floor((value(5, i) / Math.sqrt(12) + 0.5) * dims.V) % dims.V;
  if (name === 'positions') return (i) => i;
  if (name === 'position') return () => dims.S - 1;
  return undefined;
}

/** The inputs of a call by name. */
export function inputsOf(op, dims) {
  return Object.fromEntries(
    Object.entries(op.inputs).map(([name, axes], stream) => {
      const shape = shapeOf(axes, dims);
      const size = shape.reduce((product, n) => product * n, 1);
      const values = op.integers?.includes(name) ? new Int32Array(size) : new Float32Array(size);
      const give = special(op, name, dims) ?? ((i) => value(stream + 1, i));
      for (let i = 0; i < size; i++) values[i] = give(i);
      return [name, { values, shape }];
    }),
  );
}
