import { ConfigError, canonicalJson, DataError, digest } from '@physlm/base';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  capacity,
  laws,
  membersOf,
  openCapacityData,
  recipeNamed,
  recipes,
  scaleNamed,
  scalesOf,
} from '../src/index.js';

describe('capacity', () => {
  test('is pure: equal options give equal JSON, and JSON loses nothing of it', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 1e6 }),
        fc.integer({ min: 20, max: 400 }),
        fc.integer({ min: 1, max: 40 }),
        (seed, nPeople, exposures) => {
          const options = { scale: 'tiny', seed, parameters: { nPeople, exposures } } as const;
          const [a, b] = [capacity(options), capacity(options)];
          expect(digest(a)).toBe(digest(b));
          expect(JSON.parse(JSON.stringify(a))).toEqual(a);
        },
      ),
      { numRuns: 20 },
    );
  });

  test('a seed changes what is drawn and nothing else of the setting', () => {
    const [a, b] = [capacity({ scale: 'small', seed: 1 }), capacity({ scale: 'small', seed: 2 })];
    expect(canonicalJson({ ...a, seed: 0, name: '' })).toBe(canonicalJson({ ...b, seed: 0, name: '' }));
    expect(digest(a)).not.toBe(digest(b));
  });

  test.each(['tiny', 'small', 'laptop', 'gpu'] as const)(
    '%s asks for the steps that show each person often enough',
    (scale) => {
      const { data, train } = capacity({ scale, seed: 1 });
      const { windows } = openCapacityData(data, 1);
      expect(train.nStep * train.batchSize).toBeGreaterThanOrEqual(windows.windowsFor(data.exposures));
      expect((train.nStep - 1) * train.batchSize).toBeLessThan(windows.windowsFor(data.exposures));
      expect(train.evaluateAt?.at(-1)).toBe(train.nStep);
      expect(train.evaluateAt?.length).toBeGreaterThanOrEqual(12);
      expect(train.evaluateAt).toEqual([...new Set(train.evaluateAt)].sort((a, b) => a - b));
    },
  );

  test('every law says at every scale what it expects and why, and its members are experiments', () => {
    for (const law of laws) {
      expect(scalesOf(law).length > 0 || (law.untested ?? '') !== '').toBe(true);
      for (const scale of scalesOf(law)) {
        const { expect: bounds, members } = law.scales[scale]!;
        expect(bounds.length).toBeGreaterThan(0);
        for (const { tests, atLeast, atMost } of bounds) {
          expect(tests).not.toBe('');
          expect(atLeast ?? atMost).toBeTypeOf('number');
        }
        expect(Object.keys(membersOf(law, scale, 1))).toEqual(Object.keys(members));
      }
    }
  });

  test('names every wrong parameter, with the nearest name for an unknown one', () => {
    const wrong = { nPeopel: 3, dModel: 'wide', lrPeak: -1 };
    const error = thrownBy(() => capacity({ scale: 'tiny', seed: 1, parameters: wrong }));
    expect(error).toBeInstanceOf(ConfigError);
    const { problems } = error as ConfigError;
    expect(new Map(problems.map(({ path, nearest }) => [path, nearest]))).toEqual(
      new Map([
        ['nPeopel', 'nPeople'],
        ['dModel', undefined],
        ['lrPeak', undefined],
      ]),
    );
  });

  test('refuses a width that is no multiple of the head, and too few people for a window', () => {
    expect(() => capacity({ scale: 'tiny', seed: 1, parameters: { dModel: 40 } })).toThrow(ConfigError);
    expect(() => capacity({ scale: 'tiny', seed: 1, parameters: { nPeople: 3 } })).toThrow(DataError);
  });
});

describe('the registry', () => {
  test('knows its recipes by name and the nearest one to any other', () => {
    for (const [name, recipe] of recipes) expect(recipe.name).toBe(name);
    expect(() => recipeNamed('capcity')).toThrow(/Did you mean 'capacity'/);
    expect(() => scaleNamed(recipeNamed('capacity'), 'tinny')).toThrow(/Did you mean 'tiny'/);
  });
});

function thrownBy(body: () => unknown): unknown {
  try {
    body();
  } catch (error) {
    return error;
  }
  return undefined;
}
