// The language of one non-terminal of a grammar: a smaller grammar of the same kind.
import { ConfigError } from '@physlm/base';
import { Cfg, type CfgRule } from './cfg.js';

/**
 * The grammar whose root is non-terminal `symbol` of `cfg`, named `<name>/<symbol>`. Its sentences are the substrings that
 * `symbol` yields: cfg3f has 250 tokens and 7 levels, `cfg3f/16` 43 tokens and 5 levels, with the same rules.
 *
 * @throws ConfigError when `symbol` is not a non-terminal of the grammar.
 */
export function subCfg(cfg: Cfg, symbol: number): Cfg {
  const from = cfg.levels.findIndex((level) => level.includes(symbol));
  if (from < 0 || from === cfg.nLevel - 1) {
    const nonTerminals = cfg.levels.slice(0, -1).flat();
    const expected = `a non-terminal of ${cfg.name}: ${Math.min(...nonTerminals)} … ${Math.max(...nonTerminals)}`;
    throw new ConfigError([{ path: `${cfg.name}/${symbol}`, expected, got: String(symbol) }]);
  }
  const levels = [[symbol], ...cfg.levels.slice(from + 1)];
  const rules: Record<number, readonly CfgRule[]> = {};
  for (const one of levels.slice(0, -1).flat()) rules[one] = cfg.rules[one]!;
  return new Cfg({ name: `${cfg.name}/${symbol}`, levels, rules });
}
