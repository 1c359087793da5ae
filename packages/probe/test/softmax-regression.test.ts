import { Rng } from '@physlm/base';
import { deviceStatus, openDevice } from '@physlm/model';
import { describe, expect, it } from 'vitest';
import { SoftmaxRegression } from '../src/softmax-regression.js';

const devices = (['js', 'cpu'] as const).filter((name) => deviceStatus(name).available).map((name) => openDevice(name));

describe.each(devices)('softmax regression on $name', (device) => {
  const rng = new Rng('rows');
  const [nRow, d, nClass] = [53, 3, 4];
  const labels = Int32Array.from({ length: nRow }, () => rng.below(nClass));
  const x = Float32Array.from(
    { length: nRow * d },
    (_, i) => (labels[Math.floor(i / d)] === i % d ? 1 : 0) + rng.normal(),
  );
  const options = { l2: 0.01, nStep: 300 };

  it('knows only the frequencies when features say nothing: the loss is the entropy of the labels', () => {
    const { loss, converged } = new SoftmaxRegression(device, d, nClass, nRow).fit(
      new Float32Array(nRow * d),
      labels,
      options,
    );
    const shares = [0, 1, 2, 3].map((c) => labels.filter((label) => label === c).length / nRow);
    expect(loss).toBeCloseTo(-shares.reduce((sum, p) => sum + p * Math.log(p), 0), 6);
    expect(converged).toBe(true);
  });

  it('fits the same optimum in one chunk or in ragged ones', () => {
    const whole = new SoftmaxRegression(device, d, nClass, nRow);
    const chunked = new SoftmaxRegression(device, d, nClass, 9);
    const [a, b] = [whole, chunked].map((regression) => regression.fit(x, labels, options));
    expect(a!.converged && b!.converged).toBe(true);
    expect(b!.loss).toBeCloseTo(a!.loss, 6);
    expect(a!.loss).toBeLessThan(1.2);
    expect(chunked.predict(x)).toEqual(whole.predict(x));
  });

  it('starts every fit afresh', () => {
    const regression = new SoftmaxRegression(device, d, nClass, nRow);
    const first = regression.fit(x, labels, options);
    regression.fit(
      x,
      labels.map((label) => (label + 1) % nClass),
      options,
    );
    expect(regression.fit(x, labels, options)).toEqual(first);
  });
});
