// The released grammars as values, each built when first asked for.
import { ConfigError, nearest } from '@physlm/base';
import { Cfg, type CfgRule } from './cfg.js';
import { RELEASED_NAMES, type ReleasedName, releasedTables } from './released-tables.js';

export { RELEASED_NAMES, type ReleasedName };

/**
 * One of the nine released grammars: cfg3b, cfg3i, cfg3h, cfg3g, cfg3f (one size, harder and harder), cfg3e1, cfg3e2 (wide
 * levels), cfg3j, cfg3k (one level deeper).
 *
 * @throws ConfigError with the nearest name when there is no such grammar.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Figure 1 (cfg3f), Figure 4 (all but cfg3j and cfg3k, which are of Part 4).
 */
export function releasedCfg(name: string): Cfg {
  const table = Object.hasOwn(releasedTables, name) ? releasedTables[name as ReleasedName] : undefined;
  if (table === undefined) {
    const expected = `one of ${RELEASED_NAMES.join(', ')}`;
    throw new ConfigError([{ path: 'grammar', expected, got: `'${name}'`, nearest: nearest(name, RELEASED_NAMES) }]);
  }
  const rules: Record<number, CfgRule[]> = {};
  for (const line of table.rules.split('\n')) {
    const [symbol, list] = line.split(': ') as [string, string];
    rules[Number(symbol)] = list.split(' | ').map((rule) => ({ symbols: rule.split(' ').map(Number) }));
  }
  return new Cfg({ name, levels: levelsOfSizes(table.sizes), rules });
}

/** Symbols of levels with the given sizes, numbered as the release does: terminals from 1, three ids left out, then up to the root. */
export function levelsOfSizes(sizes: readonly number[]): number[][] {
  let next = 1;
  return [...sizes]
    .reverse()
    .map((size, fromBelow) => {
      const level = Array.from({ length: size }, (_, i) => next + i);
      next += size + (fromBelow === 0 ? 3 : 0);
      return level;
    })
    .reverse();
}
