import { ConfigError, canonicalJson, DataError, digest } from '@physlm/base';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  capacity,
  laws,
  membersOf,
  openCapacityData,
  openWindows,
  planSweep,
  recipeNamed,
  recipes,
  type ScaleName,
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
  }, 240_000);

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

  test('a value out of range or of no choice is told what there is', () => {
    const wrong = { nPeople: 0, architecture: 'lama' };
    expect(() => capacity({ scale: 'tiny', seed: 1, parameters: wrong })).toThrow(
      '[nPeople] expected a number of at least 1, got 0\n[architecture] expected one of gpt, llama, mistral, got "lama"\nDid you mean \'llama\'?',
    );
  });

  test('refuses a width that is no multiple of the head, and too few people for a window', () => {
    expect(() => capacity({ scale: 'tiny', seed: 1, parameters: { dModel: 40 } })).toThrow(ConfigError);
    expect(() => capacity({ scale: 'tiny', seed: 1, parameters: { nPeople: 3 } })).toThrow(DataError);
  });
});

describe('variants of capacity', () => {
  const tiny = (parameters: Record<string, unknown> = {}) => capacity({ scale: 'tiny', seed: 1, parameters });
  // The digest names run folders and ledger rows: what is not set must leave no trace.
  test('leave the experiment of a scale as it was', () => {
    expect(digest(tiny()).slice(0, 8)).toBe('a18bea93');
    expect(digest(capacity({ scale: 'gpu', seed: 3 })).slice(0, 8)).toBe('efecadff');
    expect(Object.keys(tiny().data)).toEqual(['population', 'nPeople', 'tokenizer', 'nCtx', 'exposures']);
    for (const [name, value] of Object.entries({
      dataset: 'bioS',
      architecture: 'gpt',
      tag: false,
      mlpRatio: 1,
      tied: true,
    })) {
      expect([name, digest(tiny({ [name]: value }))]).toEqual([name, digest(tiny())]);
    }
  });

  test('each is another experiment, and plain JSON', () => {
    const variants = [
      {},
      { dataset: 'bioS-simple' },
      { dataset: 'bioD' },
      { dataset: 'bioD', nString: 30 },
      { usefulShare: 0.125 },
      { usefulShare: 0.125, junkPeople: 20 },
      { usefulShare: 0.125, tag: true },
      { architecture: 'llama' },
      { architecture: 'llama', tied: true },
      { architecture: 'mistral' },
      { mlpRatio: 0.25 },
      { mlpRatio: 0 },
      { nLayer: 1 },
      { tied: false },
      { nExpert: 8 },
    ].map(tiny);
    expect(new Set(variants.map(digest)).size).toBe(variants.length);
    for (const variant of variants) expect(JSON.parse(JSON.stringify(variant))).toEqual(variant);
  });

  test('junk of seven eighths takes eight times the windows for the same exposures', () => {
    const [clean, junk] = [tiny(), tiny({ usefulShare: 0.125 })];
    const windows = (of: typeof clean) => openCapacityData(of.data, 1).windows.windowsFor(100);
    expect(windows(junk)).toBe(8 * windows(clean));
    expect(junk.train.nStep / clean.train.nStep).toBeCloseTo(8, 1);
    expect(openCapacityData(junk.data, 1).people).toEqual(openCapacityData(clean.data, 1).people);
  });

  test('architectures have the sizes of the paper', () => {
    const wide = { dModel: 256, dHead: 64 };
    const model = (parameters: Record<string, unknown>) => tiny({ ...wide, ...parameters }).model;
    expect(model({ mlpRatio: 0.25 })).toMatchObject({ architecture: 'gpt', dMlp: 256 });
    expect(model({ mlpRatio: 0 })).toMatchObject({ dMlp: 0 });
    expect(model({ nExpert: 32 })).toMatchObject({ dMlp: 256, nExpert: 32 });
    expect(model({ architecture: 'llama' })).toMatchObject({ nKvHead: 4, dMlp: 683, tied: false });
    // Attention of 2·d² + 2·d²/4 and gated MLPs of 3·3.5·d².
    expect(model({ architecture: 'mistral' })).toMatchObject({ nKvHead: 1, dMlp: 896, tied: false });
    expect(model({ architecture: 'mistral', nKvHead: 2, tied: true })).toMatchObject({ nKvHead: 2, tied: true });
  });

  test('a change of a model starts from the run without it, and trains nothing', () => {
    const base = tiny({ nLayer: 3 });
    const variants = [
      { quantize: 'rtn', bits: 4 },
      { quantize: 'gptq', bits: 4 },
      { quantize: 'gptq', bits: 8 },
      { removeLayers: 1 },
      { removeLayers: 1, quantize: 'rtn', bits: 8 },
    ].map((change) => tiny({ nLayer: 3, ...change }));
    for (const one of variants) {
      expect(one.start?.experiment).toEqual(base);
      expect(one.train.nStep).toBe(0);
      expect(JSON.parse(JSON.stringify(one))).toEqual(one);
    }
    expect(variants.map(({ name }) => name.replace('capacity-tiny-s1-', ''))).toEqual([
      'rtn4',
      'gptq4',
      'gptq8',
      'minus1',
      'minus1-rtn8',
    ]);
    expect(new Set(variants.map(digest)).size).toBe(variants.length);
  });

  test('refuse what has no meaning together, naming each parameter', () => {
    const refused = (parameters: Record<string, unknown>, ...paths: string[]): void => {
      const error = thrownBy(() => tiny(parameters));
      expect(error).toBeInstanceOf(ConfigError);
      expect((error as ConfigError).problems.map(({ path }) => path)).toEqual(paths);
    };
    refused({ nAttribute: 3, nString: 4 }, 'nAttribute', 'nString');
    refused({ dataset: 'bioD', usefulShare: 0.5, tag: true }, 'usefulShare', 'tag');
    refused({ dataset: 'bioD', nString: 901 }, 'bioD.nString');
    refused({ junkPeople: 3 }, 'junkPeople');
    refused({ nKvHead: 1 }, 'nKvHead');
    refused({ architecture: 'llama', nExpert: 4 }, 'nExpert');
    refused({ capacityFactor: 4 }, 'model.capacityFactor');
    refused({ architecture: 'llama', mlpRatio: 0 }, 'model.dMlp');
    refused({ architecture: 'lama' }, 'architecture');
    refused({ usefulShare: 0 }, 'usefulShare');
    refused({ bits: 4 }, 'bits');
    refused({ quantize: 'rtn' }, 'bits');
    refused({ removeLayers: 1, bits: 4 }, 'bits');
    refused({ removeLayers: 2 }, 'removeLayers');
    refused({ quantize: 'gptq', bits: 17 }, 'bits');
    expect(() => tiny({ usefulShare: 0.5, junkPeople: 19_900 })).toThrow(/20000/);
  });
});

