import { ConfigError, nearest } from '@physlm/base';

/** How the texts about a person are made from their six facts. */
export interface Augmentation {
  /** As the papers write it: `multi5+permute+fullname`. */
  readonly name: string;
  /** Texts that each person has, made once; Infinity: every text is new. */
  readonly nEntry: number;
  /** Sentences of the form, or rewrites with merged facts, partial names and sentences that say nothing. */
  readonly style: 'templates' | 'noisy';
  /** Whether all entries of a person have the same six sentences, or each entry draws its own. */
  readonly sentences: 'kept' | 'redrawn';
  /** Sentences in the order of `ATTRIBUTES`, in any order, or in any order of the pairs (1, 2), (3, 4) and (5, 6). */
  readonly order: 'fixed' | 'permuted' | 'couples';
  /** Where the full name stands; `reverseK`: first in sentence K + 1, whose predecessors do not say who they are about. */
  readonly names: 'first' | 'every' | 'reverse1' | 'reverse2' | 'reverse6';
}

/** The plain data set and the fifteen augmentations of the paper. */
export const AUGMENTATIONS = [
  'single',
  'single+fullname',
  'single+permute1',
  'single+permute2',
  'single+permute5',
  'single+permute1+fullname',
  'single+permute2+fullname',
  'single+permute5+fullname',
  'multi2',
  'multi5',
  'multi2+permute',
  'multi5+permute',
  'multi2+fullname',
  'multi5+fullname',
  'multi2+permute+fullname',
  'multi5+permute+fullname',
] as const;

const OTHERS = [
  'couple1',
  'couple2',
  'couple5',
  'multi5+reverse1',
  'multi5+reverse2',
  'multi5+reverse6',
  'multi5+permute+reverse6',
  'multi∞+permute',
  'noisy1',
  'noisy5',
  'noisy1+fullname',
  'noisy5+fullname',
];

const PATTERN =
  /^(?:single(?:\+permute(?<permuted>[1-9]\d?))?|multi(?<multi>[1-9]\d?|∞)(?<permute>\+permute)?|couple(?<couple>[1-9]\d?)|noisy(?<noisy>[1-9]\d?))(?:\+(?<names>fullname|reverse[126]))?$/u;

/**
 * Reads the name of an augmentation. `single`: one text a person. `multiM`: M texts, each with sentences of its own.
 * `+permute`: each text has its sentences in an order of its own; `single+permuteM`: M orders of the same six sentences.
 * `+fullname`: the full name opens every sentence. `+reverse1`, `+reverse2`, `+reverse6`: the name comes first in the second,
 * third or a seventh sentence. `coupleM`: M texts that keep birth date and city, university and major, employer and its city
 * together in this order. `multi∞`: no text comes twice. `noisyM`: M rewrites by a grammar, which merge facts, name the
 * person by a part of the name and say things that do not matter.
 *
 * @throws ConfigError with the nearest name when it is none.
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Appendix A.1; arXiv:2309.14402, Section 5 (reverse). Differs from the papers:
 * `noisyM` takes the place of bioR, which a large language model writes; couples draw new sentences for each entry.
 */
export function parseAugmentation(name: string): Augmentation {
  const parts = PATTERN.exec(name)?.groups;
  if (parts === undefined) {
    const known = [...AUGMENTATIONS, ...OTHERS];
    const expected =
      'an augmentation, as single, single+permute5, multi5+permute+fullname, couple2, multi5+reverse6 or noisy5';
    throw new ConfigError([{ path: 'augmentation', expected, got: `'${name}'`, nearest: nearest(name, known) }]);
  }
  const { permuted, multi, permute, couple, noisy, names = 'first' } = parts;
  return {
    name,
    nEntry: multi === '∞' ? Number.POSITIVE_INFINITY : Number(permuted ?? multi ?? couple ?? noisy ?? 1),
    style: noisy === undefined ? 'templates' : 'noisy',
    sentences: (multi ?? couple ?? noisy) === undefined ? 'kept' : 'redrawn',
    order: couple !== undefined ? 'couples' : (permuted ?? permute) === undefined ? 'fixed' : 'permuted',
    names: names === 'fullname' ? 'every' : (names as Augmentation['names']),
  };
}
