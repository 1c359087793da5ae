import { afterEach, describe, expect, it } from 'vitest';
import { absentCuda, type Operand, runCuda, toBf16 } from './cuda-runner.js';
import { noise } from './kernel-runner.js';

// Gradients of several weights in one call: on Hopper in one launch, elsewhere one by one.

const skipped = absentCuda === '' ? '' : ` (skipped: ${absentCuda})`;

afterEach(() => {
  for (const name of ['PHYSLM_CUDA_WITHOUT', 'PHYSLM_EMULATE_SM', 'PHYSLM_EMULATE_ORDER']) delete process.env[name];
});

interface Layer {
  readonly R: number;
  readonly I: number;
  readonly O: number;
}

const whole = (n: number, seed: number): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => ((((i + 7) * 2654435761 + seed * 40503) >>> 7) % 9) - 4);

/** dw of each layer in float64, and the call's operands. */
function call(layers: readonly Layer[], values: (n: number, seed: number) => Float64Array) {
  const operands = layers.map(({ R, I, O }, i) => ({ x: values(R * I, 2 * i + 1), dy: values(R * O, 2 * i + 2) }));
  const expected = layers.map(({ R, I, O }, layer) => {
    const { x, dy } = operands[layer]!;
    const dw = new Float64Array(O * I);
    for (let r = 0; r < R; r++)
      for (let o = 0; o < O; o++) for (let i = 0; i < I; i++) dw[o * I + i]! += dy[r * O + o]! * x[r * I + i]!;
    return dw;
  });
  const inputs = layers.flatMap(({ R, I, O }, layer): Operand[] => [
    { shape: [R, I], kind: 'bf16', data: operands[layer]!.x },
    { shape: [R, O], kind: 'bf16', data: operands[layer]!.dy },
  ]);
  return { expected, inputs, outputs: layers.map(({ I, O }): Operand => ({ shape: [O, I] })) };
}

// Tiles at the edge of 128 and of 192 columns, ragged rows; a layer that Hopper's kernel does not take (12 columns) and one
// without rows.
const layers: readonly Layer[] = [
  { R: 130, I: 192, O: 72 },
  { R: 130, I: 40, O: 264 },
  { R: 65, I: 12, O: 64 },
  { R: 64, I: 136, O: 128 },
  { R: 0, I: 64, O: 64 },
];
// Long sums in two chains where there are 512 rows for each.
const long: readonly Layer[] = [
  { R: 1100, I: 192, O: 128 },
  { R: 1030, I: 192, O: 200 },
  { R: 600, I: 192, O: 128 },
];

describe.skipIf(skipped !== '')(`gradients of several weights${skipped}`, () => {
  it.each([{}, { PHYSLM_CUDA_WITHOUT: 'gemm' }, { PHYSLM_EMULATE_SM: '80' }])(
    'are exact in whole numbers: %o',
    (way) => {
      Object.assign(process.env, way);
      const { expected, inputs, outputs } = call(layers, whole);
      expect(runCuda('linearWeights_backward', inputs, outputs)).toEqual(expected);
    },
  );

  it('are exact where sums have several chains', () => {
    const { expected, inputs, outputs } = call(long, whole);
    expect(runCuda('linearWeights_backward', inputs, outputs)).toEqual(expected);
  });

  it('are the same bits in any order of warps, and those of each alone where sums have one chain', () => {
    const some = layers.slice(0, 2);
    const { inputs, outputs } = call(some, (n, seed) => Float64Array.from(noise(n, seed), toBf16));
    const together = runCuda('linearWeights_backward', inputs, outputs);
    process.env.PHYSLM_EMULATE_ORDER = 'backward';
    expect(runCuda('linearWeights_backward', inputs, outputs)).toEqual(together);
    const alone = some.map(
      (_, i) => runCuda('linearWeights_backward', inputs.slice(2 * i, 2 * i + 2), [outputs[i]])[0],
    );
    expect(alone).toEqual(together);
  });

  it('come in more launches when there are more than parameters of one kernel hold', () => {
    const { expected, inputs, outputs } = call(
      Array.from({ length: 35 }, () => ({ R: 16, I: 32, O: 64 })),
      whole,
    );
    expect(runCuda('linearWeights_backward', inputs, outputs)).toEqual(expected);
  });

  it('say which tensor of which set does not fit', () => {
    const { inputs, outputs } = call([layers[0]!, layers[1]!], whole);
    const name = '[command 0: linearWeights_backward_cuda]';
    const wrong = [...outputs.slice(0, 1), { shape: [264, 41] }];
    expect(() => runCuda('linearWeights_backward', inputs, wrong)).toThrow(`${name}[output 1] expected I=40, got 41`);
    expect(() => runCuda('linearWeights_backward', inputs.slice(1), outputs)).toThrow(
      `${name} expected a multiple of 2 inputs, got 3`,
    );
    expect(() => runCuda('linearWeights_backward', inputs, outputs.slice(1))).toThrow(
      `${name} expected 2 outputs, got 1`,
    );
  });
});
