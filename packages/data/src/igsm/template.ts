// The template of a solution, its hash, and the split of templates into training and test.
import { hash } from 'node:crypto';
import type { Solution, Step } from './solution.js';
import type { Choice } from './variant.js';

/** Templates fall into this many buckets. */
export const N_BUCKET = 23;

/** Which templates a source may give. */
export type Buckets = 'all' | 'train' | 'test';

/** Letters that symbols are written with. */
export const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';

/**
 * The solution with names replaced by `Inst` and `Inter`, numbers by 0, letters by a, b, c, … in the order of appearance, and
 * every `;` by a full stop. Made from the structure, so that names which contain one another leave no trace.
 *
 * @param nPair parameters from this number on are abstract.
 * @see Ye et al. 2024, arXiv:2407.20311, Section 2.4. Differs from the paper: full stops instead of semicolons, as released.
 */
export function solutionTemplate(solution: Solution, nPair: number): string {
  let text = '';
  for (const { parameter, symbol, steps } of solution.definitions) {
    text += ` Define ${parameter < nPair ? 'Inst' : 'Inter'} as ${LETTERS[symbol]}.`;
    for (let x = 0; x < steps.length; x++) {
      const last = x === steps.length - 1;
      text += `${last ? ' so' : ''} ${stepTemplate(steps[x]!)}.`;
    }
  }
  return text;
}

function stepTemplate({ symbol, operator, left, right }: Step): string {
  const name = (operand: number): string => (operand < 0 ? '0' : LETTERS[operand]!);
  if (operator === 'constant') return `${LETTERS[symbol]} = 0`;
  if (operator === 'copy') return `${LETTERS[symbol]} = ${name(left)} = 0`;
  return `${LETTERS[symbol]} = ${name(left)} ${operator} ${name(right)} = 0 ${operator} 0 = 0`;
}

/** SHA-256 of the template as one large number, modulo 23. */
export function templateBucket(template: string): number {
  const bytes = hash('sha256', template, 'buffer');
  let rest = 0;
  for (const byte of bytes) rest = (rest * 256 + byte) % N_BUCKET;
  return rest;
}

/** Whether templates of this bucket belong to `buckets`: training ends before bucket 16 (`code`) or 17 (`paper`). */
export function inBuckets(bucket: number, buckets: Buckets, split: Choice): boolean {
  if (buckets === 'all') return true;
  return bucket < (split === 'code' ? 16 : 17) === (buckets === 'train');
}
