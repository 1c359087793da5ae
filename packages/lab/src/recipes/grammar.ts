// Grammars by name or from a file, as commands and recipes take them.
import { readFileSync } from 'node:fs';
import { ConfigError, nearest } from '@physlm/base';
import { type Cfg, cfgFromJson, FAMILY_NAMES, familyCfg, RELEASED_NAMES, releasedCfg, subCfg } from '@physlm/data/cfg';

/**
 * The grammar called `name`: `cfg3f` as released, `cfg8b` drawn by its construction rules with `seed`, and `<name>/<symbol>`
 * for the language of one of its non-terminals, such as `cfg3f/16`.
 *
 * @throws ConfigError with the nearest name when there is none, and when the symbol is no non-terminal.
 */
export function grammarNamed(name: string, seed: number): Cfg {
  const [whole, symbol] = name.split(/\/(.*)/s) as [string, string?];
  const known: readonly string[] = [...RELEASED_NAMES, ...FAMILY_NAMES];
  if (!known.includes(whole)) {
    const expected = `one of ${known.join(', ')}, or one of them with a non-terminal behind a slash, as cfg3f/16`;
    const problem = { path: 'grammar', expected, got: `'${name}'` };
    if (/\.json$/i.test(name)) {
      throw new ConfigError([problem], 'A file is given as --grammar-file, or as grammarFile of a recipe.');
    }
    throw new ConfigError([{ ...problem, nearest: nearest(whole, known) }]);
  }
  const cfg = FAMILY_NAMES.includes(whole) ? familyCfg(whole, { seed }) : releasedCfg(whole);
  return symbol === undefined ? cfg : subCfg(cfg, /^\d+$/.test(symbol) ? Number(symbol) : Number.NaN);
}

/**
 * The grammar in a JSON file.
 *
 * @throws ConfigError with what is wrong in the file and where.
 */
export function grammarFromFile(file: string): Cfg {
  const refuse = (expected: string, error: unknown): ConfigError =>
    new ConfigError([{ path: file, expected, got: (error as Error).message }]);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw refuse('a file that can be read', error);
  }
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    throw refuse('a grammar as JSON', error);
  }
  return cfgFromJson(value, file);
}
