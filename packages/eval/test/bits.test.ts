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
import { bitComplexity, bootstrapInterval, knowledgeLosses, sequenceLosses } from '../src/index.js';

const bioS = { birthDate: 67_200, birthCity: 200, university: 300, major: 100, employer: 263, pronoun: 2 };

describe('bit complexity', () => {
  it('gives a perfect model exactly the ceiling, and a uniform one nothing', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 160_000_000 }),
        fc.integer({ min: 1, max: 10 ** 9 }),
        (nPeople, nParameter) => {
          const set = { nPeople, nNames: 160_000_000, choices: bioS, nParameter };
          const perfect = bitComplexity({ ...set, nameLoss: Math.log(nPeople), valueLoss: 0 });
          expect(perfect.perParameter / perfect.maxPerParameter).toBeCloseTo(1, 12);
          const s0 = Object.values(bioS).reduce((a, b) => a * b, 1);
          const uniform = bitComplexity({ ...set, nameLoss: Math.log(160_000_000), valueLoss: Math.log(s0) });
          expect(Math.abs(uniform.bits) / nPeople).toBeLessThan(1e-9);
        },
      ),
    );
  });
  it('matches the figures of the paper: 47.592 bits of values, 58.235 bits a person at N = 100K', () => {
    const { maxBits } = bitComplexity({
      nPeople: 100_000,
      nNames: 160_000_000,
      choices: bioS,
      nameLoss: 0,
      valueLoss: 0,
      nParameter: 1,
    });
    expect(maxBits / 100_000).toBeCloseTo(58.235, 3);
    expect(maxBits / 100_000 - Math.log2(1600)).toBeCloseTo(47.592, 3);
  });
  it('adds what names and values are known beyond a guess', () => {
    const half = bitComplexity({
      nPeople: 4,
      nNames: 16,
      choices: { a: 8 },
      nameLoss: Math.log(8),
      valueLoss: Math.log(2),
      nParameter: 10,
    });
    // Names: 4·(4 − 3) bits; values: 4·(3 − 1) bits.
    expect(half).toMatchObject({ perParameter: expect.closeTo(1.2, 12), maxPerParameter: expect.closeTo(2, 12) });
  });
  it('adds what strings are known, for bioD: the three terms of a case done by hand', () => {
    const set = { nPeople: 4, nNames: 16, choices: { a: 8 ** 2, b: 8 ** 2 }, nParameter: 10 };
    const diversity = { nAttribute: 2, nString: 8, stringLength: 3, nSymbol: 4 };
    const third = bitComplexity({
      ...set,
      nameLoss: Math.log(8),
      valueLoss: Math.log(2 ** 5),
      diversity: { ...diversity, firstLoss: Math.log(2) },
    });
    // Names: 4·(4 − 3); values: 4·(2·6 − 5); strings: 2·8·(log₂ 4³ − log₂ 8 − 1).
    expect(third).toMatchObject({
      bitsName: expect.closeTo(4, 12),
      bitsValue: expect.closeTo(28, 12),
      bitsDiversity: expect.closeTo(32, 12),
      bits: expect.closeTo(64, 12),
      perParameter: expect.closeTo(6.4, 12),
      maxBits: expect.closeTo(4 * (2 + 12) + 48, 12),
    });
    const perfect = bitComplexity({
      ...set,
      nameLoss: Math.log(4),
      valueLoss: 0,
      diversity: { ...diversity, firstLoss: 0 },
    });
    expect(perfect.bits).toBeCloseTo(perfect.maxBits, 9);
    expect(bitComplexity({ ...set, nameLoss: 0, valueLoss: 0 })).not.toHaveProperty('bitsDiversity');
  });
  it('counts strings too many to be counted: T^L may be beyond any number', () => {
    const diversity = { nAttribute: 1, nString: 1, stringLength: 500, nSymbol: 40_000, firstLoss: 0 };
    const { bitsDiversity } = bitComplexity({
      nPeople: 1,
      nNames: 1,
      choices: {},
      nameLoss: 0,
      valueLoss: 0,
      nParameter: 1,
      diversity,
    });
    expect(bitsDiversity).toBeCloseTo(500 * Math.log2(40_000), 6);
  });
  it('refuses impossible counts', () => {
    const set = { nNames: 16, choices: {}, nameLoss: 0, valueLoss: 0, nParameter: 1 };
    expect(() => bitComplexity({ ...set, nPeople: 17 })).toThrow('[bitComplexity.nPeople] expected 1 … 16, got 17');
    expect(() => bitComplexity({ ...set, nPeople: 1, nParameter: 0 })).toThrow('bitComplexity.nParameter');
  });
});

