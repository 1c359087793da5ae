// New grammars by the published recipe: per symbol a number of rules, per rule a length, per place a symbol of the next level.
import { ConfigError, type ConfigProblem, Rng } from '@physlm/base';
import { Cfg, type CfgRule } from './cfg.js';
import { levelsOfSizes } from './released.js';

/** Redraws of one rule before its constraints count as unlucky beyond reason. */
const MOST_REDRAWS = 100_000;

/** The knobs of a random grammar. */
export interface RandomCfgOptions {
  readonly name: string;
  readonly seed: number;
  /** Symbols of levels 1 … L; the first is 1. */
  readonly sizes: readonly number[];
  /** Least and most rules of a symbol; each number in between is as likely. */
  readonly degree: readonly [number, number];
  /** Least and most symbols of a rule; each number in between is as likely. */
  readonly ruleLength: readonly [number, number];
  /** No symbol twice in a rule, as in cfg3b. */
  readonly distinctSymbols?: boolean;
  /** No two rules of a level alike, whosever they are; on when absent, as in every released grammar. */
  readonly distinctRules?: boolean;
  /** The first symbol of each level but the root's and the terminals' has one more rule: the first symbol of the next level alone. */
  readonly addLengthOne?: boolean;
}

/**
 * Draws a levelled grammar: levels from the bottom up, symbols in order; rules that break a constraint are drawn again.
 * It may hold symbols that the root cannot reach, as two released ones do.
 *
 * @throws ConfigError when a knob is out of range, or a level has too few different rules for what is asked.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Section 2; draw order and knobs as in its released code; addLengthOne: Appendix G (cfg9).
 */
export function randomCfg(options: RandomCfgOptions): Cfg {
  checkKnobs(options);
  const {
    name,
    seed,
    sizes,
    degree,
    ruleLength,
    distinctSymbols = false,
    distinctRules = true,
    addLengthOne = false,
  } = options;
  const rng = new Rng(seed).fork(`random-cfg/${name}`);
  const levels = levelsOfSizes(sizes);
  const rules: Record<number, CfgRule[]> = {};
  const between = ([low, high]: readonly [number, number]): number => low + rng.below(high - low + 1);
  for (let l = levels.length - 2; l >= 0; l--) {
    const children = levels[l + 1]!;
    const taken = new Set<string>();
    for (const symbol of levels[l]!) {
      const own = new Set<string>();
      const list: CfgRule[] = [];
      const keep = (symbols: number[]): boolean => {
        const text = symbols.join(' ');
        if (own.has(text) || (distinctRules && taken.has(text))) return false;
        own.add(text);
        taken.add(text);
        list.push({ symbols });
        return true;
      };
      if (addLengthOne && l > 0 && symbol === levels[l]![0]) keep([children[0]!]);
      const wanted = list.length + between(degree);
      for (let draws = 0; list.length < wanted; draws++) {
        if (draws > MOST_REDRAWS)
          throw tooFewRules(
            `${name}: level ${l + 1}`,
            'a rule that keeps the constraints',
            `none in ${MOST_REDRAWS} draws`,
          );
        const symbols = Array.from({ length: between(ruleLength) }, () => rng.pick(children));
        if (distinctSymbols && new Set(symbols).size < symbols.length) continue;
        keep(symbols);
      }
      rules[symbol] = list;
    }
  }
  return new Cfg({ name, levels, rules });
}

function checkKnobs({
  name,
  sizes,
  degree,
  ruleLength,
  distinctSymbols = false,
  distinctRules = true,
}: RandomCfgOptions): void {
  const problems: ConfigProblem[] = [];
  const complain = (path: string, expected: string, got: unknown): void =>
    void problems.push({ path: `${name}: ${path}`, expected, got: JSON.stringify(got) });
  const positive = (value: number | undefined): boolean => Number.isInteger(value) && value! >= 1;
  if (sizes.length < 2 || sizes[0] !== 1 || !sizes.every(positive))
    complain('sizes', '1, then at least one integer from 1', sizes);
  if (!degree.every(positive) || degree[0] > degree[1]) complain('degree', 'least and most, integers from 1', degree);
  if (!ruleLength.every(positive) || ruleLength[0] > ruleLength[1])
    complain('ruleLength', 'least and most, integers from 1', ruleLength);
  if (problems.length > 0) throw new ConfigError(problems);
  sizes.slice(0, -1).forEach((size, l) => {
    const nChild = sizes[l + 1]!;
    let available = 0;
    for (let length = ruleLength[0]; length <= ruleLength[1]; length++) {
      let bodies = 1;
      for (let c = 0; c < length; c++) bodies *= distinctSymbols ? Math.max(0, nChild - c) : nChild;
      available += bodies;
    }
    const needed = degree[1] * (distinctRules ? size : 1);
    if (available < needed)
      complain(
        `sizes[${l + 1}]`,
        `symbols enough for ${needed} different rules of level ${l + 1}`,
        `${available} rules`,
      );
  });
  if (problems.length > 0) throw new ConfigError(problems);
}

function tooFewRules(path: string, expected: string, got: string): ConfigError {
  return new ConfigError([{ path, expected, got }], 'Use more symbols, fewer rules, or drop a constraint.');
}
