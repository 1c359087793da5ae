import { Rng } from '@physlm/base';
import { buildModel, deviceStatus, gpt2, type LanguageModel, llama, type ModelConfig, openDevice } from '@physlm/model';
import { describe, expect, it } from 'vitest';
import { BatchNorm } from '../src/batch-norm.js';
import type { EmbeddingProgramOptions } from '../src/embedding-probe-module.js';
import { EmbeddingProgram, type LabelledInput } from '../src/embedding-probe-program.js';
import { draws, noise } from './made-up.js';

const devices = (['js', 'cpu'] as const).filter((name) => deviceStatus(name).available).map((name) => openDevice(name));
const configs: Readonly<Record<string, ModelConfig>> = {
  rotary: gpt2(2, 2, { dModel: 8, dVocab: 7, nCtx: 16, initStd: 0.3 }),
  absolute: gpt2(2, 2, { dModel: 8, dVocab: 7, nCtx: 16, initStd: 0.3, position: 'absolute' }),
  relative: gpt2(1, 2, { dModel: 8, dVocab: 7, nCtx: 16, initStd: 0.3, position: 'relative' }),
  llama: llama(2, 2, { dModel: 8, dVocab: 7, nCtx: 16, initStd: 0.3 }),
};
const sizes: EmbeddingProgramOptions = {
  readout: { norm: 'none' },
  rank: 2,
  nNewToken: 2,
  nClass: [3, 2],
  batchSize: 4,
  dropout: 0,
  weightDecay: 0,
  eps: 1e-8,
};

/** Texts of different lengths that end in a new token, two reads each. */
const batch: LabelledInput[] = Array.from({ length: 4 }, (_, b) => {
  const rng = new Rng('text').at(b);
  const n = 3 + 2 * b;
  return {
    ids: [...draws(rng, n, 7), 7 + (b % 2)],
    positions: [1, n],
    labels: [[rng.below(3), -1], draws(rng, 2, 2)],
  };
});

const lossAt = (program: EmbeddingProgram, state: ReturnType<EmbeddingProgram['fresh']>): number => {
  const copy = { ...state, m: state.m.slice(), v: state.v.slice(), averages: state.averages.map((x) => x.slice()) };
  return program.train(copy, batch, 0);
};

