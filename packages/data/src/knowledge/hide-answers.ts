import type { WindowSource } from '../packing.js';

/**
 * Windows of questions for an encoder: every token of an answer becomes `mask` and is the target at its own place; nothing
 * else is asked. `source` must learn answers only. An answer that the window before has begun shows what is left of it.
 *
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Section 7 (as many masks as the answer has tokens).
 */
export function hideAnswers(
  source: WindowSource,
  { mask, eos }: { readonly mask: number; readonly eos: number },
): WindowSource {
  const { nCtx } = source;
  return {
    nCtx,
    dVocab: Math.max(source.dVocab, mask + 1),
    windowsFor: (exposures) => source.windowsFor(exposures),
    window(index, ids, targets) {
      source.window(index, ids, targets);
      // What the source asks at one place is the token at the next.
      for (let t = nCtx - 1; t >= 1; t--) {
        const token = targets[t - 1]!;
        const hidden = token >= 0 && token !== eos;
        targets[t] = hidden ? token : -1;
        if (hidden) ids[t] = mask;
      }
      targets[0] = -1;
    },
  };
}
