// `physlm verify cfg`: for each line of standard input, whether it is a sentence of a grammar, and how far from one.
import { DataError, PhyslmError } from '@physlm/base';
import { type Cfg, CfgParser, substitutionDistance, TerminalTokenizer } from '@physlm/data/cfg';
import { exitCodes } from './exit-codes.js';
import { chosenGrammar, type GrammarFlags } from './grammar-options.js';
import type { Io } from './io.js';
import { LONGEST_LINE, readLines } from './read-lines.js';
import { writeRows } from './row-writer.js';

/** What is printed about a line that could be read. */
export interface CfgVerdict {
  /** From 1. */
  readonly line: number;
  readonly valid: boolean;
  /** The exact number of parses, as decimal digits. */
  readonly parses: string;
  /** ln P(sentence), in nats; null outside the language. */
  readonly logProb: number | null;
  /** The fewest substitutions that lead into the language; null when no sentence has this length. */
  readonly distance: number | null;
}

/**
 * Prints one row for each line. A line that cannot be read gets `{ line, error }`, and the rest goes on; the exit code is
 * then 1. Holds one line at a time.
 *
 * @throws ConfigError about the grammar.
 */
export async function verifyCfg(flags: GrammarFlags, io: Io): Promise<number> {
  const verify = verifier(chosenGrammar(flags));
  let [line, unreadable] = [0, 0];
  await writeRows(undefined, io, async (writer) => {
    for await (const text of readLines(io.stdin ?? emptyInput())) {
      line++;
      try {
        if (text === undefined) throw new DataError(`line ${line}`, `up to ${LONGEST_LINE} characters`, 'more');
        await writer.write({ line, ...verify(sentenceIn(text, line)) });
      } catch (error) {
        if (!(error instanceof PhyslmError && error.code === 'data')) throw error;
        unreadable++;
        await writer.write({ line, error: error.message });
      }
    }
  });
  return unreadable === 0 ? exitCodes.ok : exitCodes.failed;
}

/** The sentence of a line: the line itself, or the `text` of a row that `physlm data cfg` wrote. */
function sentenceIn(line: string, number: number): string {
  if (!line.trimStart().startsWith('{')) return line;
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    // Not JSON: said below, as for a row without text.
  }
  const text = (row as { text?: unknown } | undefined)?.text;
  if (typeof text === 'string') return text;
  throw new DataError(`line ${number}`, 'terminals, or an object with a text', line.slice(0, 40));
}

function verifier(cfg: Cfg): (text: string) => Omit<CfgVerdict, 'line'> {
  const parser = new CfgParser(cfg);
  const tokenizer = new TerminalTokenizer(cfg.nTerminal);
  return (text) => {
    const terminals = tokenizer.encode(text);
    const parses = parser.parse(terminals);
    if (parses !== undefined) return { valid: true, parses: `${parses.count}`, logProb: parses.logProb, distance: 0 };
    return { valid: false, parses: '0', logProb: null, distance: substitutionDistance(cfg, terminals) ?? null };
  };
}

async function* emptyInput(): AsyncGenerator<string> {}
