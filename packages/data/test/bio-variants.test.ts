import { ConfigError, DataError } from '@physlm/base';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { biographies, bioS, bioSMini, gpt2TokenizerForBioS, wordTokenizerFor } from '../src/bio/index.js';
import { mixWindows, packWindows, type WindowSource } from '../src/index.js';

const nCtx = 128;
const population = bioSMini({ nPeople: 400, seed: 5 });
const tokenizer = wordTokenizerFor(population);
const { eos, dVocab } = tokenizer;
const useful = { first: 0, n: 60 };
const others = { first: 60, n: 340 };

/** Windows numbered from `from`: `ids` is the number of the window, everywhere. */
function numbered(from: number, perExposure = 3): WindowSource {
  return {
    nCtx: 4,
    dVocab: 9,
    windowsFor: (exposures) => Math.ceil(exposures * perExposure),
    window: (index, ids, targets) => {
      ids.fill(from + index);
      targets.fill(from + index);
    },
  };
}

function numbers(windows: WindowSource, n: number): number[] {
  return Array.from({ length: n }, (_, i) => {
    const [ids, targets] = [new Int32Array(windows.nCtx), new Int32Array(windows.nCtx)];
    windows.window(i, ids, targets);
    expect(ids).toEqual(targets);
    return ids[0]!;
  });
}

describe('mixed windows', () => {
  test('hold ⌊n·share⌋ useful windows among the first n, and both series in order without gaps', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.01, max: 1, noNaN: true }), fc.integer({ min: 1, max: 300 }), (share, n) => {
        const read = numbers(mixWindows(numbered(0), numbered(100_000), { share }), n);
        const ours = read.filter((i) => i < 100_000);
        expect(ours).toEqual(Array.from({ length: Math.floor(n * share) }, (_, i) => i));
        expect(read.filter((i) => i >= 100_000)).toEqual(
          Array.from({ length: n - ours.length }, (_, i) => 100_000 + i),
        );
      }),
    );
  });

  test('show useful groups exactly as often as asked: one window less would be short', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        fc.integer({ min: 1, max: 500 }),
        fc.double({ min: 0.1, max: 9, noNaN: true }),
        (share, exposures, perExposure) => {
          const pure = numbered(0, perExposure);
          const n = mixWindows(pure, numbered(1), { share }).windowsFor(exposures);
          expect(Math.floor(n * share)).toBe(pure.windowsFor(exposures));
          expect(Math.floor((n - 1) * share)).toBeLessThan(pure.windowsFor(exposures));
        },
      ),
    );
  });

  test('of one eighth, every batch of 16 has two useful windows', () => {
    const read = numbers(mixWindows(numbered(0), numbered(1000), { share: 1 / 8 }), 160);
    for (let step = 0; step < 10; step++) {
      expect(read.slice(16 * step, 16 * step + 16).filter((i) => i < 1000)).toHaveLength(2);
    }
  });

  test('refuse a share out of range and windows that do not fit', () => {
    for (const share of [0, -1, 1.1, Number.NaN]) {
      expect(() => mixWindows(numbered(0), numbered(1), { share })).toThrow(ConfigError);
    }
    const wider = { ...numbered(0), nCtx: 5 };
    expect(() => mixWindows(numbered(0), wider, { share: 0.5 })).toThrow(/4 tokens.*got 5 tokens/s);
    expect(() =>
      mixWindows(numbered(0), numbered(1), { share: 0.5 }).window(-1, new Int32Array(4), new Int32Array(4)),
    ).toThrow(DataError);
  });
});

