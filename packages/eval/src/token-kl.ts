// How far a model's next-token distribution is from a law that is known exactly.
import { complaint, invariant, PhyslmError } from '@physlm/base';
import { type LanguageModel, reshape } from '@physlm/model';

// Axes: B sentences in a batch, T positions, V vocabulary.

/** A sentence with the law of every token of it. */
export interface KnownSentence {
  /** The first token is given; the law of token t + 1 is row t. The last row is the law of what follows the whole. */
  readonly tokens: ArrayLike<number>;
  /** Row t: P(token t + 1 | tokens 0 … t), V numbers. */
  readonly laws: Float64Array;
}

/** Divergence and entropies of one sentence, summed over its positions, in nats. */
export interface SentenceKl {
  readonly nPosition: number;
  /** Σ_t KL(law ‖ model). */
  readonly kl: number;
  /** The same after adding ε to every probability and normalising again. */
  readonly smoothedKl: number;
  /** Σ_t −Σ law·ln model: the loss that the model would have on average. */
  readonly crossEntropy: number;
  /** Σ_t entropy of the law: the loss that no model can beat. */
  readonly entropy: number;
}

/** The released code of arXiv:2305.13673 adds this to both distributions. */
const EPSILON = 1e-5;

/**
 * KL(law ‖ model) at every position of every sentence, position by position over the whole vocabulary, in order.
 *
 * @throws PhyslmError 'data' when a sentence does not fit the model's context or its laws have another vocabulary.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Section 3 (KL divergence).
 */
export function tokenKl(
  model: LanguageModel,
  sentences: readonly KnownSentence[],
  { batchSize = 16 }: { readonly batchSize?: number } = {},
): SentenceKl[] {
  const { device, config } = model;
  const { dVocab, nCtx } = config;
  const longest = Math.max(1, ...sentences.map(({ tokens }) => tokens.length));
  if (longest > nCtx) {
    throw new PhyslmError('data', complaint('tokenKl', `sentences of up to ${nCtx} tokens`, `one of ${longest}`));
  }
  for (const [i, { tokens, laws }] of sentences.entries()) {
    const expected = tokens.length * dVocab;
    if (laws.length !== expected) {
      const where = `tokenKl.sentences[${i}].laws`;
      throw new PhyslmError('data', complaint(where, `${tokens.length} × ${dVocab} numbers`, String(laws.length)));
    }
  }
  // Rows beyond a product's smallest block round alike, whatever their number.
  const nBatch = Math.max(1, Math.min(batchSize, sentences.length), Math.ceil(256 / longest));
  const ids = device.zeros([nBatch, longest], 'i32');
  const program = device.withoutGrad(() =>
    device.record(() => ({ logits: reshape(model.forward(ids), [nBatch * longest, dVocab]) })),
  );
  const results: SentenceKl[] = [];
  for (let start = 0; start < sentences.length; start += nBatch) {
    const batch = sentences.slice(start, start + nBatch);
    const values = ids.values().fill(0);
    batch.forEach(({ tokens }, b) => {
      for (let t = 0; t < tokens.length; t++) values[b * longest + t] = tokens[t]!;
    });
    program.run();
    const logits = program.results.logits.values();
    batch.forEach((sentence, b) => {
      const at = b * longest * dVocab;
      results.push(sentenceKl(sentence, logits.subarray(at, at + sentence.tokens.length * dVocab), dVocab));
    });
  }
  return results;
}

/** Sums over the rows of one sentence. */
function sentenceKl({ laws }: KnownSentence, logits: ArrayLike<number>, dVocab: number): SentenceKl {
  invariant(laws.length === logits.length, 'laws and logits of different sizes');
  const total = 1 + dVocab * EPSILON;
  let [kl, smoothedKl, crossEntropy, entropy] = [0, 0, 0, 0];
  for (let row = 0; row < laws.length; row += dVocab) {
    let peak = Number.NEGATIVE_INFINITY;
    for (let v = 0; v < dVocab; v++) peak = Math.max(peak, logits[row + v]!);
    let sum = 0;
    for (let v = 0; v < dVocab; v++) sum += Math.exp(logits[row + v]! - peak);
    const logSum = peak + Math.log(sum);
    for (let v = 0; v < dVocab; v++) {
      const p = laws[row + v]!;
      const logQ = logits[row + v]! - logSum;
      const smoothedP = (p + EPSILON) / total;
      smoothedKl += smoothedP * Math.log(smoothedP / ((Math.exp(logQ) + EPSILON) / total));
      if (p === 0) continue;
      kl += p * (Math.log(p) - logQ);
      crossEntropy -= p * logQ;
      entropy -= p * Math.log(p);
    }
  }
  return { nPosition: laws.length / dVocab, kl, smoothedKl, crossEntropy, entropy };
}
