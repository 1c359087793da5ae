// A levelled context-free grammar: levels 1 … L, the root alone on level 1, terminals on level L, and every rule of a level-l
// symbol rewrites it to symbols of level l+1. Symbols are numbers; terminals are 1 … |T|. Levels are numbered as in the paper.
import { ConfigError, type ConfigProblem } from '@physlm/base';
import { CompiledCfg } from './compiled.js';
import { type CfgStatistics, statisticsOf } from './statistics.js';

/** One way to rewrite a non-terminal. Rules of one non-terminal are drawn in proportion to `weight`, 1 when absent. */
export interface CfgRule {
  readonly symbols: readonly number[];
  readonly weight?: number;
}

/** What a grammar is made of; also the shape of a grammar file, where a rule of weight 1 may be written as its list of symbols. */
export interface CfgDefinition {
  readonly name: string;
  /** Symbols of level 1 (the root), 2, … L (the terminals 1 … |T|, in this order). */
  readonly levels: readonly (readonly number[])[];
  /** For every non-terminal its rules. */
  readonly rules: Readonly<Record<number, readonly CfgRule[]>>;
}

/** Sentences longer than this on average are refused: nobody could train on them, and no machine could hold a few. */
const MEAN_LENGTH_MAX = 1e6;

/**
 * A levelled grammar that has been checked and is ready for sampling and parsing.
 *
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Section 2.
 */
export class Cfg implements CfgDefinition {
  readonly name: string;
  readonly levels: readonly (readonly number[])[];
  readonly rules: Readonly<Record<number, readonly CfgRule[]>>;
  /** L: the root is on level 1, the terminals are on level L. */
  readonly nLevel: number;
  /** |T|. */
  readonly nTerminal: number;
  /** Tables for samplers and parsers of this package. */
  readonly compiled: CompiledCfg;
  #statistics: CfgStatistics | undefined;

  /**
   * @param where what messages call the grammar.
   * @throws ConfigError with every problem and its path: a level or rule that is empty, an unknown symbol, a rule that
   * leaves the next level, a repeated rule, a weight that is not positive, terminals other than 1 … |T|.
   */
  constructor({ name, levels, rules }: CfgDefinition, where = name) {
    const problems = problemsOf(levels, rules);
    if (problems.length > 0) throw new ConfigError(problems.map((p) => ({ ...p, path: `${where}: ${p.path}` })));
    this.name = name;
    this.levels = levels;
    this.rules = rules;
    this.nLevel = levels.length;
    this.nTerminal = levels.at(-1)!.length;
    this.compiled = new CompiledCfg(levels, rules);
    const { mean } = this.statistics.length;
    if (!(mean <= MEAN_LENGTH_MAX)) {
      const path = `${where}: levels`;
      throw new ConfigError([
        { path, expected: `sentences of at most ${MEAN_LENGTH_MAX} tokens on average`, got: mean.toPrecision(3) },
      ]);
    }
  }

  /** Lengths, entropies and spans, computed exactly from the rules at first use. */
  get statistics(): CfgStatistics {
    this.#statistics ??= statisticsOf(this);
    return this.#statistics;
  }

  /** Symbols that no derivation from the root holds; some released grammars have them. */
  get unreachable(): readonly number[] {
    return unreachableSymbols(this.levels, this.rules);
  }

  /** The text of a grammar file. */
  toJSON(): unknown {
    const plain = ({ symbols, weight = 1 }: CfgRule): unknown => (weight === 1 ? symbols : { symbols, weight });
    const rules = Object.entries(this.rules).map(([symbol, list]) => [symbol, list.map(plain)]);
    return { name: this.name, levels: this.levels, rules: Object.fromEntries(rules) };
  }
}

