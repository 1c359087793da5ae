import { ConfigError, type ConfigProblem, DataError } from '@physlm/base';
import { PassOrder } from './pass-order.js';
import type { DocumentSource } from './sample.js';

const N_CACHED_BLOCK = 4;

/** Training windows of `nCtx` tokens. Window i is a pure function of (source, i), in O(one block) time. */
export interface WindowSource {
  readonly nCtx: number;
  readonly dVocab: number;
  /** Windows that show every group `exposures` times; the first windows of the series. */
  windowsFor(exposures: number): number;
  /** Fills ids[0 … nCtx) and targets[0 … nCtx): the next token (of masked windows the hidden one), −1 where nothing is asked. */
  window(index: number, ids: Int32Array, targets: Int32Array): void;
}

/** How documents become windows. */
export interface PackOptions {
  /** Tokens in a window. */
  readonly nCtx: number;
  /** The token before, between and after documents. */
  readonly eos: number;
  readonly dVocab: number;
  /** Windows that are cut from one run of documents; 64 when absent. */
  readonly windowsPerBlock?: number;
  /** Lets one window hold two documents of one group. */
  readonly allowRepeats?: boolean;
}

interface Block {
  readonly index: number;
  /** windowsPerBlock · nCtx + 1 tokens; those from `nReal` on are filling. */
  readonly stream: Int32Array;
  readonly nReal: number;
  /** By token: 1 where it is not a target; undefined when all are. */
  readonly masked: Uint8Array | undefined;
}

/**
 * Joins documents with `eos` and cuts the stream into windows; a document cut at the end of a window goes on in the next.
 *
 * So that any window can be reached alone, the stream restarts with `eos` every `windowsPerBlock` windows: block b holds
 * documents b·m … (b+1)·m − 1, where m average documents fill a block. A short block ends in `eos` tokens whose targets
 * are −1; a long block drops what does not fit (under 1 % of the tokens at 64 windows).
 *
 * A window never holds two documents of one group (a model would copy the first one instead of recalling it), unless
 * `allowRepeats`. Masked tokens of a sample are input like all others, and their targets are −1.
 *
 * @throws ConfigError when an option is out of range.
 * @throws DataError when the source has too few groups to keep windows free of repeats; says how many it needs.
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Appendix B (windows of concatenated biographies).
 */
export function packWindows(source: DocumentSource, options: PackOptions): WindowSource {
  const { nCtx, eos, dVocab, windowsPerBlock = 64, allowRepeats = false } = options;
  checkOptions('packWindows', nCtx, eos, dVocab, { source, windowsPerBlock });
  if (!allowRepeats) checkGap(source, nCtx);

  const blockTokens = windowsPerBlock * nCtx;
  const nDocument = Math.floor(blockTokens / (source.meanTokens + 1));
  const blocks: Block[] = [];

  function render(index: number): Block {
    const stream = new Int32Array(blockTokens + 1).fill(eos);
    const groups: { group: number; start: number; end: number }[] = [];
    let end = 1;
    let masks: Uint8Array | undefined;
    for (let i = 0; i < nDocument && end < stream.length; i++) {
      const { tokens, group, masked = [] } = source.document(index * nDocument + i);
      const fitting = tokens.length <= stream.length - end ? tokens : tokens.subarray(0, stream.length - end);
      stream.set(fitting, end);
      for (const stretch of masked) {
        masks ??= new Uint8Array(stream.length);
        masks.fill(1, end + stretch.start, end + stretch.end);
      }
      if (group !== undefined) groups.push({ group, start: end, end: end + fitting.length });
      end += tokens.length + 1;
    }
    if (!allowRepeats) checkRepeats(groups, nCtx, source.name);
    return { index, stream, nReal: Math.min(end, stream.length), masked: masks };
  }

  function block(index: number): Block {
    const at = blocks.findIndex((known) => known.index === index);
    const found = at < 0 ? render(index) : blocks.splice(at, 1)[0]!;
    blocks.push(found);
    if (blocks.length > N_CACHED_BLOCK) blocks.shift();
    return found;
  }

  return {
    nCtx,
    dVocab,
    windowsFor: (exposures) => Math.ceil((exposures * source.nGroup * windowsPerBlock) / nDocument),
    window(index, ids, targets) {
      requireWindowNumber('packWindows', index);
      const { stream, nReal, masked } = block(Math.floor(index / windowsPerBlock));
      const start = (index % windowsPerBlock) * nCtx;
      for (let t = 0; t < nCtx; t++) {
        ids[t] = stream[start + t]!;
        const next = start + t + 1;
        targets[t] = next < nReal && masked?.[next] !== 1 ? stream[next]! : -1;
      }
    },
  };
}

