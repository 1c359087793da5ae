// The families cfg8, cfg9 and cfg0, whose tables were not released: grammars drawn by their construction rules.
import { ConfigError, nearest } from '@physlm/base';
import type { Cfg } from './cfg.js';
import { CfgParser } from './parse.js';
import { type RandomCfgOptions, randomCfg } from './random-cfg.js';
import { sentences } from './sentences.js';

/** Rules per symbol of members a … e, as of cfg3b, 3i, 3h, 3g, 3f. */
const DEGREES = { a: [2, 2], b: [2, 2], c: [2, 3], d: [3, 3], e: [3, 4] } as const;
const MEMBERS = ['a', 'b', 'c', 'd', 'e'] as const;
type Member = (typeof MEMBERS)[number];

/** Names of the families' members, from cfg8a to cfg0e. */
export const FAMILY_NAMES: readonly string[] = ['cfg8', 'cfg9', 'cfg0'].flatMap((family) =>
  MEMBERS.map((member) => family + member),
);

/** A grammar of cfg9 is taken when this many of its sentences have one parse each. */
const UNIQUE_SENTENCES = 20;
const MOST_GRAMMARS = 20_000;

/**
 * A member of a family with rules of length 1, so that tokens lie at unequal effective depths:
 * - `cfg8a` … `cfg8e`: seven levels of 3 symbols (4 terminals for d and e), rules of 1 to 3 symbols; ambiguous.
 * - `cfg9a` … `cfg9e`: seven levels of 4 symbols, rules of 2 or 3 symbols and one rule of length 1 for each level; drawn again
 *   until sentences have one parse, so that their trees can be probed.
 * - `cfg0a` … `cfg0e`: eleven levels that widen up to 4, 6 or 11 symbols, rules of 1 or 2 symbols; ambiguous.
 *
 * The tables of the paper were not released: results compare with its own in kind, not grammar by grammar.
 *
 * @throws ConfigError with the nearest name when there is no such member, or when no draw of cfg9 was unambiguous.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Appendix G.
 */
export function familyCfg(name: string, { seed }: { readonly seed: number }): Cfg {
  if (!FAMILY_NAMES.includes(name)) {
    const expected = `one of ${FAMILY_NAMES.join(', ')}`;
    throw new ConfigError([{ path: 'grammar', expected, got: `'${name}'`, nearest: nearest(name, FAMILY_NAMES) }]);
  }
  const member = name.at(-1) as Member;
  const common = { name, seed, degree: DEGREES[member], distinctSymbols: member === 'a' };
  if (name.startsWith('cfg8')) {
    const nTerminal = member === 'd' || member === 'e' ? 4 : 3;
    return randomCfg({ ...common, sizes: [1, 3, 3, 3, 3, 3, nTerminal], ruleLength: [1, 3] });
  }
  if (name.startsWith('cfg0')) return randomCfg({ ...common, sizes: sizesOfCfg0(member), ruleLength: [1, 2] });
  return unambiguous({ ...common, sizes: [1, 4, 4, 4, 4, 4, 4], ruleLength: [2, 3], addLengthOne: true });
}

function sizesOfCfg0(member: Member): number[] {
  const widest = member === 'a' || member === 'b' ? 4 : member === 'c' ? 6 : 11;
  return Array.from({ length: 11 }, (_, l) => Math.min(l + 1, widest));
}

function unambiguous(options: RandomCfgOptions): Cfg {
  for (let draw = 0; draw < MOST_GRAMMARS; draw++) {
    const cfg = randomCfg({ ...options, seed: options.seed * MOST_GRAMMARS + draw });
    const source = sentences(cfg, { seed: 0 });
    const parser = new CfgParser(cfg);
    let unique = 0;
    while (unique < UNIQUE_SENTENCES && parser.parse(source.document(unique).tokens.subarray(1))!.count === 1n)
      unique++;
    if (unique === UNIQUE_SENTENCES) return cfg;
  }
  throw new ConfigError([
    { path: options.name, expected: 'a grammar whose sentences have one parse', got: `none in ${MOST_GRAMMARS} draws` },
  ]);
}
