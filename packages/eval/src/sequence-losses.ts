import { complaint, PhyslmError } from '@physlm/base';
import { crossEntropy, ignoreIndex, type LanguageModel, reshape } from '@physlm/model';

// Axes: B sequences in a batch, T positions.

/** Native products of fewer rows than this may round differently from larger ones. */
const LEAST_ROWS = 256;

/**
 * The loss of every token of every sequence given what comes before it, in nats, with dropout-free weights. A sequence is
 * scored after `first` (usually EOS), as in training, so its first token has a loss too. Sequences are padded to the
 * longest of their batch; what is behind a sequence cannot change its losses, so they do not depend on batch-mates.
 *
 * @throws PhyslmError 'data' when a sequence does not fit the model's context.
 */
export function sequenceLosses(
  model: LanguageModel,
  sequences: readonly ArrayLike<number>[],
  options: { readonly first: number; readonly batchSize?: number },
): Float64Array[] {
  const { device, config } = model;
  const longest = Math.max(0, ...sequences.map((tokens) => tokens.length));
  if (longest > config.nCtx) {
    const expected = `sequences of up to ${config.nCtx} tokens`;
    throw new PhyslmError('data', complaint('sequenceLosses', expected, `one of ${longest}`));
  }
  if (longest === 0) return sequences.map(() => new Float64Array(0));
  const wanted = Math.min(options.batchSize ?? Math.floor(4096 / longest), sequences.length);
  const nBatch = Math.max(wanted, Math.ceil(LEAST_ROWS / longest));
  const ids = device.zeros([nBatch, longest], 'i32');
  const targets = device.zeros([nBatch * longest], 'i32');
  const program = device.withoutGrad(() =>
    device.record(() => {
      const logits = reshape(model.forward(ids), [nBatch * longest, config.dVocab]);
      return { loss: crossEntropy({ logits, targets }, { ignore: ignoreIndex }).loss };
    }),
  );
  const losses: Float64Array[] = [];
  for (let start = 0; start < sequences.length; start += nBatch) {
    const batch = sequences.slice(start, start + nBatch);
    const [idValues, targetValues] = [ids.values().fill(options.first), targets.values().fill(ignoreIndex)];
    batch.forEach((tokens, b) => {
      for (let t = 0; t < tokens.length; t++) {
        targetValues[b * longest + t] = tokens[t]!;
        if (t + 1 < longest) idValues[b * longest + t + 1] = tokens[t]!;
      }
    });
    program.run();
    const values = program.results.loss.values();
    batch.forEach((tokens, b) => {
      losses.push(Float64Array.from(values.subarray(b * longest, b * longest + tokens.length)));
    });
  }
  return losses;
}
