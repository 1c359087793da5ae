// Rows of `physlm data` that several processes make: each takes every so many-th block of rows, and one writes them in order. Row i is
// a function of the seed and i, so that the bytes are the same for any number of processes.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { PhyslmError } from '@physlm/base';
import type { DataCfgFlags } from './data-cfg.js';
import type { DataIgsmFlags } from './data-igsm.js';
import type { DataKnowledgeFlags } from './data-knowledge.js';
import type { Io } from './io.js';
import { plainText, selfCommand } from './run-jobs.js';

/** Which blocks of rows a process makes: `part`, `part + parts`, … */
export interface Part {
  readonly part: number;
  readonly parts: number;
}

/** A subcommand of `physlm data` with its options. */
type DataCommand =
  | { readonly kind: 'cfg'; readonly flags: DataCfgFlags }
  | { readonly kind: 'igsm'; readonly flags: DataIgsmFlags }
  | { readonly kind: 'knowledge'; readonly flags: DataKnowledgeFlags };

/** Kinds of data, as these are called. */
export type DataKind = DataCommand['kind'];

/** Rows of a block: few enough to be kept for every process, many enough that none waits for another often. */
export const ROWS_OF_BLOCK = 256;

/** Numbers of the rows of a part, 0 … count − 1 in all, by blocks. */
export function* blocksOf(
  { part, parts }: Part,
  count: number,
): Generator<{ readonly from: number; readonly to: number }> {
  for (let from = part * ROWS_OF_BLOCK; from < count; from += parts * ROWS_OF_BLOCK) {
    yield { from, to: Math.min(count, from + ROWS_OF_BLOCK) };
  }
}

/** `physlm data-part`: the rows of a part to standard output. */
export async function runDataPart(json: string, io: Io): Promise<number> {
  // The flags hold the part: see rowsOfJobs.
  const { kind, flags } = JSON.parse(json) as DataCommand;
  if (kind === 'cfg') return (await import('./data-cfg.js')).dataCfg(flags, io);
  if (kind === 'igsm') return (await import('./data-igsm.js')).dataIgsm(flags, io);
  return (await import('./data-knowledge.js')).dataKnowledge(flags, io);
}

/**
 * The text of rows 0 … count − 1 in their order, in blocks, made by `jobs` processes. What is in memory does not grow with `count`: a
 * process that is ahead waits.
 *
 * @throws PhyslmError with the message of a process that failed.
 */
export async function* rowsOfJobs(
  kind: DataKind,
  flags: object,
  { count, jobs, io }: { readonly count: number; readonly jobs: number; readonly io: Io },
): AsyncGenerator<{ readonly text: string; readonly nRow: number }, undefined, void> {
  const parts = Math.min(jobs, Math.ceil(count / ROWS_OF_BLOCK));
  const processes = Array.from(
    { length: parts },
    (_, part) => new PartProcess({ kind, flags: { ...flags, part: { part, parts } } }, io),
  );
  try {
    for (let from = 0, block = 0; from < count; from += ROWS_OF_BLOCK, block++) {
      const nRow = Math.min(ROWS_OF_BLOCK, count - from);
      yield { text: await processes[block % parts]!.take(nRow), nRow };
    }
  } finally {
    for (const process of processes) process.end();
  }
  return undefined;
}

/** A process that makes rows. */
class PartProcess {
  readonly #child;
  readonly #chunks: AsyncIterator<string>;
  /** Asked for before it is needed: Node.js throws away what nobody has begun to read when the process ends. */
  #next: Promise<IteratorResult<string>>;
  #text = '';
  #complaint = '';

  constructor(work: { readonly kind: DataKind; readonly flags: object }, io: Io) {
    const [file, ...argv] = selfCommand(io);
    this.#child = spawn(file, [...argv, 'data-part', JSON.stringify(work)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: plainText(process.env),
      // Ctrl-C is for the process that writes the file: this one ends with it.
      detached: true,
    });
    this.#child.stdout.setEncoding('utf8');
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint += text;
    });
    this.#child.on('error', (error) => {
      this.#complaint += error.message;
    });
    this.#chunks = this.#child.stdout[Symbol.asyncIterator]() as AsyncIterator<string>;
    this.#next = this.#ask();
  }

  #ask(): Promise<IteratorResult<string>> {
    const next = this.#chunks.next();
    // Whoever takes it hears of it.
    next.catch(() => undefined);
    return next;
  }

  /** The next `nRow` rows. */
  async take(nRow: number): Promise<string> {
    let end = -1;
    for (let row = 0; row < nRow; row++) {
      let next = this.#text.indexOf('\n', end + 1);
      while (next < 0) {
        const searched = this.#text.length;
        const { value, done } = await this.#next;
        if (done) throw await this.#failure();
        this.#next = this.#ask();
        this.#text += value;
        next = this.#text.indexOf('\n', searched);
      }
      end = next;
    }
    const rows = this.#text.slice(0, end + 1);
    this.#text = this.#text.slice(end + 1);
    return rows;
  }

  async #failure(): Promise<PhyslmError> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'close');
    const said = this.#complaint.trim().replace(/^physlm: /, '');
    const how = this.#child.signalCode ?? `exit code ${this.#child.exitCode}`;
    return new PhyslmError('data', said || `a process that makes rows ended with ${how} before its last row`);
  }

  end(): void {
    this.#child.stdout.destroy();
    this.#child.kill();
  }
}
