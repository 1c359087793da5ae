import { Rng } from '@physlm/base';
import {
  buildModel,
  type DeviceName,
  deviceNames,
  deviceStatus,
  gpt2,
  type LanguageModel,
  openDevice,
} from '@physlm/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { completions, sequenceLosses, tokenKl, wilsonInterval } from '../src/index.js';

const config = gpt2(1, 2, { dModel: 16, dVocab: 7, nCtx: 24, initStd: 0.4 });
const modelOn = (name: DeviceName): LanguageModel => buildModel(openDevice(name), config, new Rng('weights'));
const devices = deviceNames.filter((name) => name !== 'cuda' && deviceStatus(name).available);

describe.each(devices)('completions on %s', (name) => {
  const model = modelOn(name);
  const prompt = (i: number): number[] => [0, 1 + (i % 5), ...(i % 3 === 0 ? [2, 2] : [])];
  const options = { eos: 6, nNew: 18, temperature: 1, rng: new Rng('sampling') };
  const all = [...completions(model, 40, prompt, options)];

  it('are the same for any batch size and from any place', () => {
    for (const batchSize of [1, 7, 40]) {
      expect([...completions(model, 40, prompt, { ...options, batchSize })]).toEqual(all);
    }
    expect([...completions(model, 40, prompt, { ...options, batchSize: 8, from: 13 })]).toEqual(all.slice(13));
  });

  it('end at EOS or after nNew tokens, and say which', () => {
    expect(all.some(({ ended }) => ended)).toBe(true);
    for (const { tokens, ended } of all) {
      expect(tokens).not.toContain(6);
      expect(tokens.length).toBeLessThanOrEqual(18);
      if (!ended) expect(tokens.length).toBe(18);
    }
    // A completion that is cut short begins as the long one.
    const short = [...completions(model, 40, prompt, { ...options, nNew: 3 })];
    for (const [i, { tokens, ended }] of short.entries()) {
      expect(tokens).toEqual(all[i]!.tokens.subarray(0, 3));
      expect(ended).toBe(all[i]!.ended && all[i]!.tokens.length <= 3);
    }
  });

  it('are drawn from the model: frequencies of the first token follow its distribution', () => {
    const n = 4000;
    const counts = new Float64Array(7);
    for (const { tokens, ended } of completions(model, n, () => [0, 3], { ...options, nNew: 1 })) {
      counts[ended && tokens.length === 0 ? 6 : tokens[0]!]!++;
    }
    const losses = Array.from({ length: 7 }, (_, v) => sequenceLosses(model, [[3, v]], { first: 0 })[0]![1]!);
    const chi = losses.reduce(
      (sum, loss, v) => sum + (counts[v]! - n * Math.exp(-loss)) ** 2 / (n * Math.exp(-loss)),
      0,
    );
    expect(chi).toBeLessThan(22.5); // 99.9 % of χ² with 6 degrees of freedom
  });

  it('refuse a prompt that leaves no room', () => {
    expect(() => [...completions(model, 1, () => [0], { ...options, nNew: 24 })]).toThrow('within 24');
  });
});

describe.each(devices)('KL to an exact law on %s', (name) => {
  const model = modelOn(name);
  const V = 7;
  /** The model's own distribution as a law, from its losses. */
  const ownLaws = (tokens: readonly number[]): Float64Array => {
    const laws = new Float64Array(tokens.length * V);
    for (let t = 0; t < tokens.length; t++) {
      for (let v = 0; v < V; v++) {
        const scored = [...tokens.slice(1, t + 1), v];
        laws[t * V + v] = Math.exp(-sequenceLosses(model, [scored], { first: tokens[0]! })[0]!.at(-1)!);
      }
    }
    return laws;
  };

  it('is 0 for the model itself, and the gap between cross-entropy and entropy otherwise', () => {
    const tokens = [0, 1, 2, 3, 4];
    const [own] = tokenKl(model, [{ tokens, laws: ownLaws(tokens) }]);
    expect(own!.nPosition).toBe(5);
    expect(Math.abs(own!.kl)).toBeLessThan(1e-5);
    expect(Math.abs(own!.smoothedKl)).toBeLessThan(1e-5);
    const sure = new Float64Array(5 * V);
    [1, 2, 3, 4, 6].forEach((v, t) => {
      sure[t * V + v] = 1;
    });
    const [certain] = tokenKl(model, [{ tokens, laws: sure }]);
    const losses = sequenceLosses(model, [[1, 2, 3, 4, 6]], { first: 0 })[0]!;
    expect(certain!.entropy).toBe(0);
    expect(certain!.kl).toBeCloseTo(
      losses.reduce((a, b) => a + b),
      4,
    );
    expect(certain!.crossEntropy).toBeCloseTo(certain!.kl, 12);
  });

  it('does not depend on batch-mates', () => {
    const sentences = [[0, 1], [0, 2, 3, 4, 5], [0], [0, 5, 5, 5]].map((tokens) => ({ tokens, laws: ownLaws(tokens) }));
    const one = sentences.flatMap((sentence) => tokenKl(model, [sentence]));
    const together = tokenKl(model, sentences, { batchSize: 3 });
    for (const [i, { crossEntropy }] of together.entries()) expect(crossEntropy).toBeCloseTo(one[i]!.crossEntropy, 6);
  });

  it('names laws of another vocabulary and sentences that are too long', () => {
    expect(() => tokenKl(model, [{ tokens: [0, 1], laws: new Float64Array(3) }])).toThrow(
      'expected 2 × 7 numbers, got 3',
    );
    const tokens = new Array<number>(25).fill(0);
    expect(() => tokenKl(model, [{ tokens, laws: new Float64Array(25 * V) }])).toThrow('up to 24 tokens');
  });
});

describe('Wilson interval', () => {
  it('holds the true share in about 95 of 100 repetitions', () => {
    const rng = new Rng('wilson');
    let held = 0;
    for (let r = 0; r < 2000; r++) {
      let n = 0;
      for (let i = 0; i < 60; i++) if (rng.uniform() < 0.1) n++;
      const { low, high } = wilsonInterval(n, 60);
      if (low <= 0.1 && 0.1 <= high) held++;
    }
    expect(held / 2000).toBeGreaterThan(0.92);
    expect(held / 2000).toBeLessThan(0.99);
  });
  it('stays within 0 … 1 and holds the observed share', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 1, max: 1000 }), (a, b) => {
        const [n, k] = [Math.max(a, b), Math.min(a, b)];
        const { low, high } = wilsonInterval(k, n);
        expect(low).toBeGreaterThanOrEqual(0);
        expect(high).toBeLessThanOrEqual(1);
        expect(low).toBeLessThanOrEqual(k / n);
        expect(high).toBeGreaterThanOrEqual(k / n);
      }),
    );
    expect(wilsonInterval(0, 0)).toEqual({ low: 0, high: 1 });
  });
});