describe.each(devices)('the recorded steps on $name', (device) => {
  const model = (name: string, seed = 'model'): LanguageModel => buildModel(device, configs[name]!, new Rng(seed));

  it.each([
    ['rotary', 'none', 'norm'],
    ['rotary', 'layer', 'blocks.0.residPost'],
    ['absolute', 'batch', 'norm'],
    ['relative', 'none', 'norm'],
    ['llama', 'layer', 'norm'],
  ] as const)('train with the gradient of the loss: %s, norm %s, at %s', (name, norm, layer) => {
    const program = new EmbeddingProgram(model(name), { ...sizes, readout: { norm, layer } }, new Rng(1));
    const state = program.fresh([3, 2], new Rng(2));
    // Away from the start, where the update is 0 and one of its factors has no gradient.
    for (let step = 0; step < 3; step++) program.train(state, batch, 0.02);
    program.putBack();
    const probe = { ...state, m: new Float32Array(state.m.length), v: new Float32Array(state.v.length), nTrained: 0 };
    program.train(probe, batch, 0);
    program.putBack();
    // The first moment after one step is (1 − 0.9)·gradient.
    const gradient = Array.from(probe.m, (x) => x / (1 - 0.9));
    const size = Math.sqrt(gradient.reduce((a, x) => a + x * x, 0));
    expect(size).toBeGreaterThan(0.01);
    // Along the gradient, and along random directions.
    const directions = [gradient.map((x) => x / size)];
    for (let k = 0; k < 4; k++) {
      const rng = new Rng('direction').at(k);
      directions.push(gradient.map((x) => (x === 0 ? 0 : rng.normal() / Math.sqrt(gradient.length))));
    }
    for (const direction of directions) {
      const h = 3e-3;
      const moved = (by: number): number =>
        lossAt(program, { ...state, weights: state.weights.map((w, i) => w + by * direction[i]!) });
      const slope = (moved(h) - moved(-h)) / (2 * h);
      const expected = direction.reduce((a, x, i) => a + x * gradient[i]!, 0);
      expect(Math.abs(slope - expected)).toBeLessThan(0.01 * size + 3e-4);
    }
  });

  it('add the update to the embedding: by hand, new tokens included', () => {
    const gpt = model('absolute');
    const program = new EmbeddingProgram(gpt, { ...sizes, readout: { layer: 'embed' } }, new Rng(1));
    const state = program.fresh([3, 2], new Rng(2));
    for (let step = 0; step < 5; step++) program.train(state, batch, 0.02);
    program.putBack();
    const table = gpt.parameters().get('embed.weight')!.toArray();
    const places = gpt.parameters().get('positions.weight')!.toArray();
    const s = Math.sqrt(table.reduce((a, x) => a + x * x, 0) / table.length);
    const update = program.embeddingUpdate(state);
    // The arena's order: tokens [9, 2], directions [8, 2], new tokens [8, 2], head [5, 8], bias [5], slots of 16.
    const newTokens = state.weights.subarray(32 + 16, 32 + 32);
    const head = state.weights.subarray(32 + 32, 32 + 32 + 40);
    const bias = state.weights.subarray(32 + 32 + 48, 32 + 32 + 48 + 5);
    const logits = program.logits(state, batch);
    for (const [b, { ids, positions }] of batch.entries()) {
      for (const [read, p] of positions.entries()) {
        const token = ids[p]!;
        const row = Array.from(update(token), (x, i) => {
          const own = token < 7 ? table[token * 8 + i]! : s * newTokens[i * 2 + token - 7]!;
          return x + own + places[p * 8 + i]!;
        });
        const expected = Array.from(bias, (x, c) => x + row.reduce((a, e, i) => a + e * head[c * 8 + i]!, 0));
        const got = [
          ...logits[b]![0]!.subarray(read * 3, read * 3 + 3),
          ...logits[b]![1]!.subarray(read * 2, read * 2 + 2),
        ];
        for (const [c, x] of got.entries()) expect(x).toBeCloseTo(expected[c]!, 4);
      }
    }
    // Rank 2: any three rows of the update are dependent.
    const read = new Set(batch.map(({ ids, positions }) => ids[positions[0]!]!));
    expect(read.size).toBeGreaterThan(2);
    const rows = [...read].slice(0, 3).map((token) => Array.from(update(token)));
    const gram = rows.map((a) => rows.map((c) => a.reduce((sum, x, i) => sum + x * c[i]!, 0)));
    const [[a, d, e], [, f, g], [, , k]] = gram as [number[], number[], number[]];
    const determinant = a! * (f! * k! - g! * g!) - d! * (d! * k! - g! * e!) + e! * (d! * g! - f! * e!);
    expect(a! * f! * k!).toBeGreaterThan(0);
    expect(Math.abs(determinant)).toBeLessThan(1e-4 * a! * f! * k!);
  });

  it('leave the model as it is, and its gradients alone', () => {
    const gpt = model('rotary');
    const before = [...gpt.parameters()].map(([name, x]) => [name, x.toArray()]);
    const program = new EmbeddingProgram(gpt, sizes, new Rng(1));
    const state = program.fresh([3, 2], new Rng(2));
    const first = program.train(state, batch, 0.05);
    for (let step = 0; step < 20; step++) program.train(state, batch, 0.05);
    expect(program.train(state, batch, 0)).toBeLessThan(first / 2);
    expect([...gpt.parameters()].map(([name, x]) => [name, x.toArray()])).toEqual(before);
    for (const x of gpt.parameters().values()) expect(x.grad).toBeUndefined();
  });

  it('do not depend on who else shares the program, nor on the padding of a causal model', () => {
    const alone = new EmbeddingProgram(model('rotary'), sizes, new Rng(1));
    const other = new EmbeddingProgram(model('rotary'), { ...sizes, nClass: [5, 6] }, new Rng(9));
    const [a, b, c] = [
      alone.fresh([3, 2], new Rng(2)),
      other.fresh([3, 2], new Rng(2)),
      other.fresh([5, 6], new Rng(3)),
    ];
    for (let step = 0; step < 4; step++) {
      other.train(c, batch, 0.01);
      expect(other.train(b, batch, 0.01)).toBeCloseTo(alone.train(a, batch, 0.01), 4);
    }
    const [x, y] = [alone.logits(a, batch), alone.logits(a, batch.slice(0, 1))];
    for (const slot of [0, 1]) {
      for (const [i, logit] of x[0]![slot]!.entries()) expect(y[0]![slot]![i]).toBeCloseTo(logit, 4);
    }
  });
});

