import { ConfigError, type ConfigProblem, DataError } from '@physlm/base';
import type { WindowSource } from './packing.js';
import type { DocumentSource } from './sample.js';

/** How windows are filled. */
export interface DocumentWindowOptions {
  /** Tokens in a window. */
  readonly nCtx: number;
  /** The token before, between and after documents. */
  readonly eos: number;
  readonly dVocab: number;
}

/**
 * Windows that begin with a document and are filled with more, each behind an `eos`; what does not fit is dropped, so that no
 * window shows the end of a document without its beginning. Window i holds documents i·nCtx, i·nCtx + 1, …
 *
 * For documents that never repeat and must be read from their beginning: problems whose solutions need their statements. A document
 * longer than a window is cut.
 *
 * @throws ConfigError when an option is out of range.
 * @see Ye et al. 2024, arXiv:2407.20311, Appendix F (windows of concatenated problems, cut on the right).
 */
export function documentWindows(source: DocumentSource, { nCtx, eos, dVocab }: DocumentWindowOptions): WindowSource {
  const problems: ConfigProblem[] = [];
  const check = (fine: boolean, path: string, expected: string, got: number): void => {
    if (!fine) problems.push({ path: `documentWindows.${path}`, expected, got: `${got}` });
  };
  check(Number.isInteger(nCtx) && nCtx >= 1, 'nCtx', 'an integer from 1', nCtx);
  check(Number.isInteger(dVocab) && dVocab >= 1, 'dVocab', 'an integer from 1', dVocab);
  check(Number.isInteger(eos) && eos >= 0 && eos < dVocab, 'eos', `a token in 0 … ${dVocab - 1}`, eos);
  if (problems.length > 0) throw new ConfigError(problems);
  const nWhole = Math.max(1, Math.floor(nCtx / (source.meanTokens + 1)));
  return {
    nCtx,
    dVocab,
    windowsFor: (exposures) => Math.ceil((exposures * source.nGroup) / nWhole),
    window(index, ids, targets) {
      if (!Number.isSafeInteger(index * nCtx) || index < 0) {
        throw new DataError('documentWindows.window', 'a window number from 0', `${index}`);
      }
      ids[0] = eos;
      let end = 1;
      for (let i = 0; end <= nCtx; i++) {
        const { tokens, masked = [] } = source.document(index * nCtx + i);
        for (let t = 0; t <= tokens.length && end + t <= nCtx; t++) {
          const token = t < tokens.length ? tokens[t]! : eos;
          if (end + t < nCtx) ids[end + t] = token;
          targets[end + t - 1] = token;
        }
        for (const stretch of masked) {
          for (let t = stretch.start; t < stretch.end && end + t <= nCtx; t++) targets[end + t - 1] = -1;
        }
        end += tokens.length + 1;
      }
    },
  };
}
