// Reads a user's grammar from JSON: the shape first, then what the constructor of Cfg checks, then symbols nothing reaches.
import { ConfigError, type ConfigProblem, nearest } from '@physlm/base';
import { Cfg, type CfgDefinition, type CfgRule, unreachableSymbols } from './cfg.js';

const KEYS = ['name', 'levels', 'rules'];

/**
 * The grammar that a parsed JSON file holds:
 * `{ "name": "mine", "levels": [[6], [4, 5], [1, 2, 3]], "rules": { "6": [[4, 5], [5, 5]], "4": [[1, 2]], "5": [[3]] } }`.
 * Levels go from the root to the terminals, which count from 1. The rules of a symbol are equally likely, unless some are
 * written as `{ "symbols": [4, 5], "weight": 2 }`.
 *
 * @param file what the messages call it; also its name when it gives none.
 * @throws ConfigError with every problem and its path in the file: besides those of `Cfg`, a value of the wrong type, an
 * unknown key and a symbol that the root cannot reach.
 */
export function cfgFromJson(value: unknown, file = 'grammar'): Cfg {
  const problems: ConfigProblem[] = [];
  const definition = readDefinition(value, file, problems);
  if (problems.length > 0) throw new ConfigError(problems.map((p) => ({ ...p, path: `${file}: ${p.path}` })));
  const cfg = new Cfg(definition, file);
  const lost = new Set(unreachableSymbols(definition.levels, definition.rules));
  const unreachable = definition.levels.flatMap((level, l) =>
    level.flatMap((symbol, i) =>
      lost.has(symbol)
        ? [
            {
              path: `${file}: levels[${l}][${i}]`,
              expected: 'a symbol that the root can reach',
              got: `${symbol}, which no rule in reach holds`,
            },
          ]
        : [],
    ),
  );
  if (unreachable.length > 0) throw new ConfigError(unreachable);
  return cfg;
}

function readDefinition(value: unknown, file: string, problems: ConfigProblem[]): CfgDefinition {
  const empty: CfgDefinition = { name: file, levels: [], rules: {} };
  if (!isObject(value)) {
    problems.push({ path: 'grammar', expected: 'an object with levels and rules', got: kind(value) });
    return empty;
  }
  for (const key of Object.keys(value)) {
    if (!KEYS.includes(key))
      problems.push({
        path: key,
        expected: `one of ${KEYS.join(', ')}`,
        got: 'an unknown key',
        nearest: nearest(key, KEYS),
      });
  }
  const { name = file, levels, rules } = value;
  if (typeof name !== 'string') problems.push({ path: 'name', expected: 'a text', got: kind(name) });
  const readLevels: number[][] = [];
  if (!Array.isArray(levels)) problems.push({ path: 'levels', expected: 'a list of levels', got: kind(levels) });
  else levels.forEach((level: unknown, l) => void readLevels.push(readSymbols(level, `levels[${l}]`, problems)));
  const readRules: Record<number, CfgRule[]> = {};
  if (!isObject(rules))
    problems.push({ path: 'rules', expected: 'an object of lists, keyed by symbol', got: kind(rules) });
  else {
    for (const [symbol, list] of Object.entries(rules)) {
      const path = `rules.${symbol}`;
      if (!/^[1-9]\d*$/.test(symbol))
        problems.push({ path, expected: 'a symbol, which is a number from 1', got: `'${symbol}'` });
      else if (!Array.isArray(list)) problems.push({ path, expected: 'a list of rules', got: kind(list) });
      else readRules[Number(symbol)] = list.map((rule: unknown, r) => readRule(rule, `${path}[${r}]`, problems));
    }
  }
  return { name: String(name), levels: readLevels, rules: readRules };
}

function readRule(value: unknown, path: string, problems: ConfigProblem[]): CfgRule {
  if (!isObject(value)) return { symbols: readSymbols(value, path, problems) };
  const known = ['symbols', 'weight'];
  for (const key of Object.keys(value)) {
    if (!known.includes(key))
      problems.push({
        path: `${path}.${key}`,
        expected: `one of ${known.join(', ')}`,
        got: 'an unknown key',
        nearest: nearest(key, known),
      });
  }
  const { symbols, weight = 1 } = value;
  if (typeof weight !== 'number') problems.push({ path: `${path}.weight`, expected: 'a number', got: kind(weight) });
  return { symbols: readSymbols(symbols, path, problems), weight: Number(weight) };
}

function readSymbols(value: unknown, path: string, problems: ConfigProblem[]): number[] {
  if (!Array.isArray(value)) {
    problems.push({ path, expected: 'a list of symbols', got: kind(value) });
    return [];
  }
  value.forEach((symbol: unknown, i) => {
    if (typeof symbol !== 'number')
      problems.push({ path: `${path}[${i}]`, expected: 'a symbol, which is a number', got: kind(symbol) });
  });
  return value as number[];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function kind(value: unknown): string {
  if (value === undefined) return 'nothing';
  return JSON.stringify(value).slice(0, 60);
}
