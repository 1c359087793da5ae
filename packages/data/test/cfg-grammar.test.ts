// Grammars from files and from knobs, and what sentences drawn from them look like.
import { ConfigError } from '@physlm/base';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  Cfg,
  CfgParser,
  cfgFromJson,
  FAMILY_NAMES,
  familyCfg,
  implicitCfg,
  type Perturbation,
  randomCfg,
  releasedCfg,
  sentences,
  TerminalTokenizer,
} from '../src/cfg/index.js';
import { packWindows, tokenizerFromJson } from '../src/index.js';
import { derivations, tinyCfg } from './cfg-oracle.js';

const good = {
  name: 'mine',
  levels: [[8], [6, 7], [1, 2, 3]],
  rules: {
    8: [
      [6, 7],
      [7, 7, 6],
    ],
    6: [[1, 2], [3]],
    7: [{ symbols: [2, 2], weight: 3 }, [1, 3]],
  },
};
/** The good grammar with another value at a path, as `rules.6.0`. */
function changed(path: string, value: unknown): unknown {
  const copy = structuredClone(good) as unknown as Record<string, unknown>;
  const keys = path.split('.');
  const last = keys.pop()!;
  const holder = keys.reduce((object, key) => object[key] as Record<string, unknown>, copy);
  holder[last] = value;
  return copy;
}

/** Forty levels of doubling. */
const explosive = {
  levels: [...Array.from({ length: 40 }, (_, l) => [100 - l]), [1]],
  rules: Object.fromEntries(Array.from({ length: 40 }, (_, l) => [100 - l, [l === 39 ? [1] : [99 - l, 99 - l]]])),
};

