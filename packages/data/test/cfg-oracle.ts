// The oracle of the CFG tests: every derivation of a tiny grammar, written out.
import fc from 'fast-check';
import { Cfg, type CfgRule } from '../src/cfg/index.js';

/** A sentence, one of its derivations (symbols and first tokens by level), and the derivation's probability. */
export interface Derivation {
  readonly tokens: readonly number[];
  readonly levels: readonly { readonly symbols: readonly number[]; readonly starts: readonly number[] }[];
  readonly p: number;
}

export function derivations(cfg: Cfg): Derivation[] {
  const below = (symbol: number, l: number): Derivation[] => {
    if (l === cfg.nLevel - 1) return [{ tokens: [symbol], levels: [{ symbols: [symbol], starts: [0] }], p: 1 }];
    const rules = cfg.rules[symbol]!;
    const sum = rules.reduce((total, { weight = 1 }) => total + weight, 0);
    return rules.flatMap(({ symbols, weight = 1 }) => {
      let partial: Derivation[] = [
        { tokens: [], levels: cfg.levels.slice(l + 1).map(() => ({ symbols: [], starts: [] })), p: weight / sum },
      ];
      for (const child of symbols) {
        const children = below(child, l + 1);
        partial = partial.flatMap((left) =>
          children.map((right) => ({
            tokens: [...left.tokens, ...right.tokens],
            levels: left.levels.map((level, i) => ({
              symbols: [...level.symbols, ...right.levels[i]!.symbols],
              starts: [...level.starts, ...right.levels[i]!.starts.map((start) => start + left.tokens.length)],
            })),
            p: left.p * right.p,
          })),
        );
      }
      return partial.map((one) => ({ ...one, levels: [{ symbols: [symbol], starts: [0] }, ...one.levels] }));
    });
  };
  return below(cfg.levels[0]![0]!, 0);
}

/** Grammars of three levels with up to a few hundred derivations: rules of 1 to 3 symbols, weights, ambiguity and all. */
export const tinyCfg: fc.Arbitrary<Cfg> = fc
  .record({ nMiddle: fc.integer({ min: 1, max: 2 }), nTerminal: fc.integer({ min: 1, max: 3 }) })
  .chain(({ nMiddle, nTerminal }) => {
    const terminals = Array.from({ length: nTerminal }, (_, t) => t + 1);
    const middle = Array.from({ length: nMiddle }, (_, i) => nTerminal + 4 + i);
    const root = nTerminal + 4 + nMiddle;
    const rulesOver = (children: number[], most: number): fc.Arbitrary<CfgRule[]> =>
      fc.uniqueArray(
        fc.record({
          symbols: fc.array(fc.constantFrom(...children), { minLength: 1, maxLength: 3 }),
          weight: fc.constantFrom(1, 1, 2.5),
        }),
        { minLength: 1, maxLength: most, selector: ({ symbols }) => symbols.join(' ') },
      );
    return fc.tuple(rulesOver(middle, 3), ...middle.map(() => rulesOver(terminals, 3))).map(([top, ...rest]) => {
      const rules: Record<number, CfgRule[]> = { [root]: top! };
      middle.forEach((symbol, i) => {
        rules[symbol] = rest[i]!;
      });
      return new Cfg({ name: 'tiny', levels: [[root], middle, terminals], rules });
    });
  });

/** Strings over the grammar's terminals, mostly short. */
export function strings(cfg: Cfg): fc.Arbitrary<number[]> {
  return fc.array(fc.integer({ min: 1, max: cfg.nTerminal }), { maxLength: 9 });
}
