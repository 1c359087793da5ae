// `physlm verify igsm`: for each line of standard input, whether the solution solves the problem, and where it fails.
import { DataError, PhyslmError } from '@physlm/base';
import { type VerifyOptions, verifySolution } from '@physlm/data/igsm';
import { exitCodes } from './exit-codes.js';
import type { Io } from './io.js';
import { LONGEST_LINE, readLines } from './read-lines.js';
import { writeRows } from './row-writer.js';

/** Options of `physlm verify igsm`. */
export interface VerifyIgsmFlags {
  /** For lines that name none. */
  readonly modulus: number;
  /** Judge as the released code does. */
  readonly released?: true;
}

/** What is printed about a line that could be read. */
export interface IgsmVerdict {
  /** From 1. */
  readonly line: number;
  readonly correct: boolean;
  /** The first mistake; null when correct. */
  readonly reason: string | null;
  /** Number of the solution's sentence with the first mistake, from 1, or 0 when it has none; null when correct. */
  readonly step: number | null;
  readonly necessaryOperations: number;
  readonly unnecessaryParameters: number;
}

/**
 * Prints one row for each line. A line that cannot be read, or whose problem cannot be rebuilt, gets `{ line, error }`, and the
 * rest goes on; the exit code is then 1. Holds one line at a time.
 */
export async function verifyIgsm(flags: VerifyIgsmFlags, io: Io): Promise<number> {
  let [line, unreadable] = [0, 0];
  await writeRows(undefined, io, async (writer) => {
    for await (const text of readLines(io.stdin ?? emptyInput())) {
      line++;
      if (text !== undefined && text.trim() === '') continue;
      try {
        if (text === undefined) throw new DataError(`line ${line}`, `up to ${LONGEST_LINE} characters`, 'more');
        await writer.write({ line, ...judge(text, flags) });
      } catch (error) {
        if (!(error instanceof PhyslmError && error.code === 'data')) throw error;
        unreadable++;
        await writer.write({ line, error: error.message });
      }
    }
  });
  return unreadable === 0 ? exitCodes.ok : exitCodes.failed;
}

function judge(text: string, { modulus: usual, released }: VerifyIgsmFlags): Omit<IgsmVerdict, 'line'> {
  const { prompt, solution, modulus = usual } = parsed(text);
  const options: VerifyOptions = { modulus, check: released ? 'released' : 'exact' };
  const { correct, reason, step, necessaryOperations, unnecessaryParameters } = verifySolution(
    prompt,
    solution,
    options,
  );
  return { correct, reason, step, necessaryOperations, unnecessaryParameters };
}

function parsed(text: string): { prompt: string; solution: string; modulus?: number } {
  const form = '{"prompt": text, "solution": text, "modulus"?: number}';
  let row: unknown;
  try {
    row = JSON.parse(text);
  } catch (error) {
    throw new DataError('line', `JSON as ${form}`, `${(error as Error).message}`);
  }
  const { prompt, solution, modulus } = (row ?? {}) as Record<string, unknown>;
  const missing = typeof prompt !== 'string' ? 'prompt' : typeof solution !== 'string' ? 'solution' : undefined;
  if (missing !== undefined) {
    const got = JSON.stringify((row as Record<string, unknown> | null)?.[missing])?.slice(0, 40) ?? 'nothing';
    throw new DataError(`line.${missing}`, `a text, as in ${form}`, got);
  }
  if (modulus !== undefined && !(Number.isInteger(modulus) && Number(modulus) >= 2 && Number(modulus) <= 1000)) {
    throw new DataError('line.modulus', 'an integer in 2 … 1000', JSON.stringify(modulus));
  }
  return {
    prompt: prompt as string,
    solution: solution as string,
    ...(modulus !== undefined && { modulus: modulus as number }),
  };
}

async function* emptyInput(): AsyncGenerator<string> {}
