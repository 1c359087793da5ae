// Everything that the parsers compute by dynamic programming, against derivations written out one by one.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  Cfg,
  CfgParser,
  ExactLaw,
  prefixPosteriors,
  releasedCfg,
  sentences,
  substitutionDistance,
} from '../src/cfg/index.js';
import { type Derivation, derivations, strings, tinyCfg } from './cfg-oracle.js';

const runs = { numRuns: 60 };
const sum = (list: readonly Derivation[]): number => list.reduce((total, { p }) => total + p, 0);
const begins = (tokens: readonly number[], prefix: readonly number[]): boolean =>
  prefix.every((token, i) => tokens[i] === token);
const cases = tinyCfg.chain((cfg) => fc.tuple(fc.constant(cfg), strings(cfg), fc.nat()));

function close(got: number, expected: number, what = ''): void {
  if (!(Math.abs(got - expected) <= 1e-12 + 1e-10 * Math.abs(expected)))
    expect.fail(`${what}: ${got}, not ${expected}`);
}

describe('on tiny grammars, equal to enumeration', () => {
  test('membership, number of parses, probability, distance', () => {
    fc.assert(
      fc.property(cases, ([cfg, string, pick]) => {
        const all = derivations(cfg);
        const parser = new CfgParser(cfg);
        for (const tokens of [string, all[pick % all.length]!.tokens]) {
          const own = all.filter((one) => one.tokens.join() === tokens.join());
          const parses = parser.parse(tokens);
          expect(parser.accepts(tokens)).toBe(own.length > 0);
          expect(parses?.count ?? 0n).toBe(BigInt(own.length));
          if (parses !== undefined) close(Math.exp(parses.logProb), sum(own));
          const distances = all
            .filter((one) => one.tokens.length === tokens.length)
            .map((one) => one.tokens.filter((token, i) => token !== tokens[i]).length);
          expect(substitutionDistance(cfg, tokens)).toBe(distances.length === 0 ? undefined : Math.min(...distances));
        }
      }),
      runs,
    );
  });

  test('the law of the next token after every prefix; its rows sum to 1', () => {
    fc.assert(
      fc.property(cases, ([cfg, , pick]) => {
        const all = derivations(cfg);
        const { tokens } = all[pick % all.length]!;
        const law = new ExactLaw(cfg);
        const laws = law.ofSentence(tokens);
        for (let i = 0; i <= tokens.length; i++) {
          const alive = all.filter((one) => begins(one.tokens, tokens.slice(0, i)));
          const row = laws.subarray(i * law.dVocab, (i + 1) * law.dVocab);
          for (let token = 1; token <= cfg.nTerminal; token++) {
            close(row[token]!, sum(alive.filter((one) => one.tokens[i] === token)) / sum(alive), `position ${i}`);
          }
          close(row[cfg.nTerminal + 1]!, sum(alive.filter((one) => one.tokens.length === i)) / sum(alive), 'EOS');
          close(
            row.reduce((total, p) => total + p, 0),
            1,
          );
        }
        close(Math.exp(law.logSentence), sum(all.filter((one) => one.tokens.join() === tokens.join())));
      }),
      runs,
    );
  });

  test('posteriors of ancestors and ends, given the sentence and given its prefix', () => {
    fc.assert(
      fc.property(cases, ([cfg, , pick]) => {
        const all = derivations(cfg);
        const { tokens } = all[pick % all.length]!;
        const sentence = new CfgParser(cfg).parse(tokens)!.posteriors();
        const prefix = prefixPosteriors(cfg, tokens);
        cfg.levels.forEach((symbols, l) => {
          for (let i = 0; i < tokens.length; i++) {
            const nodeAt = ({ levels }: Derivation): number => levels[l]!.starts.findLastIndex((start) => start <= i);
            const ends = (one: Derivation): boolean =>
              (one.levels[l]!.starts[nodeAt(one) + 1] ?? one.tokens.length) === i + 1;
            for (const [table, alive] of [
              [sentence, all.filter((one) => one.tokens.join() === tokens.join())],
              [prefix, all.filter((one) => begins(one.tokens, tokens.slice(0, i + 1)))],
            ] as const) {
              symbols.forEach((symbol, a) => {
                const under = alive.filter((one) => one.levels[l]!.symbols[nodeAt(one)] === symbol);
                const at = i * symbols.length + a;
                close(table.ancestor(l + 1)[at]!, sum(under) / sum(alive), `ancestor of ${i}`);
                close(table.end(l + 1)[at]!, sum(under.filter(ends)) / sum(alive), `end at ${i}`);
              });
            }
          }
        });
      }),
      runs,
    );
  });

  test('the best parse is a derivation of the sentence, and none is likelier', () => {
    fc.assert(
      fc.property(cases, ([cfg, , pick]) => {
        const all = derivations(cfg);
        const { tokens } = all[pick % all.length]!;
        const own = all.filter((one) => one.tokens.join() === tokens.join());
        const tree = new CfgParser(cfg).parse(tokens)!.best();
        const levels = tree.levels.map(({ symbols, starts }) => ({
          symbols: [...symbols],
          starts: [...starts].slice(0, -1),
        }));
        const same = own.find((one) => JSON.stringify(one.levels) === JSON.stringify(levels));
        expect(same).toBeDefined();
        close(same!.p, Math.max(...own.map(({ p }) => p)));
        close(tree.logProb, Math.log(same!.p));
      }),
      runs,
    );
  });
});

