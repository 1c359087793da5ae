import { once } from 'node:events';
import { blocksOf, type DataKind, type Part, rowsOfJobs } from './data-part.js';
import { exitCodes } from './exit-codes.js';
import type { Io } from './io.js';
import { ProgressLine } from './progress-line.js';
import { writeRows } from './row-writer.js';

/** Which samples are written, and where to: standard output when `out` is left out. */
export interface SampleFlags {
  readonly start: number;
  readonly count: number;
  readonly out?: string;
  /** Processes that make rows; this one when left out. */
  readonly jobs?: number;
  /** Of a process that makes rows for another: which. They go to standard output. */
  readonly part?: Part;
}

/** What rows are made of. */
export interface SampleRows<S> {
  readonly kind: DataKind;
  /** What is counted, as `sentence`. */
  readonly unit: string;
  readonly rowOf: (sample: S) => object;
  readonly io: Io;
}

/** Seconds after which a run is long enough to say how far it is. */
const PATIENCE = 2;

/**
 * Writes samples `start` … `start + count − 1` of a source, a row of JSON each, and says how far it is.
 *
 * @throws OutputError when the file cannot be written, and what the source throws.
 */
export async function writeSamples<S extends { readonly tokens: ArrayLike<number> }>(
  source: { document(index: number): S },
  flags: SampleFlags,
  rows: SampleRows<S>,
): Promise<number> {
  const { start, count, out, jobs = 1, part } = flags;
  const { kind, unit, rowOf, io } = rows;
  if (part !== undefined) return writePart(source, flags, part, rows);
  const progress = new ProgressLine(io, unit);
  const began = performance.now();
  const say = (nDone: number, nToken: number): void => {
    const seconds = (performance.now() - began) / 1000;
    if (seconds < PATIENCE) return;
    progress.update({
      phase: 'train',
      step: nDone,
      nStep: count,
      loss: Number.NaN,
      tokensPerSec: nToken / seconds,
      secondsLeft: (seconds * (count - nDone)) / nDone,
    });
  };
  try {
    return await writeRows(out, io, async (writer) => {
      if (jobs > 1) {
        let nDone = 0;
        for await (const { text, nRow } of rowsOfJobs(kind, flags, { count, jobs, io })) {
          await writer.writeText(text);
          nDone += nRow;
          say(nDone, 0);
        }
        return;
      }
      let nToken = 0;
      for (let i = 0; i < count; i++) {
        const sample = source.document(start + i);
        nToken += sample.tokens.length;
        await writer.write(rowOf(sample));
        if (i % 64 === 63) say(i + 1, nToken);
      }
    });
  } finally {
    progress.stop();
  }
}

async function writePart<S>(
  source: { document(index: number): S },
  { start, count }: SampleFlags,
  part: Part,
  { rowOf, io }: SampleRows<S>,
): Promise<number> {
  for (const { from, to } of blocksOf(part, count)) {
    let text = '';
    for (let i = from; i < to; i++) text += `${JSON.stringify(rowOf(source.document(start + i)))}\n`;
    if (!io.stdout.write(text)) await once(io.stdout, 'drain');
  }
  return exitCodes.ok;
}
