import { Rng } from '@physlm/base';
import { describe, expect, it } from 'vitest';
import * as model from '../src/index.js';
import { expectGradients, randomLeaf } from './finite-differences.js';

const device = model.openDevice('js');
const { add, sub, mul, div, matmul, reshape } = model;

type Case = [name: string, shapes: number[][], f: (...x: model.Tensor[]) => model.Tensor, low?: number];

const ids = (values: number[], shape = [values.length]): model.Tensor => device.tensor(values, shape, 'i32');

describe('gradients of primitives, against central differences in f64', () => {
  const cases: Case[] = [
    [
      'add',
      [
        [2, 3],
        [2, 3],
      ],
      add,
    ],
    ['add, broadcast row', [[2, 3], [3]], add],
    [
      'add, broadcast column',
      [
        [2, 1, 3],
        [4, 1],
      ],
      add,
    ],
    ['sub', [[4], [2, 4]], sub],
    [
      'mul',
      [
        [2, 3],
        [2, 1],
      ],
      mul,
    ],
    ['mul with itself', [[3]], (x) => mul(x, x)],
    ['div', [[2, 3], [3]], div, 0.5],
    ['scale', [[3]], (x) => model.scale(x, -2.5)],
    ['shift', [[3]], (x) => model.shift(x, 2)],
    ['exp', [[4]], model.exp],
    ['log', [[4]], model.log, 0.3],
    ['tanh', [[4]], model.tanh],
    ['sqrt', [[4]], model.sqrt, 0.3],
    ['sum, middle axis', [[2, 3, 2]], (x) => model.sum(x, 1)],
    ['sum, last axis', [[2, 3]], (x) => model.sum(x, -1)],
    ['sumTo', [[2, 3, 4]], (x) => model.sumTo(x, [3, 1])],
    ['expand', [[2, 1, 3]], (x) => model.expand(x, [2, 4, 3])],
    ['reshape', [[2, 6]], (x) => mul(reshape(x, [3, 4]), reshape(x, [3, 4]))],
    ['transpose', [[2, 3, 4]], (x) => model.transpose(x, [2, 0, 1])],
    [
      'matmul NN',
      [
        [3, 4],
        [4, 2],
      ],
      (a, b) => matmul(a, b),
    ],
    [
      'matmul NT',
      [
        [3, 4],
        [2, 4],
      ],
      (a, b) => matmul(a, b, { transB: true }),
    ],
    [
      'matmul TN',
      [
        [4, 3],
        [4, 2],
      ],
      (a, b) => matmul(a, b, { transA: true }),
    ],
    [
      'matmul TT, batched',
      [
        [2, 4, 3],
        [2, 5, 4],
      ],
      (a, b) => matmul(a, b, { transA: true, transB: true }),
    ],
    ['slice', [[3, 5]], (x) => model.slice(x, 1, 1, 4)],
    [
      'concat',
      [
        [2, 2],
        [2, 3],
      ],
      (a, b) => model.concat([a, b, a], 1),
    ],
    ['causalFill', [[2, 3, 4]], (x) => model.causalFill(x, 7)],
    ['fillBefore', [[2, 2, 3, 4]], (x) => model.fillBefore(x, ids([0, 1, 3, 2, 4, 0], [2, 3]), 7)],
    ['gather, repeated rows', [[4, 3]], (w) => model.gather(w, ids([2, 0, 2]))],
    ['pick, one ignored', [[3, 4]], (x) => model.pick(x, ids([1, -1, 3]), -1)],
    ['keepTargets', [[3]], (x) => model.keepTargets(x, ids([1, -1, 3]), -1)],
  ];
  it.each(cases)('%s', (name, shapes, f, low = -1) => {
    const rng = new Rng(name);
    const leaves = shapes.map((shape, i) => randomLeaf(device, shape, rng.at(i), low, low + 2));
    expectGradients(leaves, () => [f(...leaves)]);
  });
});

describe('gradients of op references, against central differences in f64', () => {
  /** Small enough that thousands of evaluations stay fast. */
  const small = (dims: model.Dims): boolean => Object.values(dims).reduce((p, n) => p * n, 1) < 6000;
  for (const op of model.ops) {
    if (op.backward === 'none') continue;
    op.cases
      .filter(({ dims }) => small(dims))
      .slice(0, 3)
      .forEach(({ dims, attrs }, index) => {
        it(`${op.name} ${JSON.stringify(dims)}`, () => {
          const rng = new Rng(`${op.name} ${index}`);
          const inputs = Object.fromEntries(
            Object.entries<string>(op.inputs).map(([name, axes]) => {
              const shape = [...axes].map((axis) => dims[axis]!);
              if (!op.integers?.includes(name)) return [name, randomLeaf(device, shape, rng.fork(name))];
              const limit = dims.V ?? 20;
              const T = shape.at(-1)!;
              // Documents of four positions, or any tokens and positions.
              const value = (i: number): number => (name === 'starts' ? (i % T) - ((i % T) % 4) : rng.below(limit));
              const size = shape.reduce((p, n) => p * n, 1);
              return [
                name,
                device.tensor(
                  Array.from({ length: size }, (_, i) => value(i)),
                  shape,
                  'i32',
                ),
              ];
            }),
          );
          const leaves = Object.values(inputs).filter((x) => x.requiresGrad);
          const outputs = Object.keys(op.outputs).filter((name) => !op.auxiliary?.includes(name));
          expectGradients(leaves, () => {
            const results = op(inputs, attrs);
            return outputs.map((name) => results[name]!);
          });
        });
      });
  }
});

describe('reverse pass', () => {
  it('adds up the gradients of a leaf that is used several times, in its given place', () => {
    const w = randomLeaf(device, [3], new Rng(1));
    w.grad = device.zeros([3], 'f64');
    const place = w.grad;
    const y = add(add(mul(w, w), w), w);
    model.backward(y, device.tensor([1, 1, 1], [3], 'f64'));
    expect(w.grad).toBe(place);
    for (const [i, x] of w.values().entries()) expect(place.values()[i]).toBeCloseTo(2 * x + 2, 12);
  });
  it('refuses a seed of another shape and a constant output', () => {
    const w = randomLeaf(device, [3], new Rng(1));
    expect(() => model.backward(mul(w, w), device.zeros([2], 'f64'))).toThrow('[backward.seed] expected shape [3]');
    const constant = device.withoutGrad(() => mul(w, w));
    expect(() => model.backward(constant, device.zeros([3], 'f64'))).toThrow('got a constant');
  });
});
