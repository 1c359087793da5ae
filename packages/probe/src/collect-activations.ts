import type { LanguageModel } from '@physlm/model';
import { ActivationReader, type StreamOptions } from './activation-stream.js';

/** Which activation to read, and where. */
export interface CollectOptions extends Pick<StreamOptions, 'first' | 'edit' | 'batchSize'> {
  /**
   * Path of one activation whose first axes are BT, such as `blocks.1.residPost`; axes behind T are flattened into one
   * width. `*` may stand for a part as long as one activation matches.
   */
  readonly at: string;
  /** Positions to read in a sequence: p is the state after its token p, −1 the state after `first` alone. */
  readonly positions: (sequenceIndex: number) => readonly number[];
}

/** Hidden states as rows: sequence after sequence, each in the order of its positions. */
export interface Activations {
  /** [nRow, d], row-major. */
  readonly features: Float32Array<ArrayBuffer>;
  readonly nRow: number;
  /** Width of a row. */
  readonly d: number;
  /** Index of the sequence that each row came from. */
  readonly group: Int32Array<ArrayBuffer>;
}

/**
 * Runs a model over sequences and keeps one activation at chosen positions in memory: see `streamActivations` for
 * what is computed and what the bits depend on, and for the errors.
 *
 * @throws ConfigError also when `at` matches several activations.
 */
export function collectActivations(
  model: LanguageModel,
  sequences: readonly ArrayLike<number>[],
  { at, positions, ...options }: CollectOptions,
): Activations {
  const reader = new ActivationReader(model, { ...options, at: [at], positions }, 'collectActivations');
  const d = reader.onlyWidth();
  const asked = [...sequences.keys()].filter((i) => positions(i).length > 0);
  const nRow = asked.reduce((total, i) => total + positions(i).length, 0);
  const features = new Float32Array(nRow * d);
  const group = new Int32Array(nRow);
  const source = { nSentence: sequences.length, sentence: (i: number) => sequences[i]! };
  let row = 0;
  for (let start = 0; start < asked.length; start += reader.batchSize) {
    const batch = reader.read(asked.slice(start, start + reader.batchSize), source);
    features.set([...batch.points.values()][0]!.rows, row * d);
    for (const [b, list] of batch.positions.entries()) {
      group.fill(batch.sentences[b]!, row, row + list.length);
      row += list.length;
    }
  }
  return { features, nRow, d, group };
}
