// The entropy of the sentences of a grammar, which counts a sentence once however many parses it has.
import { ConfigError } from '@physlm/base';
import type { Estimate } from './ceilings.js';
import type { Cfg } from './cfg.js';
import { ExactLaw } from './law.js';
import { sentences } from './sentences.js';

/**
 * H(sentence) in bits: the mean of −log₂ P(x) over fresh sentences. What the derivation has more than that
 * (`cfg.statistics.treeEntropyBits`) is the entropy of the parse given the sentence.
 *
 * The entropy of the derivation is known exactly; what is sampled is only ln P(tree | x), which is 0 for a sentence with one
 * parse, so unambiguous grammars come out exactly.
 *
 * @throws ConfigError when `nSentence` is not an integer from 2.
 */
export function sentenceEntropy(
  cfg: Cfg,
  { seed, nSentence }: { readonly seed: number; readonly nSentence: number },
): Estimate {
  if (!Number.isInteger(nSentence) || nSentence < 2) {
    throw new ConfigError([{ path: 'sentenceEntropy.nSentence', expected: 'an integer from 2', got: `${nSentence}` }]);
  }
  const source = sentences(cfg, { seed });
  const law = new ExactLaw(cfg);
  const ambiguity: number[] = [];
  for (let i = 0; i < nSentence; i++) {
    const sample = source.document(i);
    law.reset();
    for (const terminal of sample.tokens.subarray(1)) law.push(terminal);
    ambiguity.push((law.logSentence - sample.tree.logProb) / Math.LN2);
  }
  const mean = ambiguity.reduce((sum, bits) => sum + bits, 0) / nSentence;
  const square = ambiguity.reduce((sum, bits) => sum + (bits - mean) ** 2, 0);
  return {
    value: cfg.statistics.treeEntropyBits - mean,
    standardError: Math.sqrt(square / (nSentence - 1) / nSentence),
  };
}
