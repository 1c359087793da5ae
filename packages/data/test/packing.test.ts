import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { biographies, bioSMini, wordTokenizerFor } from '../src/bio/index.js';
import { type DocumentSource, packWindows, padWindows, type WindowSource } from '../src/index.js';

const tokenizer = wordTokenizerFor('bioS-mini');
const EOS = tokenizer.eos;

function source(nPeople: number, seed: number): DocumentSource {
  return biographies(bioSMini({ nPeople, seed }), { tokenizer, seed });
}

function pack(documents: DocumentSource, nCtx: number, windowsPerBlock?: number): WindowSource {
  const options = { nCtx, eos: EOS, dVocab: tokenizer.dVocab };
  return packWindows(documents, windowsPerBlock === undefined ? options : { ...options, windowsPerBlock });
}

function read(windows: WindowSource, index: number): { ids: number[]; targets: number[] } {
  const ids = new Int32Array(windows.nCtx).fill(-7);
  const targets = new Int32Array(windows.nCtx).fill(-7);
  windows.window(index, ids, targets);
  return { ids: [...ids], targets: [...targets] };
}

/** Documents of fixed lengths: document i has token 1 + (i mod 5), `lengths[i mod n]` times. */
function plain(lengths: readonly number[], meanTokens: number, groups?: readonly number[]): DocumentSource {
  return {
    name: 'plain',
    nGroup: lengths.length,
    meanTokens,
    document: (index) => ({
      index,
      text: '',
      tokens: new Int32Array(lengths[index % lengths.length]!).fill(1 + (index % 5)),
      spans: [],
      ...(groups && { group: groups[index % groups.length]! }),
    }),
  };
}

