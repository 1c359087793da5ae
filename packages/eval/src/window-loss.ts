import { crossEntropy, ignoreIndex, type LanguageModel, reshape } from '@physlm/model';

// Axes: B windows in a batch, T positions.

/** Native products of fewer rows than this may round differently from larger ones. */
const LEAST_ROWS = 256;
/** Positions that run at once: a matter of memory. */
const BATCH_POSITIONS = 4096;

/** Training windows: whatever fills `ids` and, with −1 where nothing is asked, `targets`. */
export interface LossWindows {
  readonly nCtx: number;
  window(index: number, ids: Int32Array, targets: Int32Array): void;
}

/** Loss of the targets of one window. */
export interface WindowLoss {
  /** Nats, summed over targets. */
  readonly lossSum: number;
  readonly nTarget: number;
}

/**
 * The loss of each of the first `n` windows, read as training reads them: of the next token for a causal model, of hidden
 * tokens for an encoder. Windows do not depend on batch-mates.
 */
export function windowLosses(model: LanguageModel, windows: LossWindows, n: number): WindowLoss[] {
  const { device, config } = model;
  const { nCtx } = windows;
  const nBatch = Math.max(Math.ceil(LEAST_ROWS / nCtx), Math.min(n, Math.floor(BATCH_POSITIONS / nCtx)));
  const ids = device.zeros([nBatch, nCtx], 'i32');
  const targets = device.zeros([nBatch * nCtx], 'i32');
  const program = device.withoutGrad(() =>
    device.record(() => {
      const logits = reshape(model.forward(ids), [nBatch * nCtx, config.dVocab]);
      return { loss: crossEntropy({ logits, targets }, { ignore: ignoreIndex }).loss };
    }),
  );
  const results: WindowLoss[] = [];
  for (let start = 0; start < n; start += nBatch) {
    const size = Math.min(nBatch, n - start);
    const [idValues, targetValues] = [ids.values() as Int32Array, targets.values().fill(ignoreIndex) as Int32Array];
    for (let b = 0; b < size; b++) {
      const [from, to] = [b * nCtx, (b + 1) * nCtx];
      windows.window(start + b, idValues.subarray(from, to), targetValues.subarray(from, to));
    }
    program.run();
    const losses = program.results.loss.values();
    for (let b = 0; b < size; b++) {
      let [lossSum, nTarget] = [0, 0];
      for (let t = b * nCtx; t < (b + 1) * nCtx; t++) {
        if (targetValues[t] === ignoreIndex) continue;
        lossSum += losses[t]!;
        nTarget++;
      }
      results.push({ lossSum, nTarget });
    }
  }
  return results;
}