/**
 * One document in each window: window i is `eos`, document i, `eos`, and filling after that. For examples that must not see
 * each other, as questions with answers. Masked tokens are input like all others, and their targets are −1, as are those of
 * the filling; the `eos` that ends the document is a target.
 *
 * @throws ConfigError when an option is out of range.
 * @throws DataError, from `window`, when a document has more than nCtx − 1 tokens.
 */
export function padWindows(
  source: DocumentSource,
  options: Pick<PackOptions, 'nCtx' | 'eos' | 'dVocab'>,
): WindowSource {
  const { nCtx, eos, dVocab } = options;
  checkOptions('padWindows', nCtx, eos, dVocab);
  return {
    nCtx,
    dVocab,
    windowsFor: (exposures) => Math.ceil(exposures * source.nGroup),
    window(index, ids, targets) {
      requireWindowNumber('padWindows', index);
      const { tokens, masked = [] } = source.document(index);
      if (tokens.length >= nCtx) {
        const expected = `documents of at most ${nCtx - 1} tokens, one fewer than a window`;
        const got = `${tokens.length} tokens in document ${index}`;
        throw new DataError(`padWindows(${source.name})`, expected, got, `Use nCtx ${tokens.length + 1} or more.`);
      }
      ids.fill(eos, 0, nCtx).set(tokens, 1);
      targets.fill(-1, 0, nCtx).set(tokens);
      targets[tokens.length] = eos;
      for (const { start, end } of masked) targets.fill(-1, start, end);
    },
  };
}

function requireWindowNumber(where: string, index: number): void {
  if (Number.isSafeInteger(index) && index >= 0) return;
  throw new DataError(`${where}.window`, 'a window number from 0', `${index}`);
}

/** `blocks`: what is packed, and the windows of a block that must hold a document. */
function checkOptions(
  where: string,
  nCtx: number,
  eos: number,
  dVocab: number,
  blocks?: { readonly source: DocumentSource; readonly windowsPerBlock: number },
): void {
  const problems: ConfigProblem[] = [];
  const check = (fine: boolean, path: string, expected: string, got: number): void => {
    if (!fine) problems.push({ path: `${where}.${path}`, expected, got: `${got}` });
  };
  check(Number.isInteger(nCtx) && nCtx >= 1, 'nCtx', 'an integer from 1', nCtx);
  check(Number.isInteger(dVocab) && dVocab >= 1, 'dVocab', 'an integer from 1', dVocab);
  check(Number.isInteger(eos) && eos >= 0 && eos < dVocab, 'eos', `a token in 0 … ${dVocab - 1}`, eos);
  if (blocks !== undefined) {
    const { source, windowsPerBlock } = blocks;
    const needed = Math.ceil((source.meanTokens + 1) / Math.max(1, nCtx));
    const fits = Number.isInteger(windowsPerBlock) && windowsPerBlock >= needed;
    check(fits, 'windowsPerBlock', `an integer from ${needed}, so that a block holds a document`, windowsPerBlock);
  }
  if (problems.length > 0) throw new ConfigError(problems);
}

/** Documents that a window can touch: a piece of one token, whole documents with their `eos`, then `eos` and a piece. */
function documentsTouched(nCtx: number, minTokens: number): number {
  return nCtx < 3 ? 1 : 2 + Math.floor((nCtx - 3) / (minTokens + 1));
}

function checkGap(source: DocumentSource, nCtx: number): void {
  const { groupGap, minTokens = 1 } = source;
  if (groupGap === undefined) return;
  const touched = documentsTouched(nCtx, minTokens);
  if (touched <= groupGap) return;
  const nCtxMax = 2 + (groupGap - 1) * (minTokens + 1);
  const nGroupMin = PassOrder.sizeForGap(touched);
  throw new DataError(
    `packWindows(${source.name})`,
    `windows of ${nCtx} tokens without two documents of one group`,
    `${source.nGroup} groups`,
    `Use at least ${nGroupMin} groups, or nCtx up to ${nCtxMax}, or allowRepeats.`,
  );
}

/** For sources that promise no gap. `documents` are in stream order, so those of one window are neighbours. */
function checkRepeats(documents: { group: number; start: number; end: number }[], nCtx: number, name: string): void {
  const lastWindow = new Map<number, number>();
  for (const { group, start, end } of documents) {
    const window = Math.floor(start / nCtx);
    if (lastWindow.get(group) === window) {
      throw new DataError(
        `packWindows(${name})`,
        'windows without two documents of one group',
        `group ${group} twice in one window of ${nCtx} tokens`,
        'Use more groups, a smaller nCtx, or allowRepeats.',
      );
    }
    lastWindow.set(group, Math.floor((end - 1) / nCtx));
  }
}