const cpu = devices.find(({ native }) => native !== undefined);
describe.skipIf(cpu === undefined)('the cost of a step on cpu', () => {
  /** Kernels of a compiled plan, with which of their outputs are wanted. */
  const parse = (code: Float64Array): { kernel: string; wanted: boolean[] }[] => {
    const names = cpu!.native!.manifest().map(({ name }) => name);
    const commands: { kernel: string; wanted: boolean[] }[] = [];
    let at = 0;
    const tensor = (): boolean => {
      const wanted = code[at]! >= 0;
      at += 4 + code[at + 3]!;
      return wanted;
    };
    while (at < code.length) {
      const [index, nIn, nOut, nAttr] = code.subarray(at, at + 4) as unknown as [number, number, number, number];
      at += 4;
      for (let i = 0; i < nIn; i++) tensor();
      commands.push({ kernel: names[index]!, wanted: Array.from({ length: nOut }, tensor) });
      at += nAttr;
    }
    return commands;
  };

  it('is a forward pass and gradients of activations: no gradient of a frozen weight is computed', () => {
    const native = cpu!.native!;
    const compile = native.compile.bind(native);
    const plans: Float64Array[] = [];
    native.compile = (code, ...rest) => {
      plans.push(code);
      return compile(code, ...rest);
    };
    let nCommand: number | undefined;
    try {
      const config = gpt2(3, 2, { dModel: 8, dVocab: 7, nCtx: 16, initStd: 0.3 });
      const own = { ...sizes, nClass: [3], readout: { layer: 'blocks.1.residPost' } };
      const program = new EmbeddingProgram(buildModel(cpu!, config, new Rng(1)), own, new Rng(1));
      const inputs = batch.map((x) => ({ ...x, labels: x.labels.slice(0, 1) }));
      program.train(program.fresh([3], new Rng(2)), inputs, 0);
      [nCommand] = program.nCommand.values();
    } finally {
      native.compile = compile;
    }
    const step = parse(plans.at(-1)!);
    expect(step).toHaveLength(nCommand!);
    const backwards = step.filter(({ kernel }) => kernel.includes('_backward'));
    const nGradient = (kernel: RegExp): string[] =>
      backwards.filter((command) => kernel.test(command.kernel)).map(({ wanted }) => wanted.map(Number).join(''));
    // Two blocks of four products; the third does not run. The first is the gradient of activations, then weight and bias.
    expect(nGradient(/^linearBiasGelu_/)).toEqual(['100', '100']);
    expect(nGradient(/^layerNorm_/)).toEqual(['100', '100', '100', '100']);
    // The head; then qkv, out and down of each block.
    expect(nGradient(/^linearBias_/)).toEqual(['111', '100', '100', '100', '100', '100', '100']);
    // New tokens, directions, and the unit between directions and tokens.
    expect(nGradient(/^linear_/).sort()).toEqual(['01', '10', '11']);
    // The rows that are read, and the update's tokens.
    expect(nGradient(/^embedding_/)).toEqual(['1', '1']);
  });
});

describe.each(devices)('batch normalisation on $name', (device) => {
  const x = noise(new Rng('x'), 5, 3);
  it('standardises the rows of a batch, whatever the padding, and remembers what it saw', () => {
    const norm = new BatchNorm(device, 3);
    const padded = device.tensor([...x.subarray(0, 12), 9, -9, 9], [5, 3]);
    const weight = device.tensor([0.25, 0.25, 0.25, 0.25, 0], [5]);
    const { y, mean, variance } = norm.forwardBatch(padded, weight);
    const column = (c: number): number[] => [0, 1, 2, 3].map((r) => x[r * 3 + c]!);
    for (let c = 0; c < 3; c++) {
      const m = column(c).reduce((a, b) => a + b) / 4;
      const v = column(c).reduce((a, b) => a + (b - m) ** 2, 0) / 4;
      expect(mean.toArray()[c]).toBeCloseTo(m, 5);
      expect(variance.toArray()[c]).toBeCloseTo(v, 5);
      for (let r = 0; r < 4; r++)
        expect(y.toArray()[r * 3 + c]).toBeCloseTo((x[r * 3 + c]! - m) / Math.sqrt(v + 1e-5), 4);
      norm.observe({ mean, variance }, 4);
    }
    // Three times: 0.9³ of the start, 1 − 0.9³ of the batch, whose unbiased variance is 4/3 of the mean square.
    for (let c = 0; c < 3; c++) {
      expect(norm.runningMean.toArray()[c]).toBeCloseTo((1 - 0.9 ** 3) * mean.toArray()[c]!, 5);
      expect(norm.runningVariance.toArray()[c]).toBeCloseTo(
        0.9 ** 3 + (1 - 0.9 ** 3) * (4 / 3) * variance.toArray()[c]!,
        5,
      );
    }
    const z = norm.forward(padded).toArray();
    expect(z[0]).toBeCloseTo(
      (x[0]! - norm.runningMean.toArray()[0]!) / Math.sqrt(norm.runningVariance.toArray()[0]! + 1e-5),
      4,
    );
  });
});
