// Against rows of the released generator and against the figures of the fact sheet on the paper.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { bayesCeilings, CfgParser, ExactLaw, RELEASED_NAMES, releasedCfg, sentenceEntropy } from '../src/cfg/index.js';
import { CfgTree } from '../src/cfg/tree.js';

const reference =
  process.env.PHYSLM_REFERENCE ?? fileURLToPath(new URL('../../../../shared/reference', import.meta.url));
const skip = existsSync(join(reference, 'lano_cfg3f.jsonl')) ? '' : ` (no reference data at ${reference})`;

interface Row {
  readonly variant: string;
  readonly tokens: readonly number[];
  /** By token: terminal, −(its number + 2), then for each ancestor up to the root the same. */
  readonly tree?: readonly (readonly number[])[];
  readonly logprob_seq: number;
  readonly repo_possibility_count: number;
  /** By position: EOS, then terminals. */
  readonly dist: readonly (readonly number[])[];
}
const rows = (file: string): Row[] =>
  readFileSync(join(reference, file), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('rows of the released generator', () => {
  test.skipIf(skip !== '').each(['cfg3b', 'cfg3e1', 'cfg3e2', 'cfg3f', 'cfg3i'])(
    `%s: every sentence is accepted, every tree is a derivation${skip}`,
    (name) => {
      const cfg = releasedCfg(name);
      const parser = new CfgParser(cfg);
      for (const { tokens, tree } of rows(`lano_${name}.jsonl`)) {
        const parses = parser.parse(tokens)!;
        expect(parses).toBeDefined();
        if (tree === undefined) continue;
        const levels = cfg.levels.map((_, l) => {
          const column = 2 * (cfg.nLevel - 1 - l);
          const starts = tree.flatMap((token, i) =>
            i === 0 || token[column + 1] !== tree[i - 1]![column + 1] ? [i] : [],
          );
          return {
            symbols: Uint16Array.from(starts, (i) => tree[i]![column]!),
            starts: Int32Array.from([...starts, tree.length]),
          };
        });
        const generating = new CfgTree(cfg, levels);
        expect(Number.isFinite(generating.logProb)).toBe(true);
        expect(generating.logProb).toBeLessThanOrEqual(parses.logProb + 1e-9);
        tree.forEach((token, i) => {
          for (let l = 1; l <= cfg.nLevel; l++) {
            const column = 2 * (cfg.nLevel - l);
            expect([generating.ntAncestor(l)[i], generating.ntIndex(l)[i]]).toEqual([
              token[column],
              -token[column + 1]! - 2,
            ]);
            if (i > 20) break;
          }
        });
      }
    },
  );

  test.skipIf(skip !== '')(`next-token laws to 1e-9, and the probability of the sentence${skip}`, () => {
    const golden = rows('lano_nexttoken_golden.jsonl');
    expect(golden.length).toBeGreaterThan(0);
    for (const { variant, tokens, dist, logprob_seq, repo_possibility_count } of golden) {
      const cfg = releasedCfg(variant);
      const law = new ExactLaw(cfg);
      const laws = law.ofSentence(tokens);
      dist.forEach(([eos, ...terminals], i) => {
        const row = laws.subarray(i * law.dVocab, (i + 1) * law.dVocab);
        [0, ...terminals, eos!].forEach((p, token) => {
          expect(Math.abs(row[token]! - p)).toBeLessThan(1e-9);
        });
      });
      // The row's logarithm was summed from rounded probabilities.
      expect(Math.abs(law.logSentence - logprob_seq)).toBeLessThan(1e-6);
      // The released count adds where it should multiply in one case, which needs two parses to show.
      if (repo_possibility_count === 1) expect(new CfgParser(cfg).parse(tokens)!.count).toBe(1n);
    }
  });
});

describe('figures of the released grammars', () => {
  // name, E[length], its standard deviation, shortest, longest, entropy of the tree, entropy of the sentence.
  const table: [string, number, number, number, number, number, number | undefined][] = [
    ['cfg3b', 275.6, 41.7, 138, 432, 169.25, 169.25],
    ['cfg3i', 308.1, 46.0, 114, 564, 186.94, 184.7],
    ['cfg3h', 236.4, 41.5, 97, 459, 204.78, 204.7],
    ['cfg3g', 252.4, 53.0, 80, 729, 269.92, 268.0],
    ['cfg3f', 249.9, 69.4, 64, 729, 268.66, 268.1],
    ['cfg3e1', 198.6, 46.8, 66, 557, 215.99, 216.0],
    ['cfg3e2', 246.4, 55.9, 82, 645, 256.35, 256.4],
    ['cfg3j', 543.9, 133.6, 128, 2052, 618.6, undefined],
    ['cfg3k', 516.3, 91.1, 132, 1458, 608.3, undefined],
  ];
  test.each(table)('%s: lengths and entropies', (name, mean, sd, min, max, treeBits, bits) => {
    const cfg = releasedCfg(name);
    const { length, treeEntropyBits } = cfg.statistics;
    expect([length.mean.toFixed(1), length.sd.toFixed(1), length.min, length.max]).toEqual([
      mean.toFixed(1),
      sd.toFixed(1),
      min,
      max,
    ]);
    expect(Math.abs(treeEntropyBits - treeBits)).toBeLessThan(0.051);
    if (bits === undefined) return;
    const { value, standardError } = sentenceEntropy(cfg, { seed: 11, nSentence: 200 });
    expect(Math.abs(value - bits)).toBeLessThan(0.06 + 4 * standardError);
  });

  test('all nine are there; the wide ones have symbols out of reach', () => {
    expect(table.map(([name]) => name)).toEqual([...RELEASED_NAMES]);
    const { levels, unreachable } = releasedCfg('cfg3e1');
    expect(levels.map((level) => level.filter((symbol) => unreachable.includes(symbol)).length)).toEqual([
      0, 0, 1, 3, 9, 0, 0,
    ]);
    expect(releasedCfg('cfg3f').unreachable).toEqual([]);
  });

  // Percent at NT6 … NT2: at NT-ends given the prefix; everywhere given the sentence; share of NT-ends.
  test.each([
    ['cfg3b', [100, 100, 99.6, 99.7, 100], [100, 100, 100, 100, 100], [40.0, 13.3, 5.1, 1.9, 0.7]],
    ['cfg3i', [97.2, 98.4, 100, 100, 100], [99.6, 99.7, 99.7, 99.4, 99.9], [37.4, 14.2, 5.4, 2.4, 1.0]],
    ['cfg3f', [100, 99.2, 99.2, 98.6, 97.8], [100, 99.9, 99.2, 99.0, 98.6], [39.3, 14.9, 5.6, 2.3, 1.0]],
  ])('%s: Bayes ceilings', (name, atEnds, everywhere, rates) => {
    const levels = bayesCeilings(releasedCfg(name), { seed: 4, nSentence: 120 }).reverse();
    // A sentence has few nodes near the root, and the hard ones are rare: standard errors of small samples miss them.
    const tolerance = [0.3, 0.3, 0.5, 1, 1.5];
    levels.forEach(({ prefix, sentence, boundaryRate }, i) => {
      for (const [{ value }, percent] of [
        [prefix.ancestorAtEnd, atEnds[i]!],
        [sentence.ancestor, everywhere[i]!],
        [boundaryRate, rates[i]!],
      ] as const) {
        expect(Math.abs(100 * value - percent)).toBeLessThan(tolerance[i]!);
      }
      expect(sentence.ancestor.value).toBeGreaterThanOrEqual(prefix.ancestor.value);
    });
  });
});
