import { ConfigError, type ConfigProblem, Rng } from '@physlm/base';
import type { WindowSource } from './packing.js';

// Windows for masked-language models: BERT's corruption of a window source.

/** Shares of the chosen tokens that become the mask token, and a random one; the rest stay as they are. */
const MASKED = 0.8;
const RANDOM = 0.1;

/** How to hide tokens. */
export interface MaskOptions {
  readonly seed: number;
  /** The token that stands for a hidden one, usually the source's dVocab: one more than its largest token. */
  readonly mask: number;
  /** Share of the tokens to predict; 0.15 when absent. */
  readonly rate?: number;
  /** Tokens that are neither hidden nor put in place of others, as the one between documents. */
  readonly never?: readonly number[];
  /**
   * Whether the token at place t begins a word; the words of a window are then hidden whole or not at all. Every token is
   * a word of its own when absent.
   */
  readonly startsWord?: (ids: Int32Array, t: number) => boolean;
}

/**
 * Hides tokens of a source's windows: targets are the tokens at `rate` of the places, chosen at random, and −1 elsewhere. Of
 * the chosen ones 80 % become `mask`, 10 % a random token and 10 % stay. What the source says of the next token is dropped.
 *
 * Window i is a pure function of (source, seed, i). The number of places is rate·n, rounded up or down at random so that
 * its mean is exact; with whole words, a word that no longer fits is passed over.
 *
 * @throws ConfigError when an option is out of range.
 * @see Devlin et al. 2019, arXiv:1810.04805, section 3.1 and Appendix A.1; whole words as in its later release.
 */
export function maskWindows(source: WindowSource, options: MaskOptions): WindowSource {
  const { seed, mask, rate = 0.15, never = [], startsWord = () => true } = options;
  checkOptions(options, rate);
  const { nCtx } = source;
  const kept = new Set([...never, mask]);
  const substitutes = Int32Array.from({ length: source.dVocab }, (_, token) => token).filter(
    (token) => !kept.has(token),
  );
  if (substitutes.length === 0) {
    const expected = 'tokens left to put in place of others';
    throw new ConfigError([{ path: 'maskWindows.never', expected, got: `all ${source.dVocab} excluded` }]);
  }
  const root = new Rng(seed).fork('mask');

  return {
    nCtx,
    dVocab: Math.max(source.dVocab, mask + 1),
    windowsFor: (exposures) => source.windowsFor(exposures),
    window(index, ids, targets) {
      source.window(index, ids, targets);
      const rng = root.at(index);
      const words = wordsOf(ids.subarray(0, nCtx), kept, startsWord);
      const wanted = rate * words.reduce((n, { start, end }) => n + end - start, 0);
      let left = Math.floor(wanted) + (rng.uniform() < wanted % 1 ? 1 : 0);
      targets.fill(-1, 0, nCtx);
      for (let i = 0; i < words.length && left > 0; i++) {
        const j = i + rng.below(words.length - i);
        const { start, end } = words[j]!;
        words[j] = words[i]!;
        if (end - start > left) continue;
        left -= end - start;
        for (let t = start; t < end; t++) {
          targets[t] = ids[t]!;
          const draw = rng.uniform();
          if (draw < MASKED) ids[t] = mask;
          else if (draw < MASKED + RANDOM) ids[t] = substitutes[rng.below(substitutes.length)]!;
        }
      }
    },
  };
}

interface Word {
  readonly start: number;
  readonly end: number;
}

/** Stretches between word starts; tokens in `kept` belong to none. */
function wordsOf(
  ids: Int32Array,
  kept: ReadonlySet<number>,
  startsWord: (ids: Int32Array, t: number) => boolean,
): Word[] {
  const words: Word[] = [];
  let start = -1;
  for (let t = 0; t <= ids.length; t++) {
    const outside = t === ids.length || kept.has(ids[t]!);
    if (start >= 0 && (outside || startsWord(ids, t))) {
      words.push({ start, end: t });
      start = -1;
    }
    if (!outside && start < 0) start = t;
  }
  return words;
}

function checkOptions({ mask, never = [] }: MaskOptions, rate: number): void {
  const problems: ConfigProblem[] = [];
  const check = (fine: boolean, path: string, expected: string, got: unknown): void => {
    if (!fine) problems.push({ path: `maskWindows.${path}`, expected, got: String(got) });
  };
  const token = (x: number): boolean => Number.isInteger(x) && x >= 0;
  check(rate > 0 && rate < 1, 'rate', 'a number between 0 and 1', rate);
  check(token(mask), 'mask', 'a token', mask);
  check(never.every(token), 'never', 'tokens', never);
  if (problems.length > 0) throw new ConfigError(problems);
}
