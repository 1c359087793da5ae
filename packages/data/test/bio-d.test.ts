import { ConfigError } from '@physlm/base';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type BioDOptions, bioD } from '../src/bio/index.js';

const usual: BioDOptions = {
  nPeople: 40,
  nAttribute: 3,
  nChunk: 2,
  nString: 7,
  stringLength: 2,
  nSymbol: 5,
  seed: 1,
  names: 'bioS-mini',
};

const sizes = fc
  .record({
    nPeople: fc.integer({ min: 1, max: 30 }),
    nAttribute: fc.integer({ min: 1, max: 6 }),
    nChunk: fc.integer({ min: 1, max: 5 }),
    stringLength: fc.integer({ min: 1, max: 6 }),
    nSymbol: fc.integer({ min: 1, max: 30 }),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
    seed: fc.nat(),
  })
  .map(({ share, ...rest }) => {
    const most = Math.min(60, rest.nSymbol ** rest.stringLength);
    return { ...rest, nString: Math.max(1, Math.round(share * most)), names: 'bioS-mini' as const };
  });

describe('bioD', () => {
  test('strings of an attribute are distinct, of L symbols below T, whatever the sizes', () => {
    fc.assert(
      fc.property(sizes, (options) => {
        const data = bioD(options);
        for (let a = 0; a < options.nAttribute; a++) {
          const strings = data.strings(a);
          expect(strings).toHaveLength(options.nString);
          expect(new Set(strings.map((string) => string.join())).size).toBe(options.nString);
          for (const string of strings) {
            expect(string).toHaveLength(options.stringLength);
            for (const symbol of string) expect(symbol >= 0 && symbol < options.nSymbol).toBe(true);
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  test('when D is T^L a set is every string there is', () => {
    const data = bioD({ ...usual, nString: 25 });
    const all = data.strings(2).map((string) => 5 * string[0]! + string[1]!);
    expect(all.sort((a, b) => a - b)).toEqual([...Array(25).keys()]);
  });

  test('sets are drawn uniformly: each string is in as many of them as any other', () => {
    // Both ways of drawing: 4 of 9 strings are listed and shuffled, 2 of 9 are tried.
    for (const nString of [4, 2]) {
      const counts = new Float64Array(9);
      const nSeed = 300;
      for (let seed = 0; seed < nSeed; seed++) {
        const data = bioD({ ...usual, nString, nSymbol: 3, nAttribute: 4, seed });
        for (let a = 0; a < 4; a++) for (const string of data.strings(a)) counts[3 * string[0]! + string[1]!]!++;
      }
      const expected = (nSeed * 4 * nString) / 9;
      const chi2 = counts.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
      expect(chi2).toBeLessThan(8 + 5 * 4);
    }
  });

  test('chunks are uniform and names without repeats', () => {
    const nPeople = 7000;
    const data = bioD({ ...usual, nPeople });
    const counts = new Float64Array(7);
    for (let i = 0; i < nPeople; i++) for (let a = 0; a < 3; a++) for (const c of data.value(i, a)) counts[c]!++;
    const expected = (nPeople * 6) / 7;
    expect(counts.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0)).toBeLessThan(6 + 5 * Math.sqrt(12));
    const names = Array.from({ length: nPeople }, (_, i) => nameIn(data.source.render(i, 0).text));
    expect(new Set(names).size).toBe(nPeople);
  });

  test('spans name the same words in text and tokens, and are what the sets and draws say', () => {
    fc.assert(
      fc.property(sizes, fc.nat(200), (options, index) => {
        const data = bioD(options);
        const { tokenizer, source } = data;
        const { text, tokens, spans, group } = source.document(index);
        expect(tokenizer.encode(text)).toEqual(tokens);
        expect(tokenizer.decode(tokens)).toBe(text);
        expect(tokens).toHaveLength(source.meanTokens);
        expect(source.minTokens).toBe(source.meanTokens);
        expect(spans).toHaveLength(1 + 2 * options.nAttribute);
        const byLabel = new Map(spans.map((span) => [span.label, span]));
        for (const span of spans) {
          expect(tokenizer.decode(tokens.subarray(span.start, span.end))).toBe(
            text.slice(span.textStart, span.textEnd),
          );
        }
        expect(byLabel.get('name')).toMatchObject({ start: 0, end: 3 });
        Object.keys(data.choices).forEach((label, a) => {
          const chunks = [...data.value(group!, a)].map((c) =>
            [...data.strings(a)[c]!].map((symbol) => `s${symbol}`).join(' '),
          );
          const whole = byLabel.get(label)!;
          const first = byLabel.get(data.firstLabels[a]!)!;
          expect(text.slice(whole.textStart, whole.textEnd)).toBe(chunks.join(' , '));
          expect(text.slice(first.textStart, first.textEnd)).toBe(chunks[0]);
          expect(first.start).toBe(whole.start);
          expect(text.slice(0, whole.textStart).endsWith(` ${label} is `)).toBe(true);
        });
      }),
      { numRuns: 60 },
    );
  });

  test('reads as the papers write it, in orders that change', () => {
    const { source } = bioD({ ...usual, nAttribute: 2 });
    const { text, group } = source.document(5);
    expect(text).toMatch(/^\w+ \w+ \w+ 's ID [12] is s\d s\d , s\d s\d\. Their ID [12] is s\d s\d , s\d s\d\.$/);
    const texts = Array.from({ length: 40 }, (_, draw) => source.render(group!, draw).text);
    expect(new Set(texts).size).toBe(2);
  });

  test('a text depends on seed and number only, and a pass shows each person once', () => {
    const [a, b] = [bioD(usual), bioD(usual)];
    b.source.document(99);
    for (const i of [0, 3, 41]) expect(a.source.document(i)).toEqual(b.source.document(i));
    expect(bioD({ ...usual, seed: 2 }).source.document(0).text).not.toBe(a.source.document(0).text);
    const pass = Array.from({ length: 40 }, (_, i) => a.source.document(40 + i).group!);
    expect(pass.sort((x, y) => x - y)).toEqual([...Array(40).keys()]);
  });

  test('counts as parameters what can occur: symbols that no set holds are left out', () => {
    const data = bioD({ ...usual, nAttribute: 1, nString: 2, stringLength: 1, nSymbol: 50 });
    expect(data.tokenizer.dVocab - data.nUsedToken).toBe(48);
    expect(data.choices).toEqual({ 'ID 1': 2 ** 2 });
    expect(data.nNames).toBe(20_000);
    expect(bioD({ ...usual, names: 'bioS' }).nNames).toBe(160_000_000);
  });

  test('names every size that is out of range', () => {
    expect(() => bioD({ ...usual, nChunk: 0, nSymbol: 1.5 })).toThrow(/nChunk[\s\S]*nSymbol/);
    expect(() => bioD({ ...usual, nString: 26 })).toThrow(/25: strings are distinct, got 26/);
    expect(() => bioD({ ...usual, nString: 26 })).toThrow(ConfigError);
    expect(() => bioD({ ...usual, nPeople: 20_001 })).toThrow(/20000/);
    expect(() => bioD(usual).source.document(-1)).toThrow(/integer from 0/);
  });
});

const nameIn = (text: string): string => text.split(" 's")[0]!;