describe('useful text and junk', () => {
  const ours = biographies(population, { tokenizer, seed: 5, people: useful });
  const junk = biographies(population, { tokenizer, seed: 5, people: others, stream: 'junk' });

  test('of one population have no name in common', () => {
    const names = (source: typeof ours, n: number): Set<string> =>
      new Set(Array.from({ length: n }, (_, i) => nameOf(source.document(i))));
    const [a, b] = [names(ours, 60), names(junk, 340)];
    expect([a.size, b.size]).toEqual([60, 340]);
    expect([...a].filter((name) => b.has(name))).toEqual([]);
  });

  test('useful people and texts are those of a population without junk', () => {
    const alone = biographies(bioSMini({ nPeople: 60, seed: 5 }), { tokenizer, seed: 5 });
    for (const i of [0, 7, 60, 333]) expect(ours.document(i)).toEqual(alone.document(i));
  });

  test('one eighth of the tokens of a mixture are useful, to a window', () => {
    const pack = (source: typeof ours): WindowSource => packWindows(source, { nCtx, eos, dVocab, allowRepeats: true });
    const mixed = mixWindows(pack(ours), pack(junk), { share: 1 / 8 });
    const known = new Set(Array.from({ length: 60 }, (_, i) => tokenizer.encode(population.person(i).fullName).join()));
    const [ids, targets] = [new Int32Array(nCtx), new Int32Array(nCtx)];
    let nUseful = 0;
    for (let i = 0; i < 160; i++) {
      mixed.window(i, ids, targets);
      const names = [...ids.keys()]
        .filter((t) => ids[t] === eos && t + 3 < nCtx)
        .map((t) => ids.slice(t + 1, t + 4).join());
      const nKnown = names.filter((name) => known.has(name)).length;
      // A window is about useful people or about others, never both.
      expect([0, names.length]).toContain(nKnown);
      if (nKnown > 0) nUseful++;
    }
    expect(nUseful).toBe(20);
  });

  test('huge crowds are drawn without an order in memory, and promise no gap', () => {
    const crowd = bioS({ nPeople: 100_000_100, seed: 1 });
    const source = biographies(crowd, { tokenizer: wordTokenizerFor('bioS'), seed: 1, people: { first: 100, n: 1e8 } });
    expect(source.groupGap).toBeUndefined();
    const people = Array.from({ length: 500 }, (_, i) => source.document(i).group!);
    expect(Math.min(...people)).toBeGreaterThanOrEqual(100);
    expect(new Set(people).size).toBe(500);
    const mean = people.reduce((sum, person) => sum + person, 0) / 500;
    expect(Math.abs(mean / 5e7 - 1)).toBeLessThan(0.13);
  });

  test('refuse people who are not in the population', () => {
    for (const people of [
      { first: 0, n: 401 },
      { first: -1, n: 2 },
      { first: 3, n: 0 },
    ]) {
      expect(() => biographies(population, { tokenizer, seed: 1, people })).toThrow(/people within 0 … 399/);
    }
  });
});

describe('fixed wording', () => {
  test('gives each person one text, and different orders to different people', () => {
    const source = biographies(population, { tokenizer, seed: 5, wording: 'fixed' });
    const text = new Map<number, string>();
    for (let i = 0; i < 1600; i++) {
      const { group, text: now } = source.document(i);
      expect(text.get(group!) ?? now).toBe(now);
      text.set(group!, now);
    }
    expect(text.size).toBe(400);
    expect(source.render(9, 0).text).toBe(text.get(9));
    expect(source.render(9, 3).tokens).toEqual(source.render(9, 0).tokens);
    const orders = [...text.keys()].map((i) =>
      source
        .render(i, 0)
        .spans.map(({ label }) => label)
        .filter((label) => label !== 'pronoun')
        .join(),
    );
    expect(new Set(orders).size).toBeGreaterThan(250);
  });
});

describe('a tag', () => {
  test.each([
    ['words', '# ', wordTokenizerFor('bioS', ['#']), wordTokenizerFor('bioS')],
    ['gpt2', '#', gpt2TokenizerForBioS(['#']), gpt2TokenizerForBioS()],
  ] as const)('is one %s token in front of the name, and changes nothing else', (_, tag, tagged, plain) => {
    const people = bioS({ nPeople: 50, seed: 2 });
    expect(tagged.dVocab).toBe(plain.dVocab + 1);
    const source = biographies(people, { tokenizer: tagged, seed: 2, tag });
    const without = biographies(people, { tokenizer: plain, seed: 2 });
    expect(source.meanTokens).toBe(without.meanTokens + 1);
    for (let i = 0; i < 100; i++) {
      const [a, b] = [source.document(i), without.document(i)];
      expect(a.text).toBe(tag + b.text);
      expect(tagged.encode(a.text)).toEqual(a.tokens);
      expect(tagged.decode(a.tokens.subarray(0, 1))).toBe('#');
      expect(a.spans).toEqual(
        b.spans.map((span) => ({
          ...span,
          start: span.start + 1,
          end: span.end + 1,
          textStart: span.textStart + tag.length,
          textEnd: span.textEnd + tag.length,
        })),
      );
    }
  });
});

function nameOf({ text, spans }: { text: string; spans: readonly { textStart: number; textEnd: number }[] }): string {
  return text.slice(spans[0]!.textStart, spans[0]!.textEnd);
}
