import { Rng } from '@physlm/base';
import { buildModel, deviceStatus, gpt2, openDevice, Trace, type TracePlan } from '@physlm/model';
import { describe, expect, it } from 'vitest';
import { replaceStates, streamActivations } from '../src/index.js';

const devices = (['js', 'cpu'] as const).filter((name) => deviceStatus(name).available).map((name) => openDevice(name));

describe.each(devices)('edits on $name', (device) => {
  const model = buildModel(device, gpt2(2, 2, { dModel: 8, dVocab: 5, nCtx: 8, initStd: 0.4 }), new Rng('model'));
  const ids = device.tensor([0, 1, 2, 3, 4, 3, 2, 1], [2, 4], 'i32');
  const other = device.tensor([4, 4, 1, 0, 2, 2, 3, 3], [2, 4], 'i32');
  const point = 'blocks.0.residPost';
  const run = (edit: TracePlan['edit'] = {}, tokens = ids, read = point) => {
    const trace = new Trace({ read: [read], edit });
    const logits = device.withoutGrad(() => model.forward(tokens, trace));
    return { logits: logits.toArray(), state: trace.activations().get(read)! };
  };

  it('with its own states change nothing, bit for bit', () => {
    const plain = run();
    expect(run({ [point]: replaceStates(plain.state) }).logits).toEqual(plain.logits);
    expect(run({ [point]: replaceStates(plain.state, { positions: [1, 3] }) }).logits).toEqual(plain.logits);
    expect(run({ [point]: replaceStates('zero', { positions: [[], []] }) }).logits).toEqual(plain.logits);
  });
  it('of all positions of a layer by another run give the logits of that run', () => {
    const clean = run({}, other);
    expect(run({ [point]: replaceStates(clean.state) }).logits).toEqual(clean.logits);
  });
  it('reach the chosen positions and elements only', () => {
    const before = run().state.toArray();
    const zeroed = run({
      [point]: replaceStates('zero', { positions: [[2], [0, 3]], elements: { start: 4, end: 8 } }),
    });
    const chosen = (i: number): boolean => i % 8 >= 4 && [2, 4, 7].includes(Math.floor(i / 8));
    // + 0: a product with 0 may be −0.
    expect(zeroed.state.toArray().map((x) => x + 0)).toEqual(before.map((x, i) => (chosen(i) ? 0 : x)));
    // A causal model: position 2 of the first sequence cannot change what came before it.
    expect(zeroed.logits.slice(0, 10)).toEqual(run().logits.slice(0, 10));
    expect(zeroed.logits.slice(10, 15)).not.toEqual(run().logits.slice(10, 15));
  });
  it('put the mean, or one state, everywhere', () => {
    const before = run().state.toArray();
    const mean = Array.from({ length: 8 }, (_, d) => before.filter((_, i) => i % 8 === d).reduce((a, b) => a + b) / 8);
    const { state } = run({ [point]: replaceStates('mean') });
    for (const [i, x] of state.toArray().entries()) expect(x).toBeCloseTo(mean[i % 8]!, 5);
    const given = run({ [point]: replaceStates(device.tensor([1, 2, 3, 4, 5, 6, 7, 8], [8]), { positions: [1] }) });
    expect(given.state.toArray().slice(8, 16)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });
  it('work in a stream too', () => {
    const source = { nSentence: 1, sentence: () => [0, 1, 2, 3] };
    const read = (edit: TracePlan['edit']) => {
      const [batch] = streamActivations(model, source, { at: [point, 'norm'], edit });
      return [point, 'norm'].map((path) => Array.from(batch!.points.get(path)!.rows));
    };
    const state = [1, 2, 3, 4, 5, 6, 7, 8];
    const edited = read({ [point]: replaceStates(device.tensor(state, [8])) });
    expect(edited[0]).toEqual([...state, ...state, ...state, ...state]);
    expect(edited[1]).not.toEqual(read({})[1]);
  });
  it('say what does not fit', () => {
    const edit =
      (by: Parameters<typeof replaceStates>[0], at: Parameters<typeof replaceStates>[1] = {}) =>
      () =>
        run({ [point]: replaceStates(by, at) });
    expect(edit('zero', { positions: [4] })).toThrow(
      "[replaceStates at 'blocks.0.residPost'.positions] expected whole numbers 0 … 3, got 4",
    );
    expect(edit('zero', { positions: [[1]] })).toThrow('expected 2 lists, one for each sequence, got 1');
    expect(edit('zero', { elements: { start: 3, end: 9 } })).toThrow('expected 0 ≤ start < end ≤ 8, got 3 … 9');
    expect(edit(device.zeros([3]))).toThrow('expected a replacement of shape [2,4,8] or one state of 8, got [3]');
    expect(() => run({ 'blocks.0.residPots': replaceStates('zero') })).toThrow("Did you mean 'blocks.0.residPost'?");
  });
});
