import { Rng } from '@physlm/base';
import { buildModel, deviceStatus, gpt2, type LanguageModel, openDevice, Trace } from '@physlm/model';
import { describe, expect, it } from 'vitest';
import { collectActivations, modelPoints, streamActivations } from '../src/index.js';

const available = (['js', 'cpu'] as const).filter((name) => deviceStatus(name).available);
const rng = new Rng('sentences');
const sentences = Array.from({ length: 40 }, (_, i) => {
  const stream = rng.at(i);
  return Array.from({ length: 1 + stream.below(10) }, () => 1 + stream.below(9));
});
const source = { nSentence: sentences.length, sentence: (i: number) => sentences[i]! };
const at = 'blocks.1.residPost';

/** States of a sentence behind token 0, from an eager pass of its own that reads exactly its tokens. */
function alone(model: LanguageModel, tokens: readonly number[]): number[] {
  const trace = new Trace({ read: [at] });
  const ids = model.device.tensor([0, ...tokens], [1, tokens.length + 1], 'i32');
  model.device.withoutGrad(() => model.forward(ids, trace));
  const values = trace.activations().get(at)!.toArray();
  return values.slice(values.length / (tokens.length + 1));
}

describe.each(available)('states of an encoder on %s', (name) => {
  describe.each(['rotary', 'relative', 'absolute'] as const)('with %s positions', (position) => {
    const shape = { dModel: 8, dVocab: 11, nCtx: 12, initStd: 0.3, position, causal: false } as const;
    const encoder = buildModel(openDevice(name), gpt2(2, 2, shape), new Rng('weights'));

    it('are those of each sentence whole and alone: nothing of padding, in the order that was asked', () => {
      const states = modelPoints(encoder, source, { at: [at], first: 0 }).get(at)!;
      const asked = [7, 3, 3, 39, 0, 12, 20, 21, 22];
      for (const [k, rows] of states.read(asked).entries()) {
        const expected = alone(encoder, sentences[asked[k]!]!);
        expect(rows).toHaveLength(expected.length);
        // Native kernels sum products of few rows in another order than those of many.
        if (name === 'js') expect([...rows]).toEqual(expected);
        else for (const [j, x] of expected.entries()) expect(rows[j]).toBeCloseTo(x, 4);
      }
    });

    it('do not depend on batch size and batch-mates, and do on what stands behind', () => {
      const rowsOf = (batchSize: number, list = sentences): string => {
        const positions = (i: number) => (i % 3 === 1 ? [] : [list[i]!.length - 1, -1]);
        return [...collectActivations(encoder, list, { at, positions, first: 0, batchSize }).features].join();
      };
      for (const batchSize of [1, 3, 64]) expect(rowsOf(batchSize)).toBe(rowsOf(7));
      const first = { at, positions: () => [0], first: 0 };
      const [one, longer] = [[[1]], [[1, 2]]].map((list) => [...collectActivations(encoder, list, first).features]);
      expect(one).not.toEqual(longer);
    });
  });
});

it('an encoder that cannot read a sentence whole refuses it, unless nothing of it is asked', () => {
  const config = gpt2(2, 2, { dModel: 8, dVocab: 11, nCtx: 6, position: 'absolute', causal: false });
  const encoder = buildModel(openDevice('js'), config, new Rng('weights'));
  const list = [
    [1, 2],
    [1, 2, 3, 4, 5, 6],
  ];
  const read = (positions: (i: number) => number[]) =>
    collectActivations(encoder, list, { at, positions, first: 0 }).nRow;
  expect(() => read(() => [0])).toThrow(
    '[collectActivations.sequences[1]] expected sentences of at most 5 tokens, which the encoder reads whole, got 6',
  );
  expect(read((i) => (i === 0 ? [0, 1] : []))).toBe(2);
  const few = { nSentence: 1, sentence: () => [1, 2] };
  const [batch] = [...streamActivations(encoder, few, { at: [at], positions: () => [], first: 0 })];
  expect(batch!.points.get(at)).toEqual({ d: 8, rows: new Float32Array(0) });
});
