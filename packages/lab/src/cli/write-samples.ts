import type { Io } from './io.js';
import { ProgressLine } from './progress-line.js';
import { writeRows } from './row-writer.js';

/** Which samples are written, and where to: standard output when `out` is left out. */
export interface SampleRange {
  readonly start: number;
  readonly count: number;
  readonly out?: string;
}

/** Seconds after which a run is long enough to say how far it is. */
const PATIENCE = 2;

/**
 * Writes samples `start` … `start + count − 1` of a source, a row of JSON each, and says how far it is.
 *
 * @param unit what is counted, as `sentence`.
 * @throws OutputError when the file cannot be written, and what the source throws.
 */
export async function writeSamples<S extends { readonly tokens: ArrayLike<number> }>(
  source: { document(index: number): S },
  { start, count, out }: SampleRange,
  { unit, rowOf, io }: { readonly unit: string; readonly rowOf: (sample: S) => object; readonly io: Io },
): Promise<number> {
  const progress = new ProgressLine(io, unit);
  const began = performance.now();
  let nToken = 0;
  try {
    return await writeRows(out, io, async (writer) => {
      for (let i = 0; i < count; i++) {
        const sample = source.document(start + i);
        nToken += sample.tokens.length;
        await writer.write(rowOf(sample));
        if (i % 64 !== 63) continue;
        const seconds = (performance.now() - began) / 1000;
        if (seconds < PATIENCE) continue;
        progress.update({
          phase: 'train',
          step: i + 1,
          nStep: count,
          loss: Number.NaN,
          tokensPerSec: nToken / seconds,
          secondsLeft: (seconds * (count - i - 1)) / (i + 1),
        });
      }
    });
  } finally {
    progress.stop();
  }
}