describe('the registry', () => {
  test('a sweep of a recipe is a grid of different experiments at every scale that it names', () => {
    for (const recipe of recipes.values()) {
      for (const [scale, grid] of Object.entries(recipe.sweep?.grid ?? {})) {
        const axes = Object.entries(grid).map(([name, values]) => ({ name, values }));
        const options = { scale: scale as ScaleName, seeds: [1], axes, runs: 'runs', device: 'cpu' };
        const { members, repeated } = planSweep(recipe, options);
        expect(members.length).toBe(axes.reduce((n, { values }) => n * values.length, 1));
        expect(repeated).toEqual([]);
      }
    }
  });

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

test('a thread opens the windows that a run trains on', () => {
  for (const name of recipes.keys()) {
    const experiment = recipeNamed(name).experiment({ scale: 'tiny', seed: 3 });
    const [windows, again] = [openWindows(experiment), openWindows(structuredClone(experiment))];
    expect(windows.nCtx).toBeGreaterThan(0);
    const read = (from: typeof windows): number[][] => {
      const [ids, targets] = [new Int32Array(from.nCtx), new Int32Array(from.nCtx).fill(-1)];
      from.window(70, ids, targets);
      return [[...ids], [...targets]];
    };
    expect(read(again)).toEqual(read(windows));
  }
});