describe('packWindows', () => {
  test('a short block ends in end-of-text tokens without targets', () => {
    const windows = packWindows(plain([2, 3], 4), { nCtx: 5, eos: 0, dVocab: 6, windowsPerBlock: 2 });
    expect(read(windows, 0)).toEqual({ ids: [0, 1, 1, 0, 2], targets: [1, 1, 0, 2, 2] });
    expect(read(windows, 1)).toEqual({ ids: [2, 2, 0, 0, 0], targets: [2, 0, -1, -1, -1] });
    expect(read(windows, 2)).toEqual({ ids: [0, 3, 3, 0, 4], targets: [3, 3, 0, 4, 4] });
  });

  test('a long block cuts its last document and still has a target for its last token', () => {
    const windows = packWindows(plain([6], 4), { nCtx: 5, eos: 0, dVocab: 6, windowsPerBlock: 2 });
    expect(read(windows, 1)).toEqual({ ids: [1, 1, 0, 2, 2], targets: [1, 0, 2, 2, 2] });
    expect(read(windows, 2)).toEqual({ ids: [0, 3, 3, 3, 3], targets: [3, 3, 3, 3, 3] });
  });

  test('gives back the documents of every block, joined with end-of-text, up to its cut', () => {
    const documents = source(400, 3);
    const windows = pack(documents, 96, 8);
    const nDocument = Math.floor((96 * 8) / (documents.meanTokens + 1));
    for (const block of [0, 1, 25]) {
      const expected = [EOS];
      for (let i = 0; i < nDocument; i++) {
        expected.push(...documents.document(block * nDocument + i).tokens, EOS);
      }
      const stream = Array.from({ length: 8 }, (_, i) => read(windows, block * 8 + i).ids).flat();
      const fits = Math.min(stream.length, expected.length);
      expect(stream.slice(0, fits)).toEqual(expected.slice(0, fits));
      expect(stream.slice(fits).every((token) => token === EOS)).toBe(true);
    }
  });

  test('targets are the next tokens, across windows of a block too', () => {
    const windows = pack(source(400, 5), 64, 16);
    const stream = Array.from({ length: 16 }, (_, i) => read(windows, i));
    const ids = stream.flatMap((window) => window.ids);
    const targets = stream.flatMap((window) => window.targets);
    targets.slice(0, -1).forEach((target, t) => {
      if (target !== -1) expect(target).toBe(ids[t + 1]);
    });
    expect(targets.filter((target) => target === -1).length).toBeLessThan(100);
  });

  test('a window does not depend on what was read before it', () => {
    const documents = source(300, 1);
    const used = pack(documents, 64);
    for (let i = 0; i < 1500; i += 7) read(used, i);
    for (const i of [1400, 3, 64, 63, 0, 777]) {
      expect(read(used, i)).toEqual(read(pack(source(300, 1), 64), i));
    }
  });

  test('never puts one person twice in a window', () => {
    const names = (documents: DocumentSource, nDocument: number): number[] =>
      Array.from({ length: nDocument }, (_, i) => documents.document(i).group!);
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 80 }),
        fc.integer({ min: 1, max: 400 }),
        fc.integer({ min: 0, max: 1e6 }),
        (n, nCtx, seed) => {
          const documents = source(n, seed);
          let windows: WindowSource;
          try {
            windows = pack(documents, nCtx, 64);
          } catch (error) {
            expect(error).toMatchObject({ code: 'data' });
            return;
          }
          // Documents are found again by their end-of-text tokens, so that this does not lean on the packer's own books.
          const groups = names(documents, Math.floor((64 * nCtx) / (documents.meanTokens + 1)));
          let at = -1;
          for (let w = 0; w < 64; w++) {
            const { ids, targets } = read(windows, w);
            const seen = new Set<number>();
            ids.forEach((token, t) => {
              if (token === EOS && targets[t] !== EOS && targets[t] !== -1) at++;
              const piece = token !== EOS && (t === 0 || ids[t - 1] === EOS);
              if (!piece) return;
              expect(seen.has(groups[at]!)).toBe(false);
              seen.add(groups[at]!);
            });
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test('too few people are refused with numbers that work', () => {
    let message = '';
    try {
      pack(source(10, 1), 512);
    } catch (error) {
      message = (error as Error).message;
    }
    const [, nPeople, nCtx] = /at least (\d+) groups, or nCtx up to (\d+)/.exec(message)!.map(Number);
    expect(() => pack(source(nPeople!, 1), 512)).not.toThrow();
    expect(() => pack(source(nPeople! - 1, 1), 512)).toThrow(/at least/);
    expect(() => pack(source(10, 1), nCtx!)).not.toThrow();
    expect(() => pack(source(10, 1), nCtx! + 1)).toThrow(/at least/);
    const options = { nCtx: 512, eos: EOS, dVocab: tokenizer.dVocab, allowRepeats: true };
    expect(() => packWindows(source(10, 1), options)).not.toThrow();
  });

  test('repeats of a source that promises nothing are found when they happen', () => {
    const repeating = plain([2, 2, 2, 2], 2, [7, 8, 9, 7]);
    const options = { nCtx: 6, eos: 0, dVocab: 6, windowsPerBlock: 4 };
    expect(read(packWindows(repeating, options), 0).ids).toEqual([0, 1, 1, 0, 2, 2]);
    expect(() => read(packWindows(repeating, { ...options, nCtx: 12, windowsPerBlock: 2 }), 0)).toThrow(
      /group 7 twice/,
    );
  });

  test('windowsFor shows every person that often, but for documents cut at block ends', () => {
    const n = 500;
    const exposures = 6;
    const documents = source(n, 2);
    const windows = pack(documents, 128);
    let starts = 0;
    for (let w = 0; w < windows.windowsFor(exposures); w++) {
      const { ids, targets } = read(windows, w);
      ids.forEach((token, t) => {
        if (token === EOS && targets[t] !== EOS && targets[t] !== -1) starts++;
      });
    }
    expect(Math.abs(starts - n * exposures)).toBeLessThan(0.02 * n * exposures);
    expect(windows.windowsFor(2 * exposures)).toBeGreaterThanOrEqual(2 * windows.windowsFor(exposures) - 1);
    expect(windows.windowsFor(0)).toBe(0);
  });

  test('options out of range are reported together', () => {
    const wrong = { nCtx: 8, eos: 9, dVocab: 6, windowsPerBlock: 1 };
    expect(() => packWindows(plain([20], 20), wrong)).toThrow(/eos[\s\S]*windowsPerBlock[^\n]*from 3/);
    expect(() => pack(source(300, 1), 64).window(-1, new Int32Array(64), new Int32Array(64))).toThrow(/window number/);
  });
});

describe('loss on answers only', () => {
  /** Document i is a question of i mod 3 + 1 tokens 5, then an answer of two tokens i mod 5 + 1, with the question masked. */
  const questions: DocumentSource = {
    name: 'questions',
    nGroup: 4,
    meanTokens: 4,
    document(index) {
      const nQuestion = (index % 3) + 1;
      const tokens = new Int32Array(nQuestion + 2).fill(5, 0, nQuestion).fill((index % 5) + 1, nQuestion);
      return { index, text: '', tokens, spans: [], masked: [{ start: 0, end: nQuestion }] };
    },
  };
  const sizes = { nCtx: 6, eos: 0, dVocab: 6 };

  test('in a window of its own, a document is padded, and its end is a target', () => {
    const windows = padWindows(questions, sizes);
    expect(read(windows, 0)).toEqual({ ids: [0, 5, 1, 1, 0, 0], targets: [-1, 1, 1, 0, -1, -1] });
    expect(read(windows, 2)).toEqual({ ids: [0, 5, 5, 5, 3, 3], targets: [-1, -1, -1, 3, 3, 0] });
    expect(read(windows, 1)).toEqual({ ids: [0, 5, 5, 2, 2, 0], targets: [-1, -1, 2, 2, 0, -1] });
    expect(windows.windowsFor(2.5)).toBe(10);
  });

  test('several documents in a window: answers and the tokens after them are the only targets', () => {
    const windows = packWindows(questions, { ...sizes, windowsPerBlock: 3 });
    const stream = [0, 1, 2].map((i) => read(windows, i));
    expect(stream.flatMap(({ ids }) => ids).slice(0, 15)).toEqual([0, 5, 1, 1, 0, 5, 5, 2, 2, 0, 5, 5, 5, 3, 3]);
    expect(stream.flatMap(({ targets }) => targets)).toEqual([
      -1, 1, 1, 0, -1, -1, 2, 2, 0, -1, -1, -1, 3, 3, 0, -1, -1, -1,
    ]);
  });

  test('a document that does not fit is refused with a size that works', () => {
    const windows = padWindows(questions, { ...sizes, nCtx: 5 });
    expect(() => read(windows, 2)).toThrow(
      '[padWindows(questions)] expected documents of at most 4 tokens, one fewer than a window, got 5 tokens in document 2\nUse nCtx 6 or more.',
    );
    expect(() => read(windows, -1)).toThrow('[padWindows.window] expected a window number from 0, got -1');
    expect(() => padWindows(questions, { nCtx: 0, eos: 9, dVocab: 6 })).toThrow(
      /padWindows\.nCtx[\s\S]*padWindows\.eos/,
    );
  });
});
