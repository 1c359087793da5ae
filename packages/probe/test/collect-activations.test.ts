import { Rng } from '@physlm/base';
import {
  buildModel,
  type DeviceName,
  deviceStatus,
  gpt2,
  type LanguageModel,
  llama,
  openDevice,
  Trace,
} from '@physlm/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { collectActivations } from '../src/index.js';

const sizes = { dModel: 16, dVocab: 11, nCtx: 12, initStd: 0.3 };
const available = (['js', 'cpu'] as const).filter((name) => deviceStatus(name).available);
const models = (name: DeviceName): LanguageModel[] => {
  const device = openDevice(name);
  return [gpt2(2, 2, sizes), llama(2, 2, sizes)].map((config) => buildModel(device, config, new Rng('weights')));
};

/** The rows of one sequence from an eager forward pass of its own, `first` included. */
function rowsAlone(model: LanguageModel, tokens: readonly number[], at: string): number[][] {
  const trace = new Trace({ read: [at] });
  model.device.withoutGrad(() => model.forward(model.device.tensor(tokens, [1, tokens.length], 'i32'), trace));
  const values = trace.activations().get(at)!.toArray();
  const d = values.length / tokens.length;
  return tokens.map((_, t) => values.slice(t * d, (t + 1) * d));
}

describe.each(available)('activations on %s', (name) => {
  const both = models(name);

  it.each(['embed', 'blocks.0.residMid', 'blocks.1.attn.qkv', 'blocks.0.mlp.post', 'blocks.1.residPost', 'norm'])(
    'at %s equal a forward pass of each sequence alone',
    (at) => {
      const sequences = [[1, 2, 3, 4, 5], [6], [7, 8, 9], [], [10, 0, 1, 2]];
      const positions = [[4, 0], [0], [2, 1, 0], [], [3]];
      for (const model of both) {
        const { features, nRow, d, group } = collectActivations(model, sequences, {
          at,
          positions: (i) => positions[i]!,
        });
        expect([...group]).toEqual([0, 0, 1, 2, 2, 2, 4]);
        expect(features.length).toBe(nRow * d);
        const expected = positions.flatMap((ps, i) => ps.map((p) => rowsAlone(model, sequences[i]!, at)[p]!));
        // Native kernels sum products of few rows in another order than those of many.
        if (name === 'js') expect([...features]).toEqual(expected.flat());
        else for (const [i, x] of expected.flat().entries()) expect(features[i]).toBeCloseTo(x, 4);
      }
    },
  );

  it('do not depend on batch size, batch-mates or what follows the last position', () => {
    const model = both[0]!;
    const token = fc.integer({ min: 0, max: 10 });
    const cases = fc.array(
      fc
        .array(token, { minLength: 1, maxLength: 8 })
        .chain((tokens) =>
          fc.record({ tokens: fc.constant(tokens), at: fc.array(fc.integer({ min: -1, max: tokens.length - 1 })) }),
        ),
      { minLength: 1, maxLength: 6 },
    );
    fc.assert(
      fc.property(cases, fc.integer({ min: 1, max: 7 }), (samples, batchSize) => {
        const collect = (of: typeof samples, rest: { batchSize?: number }) =>
          collectActivations(
            model,
            of.map((sample) => sample.tokens),
            { at: 'blocks.1.residPost', positions: (i) => of[i]!.at, first: 0, ...rest },
          );
        const together = collect(samples, {});
        expect(collect(samples, { batchSize })).toEqual(together);
        const alone = samples.flatMap((sample) => [...collect([sample], {}).features]);
        expect([...together.features]).toEqual(alone);
        const longer = samples.map(({ tokens, at }) => ({ tokens: [...tokens, 3, 9, 1], at }));
        expect(collect(longer, { batchSize })).toEqual(together);
      }),
      { numRuns: 40 },
    );
  });

  // A hidden layer this wide makes native products of few rows split their sums; on js it would only take time.
  if (name !== 'js') {
    it('do not depend on batch size in wide models either', () => {
      const config = gpt2(1, 4, { dVocab: 11, nCtx: 12, initStd: 0.3 });
      const model = buildModel(openDevice(name), config, new Rng('weights'));
      const sequences = Array.from({ length: 60 }, (_, i) =>
        Array.from({ length: 10 }, (_, t) => (i * t + i + t) % 11),
      );
      const options = { at: 'blocks.0.residPost', positions: () => [9, 2] };
      const { features } = collectActivations(model, sequences, options);
      for (const batchSize of [1, 7]) {
        const other = collectActivations(model, sequences, { ...options, batchSize }).features;
        expect(other.findIndex((x, i) => x !== features[i])).toBe(-1);
      }
    });
  }

  it('read the state after `first` at −1, and shift no other position', () => {
    const model = both[1]!;
    const at = 'blocks.1.residPost';
    const { features, d } = collectActivations(model, [[5, 6]], { at, positions: () => [-1, 1], first: 9 });
    const rows = rowsAlone(model, [9, 5, 6], at);
    for (const [i, x] of [...rows[0]!, ...rows[2]!].entries()) expect(features[i]).toBeCloseTo(x, 4);
    expect(features.length).toBe(2 * d);
  });
});

describe('collecting refuses', () => {
  const model = models('js')[0]!;
  const collect = (options: Partial<Parameters<typeof collectActivations>[2]>, sequences = [[1, 2, 3], [4]]) =>
    collectActivations(model, sequences, { at: 'norm', positions: () => [0], ...options });

  it('a path that matches nothing, naming the nearest', () => {
    expect(() => collect({ at: 'blocks.1.residpost' })).toThrow("Did you mean 'blocks.1.residPost'?");
    expect(() => collect({ at: 'blocks.1.residpost' })).toThrow(expect.objectContaining({ code: 'config' }));
  });
  it('a path that matches several, naming them', () => {
    expect(() => collect({ at: 'blocks.*.residPost' })).toThrow('matches blocks.0.residPost, blocks.1.residPost');
    expect(collect({ at: '*.1.residPost' })).toEqual(collect({ at: 'blocks.1.residPost' }));
  });
  it('a position outside its sequence, naming both', () => {
    const positions = (i: number) => (i === 1 ? [1] : [2]);
    expect(() => collect({ positions })).toThrow(
      'expected whole numbers 0 … 0 for sequence 1 of 1 tokens, got position 1 of sequence 1',
    );
    expect(() => collect({ positions: () => [-1] })).toThrow('position -1 of sequence 0');
    expect(() => collect({ positions: () => [0.5] })).toThrow('position 0.5 of sequence 0');
  });
  it('a position behind the context, but not a sequence that is read before it', () => {
    const long = [new Array<number>(20).fill(1)];
    expect(collect({ positions: () => [11] }, long).nRow).toBe(1);
    expect(() => collect({ positions: () => [12] }, long)).toThrow('expected positions before 12');
    expect(() => collect({ positions: () => [11], first: 0 }, long)).toThrow('expected positions before 11');
  });
  it('tokens outside the vocabulary and batches of nothing', () => {
    expect(() => collect({}, [[1], [11]])).toThrow(
      '[collectActivations.sequences[1][0]] expected a token 0 … 10, got 11',
    );
    expect(() => collect({ first: -1 })).toThrow('[collectActivations.first]');
    expect(() => collect({ batchSize: 0 })).toThrow(
      '[collectActivations.batchSize] expected a positive integer, got 0',
    );
  });
  it('nothing when nothing is asked', () => {
    expect(collect({ positions: () => [] })).toEqual({
      features: new Float32Array(0),
      nRow: 0,
      d: 16,
      group: new Int32Array(0),
    });
  });
});
