import { digest } from '@physlm/base';
import { describe, expect, test } from 'vitest';
import {
  type Experiment,
  lawNamed,
  lawsOfPart,
  membersOf,
  type Results,
  type ScaleName,
  scalesOf,
} from '../src/index.js';
import { criterion } from '../src/laws/law.js';

/** Results of a capacity run as far as laws read them: R, and what else is given. */
function results(perParameter: number, more: Readonly<Record<string, number>> = {}): Results {
  const measures = {
    perParameter,
    nParameter: 1000,
    bits: 1000 * perParameter,
    maxPerParameter: 3,
    shareOfCeiling: perParameter / 3,
    bitsName: 1,
    bitsValue: 2,
    bitsDiversity: 3,
    ...more,
  };
  const half = 0.01 * perParameter;
  return {
    recipe: 'capacity',
    measures,
    intervals: { perParameter: { low: perParameter - half, high: perParameter + half } },
  };
}

/** What a law says at a scale of runs with these results. */
function judged(id: string, scale: ScaleName, runs: Readonly<Record<string, Results>>) {
  const law = lawNamed(id);
  const { members, expect: bounds } = law.scales[scale]!;
  expect(Object.keys(runs).sort()).toEqual(Object.keys(members).sort());
  const { ours, measures } = law.measure(runs);
  return { ours, measures, verdict: criterion(measures, bounds) };
}

