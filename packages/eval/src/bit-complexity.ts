import { complaint, PhyslmError } from '@physlm/base';

const bits = (choices: number): number => Math.log2(choices);

/** Summed losses of a data set of people, and what it is made of. */
export interface KnowledgeMeasurement {
  /** N: people in the data set. */
  readonly nPeople: number;
  /** N₀: names that could have been drawn. */
  readonly nNames: number;
  /** Choices of each scored attribute; their product is S₀. */
  readonly choices: Readonly<Record<string, number>>;
  /** p₁: loss of a person's name after EOS, summed over its tokens, mean over people; nats. */
  readonly nameLoss: number;
  /** p₂: losses of all scored values of a person, summed over their tokens, mean over people; nats. */
  readonly valueLoss: number;
  /** P: parameters, counting only embedding rows whose tokens occur. */
  readonly nParameter: number;
}

/** What a model stores of a data set. */
export interface BitComplexity {
  readonly bitsName: number;
  readonly bitsValue: number;
  /** R(F)·P. Not clipped: a model worse than uniform has negative bits. */
  readonly bits: number;
  /** R^max(F)·P: the bits of the data set itself. */
  readonly maxBits: number;
  /** R(F), bits per parameter. */
  readonly perParameter: number;
  /** R^max(F), bits per parameter. */
  readonly maxPerParameter: number;
}

/**
 * Bits of knowledge that a model holds about bioS(N):
 * R = [N·log₂(N₀/e^p₁) + N·log₂(S₀/e^p₂)] / P and R^max = [N·log₂(N₀/N) + N·log₂ S₀] / P.
 *
 * A model that knows every person perfectly has p₁ = ln N and p₂ = 0, and reaches R^max; a uniform guess has 0 bits.
 * @throws PhyslmError 'data' when N is not in 1 … N₀ or P is not positive.
 * @see arXiv:2404.05405, Definitions 4.1 and 4.3, Theorem 3.2.
 */
export function bitComplexity(measured: KnowledgeMeasurement): BitComplexity {
  const { nPeople, nNames, choices, nameLoss, valueLoss, nParameter } = measured;
  if (!(nPeople >= 1 && nPeople <= nNames)) {
    throw new PhyslmError('data', complaint('bitComplexity.nPeople', `1 … ${nNames}`, String(nPeople)));
  }
  if (!(nParameter > 0)) {
    throw new PhyslmError('data', complaint('bitComplexity.nParameter', 'a number > 0', String(nParameter)));
  }
  const valueBits = Object.values(choices).reduce((total, n) => total + bits(n), 0);
  const bitsName = nPeople * (bits(nNames) - nameLoss / Math.LN2);
  const bitsValue = nPeople * (valueBits - valueLoss / Math.LN2);
  const maxBits = nPeople * (bits(nNames / nPeople) + valueBits);
  const stored = bitsName + bitsValue;
  return {
    bitsName,
    bitsValue,
    bits: stored,
    maxBits,
    perParameter: stored / nParameter,
    maxPerParameter: maxBits / nParameter,
  };
}
