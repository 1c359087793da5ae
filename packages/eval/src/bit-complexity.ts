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
  /** What the strings themselves are, for bioD, where they are random too. */
  readonly diversity?: DiversityMeasurement;
}

/** The strings that values are made of, and how well a model knows them. */
export interface DiversityMeasurement {
  /** K: attributes, each with a set of strings of its own. */
  readonly nAttribute: number;
  /** D: strings of each set. */
  readonly nString: number;
  /** L: symbols in a string. */
  readonly stringLength: number;
  /** T: symbols to write strings with. */
  readonly nSymbol: number;
  /** p₃: loss of the first string of a value, summed over its tokens, mean over people and attributes; nats. */
  readonly firstLoss: number;
}

/** What a model stores of a data set. */
export interface BitComplexity {
  readonly bitsName: number;
  readonly bitsValue: number;
  /** K·D·log₂(T^L/(D·e^p₃)): knowledge of the strings; absent when they are not measured. */
  readonly bitsDiversity?: number;
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
 * R = [N·log₂(N₀/e^p₁) + N·log₂(S₀/e^p₂)] / P and R^max = [N·log₂(N₀/N) + N·log₂ S₀] / P; for bioD(N, K, C, D, L, T), whose
 * S₀ is D^(C·K), R has the third term K·D·log₂(T^L/(D·e^p₃)) / P and R^max the same with p₃ = 0.
 *
 * A model that knows every person perfectly has p₁ = ln N and p₂ = p₃ = 0, and reaches R^max; a uniform guess of names and
 * values has 0 bits of them.
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
  const { diversity } = measured;
  const strings = diversity === undefined ? { stored: 0, max: 0 } : stringBits(diversity);
  const maxBits = nPeople * (bits(nNames / nPeople) + valueBits) + strings.max;
  const stored = bitsName + bitsValue + strings.stored;
  return {
    bitsName,
    bitsValue,
    ...(diversity !== undefined && { bitsDiversity: strings.stored }),
    bits: stored,
    maxBits,
    perParameter: stored / nParameter,
    maxPerParameter: maxBits / nParameter,
  };
}

function stringBits({ nAttribute, nString, stringLength, nSymbol, firstLoss }: DiversityMeasurement) {
  const max = nAttribute * nString * (stringLength * bits(nSymbol) - bits(nString));
  return { max, stored: max - (nAttribute * nString * firstLoss) / Math.LN2 };
}
