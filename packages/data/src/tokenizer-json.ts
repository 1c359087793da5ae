import { DataError } from '@physlm/base';
import { TerminalTokenizer } from './cfg/tokenizer.js';
import { Gpt2Tokenizer } from './gpt2-tokenizer.js';
import { LiteralTokenizer } from './literal-tokenizer.js';
import type { Tokenizer } from './tokenizer.js';
import { WordTokenizer } from './word-tokenizer.js';

/**
 * The tokenizer whose `toJSON` gave `value`.
 *
 * @throws DataError when `value` is not such a description.
 */
export function tokenizerFromJson(value: unknown): Tokenizer {
  const { kind, name, words, literals, gpt2Tokens, nTerminal } = (value ?? {}) as Record<string, unknown>;
  if (kind === 'word' && typeof name === 'string' && isArrayOf(words, 'string')) return new WordTokenizer(name, words);
  if (kind === 'literal' && typeof name === 'string' && isArrayOf(literals, 'string')) {
    return new LiteralTokenizer(name, literals);
  }
  if (kind === 'gpt2' && gpt2Tokens === undefined) return new Gpt2Tokenizer();
  if (kind === 'gpt2' && isArrayOf(gpt2Tokens, 'number')) return Gpt2Tokenizer.restrict(gpt2Tokens);
  if (kind === 'terminals' && Number.isInteger(nTerminal)) return new TerminalTokenizer(Number(nTerminal));
  const got = JSON.stringify(value) ?? `${value}`;
  throw new DataError(
    'tokenizerFromJson',
    "a tokenizer of kind 'word', 'literal', 'gpt2' or 'terminals'",
    got.slice(0, 80),
  );
}

function isArrayOf(value: unknown, type: 'string'): value is string[];
function isArrayOf(value: unknown, type: 'number'): value is number[];
function isArrayOf(value: unknown, type: string): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === type);
}
