import { Rng } from '@physlm/base';
import { buildModel, deviceStatus, gpt2, openDevice } from '@physlm/model';
import { describe, expect, it } from 'vitest';
import { sequenceLosses, windowLosses } from '../src/index.js';

const available = (['js', 'cpu'] as const).filter((name) => deviceStatus(name).available);
const [nCtx, V] = [6, 9];

/** Windows of an encoder: 7 stands for hidden tokens; window 2 asks for nothing. */
const hidden = {
  nCtx,
  window(index: number, ids: Int32Array, targets: Int32Array) {
    const rng = new Rng('hidden').at(index);
    for (let t = 0; t < nCtx; t++) {
      ids[t] = rng.below(7);
      targets[t] = -1;
      if (index === 2 || rng.uniform() < 0.5) continue;
      targets[t] = ids[t]!;
      ids[t] = 7;
    }
  },
};

describe.each(available)('windowLosses on %s', (name) => {
  const device = openDevice(name);

  it('is −ln of the softmax at the targets, summed over each window', () => {
    const config = gpt2(1, 2, { dModel: 8, dVocab: V, nCtx, initStd: 0.5, position: 'relative', causal: false });
    const model = buildModel(device, config, new Rng('weights'));
    const found = windowLosses(model, hidden, 50);
    expect(found).toHaveLength(50);
    expect(found[2]).toEqual({ lossSum: 0, nTarget: 0 });
    for (const i of [0, 7, 49]) {
      const [ids, targets] = [new Int32Array(nCtx), new Int32Array(nCtx)];
      hidden.window(i, ids, targets);
      const logits = device.withoutGrad(() => model.forward(device.tensor(ids, [1, nCtx], 'i32'))).toArray();
      let [sum, n] = [0, 0];
      for (let t = 0; t < nCtx; t++) {
        if (targets[t]! < 0) continue;
        const row = logits.slice(t * V, (t + 1) * V);
        sum += Math.log(row.reduce((total, x) => total + Math.exp(x), 0)) - row[targets[t]!]!;
        n++;
      }
      expect(found[i]!.nTarget).toBe(n);
      expect(found[i]!.lossSum).toBeCloseTo(sum, 4);
    }
  });

  it('agrees with sequenceLosses on a causal model, and the first windows do not depend on how many follow', () => {
    const model = buildModel(device, gpt2(1, 2, { dModel: 8, dVocab: V, nCtx, initStd: 0.5 }), new Rng('weights'));
    const text = (i: number): number[] => Array.from({ length: nCtx }, (_, t) => 1 + ((i * 5 + t * t) % 7));
    const next = {
      nCtx,
      window(index: number, ids: Int32Array, targets: Int32Array) {
        targets.set(text(index));
        ids.set([0, ...text(index).slice(0, -1)]);
      },
    };
    const found = windowLosses(model, next, 3);
    expect(windowLosses(model, next, 900).slice(0, 3)).toEqual(found);
    const expected = sequenceLosses(model, [0, 1, 2].map(text), { first: 0 });
    for (const [i, { lossSum, nTarget }] of found.entries()) {
      expect(nTarget).toBe(nCtx);
      expect(lossSum).toBeCloseTo(
        expected[i]!.reduce((a, b) => a + b, 0),
        5,
      );
    }
  });
});
