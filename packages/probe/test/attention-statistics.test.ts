import { Rng } from '@physlm/base';
import { describe, expect, it } from 'vitest';
import { type AttentionRows, attentionStatistics, type NtLabels, type SentenceAttention } from '../src/index.js';

/** The trees of sentences with nodes of the given sizes: level 2 holds whole groups of level-3 nodes. */
function tree(groups: readonly (readonly number[])[]): NtLabels & { readonly T: number } {
  const nodes: [number[], number[]] = [[], []];
  let small = 0;
  groups.forEach((group, big) => {
    for (const size of group) {
      for (let i = 0; i < size; i++) {
        nodes[0].push(big);
        nodes[1].push(small);
      }
      small++;
    }
  });
  const ends = nodes.map((level) => level.map((node, i) => Number(node !== level[i + 1])));
  return { nodes, ends, T: nodes[0].length };
}

const sentences = [
  tree([
    [2, 3],
    [2, 2, 3],
  ]),
  tree([[3, 2, 2], [4], [2, 2]]),
  tree([[1, 1]]),
];
const options = { nLayer: 2, nHead: 2, nPosition: 16, levels: [2, 3] };

/** All heads of all sentences with weights a(sentence, head, j, i), in pieces of `nRow` rows. */
function* attention(
  a: (s: number, head: number, j: number, i: number) => number,
  nRow = 3,
): Generator<SentenceAttention> {
  for (const [s, labels] of sentences.entries()) {
    const { T } = labels;
    const parts: AttentionRows[] = [];
    for (let head = 0; head < 4; head++) {
      for (let row0 = 0; row0 < T; row0 += nRow) {
        const n = Math.min(nRow, T - row0);
        const rows = Float32Array.from({ length: n * T }, (_, at) => {
          const [j, i] = [row0 + Math.floor(at / T), at % T];
          // What lies ahead is never read.
          return i <= j ? a(s, head, j, i) : Number.NaN;
        });
        parts.push({ layer: head >> 1, head: head & 1, row0, rows, T });
      }
    }
    yield { labels, attention: parts };
  }
}
const noisy = (s: number, head: number, j: number, i: number): number =>
  Math.fround(new Rng('attention').at(((s * 4 + head) * 32 + j) * 32 + i).uniform());

/** The definitions, pair by pair. */
function byHand(a: typeof noisy, head: number) {
  const pairs = sentences.flatMap(({ T }, s) =>
    Array.from({ length: T }, (_, j) =>
      Array.from({ length: j + 1 }, (_, i) => ({ s, j, i, a: a(s, head, j, i) })),
    ).flat(),
  );
  type Pair = (typeof pairs)[number];
  const mean = (list: readonly Pair[], value: (pair: Pair) => number): number | null =>
    list.length === 0 ? null : list.reduce((total, pair) => total + value(pair), 0) / list.length;
  const averages = Array.from({ length: 16 }, (_, p) =>
    mean(
      pairs.filter(({ i, j }) => j - i === p),
      (x) => x.a,
    ),
  );
  const excess = (x: Pair): number => x.a - averages[x.j - x.i]!;
  const deepest = (s: number, i: number): number => sentences[s]!.ends.findIndex((level) => level[i] === 1);
  return {
    averages,
    byEndOffset: [0, 1].map((l) =>
      [-2, -1, 0, 1, 2].map((d) =>
        mean(
          pairs.filter(({ s, i }) => deepest(s, i + d) === l),
          excess,
        ),
      ),
    ),
    boundary: [0, 1].map((l) =>
      [-1, 0, 1].map((d1) =>
        [-1, 0, 1].map((d2) =>
          mean(
            pairs.filter(({ s, i, j }) => sentences[s]!.ends[l]![i + d1] === 1 && sentences[s]!.ends[l]![j + d2] === 1),
            excess,
          ),
        ),
      ),
    ),
    endToEnd: [0, 1].map((from) =>
      [0, 1].map((l) =>
        Array.from({ length: 9 }, (_, r) =>
          mean(
            pairs.filter(
              ({ s, i, j }) =>
                deepest(s, j) === from &&
                deepest(s, i) === l &&
                sentences[s]!.nodes[l]![j]! - sentences[s]!.nodes[l]![i]! === r,
            ),
            excess,
          ),
        ),
      ),
    ),
  };
}

function expectClose(got: unknown, expected: unknown): void {
  if (Array.isArray(expected)) {
    expect((got as unknown[]).length).toBe(expected.length);
    for (const [i, x] of expected.entries()) expectClose((got as unknown[])[i], x);
  } else if (expected === null) expect(got).toBeNull();
  else expect(got).toBeCloseTo(expected as number, 12);
}

