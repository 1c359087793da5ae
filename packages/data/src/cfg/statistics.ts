// What follows from the rules alone, exactly: lengths of sentences and spans, and the entropy of a derivation.
import type { Cfg } from './cfg.js';

/** Tokens below a symbol. */
export interface LengthStatistics {
  readonly mean: number;
  readonly sd: number;
  readonly min: number;
  readonly max: number;
}

/** Exact figures of a grammar. */
export interface CfgStatistics {
  /** Tokens of a sentence, without BOS and EOS. */
  readonly length: LengthStatistics;
  /** By symbol: tokens below it. */
  readonly spans: ReadonlyMap<number, LengthStatistics>;
  /** Mean number of nodes of level l in a sentence, at index l − 1. */
  readonly nodes: readonly number[];
  /** Entropy of the derivation in bits: at least that of the sentence, with equality when no sentence has two parses. */
  readonly treeEntropyBits: number;
  /** Natural logarithm of the number of derivations. */
  readonly logDerivations: number;
}

interface Below extends LengthStatistics {
  readonly bits: number;
  readonly logTrees: number;
}

/** Goes over the levels once upwards (lengths, entropy) and once downwards (numbers of nodes). */
export function statisticsOf({ levels, rules }: Pick<Cfg, 'levels' | 'rules'>): CfgStatistics {
  const below = new Map<number, Below>();
  for (const terminal of levels.at(-1)!) below.set(terminal, { mean: 1, sd: 0, min: 1, max: 1, bits: 0, logTrees: 0 });
  for (const level of levels.slice(0, -1).reverse()) {
    for (const symbol of level) {
      const list = rules[symbol]!;
      const sum = list.reduce((total, { weight = 1 }) => total + weight, 0);
      let [mean, square, min, max, bits] = [0, 0, Number.POSITIVE_INFINITY, 0, 0];
      const logs: number[] = [];
      for (const { symbols, weight = 1 } of list) {
        const children = symbols.map((child) => below.get(child)!);
        const add = (of: (child: Below) => number): number => children.reduce((total, child) => total + of(child), 0);
        const p = weight / sum;
        const ruleMean = add((child) => child.mean);
        mean += p * ruleMean;
        square += p * (ruleMean ** 2 + add((child) => child.sd ** 2));
        min = Math.min(
          min,
          add((child) => child.min),
        );
        max = Math.max(
          max,
          add((child) => child.max),
        );
        bits += p * (add((child) => child.bits) - Math.log2(p));
        logs.push(add((child) => child.logTrees));
      }
      const largest = Math.max(...logs);
      const logTrees = largest + Math.log(logs.reduce((total, log) => total + Math.exp(log - largest), 0));
      below.set(symbol, { mean, sd: Math.sqrt(Math.max(0, square - mean ** 2)), min, max, bits, logTrees });
    }
  }
  const root = below.get(levels[0]![0]!)!;
  return {
    length: lengthOf(root),
    spans: new Map([...below].map(([symbol, of]) => [symbol, lengthOf(of)])),
    nodes: nodeCounts(levels, rules),
    treeEntropyBits: root.bits,
    logDerivations: root.logTrees,
  };
}

function lengthOf({ mean, sd, min, max }: LengthStatistics): LengthStatistics {
  return { mean, sd, min, max };
}

function nodeCounts(levels: Cfg['levels'], rules: Cfg['rules']): number[] {
  const expected = new Map<number, number>([[levels[0]![0]!, 1]]);
  for (const symbol of levels.slice(0, -1).flat()) {
    const list = rules[symbol]!;
    const sum = list.reduce((total, { weight = 1 }) => total + weight, 0);
    for (const { symbols, weight = 1 } of list) {
      for (const child of symbols) {
        expected.set(child, (expected.get(child) ?? 0) + ((expected.get(symbol) ?? 0) * weight) / sum);
      }
    }
  }
  return levels.map((level) => level.reduce((total, symbol) => total + (expected.get(symbol) ?? 0), 0));
}
