// Implicit grammars: the terminals are hidden, and each shows as one of many words. A word may belong to several terminals.
import { ConfigError, type ConfigProblem, Rng } from '@physlm/base';
import { Cfg, type CfgRule } from './cfg.js';

/** How words are given to terminals. */
export interface ImplicitCfgOptions {
  /** Number of words; 300 in the paper. */
  readonly nWord: number;
  /**
   * `disjoint`: word i belongs to terminal i mod |T| alone. `overlapping`: each terminal draws nWord / 2 words with
   * replacement, so a word belongs to none, one or several.
   */
  readonly membership: 'disjoint' | 'overlapping';
  /** `uniform`: a terminal's words are equally likely. `nonUniform`: the k-th of them, in order, has weight k. */
  readonly weights: 'uniform' | 'nonUniform';
  /** Seed of the overlapping draws. */
  readonly seed: number;
}

/**
 * The grammar over words that hides the terminals of `cfg`: one level more, on which every terminal has its words as rules
 * of length 1. So sampling, laws, parsing, distances and posteriors are those of any grammar, with the hidden terminals as
 * level L − 1. Words are 1 … nWord; a hidden terminal t is nWord + 3 + t, and the symbols above keep their distances.
 *
 * @throws ConfigError when a terminal would have no word.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Result 10 (implicit CFGs).
 */
export function implicitCfg(cfg: Cfg, { nWord, membership, weights, seed }: ImplicitCfgOptions): Cfg {
  const { nTerminal } = cfg;
  const problems: ConfigProblem[] = [];
  if (!Number.isInteger(nWord) || nWord < nTerminal) {
    problems.push({
      path: 'implicitCfg.nWord',
      expected: `an integer from ${nTerminal}, a word for each terminal`,
      got: `${nWord}`,
    });
  }
  if (!['disjoint', 'overlapping'].includes(membership)) {
    problems.push({ path: 'implicitCfg.membership', expected: 'disjoint or overlapping', got: `'${membership}'` });
  }
  if (!['uniform', 'nonUniform'].includes(weights)) {
    problems.push({ path: 'implicitCfg.weights', expected: 'uniform or nonUniform', got: `'${weights}'` });
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const rng = new Rng(seed).fork('implicit-cfg');
  const shift = nWord + 3;
  const rules: Record<number, readonly CfgRule[]> = {};
  for (const [symbol, list] of Object.entries(cfg.rules)) {
    rules[Number(symbol) + shift] = list.map((rule) => ({
      ...rule,
      symbols: rule.symbols.map((child) => child + shift),
    }));
  }
  for (let t = 0; t < nTerminal; t++) {
    const words = membership === 'disjoint' ? every(nTerminal, t, nWord) : drawn(Math.ceil(nWord / 2), nWord, rng);
    rules[t + 1 + shift] = words.map((word, k) => ({ symbols: [word + 1], weight: weights === 'uniform' ? 1 : k + 1 }));
  }
  const levels = [
    ...cfg.levels.map((level) => level.map((symbol) => symbol + shift)),
    Array.from({ length: nWord }, (_, word) => word + 1),
  ];
  return new Cfg({ name: `${cfg.name}-implicit-${membership}-${weights}`, levels, rules });
}

function every(step: number, from: number, below: number): number[] {
  return Array.from({ length: Math.ceil((below - from) / step) }, (_, k) => from + k * step);
}

function drawn(n: number, below: number, rng: Rng): number[] {
  return [...new Set(Array.from({ length: n }, () => rng.below(below)))].sort((a, b) => a - b);
}
