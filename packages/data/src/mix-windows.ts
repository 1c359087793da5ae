import { ConfigError, DataError } from '@physlm/base';
import type { WindowSource } from './packing.js';

/** How two series of windows are mixed. */
export interface MixOptions {
  /** Share of the windows, and so of the tokens, that come from the first series: above 0, up to 1. */
  readonly share: number;
}

/**
 * Two series of windows as one: of the first n windows, ⌊n·share⌋ come from `useful` and the rest from `junk`, spread
 * evenly, each series in its own order and without gaps. A window comes whole from one of them. `windowsFor` counts what it
 * takes to show every group of `useful`.
 *
 * @throws ConfigError when the share is out of range.
 * @throws DataError when the windows differ in length or vocabulary.
 * @see Allen-Zhu and Li 2024, arXiv:2404.05405, Section 10: windows all useful or all junk; mixing inside them is similar.
 */
export function mixWindows(useful: WindowSource, junk: WindowSource, { share }: MixOptions): WindowSource {
  if (!(share > 0 && share <= 1)) {
    throw new ConfigError([{ path: 'mixWindows.share', expected: 'a number above 0, up to 1', got: `${share}` }]);
  }
  const { nCtx, dVocab } = useful;
  if (junk.nCtx !== nCtx || junk.dVocab !== dVocab) {
    const [expected, got] = [useful, junk].map((it) => `${it.nCtx} tokens of a vocabulary of ${it.dVocab}`);
    throw new DataError('mixWindows.junk', `windows of ${expected}`, got!);
  }
  // Rounding of the product is monotone in n, so the counts are consistent whatever the share.
  const nUseful = (n: number): number => Math.floor(n * share);
  return {
    nCtx,
    dVocab,
    windowsFor(exposures) {
      const wanted = useful.windowsFor(exposures);
      let n = Math.floor(wanted / share);
      while (nUseful(n) < wanted) n++;
      while (n > 0 && nUseful(n - 1) >= wanted) n--;
      return n;
    },
    window(index, ids, targets) {
      if (!Number.isSafeInteger(index) || index < 0) {
        throw new DataError('mixWindows.window', 'a window number from 0', `${index}`);
      }
      const before = nUseful(index);
      if (nUseful(index + 1) > before) useful.window(before, ids, targets);
      else junk.window(index - before, ids, targets);
    },
  };
}