describe('on released grammars', () => {
  test.each(['cfg3b', 'cfg3i', 'cfg3f', 'cfg3e1', 'cfg3k'])(
    '%s: samples are sentences, and the laws multiply to their probability',
    (name) => {
      const cfg = releasedCfg(name);
      const source = sentences(cfg, { seed: 5 });
      const [parser, law] = [new CfgParser(cfg), new ExactLaw(cfg)];
      for (let i = 0; i < 8; i++) {
        const { tokens, tree } = source.document(i);
        const terminals = tokens.subarray(1);
        const parses = parser.parse(terminals)!;
        expect(parses.count).toBeGreaterThanOrEqual(1n);
        expect(parses.logProb).toBeGreaterThanOrEqual(tree.logProb - 1e-9);
        expect(parses.best().logProb).toBeGreaterThanOrEqual(tree.logProb - 1e-9);
        const laws = law.ofSentence(terminals);
        let product = Math.log(laws.at(-1)!);
        terminals.forEach((token, t) => {
          product += Math.log(laws[t * law.dVocab + token]!);
        });
        close(product, parses.logProb);
        close(law.logSentence, parses.logProb);
        for (let row = 0; row < laws.length; row += law.dVocab) {
          close(
            laws.subarray(row, row + law.dVocab).reduce((total, p) => total + p, 0),
            1,
          );
        }
      }
    },
  );

  test('numbers stay in range at 2,000 tokens, where a product of probabilities has long become 0', () => {
    const { levels, rules } = releasedCfg('cfg3j');
    const cfg = new Cfg({
      name: 'four',
      levels: [[26], ...levels],
      rules: { ...rules, 26: [{ symbols: [25, 25, 25, 25] }, { symbols: [25] }] },
    });
    const source = sentences(cfg, { seed: 1 });
    const sample = Array.from({ length: 9 }, (_, i) => source.document(i)).find(({ tokens }) => tokens.length > 2000)!;
    const terminals = sample.tokens.subarray(1);
    const law = new ExactLaw(cfg);
    const laws = law.ofSentence(terminals);
    expect(Math.exp(sample.tree.logProb)).toBe(0);
    for (let row = 0; row < laws.length; row += law.dVocab) {
      close(
        laws.subarray(row, row + law.dVocab).reduce((total, p) => total + p, 0),
        1,
      );
    }
    close(law.logSentence, new CfgParser(cfg).parse(terminals)!.logProb);
  });

  test('substitutions bring a sentence no farther than their number', () => {
    const cfg = releasedCfg('cfg3f');
    fc.assert(
      fc.property(fc.nat({ max: 50 }), fc.array(fc.nat(), { minLength: 1, maxLength: 4 }), (index, places) => {
        const terminals = sentences(cfg, { seed: 2 }).document(index).tokens.slice(1);
        for (const place of places)
          terminals[place % terminals.length] = 1 + (terminals[place % terminals.length]! % 3);
        const distance = substitutionDistance(cfg, terminals)!;
        expect(distance).toBeLessThanOrEqual(places.length);
        expect(distance === 0).toBe(new CfgParser(cfg).accepts(terminals));
      }),
      { numRuns: 10 },
    );
    expect(substitutionDistance(cfg, [1, 2, 3])).toBeUndefined();
    expect(substitutionDistance(cfg, new Int32Array(730).fill(1))).toBeUndefined();
  });

  test('a law of something that no sentence begins with is refused with its place', () => {
    expect(() => new ExactLaw(releasedCfg('cfg3b')).ofSentence([1, 1, 1])).toThrow(/position 1.* got 1/);
    expect(() => prefixPosteriors(releasedCfg('cfg3b'), [9])).toThrow(/position 0.* got 9/);
  });
});