/** Symbols that no derivation from the root holds, level by level. */
export function unreachableSymbols(levels: CfgDefinition['levels'], rules: CfgDefinition['rules']): number[] {
  const reached = new Set<number>(levels[0]);
  for (const level of levels) {
    for (const symbol of level) {
      if (!reached.has(symbol)) continue;
      for (const rule of rules[symbol] ?? []) for (const child of rule.symbols) reached.add(child);
    }
  }
  return levels.flat().filter((symbol) => !reached.has(symbol));
}

function problemsOf(levels: CfgDefinition['levels'], rules: CfgDefinition['rules']): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const complain = (path: string, expected: string, got: string): void => void problems.push({ path, expected, got });
  if (levels.length < 2) {
    complain('levels', 'at least two levels, the root and the terminals', `${levels.length}`);
    return problems;
  }
  if (levels[0]!.length !== 1) complain('levels[0]', 'one symbol, the root', `${levels[0]!.length} symbols`);
  const levelOf = levelsOf(levels, complain);
  levels.at(-1)!.forEach((symbol, i) => {
    if (symbol !== i + 1)
      complain(`levels[${levels.length - 1}][${i}]`, `terminal ${i + 1}: terminals count from 1`, `${symbol}`);
  });
  for (const key of Object.keys(rules)) {
    const level = levelOf.get(Number(key));
    if (level === undefined) complain(`rules.${key}`, 'a symbol of the levels', 'an unknown symbol');
    else if (level === levels.length - 1) complain(`rules.${key}`, 'a non-terminal', 'a terminal');
  }
  levels.slice(0, -1).forEach((level, l) => {
    for (const symbol of level) {
      const list = rules[symbol] ?? [];
      if (list.length === 0) complain(`rules.${symbol}`, 'at least one rule', 'none');
      const seen = new Map<string, number>();
      list.forEach((rule, r) => {
        const path = `rules.${symbol}[${r}]`;
        checkRule(rule, path, l + 1, levels, levelOf, complain);
        const before = seen.get(rule.symbols.join(' '));
        if (before === undefined) seen.set(rule.symbols.join(' '), r);
        else complain(path, `a rule unlike rules.${symbol}[${before}]`, `${rule.symbols.join(' ')} again`);
      });
    }
  });
  return problems;
}

type Complain = (path: string, expected: string, got: string) => void;

/** The 0-based level of every symbol. */
function levelsOf(levels: CfgDefinition['levels'], complain: Complain): Map<number, number> {
  const levelOf = new Map<number, number>();
  levels.forEach((level, l) => {
    if (level.length === 0) complain(`levels[${l}]`, 'at least one symbol', 'none');
    level.forEach((symbol, i) => {
      const path = `levels[${l}][${i}]`;
      const before = levelOf.get(symbol);
      if (!Number.isInteger(symbol) || symbol < 1 || symbol > 0xffff)
        complain(path, 'an integer in 1 … 65535', `${symbol}`);
      else if (before !== undefined)
        complain(path, 'a symbol of one level only', `${symbol}, which is also in levels[${before}]`);
      else levelOf.set(symbol, l);
    });
  });
  return levelOf;
}

function checkRule(
  { symbols, weight = 1 }: CfgRule,
  path: string,
  childLevel: number,
  levels: CfgDefinition['levels'],
  levelOf: ReadonlyMap<number, number>,
  complain: Complain,
): void {
  const next = `a symbol of levels[${childLevel}] (${shortList(levels[childLevel]!)})`;
  if (symbols.length === 0) complain(path, 'at least one symbol', 'an empty rule');
  if (!(weight > 0 && Number.isFinite(weight))) complain(`${path}.weight`, 'a positive number', `${weight}`);
  symbols.forEach((child, c) => {
    const level = levelOf.get(child);
    if (level === undefined) complain(`${path}[${c}]`, next, `unknown symbol ${child}`);
    else if (level !== childLevel) complain(`${path}[${c}]`, next, `${child}, which is in levels[${level}]`);
  });
}

function shortList(symbols: readonly number[]): string {
  return symbols.length <= 9 ? symbols.join(' ') : `${symbols.slice(0, 8).join(' ')} … ${symbols.at(-1)}`;
}