describe('laws of Part 3.3', () => {
  test('share runs: no run is made twice for two laws', () => {
    const of = (id: string, scale: ScaleName, member: string): string => {
      const found: Experiment | undefined = membersOf(lawNamed(id), scale, 1)[member];
      return digest(found);
    };
    for (const scale of ['tiny', 'laptop'] as const) {
      expect(of('capacity-junk', scale, 'random')).toBe(of('capacity-tag', scale, 'random'));
      expect(of('capacity-junk', scale, 'alone')).toBe(of('capacity-junk-repetitive', scale, 'alone'));
      expect(of('capacity-quantized', scale, 'float')).toBe(of('capacity-two-bits', scale, 'model'));
      expect(of('capacity-last-layers', scale, 'whole')).toBe(of('capacity-two-bits', scale, 'model'));
      expect(of('capacity-peak', scale, 'width 16')).toBe(of('capacity-linear', scale, 'width 16'));
    }
    expect(of('capacity-gated', 'gpu', 'gpt seldom')).toBe(of('capacity-exposures', 'gpu', 'seldom'));
    expect(of('capacity-gated', 'gpu', 'gpt seldom')).toBe(of('capacity-mlp', 'gpu', 'gpt seldom'));
  });

  test('compare models of equal size, to a fifth', () => {
    const sizes = (id: string, scale: ScaleName): number[] =>
      Object.values(membersOf(lawNamed(id), scale, 1)).map(({ model }) => {
        const { nLayer, dModel, dVocab, dMlp } = model;
        const isLlama = model.architecture === 'llama';
        const experts = isLlama ? 1 : (model.nExpert ?? 1);
        const perLayer = 4 * dModel ** 2 + experts * (isLlama ? 3 : 2) * dModel * dMlp;
        return nLayer * perLayer + dVocab * dModel * (model.tied ? 1 : 2);
      });
    for (const id of ['capacity-gated', 'capacity-mlp', 'capacity-experts', 'capacity-one-layer']) {
      for (const scale of scalesOf(lawNamed(id))) {
        const all = sizes(id, scale);
        expect([id, scale, Math.max(...all) / Math.min(...all) < 1.2]).toEqual([id, scale, true]);
      }
    }
  });

  test('every one has runs at some scale', () => {
    const laws = lawsOfPart('3.3');
    expect(laws.length).toBe(15);
    expect(laws.filter((law) => scalesOf(law).length === 0)).toEqual([]);
  });

  test('extractable: the widest model, the narrowest, and that more held is more answered', () => {
    const held = (memorised: number, extracted: number): Results => ({
      recipe: 'knowledge',
      measures: {
        'memorised.test': memorised,
        'extracted.test': extracted,
        'extractedShare.test': extracted / memorised,
        'exact.test': 0.5,
      },
      intervals: { 'extractedShare.test': { low: 0.8, high: 0.95 } },
    });
    const runs = { 'width 32': held(16, 10), 'width 48': held(30, 20), 'width 64': held(36, 32) };
    expect(judged('capacity-extractable', 'tiny', runs)).toMatchObject({
      ours: expect.closeTo(32 / 36, 9),
      measures: { order: expect.closeTo(1, 9), lowest: 0.625, 'share.width 48': expect.closeTo(2 / 3, 9) },
      verdict: 'holds',
    });
    expect(judged('capacity-extractable', 'tiny', { ...runs, 'width 64': held(36, 26) }).verdict).toBe('fails');
    expect(judged('capacity-extractable', 'tiny', { ...runs, 'width 32': held(16, 25) }).verdict).toBe('fails');
    expect(judged('capacity-extractable', 'tiny', { ...runs, 'width 32': held(16, -2) }).verdict).toBe('fails');
    const wide = { 'width 128': held(16, 4), 'width 256': held(30, 20), 'width 512': held(36, 32) };
    expect(judged('capacity-extractable', 'gpu', wide).verdict).toBe('fails');
    expect(judged('capacity-extractable', 'gpu', { ...wide, 'width 128': held(16, 12) }).verdict).toBe('holds');
  });

  test('junk: a ratio of R, and its rise with exposures', () => {
    expect(judged('capacity-junk', 'tiny', { alone: results(0.4), random: results(0.1) })).toMatchObject({
      ours: 0.25,
      verdict: 'holds',
    });
    expect(judged('capacity-junk', 'tiny', { alone: results(0.4), random: results(0.2) }).verdict).toBe('fails');
    const large = { alone: results(1), random: results(0.05) };
    const more = (R: number) => ({ 'alone, 3 times as often': results(1.2), 'random, 3 times as often': results(R) });
    expect(judged('capacity-junk', 'gpu', { ...large, ...more(0.6) })).toMatchObject({
      measures: { rise: expect.closeTo(10, 9) },
      verdict: 'holds',
    });
    expect(judged('capacity-junk', 'gpu', { ...large, ...more(0.06) }).verdict).toBe('fails');
    const tagged = { alone: results(0.4), random: results(0.1), tagged: results(0.3) };
    expect(judged('capacity-tag', 'tiny', tagged)).toMatchObject({ ours: expect.closeTo(3, 9), verdict: 'holds' });
    expect(judged('capacity-tag', 'tiny', { ...tagged, tagged: results(0.15) }).verdict).toBe('fails');
  });

  test('rounded weights: the worse of both methods at 8 bits, GPTQ at 4', () => {
    const runs = {
      float: results(1.5),
      int8: results(1.49),
      'int8, to nearest': results(1.48),
      int4: results(0.6),
      'int4, to nearest': results(0.3),
    };
    expect(judged('capacity-quantized', 'laptop', runs)).toMatchObject({
      ours: expect.closeTo(0.4, 9),
      measures: { change8: expect.closeTo(0.02 / 1.5, 9), 'int4ToFloat, to nearest': expect.closeTo(0.2, 9) },
      verdict: 'holds',
    });
    const worse = { ...runs, 'int8, to nearest': results(1.4) };
    expect(judged('capacity-quantized', 'laptop', worse).verdict).toBe('fails');
    expect(judged('capacity-quantized', 'laptop', { ...runs, int4: results(1.45) }).verdict).toBe('fails');
  });

  test('last layers: the share that is lost, in layers', () => {
    const runs = { whole: results(1, { bits: 900 }), shorter: results(1, { bits: 100, nLayer: 2 }) };
    const { ours, verdict } = judged('capacity-last-layers', 'tiny', runs);
    expect(ours).toBeCloseTo((3 * 800) / 900, 9);
    expect(verdict).toBe('holds');
    const half = { ...runs, shorter: results(1, { bits: 500, nLayer: 2 }) };
    expect(judged('capacity-last-layers', 'tiny', half).verdict).toBe('fails');
  });

  test('sizes: the exponent is that of models at their limit, the share that of models with room', () => {
    const sized = (nParameter: number, R: number, max: number) =>
      results(R, { nParameter, bits: R * nParameter, maxPerParameter: max, shareOfCeiling: R / max });
    const runs = {
      'width 16': sized(10_000, 1, 8),
      '4 layers': sized(20_000, 1, 4),
      'width 24': sized(30_000, 1, 3),
      'width 32': sized(50_000, 1.6, 2),
      roomy: sized(50_000, 0.48, 0.5),
    };
    const linear = judged('capacity-linear', 'laptop', runs);
    expect(linear).toMatchObject({ ours: expect.closeTo(1, 9), measures: { nLimited: 3 }, verdict: 'holds' });
    const flat = { ...runs, 'width 24': sized(30_000, 0.4, 3) };
    expect(judged('capacity-linear', 'laptop', flat).verdict).toBe('fails');
    expect(judged('capacity-peak', 'laptop', runs)).toMatchObject({
      ours: 1.6,
      measures: { peak: 1.6, shareWithRoom: expect.closeTo(0.96, 9) },
      verdict: 'holds',
    });
    expect(judged('capacity-peak', 'laptop', { ...runs, roomy: sized(50_000, 0.4, 0.5) }).verdict).toBe('fails');
  });

  test('gated MLPs: the best of three learning rates counts', () => {
    const runs = {
      'gpt often': results(2),
      'gated often': results(1.95),
      'gpt seldom': results(1.2),
      'gated seldom, 3e-4': results(0.6),
      'gated seldom, 5e-4': results(0.8),
      'gated seldom, 1e-3': results(0.7),
    };
    expect(judged('capacity-gated', 'gpu', runs)).toMatchObject({ ours: expect.closeTo(1.5, 9), verdict: 'holds' });
    const equal = { ...runs, 'gated seldom, 1e-3': results(1.19) };
    expect(judged('capacity-gated', 'gpu', equal).verdict).toBe('fails');
  });

  test('random attributes: the least of all, and three parts of each', () => {
    const names = ['many attributes', 'many chunks', 'many strings', 'long strings'];
    const runs = Object.fromEntries(names.map((name, i) => [name, results(1.6 + 0.1 * i)]));
    const { ours, measures, verdict } = judged('capacity-bio-d', 'gpu', runs);
    expect([ours, verdict]).toEqual([1.6, 'holds']);
    expect(measures['bitsDiversity.long strings']).toBe(3);
    expect(judged('capacity-bio-d', 'gpu', { ...runs, 'long strings': results(1.2) }).verdict).toBe('fails');
  });
});
