// The box task of Part 2.2, Figure 1: a problem that is easy to state, and that models without training fail.
import { DataError, Rng } from '@physlm/base';

const BOX_LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';

/** What boxes are wanted. */
export interface BoxOptions {
  readonly seed: number;
  /** Boxes, 2 … 26; 26 when absent. */
  readonly nBox?: number;
}

/** A problem about boxes in boxes. */
export interface BoxProblem {
  readonly prompt: string;
  /** Total weight of the asked box in pounds: its own and that of every box inside it, as often as it is inside. */
  readonly answer: number;
}

/**
 * Problem `index` of a seed: each box but the last holds one to four kinds of later boxes and weighs 0 … 9 pounds on its own; the
 * sentences are shuffled, and the first box's total weight is asked.
 *
 * @throws DataError when nBox or index is out of range.
 * @see Ye et al. 2024, arXiv:2408.16293, Figure 1.
 */
export function boxProblem({ seed, nBox = 26 }: BoxOptions, index: number): BoxProblem {
  if (!Number.isInteger(nBox) || nBox < 2 || nBox > 26) throw new DataError('boxProblem.nBox', '2 … 26', `${nBox}`);
  if (!Number.isSafeInteger(index) || index < 0) throw new DataError('boxProblem', 'an index from 0', `${index}`);
  const rng = new Rng(seed).fork('boxes').at(index);
  const names = rng.shuffle([...BOX_LETTERS]).slice(0, nBox);
  const sentences: string[] = [];
  const weights: number[] = [];
  const inside: number[][] = [];
  for (let i = 0; i < nBox; i++) {
    weights.push(rng.below(10));
    const later = Array.from({ length: nBox - 1 - i }, (_, x) => i + 1 + x);
    const n = Math.min(later.length, 1 + rng.below(4));
    inside.push(rng.shuffle(later).slice(0, n));
    sentences.push(`Each box ${names[i]} weighs ${weights[i]} pounds on its own.`);
    for (const other of inside[i]!) sentences.push(`Each box ${names[i]} has a box ${names[other]} inside it.`);
  }
  const total = weights.slice();
  for (let i = nBox - 1; i >= 0; i--) for (const other of inside[i]!) total[i]! += total[other]!;
  const question = `How many pounds does each box ${names[0]} weigh in all?`;
  return { prompt: `${rng.shuffle(sentences).join(' ')} ${question}`, answer: total[0]! };
}

/**
 * The answer to a prompt of `boxProblem`, from its text alone.
 *
 * @throws DataError when the prompt has another form, or boxes are inside themselves.
 */
export function boxAnswer(prompt: string): number {
  const weights = new Map<string, number>();
  const inside = new Map<string, string[]>();
  const [asked] = prompt.match(/(?<=does each box )[A-Z](?= weigh in all\?$)/) ?? [];
  for (const [, box, weight] of prompt.matchAll(/Each box ([A-Z]) weighs (\d+) pounds on its own\./g)) {
    weights.set(box!, Number(weight));
  }
  for (const [, box, other] of prompt.matchAll(/Each box ([A-Z]) has a box ([A-Z]) inside it\./g)) {
    inside.set(box!, [...(inside.get(box!) ?? []), other!]);
  }
  const totals = new Map<string, number | undefined>();
  const total = (box: string): number => {
    if (totals.has(box)) {
      const known = totals.get(box);
      if (known === undefined) throw new DataError('boxAnswer', 'boxes inside larger ones', `${box} inside itself`);
      return known;
    }
    const own = weights.get(box);
    if (own === undefined) throw new DataError('boxAnswer', `the weight of box ${box}`, 'none');
    totals.set(box, undefined);
    const sum = (inside.get(box) ?? []).reduce((so, other) => so + total(other), own);
    totals.set(box, sum);
    return sum;
  };
  if (asked === undefined) throw new DataError('boxAnswer', 'a question about one box', prompt.slice(-60));
  return total(asked);
}