const tinyModel = (name: DeviceName = 'js'): LanguageModel =>
  buildModel(openDevice(name), gpt2(1, 2, { dModel: 8, dVocab: 11, nCtx: 9 }), new Rng(1));

describe('sequence losses', () => {
  const model = tinyModel;
  const available = deviceNames.filter((name) => deviceStatus(name).available);
  it.each(available)('do not depend on batch-mates or batch size on %s', (name) => {
    const model = (): LanguageModel => tinyModel(name);
    const rng = new Rng('sequences');
    const sequences = Array.from({ length: 7 }, (_, i) => Array.from({ length: 2 + (i % 4) }, () => rng.below(11)));
    const together = sequenceLosses(model(), sequences, { first: 0 });
    const alone = sequences.map((tokens) => sequenceLosses(model(), [tokens], { first: 0 })[0]!);
    expect(together).toEqual(alone);
    expect(sequenceLosses(model(), sequences, { first: 0, batchSize: 2 })).toEqual(alone);
  });
  it('are near ln V for an untrained model, and refuse what does not fit the context', () => {
    const [losses] = sequenceLosses(model(), [[1, 2, 3]], { first: 0 });
    for (const loss of losses!) expect(Math.abs(loss - Math.log(11))).toBeLessThan(0.2);
    expect(() => sequenceLosses(model(), [new Int32Array(10)], { first: 0 })).toThrow('up to 9 tokens, got one of 10');
  });
});

describe('knowledge losses', () => {
  const span = (label: string, start: number, end: number) => ({ label, start, end });
  const options = { eos: 0, nameLabel: 'name', valueLabels: ['city'] };
  it('sum nats over the tokens of names and of scored values only', () => {
    const tokens = Int32Array.from([1, 2, 3, 4, 5]);
    const document = { tokens, spans: [span('name', 0, 2), span('city', 3, 4), span('workCity', 4, 5)] };
    const model = tinyModel();
    const [losses] = sequenceLosses(model, [tokens], { first: 0 });
    const known = knowledgeLosses(model, [document, document], options);
    expect(known.nameLoss).toBeCloseTo(losses![0]! + losses![1]!, 12);
    expect(known.valueLoss).toBeCloseTo(losses![3]!, 12);
    expect(known.byLabel).toEqual({ name: known.nameLoss, city: known.valueLoss });
  });
  it('sum further labels apart, and find the name behind a tag', () => {
    const tokens = Int32Array.from([9, 1, 2, 3, 4]);
    const document = { tokens, spans: [span('name', 1, 3), span('city', 3, 5), span('city, first', 3, 4)] };
    const model = tinyModel();
    const [losses] = sequenceLosses(model, [tokens], { first: 0 });
    const known = knowledgeLosses(model, [document], { ...options, furtherLabels: ['city, first'], nameStart: 1 });
    expect(known.nameLoss).toBeCloseTo(losses![1]! + losses![2]!, 12);
    expect(known.valueLoss).toBeCloseTo(losses![3]! + losses![4]!, 12);
    expect([...known.furtherLosses]).toEqual([losses![3]!]);
    expect(known.byLabel['city, first']).toBe(losses![3]!);
    expect(() => knowledgeLosses(model, [document], { ...options, nameStart: 2 })).toThrow(
      "has after 2 tokens its 'name'",
    );
  });
  it('refuse a document that lacks a label or does not start with the name', () => {
    const bad = { tokens: Int32Array.from([1, 2]), spans: [span('name', 1, 2), span('city', 0, 1)] };
    expect(() => knowledgeLosses(tinyModel(), [bad], options)).toThrow("a document that starts with its 'name'");
    const lacking = { tokens: Int32Array.from([1, 2]), spans: [span('name', 0, 2)] };
    expect(() => knowledgeLosses(tinyModel(), [lacking], options)).toThrow("a span 'city'");
  });
});

describe('bootstrap interval', () => {
  it('covers the mean of a known distribution about 95 times of 100, and repeats itself', () => {
    const rng = new Rng('coverage');
    let covered = 0;
    for (let i = 0; i < 200; i++) {
      const { low, high } = bootstrapInterval(
        Array.from({ length: 60 }, () => rng.normal()),
        { nResample: 300 },
      );
      if (low <= 0 && 0 <= high) covered++;
    }
    expect(covered).toBeGreaterThan(175);
    expect(covered).toBeLessThan(200);
    expect(bootstrapInterval([1, 2, 3])).toEqual(bootstrapInterval([1, 2, 3]));
  });
});