describe('attention statistics', () => {
  it('are the means of their definitions, in whatever pieces the rows come', () => {
    const got = attentionStatistics(() => attention(noisy), options);
    for (const head of [0, 1, 2, 3]) {
      const expected = byHand(noisy, head);
      const [layer, h] = [head >> 1, head & 1];
      expectClose(got.byDistance[layer]![h], expected.averages);
      expectClose(got.byEndOffset[layer]![h], expected.byEndOffset);
      expectClose(got.boundaryToBoundary[layer]![h], expected.boundary);
      expectClose(got.endToEnd[layer]![h], expected.endToEnd);
    }
    expect(got.nSentence).toBe(3);
    expect(attentionStatistics(() => attention(noisy, 100), options)).toEqual(got);
    expect(JSON.parse(JSON.stringify(got))).toEqual(got);
  });

  it('of heads that know distance only: exact averages, and nothing left', () => {
    // Powers of two: every mean is exact.
    const got = attentionStatistics(() => attention((_, head, j, i) => 2 ** -(j - i) * (head + 1)), options);
    expect(got.byDistance[1]![0]!.slice(0, 4)).toEqual([3, 1.5, 0.75, 0.375]);
    const left = JSON.stringify([got.byEndOffset, got.boundaryToBoundary, got.endToEnd]).match(/-?\d[\d.e-]*/g)!;
    expect(left.every((number) => Number(number) === 0)).toBe(true);
  });

  it('of heads that look at one place: the mass within p tokens', () => {
    const got = attentionStatistics(() => attention((_, head, j, i) => Number(i === Math.max(0, j - head))), options);
    // 12 + 15 + 2 queries; those near the start look at themselves or at what there is.
    expect(got.cumulative[0]![0]![0]).toBe(1);
    expect(got.cumulative[0]![1]!.slice(0, 2)).toEqual([3 / 29, 1]);
    expect(got.cumulative[1]![0]!.slice(0, 3)).toEqual([3 / 29, 6 / 29, 1]);
  });

  it('of a head that looks from an end to the nearest end before it: highest at r = 1, then falling off', () => {
    const near = (s: number, _head: number, j: number, i: number): number => {
      const { ends, nodes } = sentences[s]!;
      return ends[1]![j] === 1 && ends[1]![i] === 1 && nodes[1]![j]! - nodes[1]![i]! === 1 ? 1 : 0;
    };
    const got = attentionStatistics(() => attention(near), options);
    const [, fromSmall] = got.endToEnd[0]![0]!;
    expect(fromSmall![1]![1]!).toBeGreaterThan(0.5);
    expect(fromSmall![1]![1]!).toBeGreaterThan(fromSmall![1]![2]!);
    const grid = got.boundaryToBoundary[0]![0]![1]!;
    expect(Math.max(...grid.flat().map((x) => x ?? 0))).toBe(grid[1]![1]);
    // Level-3 ends two nodes apart inside a level-2 node: counted once for each pair.
    expect(got.nEndToEnd[1]![1]![0]).toBe(
      sentences.reduce(
        (n, { ends }) => n + Array.from(ends[1]!).filter((e, i) => e === 1 && ends[0]![i] === 0).length,
        0,
      ),
    );
  });

  it('refuse what does not fit, naming the sentence', () => {
    const change = (by: Partial<AttentionRows>) => () =>
      attentionStatistics(
        () => [
          {
            labels: sentences[2]!,
            attention: [{ layer: 0, head: 0, row0: 0, rows: new Float32Array(4), T: 2, ...by }],
          },
        ],
        options,
      );
    expect(change({})).not.toThrow();
    expect(change({ head: 2 })).toThrow('[attentionStatistics.head of sentence 0] expected 0 … 1, got 2');
    expect(change({ row0: 1 })).toThrow('expected rows within 0 … 1, got 2 from 1');
    expect(change({ rows: Float32Array.of(1, 0, Number.NaN, 0) })).toThrow('expected finite weights, got NaN');
    expect(change({ T: 4 })).toThrow(
      '[attentionStatistics.labels.ends of sentence 0] expected 4 positions, as the attention has, got 2',
    );
    expect(() => attentionStatistics(() => [], { ...options, nLayer: 0 })).toThrow(
      '[attentionStatistics.nLayer] expected a positive integer, got 0',
    );
    let nCall = 0;
    expect(() => attentionStatistics(() => (nCall++ ? [] : attention(noisy)), options)).toThrow(
      'expected 3 sentences again, got 0',
    );
  });
});
