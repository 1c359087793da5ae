import { describe, expect, it } from 'vitest';
import { type DocumentSource, documentWindows } from '../src/index.js';

/** Document i: i % 4 + 1 tokens, of which the second is masked. */
const source: DocumentSource = {
  name: 'counting',
  nGroup: 1,
  meanTokens: 2.5,
  document: (index) => ({
    index,
    text: '',
    tokens: Int32Array.from({ length: 1 + (index % 4) }, (_, t) => 1 + ((index + t) % 8)),
    spans: [],
    ...(index % 4 > 0 && { masked: [{ start: 1, end: 2 }] }),
  }),
};

describe('documentWindows', () => {
  const nCtx = 10;
  const windows = documentWindows(source, { nCtx, eos: 0, dVocab: 9 });
  const read = (index: number): { ids: Int32Array; targets: Int32Array } => {
    const [ids, targets] = [new Int32Array(nCtx), new Int32Array(nCtx)];
    windows.window(index, ids, targets);
    return { ids, targets };
  };

  it('begin with a document and end where the window does: by hand', () => {
    // Documents 0 … 3: [1], [2 (3)], [3 (4) 5], [4 (5) …]; masked tokens in brackets.
    const { ids, targets } = read(0);
    expect([...ids]).toEqual([0, 1, 0, 2, 3, 0, 3, 4, 5, 0]);
    expect([...targets]).toEqual([1, 0, 2, -1, 0, 3, -1, 5, 0, 4]);
  });

  it('each holds the documents from its number times nCtx, whole up to the last', () => {
    for (const index of [0, 1, 7, 1000]) {
      const stream = [0];
      const wanted = [];
      for (let i = 0; stream.length <= nCtx; i++) {
        const { tokens, masked = [] } = source.document(index * nCtx + i);
        wanted.push(...[...tokens].map((token, t) => (masked.some(({ start }) => t === start) ? -1 : token)), 0);
        stream.push(...tokens, 0);
      }
      const { ids, targets } = read(index);
      expect([...ids]).toEqual(stream.slice(0, nCtx));
      expect([...targets]).toEqual(wanted.slice(0, nCtx));
    }
  });

  it('refuse options and numbers that cannot be', () => {
    expect(() => documentWindows(source, { nCtx: 0, eos: 9, dVocab: 9 })).toThrow(/nCtx[\s\S]*eos/);
    expect(() => read(-1)).toThrow('[documentWindows.window] expected a window number from 0, got -1');
  });
});
