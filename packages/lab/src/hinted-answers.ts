/**
 * Share of right answers that a share of right hints lets expect: an answer follows from its hint when that is right, and is a
 * guess when it is wrong. `hint` counts whole hints: with two people, both of their facts, h² where each is right with h.
 *
 * @see Allen-Zhu and Li 2023, arXiv:2309.14402, Section 4, footnote 15.
 */
export function answersFromHints(hint: number, chance: number): number {
  return hint + (1 - hint) * chance;
}
