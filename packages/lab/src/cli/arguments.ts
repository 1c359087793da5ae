// How the command reads numbers and lists from its options.
import { InvalidArgumentError } from 'commander';

export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text))) throw new InvalidArgumentError('expected 0, 1, 2, …');
  return Number(text);
}

export function positiveNumber(text: string): number {
  const n = wholeNumber(text);
  if (n === 0) throw new InvalidArgumentError('expected 1, 2, …');
  return n;
}

/** What arithmetic of problems is modulo. */
export function modulus(text: string): number {
  const p = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(p >= 2 && p <= 1000)) throw new InvalidArgumentError('expected an integer in 2 … 1000');
  return p;
}

/** A share of 1. */
export function share(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1)) throw new InvalidArgumentError('expected a number in 0 … 1');
  return value;
}

/** Different whole numbers, separated by commas. */
export function wholeNumbers(text: string): number[] {
  const numbers = text.split(',').map(wholeNumber);
  if (new Set(numbers).size !== numbers.length) throw new InvalidArgumentError('expected different numbers');
  return numbers;
}
