import { Rng } from '@physlm/base';
import { maskWindows, type WindowSource } from '@physlm/data';
import { buildModel, deviceStatus, gpt2, openDevice } from '@physlm/model';
import { StepProgram } from '@physlm/train';
import { expect, it } from 'vitest';

// Encoders on masked windows: data, model and training together.

const EOS = 0;
const V = 8;

/** Windows that say the same eight tokens twice: what a place of the first half needs stands behind it. */
const repeated: WindowSource = {
  nCtx: 16,
  dVocab: V,
  windowsFor: (exposures) => exposures,
  window(index, ids, targets) {
    const rng = new Rng('repeat').at(index);
    for (let t = 0; t < 8; t++) ids[t] = ids[t + 8] = 1 + rng.below(V - 1);
    targets.fill(-1);
  },
};

/** Nats per hidden token, averaged over the last 40 of 300 steps. */
function finalLoss(position: 'absolute' | 'relative', causal: boolean): number {
  const windows = maskWindows(repeated, { seed: 1, mask: V, never: [EOS] });
  const config = gpt2(2, 4, { dModel: 32, nCtx: 16, dVocab: windows.dVocab, initStd: 0.1, position, causal });
  const device = openDevice(deviceStatus('cpu').available ? 'cpu' : 'js');
  const optimizer = { lrPeak: 0.01, betas: [0.9, 0.98] as const, eps: 1e-8, weightDecay: 0, clipNorm: 1 };
  const model = buildModel(device, config, new Rng('weights'));
  const program = new StepProgram(model, 16, 32, 1, optimizer);
  let [sum, count] = [0, 0];
  for (let step = 0; step < 300; step++) {
    const { lossSum, nTarget } = program.run(windows, step, 0.01);
    if (step >= 260) [sum, count] = [sum + lossSum, count + nTarget];
  }
  return sum / count;
}

it.each(['absolute', 'relative'] as const)(
  'an encoder with %s positions fills in what it was not shown',
  (position) => {
    expect(finalLoss(position, false)).toBeLessThan(0.45);
  },
);
it('a causal model cannot: it sees one side', () => {
  // Half of the hidden tokens come first, four fifths of them as the mask: nothing tells which of seven they are.
  expect(finalLoss('absolute', true)).toBeGreaterThan(0.5 * 0.8 * Math.log(7));
});
