// The best that any probe can do: accuracies of the Bayes-optimal guess of a label, given the whole sentence or its prefix.
import { ConfigError } from '@physlm/base';
import type { Cfg } from './cfg.js';
import { CfgParser } from './parse.js';
import type { PosteriorTable } from './posterior-table.js';
import { prefixPosteriors } from './prefix-posterior.js';
import { sentences } from './sentences.js';

/** A mean over sentences, and the standard error of it that comes from having drawn only some. */
export interface Estimate {
  readonly value: number;
  readonly standardError: number;
}

/** What a reader who knows the grammar gets right, as shares of 1. */
export interface Ceilings {
  /** s_l(i) at all tokens. */
  readonly ancestor: Estimate;
  /** s_l(i) at tokens with b_l(i) = 1, when it is known that b_l(i) = 1. */
  readonly ancestorAtEnd: Estimate;
  /** b_l(i) at all tokens. */
  readonly boundary: Estimate;
}

/** The ceilings of one level. */
export interface LevelCeilings {
  readonly level: number;
  /** From the sentence up to and with token i: for models that read from left to right. */
  readonly prefix: Ceilings;
  /** From the whole sentence: for encoders, and for probes that look at later tokens. */
  readonly sentence: Ceilings;
  /** The share of tokens with b_l(i) = 1. */
  readonly boundaryRate: Estimate;
}

/**
 * Bayes ceilings of levels 2 … L − 1, as means over `nSentence` fresh sentences; each sentence's part is exact, so a few
 * hundred sentences give them to about 0.1 %.
 *
 * @throws ConfigError when `nSentence` is not an integer from 2.
 */
export function bayesCeilings(
  cfg: Cfg,
  { seed, nSentence }: { readonly seed: number; readonly nSentence: number },
): LevelCeilings[] {
  if (!Number.isInteger(nSentence) || nSentence < 2) {
    throw new ConfigError([{ path: 'bayesCeilings.nSentence', expected: 'an integer from 2', got: `${nSentence}` }]);
  }
  const source = sentences(cfg, { seed });
  const parser = new CfgParser(cfg);
  const levels = Array.from({ length: cfg.nLevel - 2 }, () => ({
    prefix: new CeilingSums(),
    sentence: new CeilingSums(),
  }));
  for (let i = 0; i < nSentence; i++) {
    const terminals = source.document(i).tokens.subarray(1);
    const prefix = prefixPosteriors(cfg, terminals);
    const sentence = parser.parse(terminals)!.posteriors();
    levels.forEach((sums, l) => {
      sums.prefix.add(prefix, l + 2);
      sums.sentence.add(sentence, l + 2);
    });
  }
  return levels.map(({ prefix, sentence }, l) => ({
    level: l + 2,
    prefix: prefix.ceilings(),
    sentence: sentence.ceilings(),
    boundaryRate: sentence.boundaryRate.estimate(),
  }));
}

class CeilingSums {
  readonly ancestor = new Ratio();
  readonly ancestorAtEnd = new Ratio();
  readonly boundary = new Ratio();
  readonly boundaryRate = new Ratio();

  add(posteriors: PosteriorTable, level: number): void {
    const { nToken, cfg } = posteriors;
    const n = cfg.levels[level - 1]!.length;
    const [ancestor, end] = [posteriors.ancestor(level), posteriors.end(level)];
    let [right, rightAtEnd, ends, rightBoundary] = [0, 0, 0, 0];
    for (let i = 0; i < nToken; i++) {
      let [top, topAtEnd, isEnd] = [0, 0, 0];
      for (let symbol = i * n; symbol < (i + 1) * n; symbol++) {
        top = Math.max(top, ancestor[symbol]!);
        topAtEnd = Math.max(topAtEnd, end[symbol]!);
        isEnd += end[symbol]!;
      }
      right += top;
      rightAtEnd += topAtEnd;
      ends += isEnd;
      rightBoundary += Math.max(isEnd, 1 - isEnd);
    }
    this.ancestor.add(right, nToken);
    this.ancestorAtEnd.add(rightAtEnd, ends);
    this.boundary.add(rightBoundary, nToken);
    this.boundaryRate.add(ends, nToken);
  }

  ceilings(): Ceilings {
    return {
      ancestor: this.ancestor.estimate(),
      ancestorAtEnd: this.ancestorAtEnd.estimate(),
      boundary: this.boundary.estimate(),
    };
  }
}

/** Σ part / Σ whole over sentences, with the standard error of a ratio of sums. */
class Ratio {
  readonly #pairs: [number, number][] = [];

  add(part: number, whole: number): void {
    this.#pairs.push([part, whole]);
  }

  estimate(): Estimate {
    const n = this.#pairs.length;
    const whole = this.#pairs.reduce((sum, [, w]) => sum + w, 0);
    const value = this.#pairs.reduce((sum, [p]) => sum + p, 0) / whole;
    const square = this.#pairs.reduce((sum, [p, w]) => sum + (p - value * w) ** 2, 0);
    return { value, standardError: Math.sqrt((square * n) / (n - 1)) / whole };
  }
}
