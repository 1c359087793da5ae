import { complaint, PhyslmError } from '@physlm/base';
import { type LanguageModel, max, pick, reshape, sub } from '@physlm/model';

// Axes: B sequences in a batch, T positions, V dVocab.

/** Native products of fewer rows than this may round differently from larger ones. */
const LEAST_ROWS = 256;

/**
 * For every token of every sequence, whether it is the likeliest one given those before it: 1 or 0. A stretch of ones is
 * what greedy decoding writes there, so one teacher-forced pass decides whether an answer would be generated exactly.
 * Sequences are scored after `first` (usually EOS) and padded to the longest of their batch; what is behind a token cannot
 * change its match in a causal model.
 *
 * @throws PhyslmError 'data' when a sequence does not fit the model's context.
 */
export function greedyMatches(
  model: LanguageModel,
  sequences: readonly ArrayLike<number>[],
  options: { readonly first: number; readonly batchSize?: number },
): Uint8Array[] {
  const { device, config } = model;
  const longest = Math.max(0, ...sequences.map((tokens) => tokens.length));
  if (longest > config.nCtx) {
    const expected = `sequences of up to ${config.nCtx} tokens`;
    throw new PhyslmError('data', complaint('greedyMatches', expected, `one of ${longest}`));
  }
  if (longest === 0) return sequences.map(() => new Uint8Array(0));
  const wanted = Math.min(options.batchSize ?? Math.floor(4096 / longest), sequences.length);
  const nBatch = Math.max(wanted, Math.ceil(LEAST_ROWS / longest));
  const ids = device.zeros([nBatch, longest], 'i32');
  const targets = device.zeros([nBatch * longest], 'i32');
  const program = device.withoutGrad(() =>
    device.record(() => {
      const logits = reshape(model.forward(ids), [nBatch * longest, config.dVocab]);
      // Zero where no token is likelier; of equals every one counts.
      return { behind: sub(max(logits, 1), reshape(pick(logits, targets, -1), [nBatch * longest, 1])) };
    }),
  );
  const matches: Uint8Array[] = [];
  for (let start = 0; start < sequences.length; start += nBatch) {
    const batch = sequences.slice(start, start + nBatch);
    const [idValues, targetValues] = [ids.values().fill(options.first), targets.values().fill(0)];
    batch.forEach((tokens, b) => {
      for (let t = 0; t < tokens.length; t++) {
        targetValues[b * longest + t] = tokens[t]!;
        if (t + 1 < longest) idValues[b * longest + t + 1] = tokens[t]!;
      }
    });
    program.run();
    const behind = program.results.behind.values();
    batch.forEach((tokens, b) => {
      const own = behind.subarray(b * longest, b * longest + tokens.length);
      matches.push(Uint8Array.from(own, (x) => (x === 0 ? 1 : 0)));
    });
  }
  return matches;
}