describe('a grammar file', () => {
  test('is read, and written as it was', () => {
    const cfg = cfgFromJson(good, 'mine.json');
    expect([cfg.name, cfg.nLevel, cfg.nTerminal]).toEqual(['mine', 3, 3]);
    expect(JSON.parse(JSON.stringify(cfg))).toEqual(JSON.parse(JSON.stringify(good)));
  });

  test.each<[string, unknown, string]>([
    [
      'an unknown symbol',
      changed('rules.6.0', [1, 4]),
      '[g.json: rules.6[0][1]] expected a symbol of levels[2] (1 2 3), got unknown symbol 4',
    ],
    ['an empty rule', changed('rules.6.1', []), '[g.json: rules.6[1]] expected at least one symbol, got an empty rule'],
    [
      'a level skipped',
      changed('rules.8.0', [6, 1]),
      '[g.json: rules.8[0][1]] expected a symbol of levels[1] (6 7), got 1, which is in levels[2]',
    ],
    [
      'a symbol out of reach',
      changed('rules.8', [[7, 7]]),
      '[g.json: levels[1][0]] expected a symbol that the root can reach, got 6',
    ],
    [
      'a rule repeated',
      changed('rules.6.2', [1, 2]),
      '[g.json: rules.6[2]] expected a rule unlike rules.6[0], got 1 2 again',
    ],
    ['no rules', changed('rules.7', []), '[g.json: rules.7] expected at least one rule, got none'],
    ['rules of a terminal', changed('rules.1', [[2]]), '[g.json: rules.1] expected a non-terminal, got a terminal'],
    ['terminals not from 1', changed('levels.2', [1, 2, 4]), '[g.json: levels[2][2]] expected terminal 3'],
    ['a symbol in two levels', changed('levels.1', [6, 7, 3]), '3, which is also in levels[1]'],
    ['two roots', changed('levels.0', [8, 9]), '[g.json: levels[0]] expected one symbol, the root, got 2 symbols'],
    [
      'a bad weight',
      changed('rules.7.0', { symbols: [2, 2], weight: 0 }),
      '[g.json: rules.7[0].weight] expected a positive number, got 0',
    ],
    ['an unknown key', changed('rule', {}), "Did you mean 'rules'?"],
    ['a rule that is text', changed('rules.6', ['1 2']), '[g.json: rules.6[0]] expected a list of symbols, got "1 2"'],
    [
      'a name for a symbol',
      changed('rules.NP', [[1]]),
      "[g.json: rules.NP] expected a symbol, which is a number from 1, got 'NP'",
    ],
    ['nothing', null, '[g.json: grammar] expected an object with levels and rules, got null'],
    ['one level', { levels: [[1]], rules: {} }, 'expected at least two levels'],
    ['sentences without end', explosive, 'tokens on average, got 5.50e+11'],
  ])('%s', (_, value, message) => {
    expect(() => cfgFromJson(value, 'g.json')).toThrow(ConfigError);
    expect(() => cfgFromJson(value, 'g.json')).toThrow(message);
  });

  test('all problems are said at once', () => {
    const broken = { ...good, rules: { ...good.rules, 6: [[1, 9], []], 8: [[6, 7], [2]] } };
    expect(() => cfgFromJson(broken)).toThrow(/rules\.8\[1\]\[0\](.|\n)*rules\.6\[0\]\[1\](.|\n)*rules\.6\[1\]/);
  });

  test('an unknown released name is answered with the nearest', () => {
    expect(() => releasedCfg('cfg3z')).toThrow(/Did you mean 'cfg3/);
    expect(() => familyCfg('cfg7a', { seed: 1 })).toThrow("Did you mean 'cfg");
  });
});

describe('random grammars keep their knobs', () => {
  test('degree, length, distinct symbols, distinct rules', () => {
    fc.assert(
      fc.property(fc.nat(), fc.boolean(), fc.boolean(), (seed, distinctSymbols, addLengthOne) => {
        const sizes = [1, 3, 5, 4];
        const knobs = {
          name: 'r',
          seed,
          sizes,
          degree: [2, 3],
          ruleLength: [2, 3],
          distinctSymbols,
          addLengthOne,
        } as const;
        const cfg = randomCfg(knobs);
        expect(cfg.levels.map((level) => level.length)).toEqual(sizes);
        cfg.levels.slice(0, -1).forEach((level, l) => {
          const bodies = level.flatMap((symbol) => cfg.rules[symbol]!.map(({ symbols }) => symbols.join(' ')));
          expect(new Set(bodies).size).toBe(bodies.length);
          level.forEach((symbol, place) => {
            const single = addLengthOne && l > 0 && place === 0;
            const list = [...cfg.rules[symbol]!];
            if (single) expect(list.shift()!.symbols).toEqual([cfg.levels[l + 1]![0]]);
            expect([2, 3]).toContain(list.length);
            for (const { symbols } of list) {
              expect([2, 3]).toContain(symbols.length);
              if (distinctSymbols) expect(new Set(symbols).size).toBe(symbols.length);
            }
          });
        });
        expect(JSON.stringify(randomCfg(knobs))).toBe(JSON.stringify(cfg));
      }),
      { numRuns: 20 },
    );
  });

  test('knobs that cannot be kept are refused before anything is drawn', () => {
    const knobs = { name: 'r', seed: 1, sizes: [1, 3, 2], degree: [2, 3], ruleLength: [2, 3] } as const;
    expect(() => randomCfg({ ...knobs, distinctSymbols: true })).toThrow(
      '[r: sizes[2]] expected symbols enough for 9 different rules of level 2, got "2 rules"',
    );
    expect(() => randomCfg({ ...knobs, degree: [3, 2] })).toThrow('degree');
    expect(() => randomCfg({ ...knobs, sizes: [2, 3] })).toThrow('sizes');
  });

  test('families', () => {
    const quick = FAMILY_NAMES.filter((name) => name !== 'cfg9e');
    const grammars = quick.map((name) => familyCfg(name, { seed: 1 }));
    const by = (name: string): Cfg => grammars[quick.indexOf(name)]!;
    expect(by('cfg8e').levels.map((level) => level.length)).toEqual([1, 3, 3, 3, 3, 3, 4]);
    expect(by('cfg0d').levels.map((level) => level.length)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(by('cfg0c').levels.map((level) => level.length)).toEqual([1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6]);
    for (const name of ['cfg9a', 'cfg9b', 'cfg9c', 'cfg9d']) {
      const [source, parser] = [sentences(by(name), { seed: 0 }), new CfgParser(by(name))];
      for (let i = 0; i < 20; i++) expect(parser.parse(source.document(i).tokens.subarray(1))!.count).toBe(1n);
    }
  });
});

describe('sentences', () => {
  test('document i depends on the seed and i alone', () => {
    const [one, two] = [sentences(releasedCfg('cfg3f'), { seed: 3 }), sentences(releasedCfg('cfg3f'), { seed: 3 })];
    const forward = Array.from({ length: 5 }, (_, i) => one.document(i));
    for (const i of [4, 0, 2]) {
      const again = two.document(i);
      expect([...again.tokens]).toEqual([...forward[i]!.tokens]);
      // The tree of an older document is drawn again, whatever was drawn since.
      expect(forward[i]!.tree).toEqual(again.tree);
    }
    expect([...sentences(releasedCfg('cfg3f'), { seed: 4 }).document(0).tokens]).not.toEqual([...forward[0]!.tokens]);
    // Nor does it depend on what the grammar is called.
    const renamed = new Cfg({ ...releasedCfg('cfg3f'), name: 'other' });
    expect([...sentences(renamed, { seed: 3 }).document(0).tokens]).toEqual([...forward[0]!.tokens]);
    expect(() => one.document(-1)).toThrow('an integer from 0');
  });

  test('labels agree with each other and with the tokens', () => {
    const cfg = releasedCfg('cfg3h');
    const { tokens, tree, spans, text } = sentences(cfg, { seed: 1 }).document(7);
    const n = tokens.length - 1;
    expect([tokens[0], [...tree.ntAncestor(7)], text]).toEqual([
      0,
      [...tokens.subarray(1)],
      [...tokens.subarray(1)].join(' '),
    ]);
    for (let level = 1; level <= 7; level++) {
      const [index, boundary] = [tree.ntIndex(level), tree.ntBoundary(level)];
      for (let i = 0; i < n; i++) {
        expect(boundary[i]).toBe(i === n - 1 || index[i] !== index[i + 1] ? 1 : 0);
        if (level < 7 && boundary[i] === 1) expect(tree.ntBoundary(level + 1)[i]).toBe(1);
      }
    }
    tree.deepestNtEnd().forEach((deepest, i) => {
      const ends = [2, 3, 4, 5, 6].filter((level) => tree.ntBoundary(level)[i] === 1);
      expect(deepest).toBe(ends[0] ?? 0);
    });
    const whole = new TerminalTokenizer(3);
    for (const { label, start, end, textStart, textEnd } of spans) {
      const [, level, symbol] = /^NT(\d):(\d+)$/.exec(label)!;
      expect(tree.ntAncestor(Number(level))[start - 1]).toBe(Number(symbol));
      expect(whole.decode(tokens.subarray(start, end))).toBe(text.slice(textStart, textEnd));
    }
    expect(
      spans.filter(({ label }) => label.startsWith('NT2:')).reduce((sum, { start, end }) => sum + end - start, 0),
    ).toBe(n);
  });

  test('derivations come as often as their probability says', () => {
    fc.assert(
      fc.property(tinyCfg, fc.nat(), (cfg, seed) => {
        const all = derivations(cfg);
        const source = sentences(cfg, { seed });
        const nDraw = 400;
        const seen = new Map<string, number>();
        for (let i = 0; i < nDraw; i++) {
          const key = JSON.stringify(source.document(i).tree.levels.map(({ symbols }) => [...symbols]));
          seen.set(key, (seen.get(key) ?? 0) + 1);
        }
        const p = new Map<string, number>();
        for (const one of all) {
          const key = JSON.stringify(one.levels.map(({ symbols }) => symbols));
          p.set(key, (p.get(key) ?? 0) + one.p);
        }
        for (const [key, count] of seen) {
          expect(p.has(key)).toBe(true);
          const expected = nDraw * p.get(key)!;
          expect(Math.abs(count - expected)).toBeLessThan(6 * Math.sqrt(expected) + 6);
        }
      }),
      { numRuns: 25 },
    );
  });

  test('mean length and node counts are those of the rules', () => {
    const cfg = releasedCfg('cfg3f');
    const source = sentences(cfg, { seed: 8 });
    const trees = Array.from({ length: 1500 }, (_, i) => source.document(i).tree);
    const mean = (of: (tree: (typeof trees)[0]) => number): number =>
      trees.reduce((sum, tree) => sum + of(tree), 0) / trees.length;
    cfg.levels.forEach((_, l) => {
      const expected = cfg.statistics.nodes[l]!;
      expect(Math.abs(mean(({ levels }) => levels[l]!.symbols.length) / expected - 1)).toBeLessThan(
        (4 * (69.4 / 249.9)) / Math.sqrt(trees.length),
      );
    });
  });

  test('windows hold BOS x EOS BOS x EOS …', () => {
    const source = sentences(releasedCfg('cfg3b'), { seed: 1 });
    const windows = packWindows(source, { nCtx: 512, eos: source.tokenizer.eos, dVocab: source.tokenizer.dVocab });
    const [ids, targets] = [new Int32Array(512), new Int32Array(512)];
    windows.window(0, ids, targets);
    const first = [...source.document(0).tokens];
    const stream = [4, ...first, 4, ...source.document(1).tokens].slice(0, 512);
    expect([...ids].slice(0, stream.length)).toEqual(stream);
    expect(first[0]).toBe(0);
  });
});

describe('perturbed sentences', () => {
  const cfg = releasedCfg('cfg3b');
  const clean = sentences(cfg, { seed: 1 });
  const spoiled = (perturbation: Perturbation) => sentences(cfg, { seed: 1, perturbation });

  test('a share of 1 − γ stays as it was', () => {
    const source = spoiled({ kind: 't-random', gamma: 0.3 });
    let nPerturbed = 0;
    for (let i = 0; i < 300; i++) {
      const { perturbed, tokens } = source.document(i);
      if (perturbed) nPerturbed++;
      else expect([...tokens]).toEqual([...clean.document(i).tokens]);
    }
    expect(Math.abs(nPerturbed - 90)).toBeLessThan(40);
  });

  test('terminals change at the rate, and nothing above them', () => {
    const source = spoiled({ kind: 't-random', rate: 0.3, gamma: 1 });
    let [changedTokens, all] = [0, 0];
    for (let i = 0; i < 50; i++) {
      const [one, other] = [source.document(i), clean.document(i)];
      expect(one.tree.levels.slice(0, -1)).toEqual(other.tree.levels.slice(0, -1));
      changedTokens += one.tokens.filter((token, t) => token !== other.tokens[t]).length;
      all += other.tokens.length - 1;
    }
    // A third of the replacements draws the same terminal.
    expect(Math.abs(changedTokens / all - 0.2)).toBeLessThan(0.02);
  });

  test('non-terminals: each level in turn breaks rules, and what was expanded is what the tree holds', () => {
    const parser = new CfgParser(cfg);
    for (const kind of ['nt-random', 'nt-permutation'] as const) {
      const source = spoiled({ kind, gamma: 1 });
      let [outside, nodes, wrong] = [0, 0, 0];
      for (let i = 0; i < 40; i++) {
        const { tokens, tree } = source.document(i);
        if (!parser.accepts(tokens.subarray(1))) outside++;
        const parents = tree.levels[5]!;
        parents.symbols.forEach((symbol, node) => {
          const body = [...tokens.subarray(1 + parents.starts[node]!, 1 + parents.starts[node + 1]!)].join(' ');
          expect(cfg.rules[symbol]!.map(({ symbols }) => symbols.join(' '))).toContain(body);
        });
        const above = tree.levels[4]!;
        above.symbols.forEach((symbol, node) => {
          const children = [...parents.symbols]
            .filter((_, c) => parents.starts[c]! >= above.starts[node]! && parents.starts[c]! < above.starts[node + 1]!)
            .join(' ');
          nodes++;
          if (!cfg.rules[symbol]!.some(({ symbols }) => symbols.join(' ') === children)) wrong++;
        });
      }
      expect(outside).toBeGreaterThan(35);
      expect(wrong / nodes).toBeGreaterThan(0.05);
      expect(wrong / nodes).toBeLessThan(0.35);
    }
  });

  test.each([
    [{ kind: 'nt-randon', gamma: 1 }, "Did you mean 'nt-random'?"],
    [{ kind: 'nt-random', gamma: 2 }, 'perturbation.gamma'],
    [{ kind: 'nt-random', gamma: 1, rate: -1 }, 'perturbation.rate'],
  ])('%j', (perturbation, message) => {
    expect(() => spoiled(perturbation as Perturbation)).toThrow(message);
  });
});

describe('implicit grammars', () => {
  const base = releasedCfg('cfg3b');

  test('disjoint: word i belongs to terminal i mod 3, and hides a sentence of the base', () => {
    const cfg = implicitCfg(base, { nWord: 300, membership: 'disjoint', weights: 'uniform', seed: 1 });
    expect(cfg.levels.slice(-2)).toEqual([[304, 305, 306], Array.from({ length: 300 }, (_, w) => w + 1)]);
    const { tokens, tree } = sentences(cfg, { seed: 1 }).document(0);
    const hidden = tree.ntAncestor(7);
    tokens.subarray(1).forEach((word, i) => {
      expect(hidden[i]).toBe(304 + ((word - 1) % 3));
    });
    expect(new CfgParser(base).accepts([...hidden].map((symbol) => symbol - 303))).toBe(true);
    expect(new CfgParser(cfg).accepts(tokens.subarray(1))).toBe(true);
  });

  test('overlapping: about 118 words for a terminal; non-uniform weights grow', () => {
    const cfg = implicitCfg(base, { nWord: 300, membership: 'overlapping', weights: 'nonUniform', seed: 1 });
    for (const terminal of [304, 305, 306]) {
      const rules = cfg.rules[terminal]!;
      expect(Math.abs(rules.length - 118)).toBeLessThan(20);
      expect(rules.map(({ weight }) => weight)).toEqual(rules.map((_, k) => k + 1));
      expect(rules.every(({ symbols: [word] }, k) => k === 0 || word! > rules[k - 1]!.symbols[0]!)).toBe(true);
    }
    const { tokens } = sentences(cfg, { seed: 1 }).document(0);
    expect(new CfgParser(cfg).parse(tokens.subarray(1))!.count).toBeGreaterThanOrEqual(1n);
  });

  test('too few words', () => {
    expect(() => implicitCfg(base, { nWord: 2, membership: 'disjoint', weights: 'uniform', seed: 1 })).toThrow('nWord');
  });
});

describe('the tokenizer of terminals', () => {
  const tokenizer = new TerminalTokenizer(3);

  test('reads and writes texts, and survives JSON', () => {
    expect([...tokenizer.encode(' 1 3  2\n')]).toEqual([1, 3, 2]);
    expect(tokenizer.decode([0, 1, 3, 2, 4])).toBe('1 3 2');
    expect([tokenizer.bos, tokenizer.eos, tokenizer.dVocab]).toEqual([0, 4, 5]);
    expect(tokenizerFromJson(JSON.parse(JSON.stringify(tokenizer)))).toEqual(tokenizer);
  });

  test.each(['1 4', '1 0', '1 x', '1 2.5', '1 -2'])("'%s' is refused with its place", (text) => {
    expect(() => tokenizer.encode(text)).toThrow('[terminals.encode, word 2] expected terminals 1 … 3, got ');
    expect(() => tokenizer.decode([5])).toThrow('tokens in 0 … 4');
  });
});
