import { ConfigError, DataError } from '@physlm/base';
import { type LanguageModel, type Tensor, Trace } from '@physlm/model';

// Axes: B sequences in a batch, T positions, D width of the activation.

const LEAST_NATIVE_ROWS = 256;

/** Which activation to read, and where. */
export interface CollectOptions {
  /**
   * Path of one activation whose first axes are BT, such as `blocks.1.residPost`; axes behind T are flattened into one
   * width. `*` may stand for a part as long as one activation matches.
   */
  readonly at: string;
  /** Positions to read in a sequence: p is the state after its token p, −1 the state after `first` alone. */
  readonly positions: (sequenceIndex: number) => readonly number[];
  /** Token put in front of every sequence, usually EOS; does not shift positions. */
  readonly first?: number | undefined;
  /** Sequences that run at once: a matter of memory, never of results. Small ones are padded on native devices. */
  readonly batchSize?: number | undefined;
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
 * Runs a causal model over sequences and keeps one activation at chosen positions.
 *
 * Only what these positions depend on is computed: sequences are cut after the last position that anyone asked for, and
 * blocks behind the activation do not run. Sequences share a batch padded to one length; a causal model cannot see the
 * padding, so the bits of a row do not depend on batch size or batch-mates.
 *
 * @throws ConfigError when `at` matches no activation (naming the nearest), several, or one without axes BT, and when
 * `batchSize` is not a positive integer.
 * @throws DataError when a position is outside its sequence or the model's context, or a token outside the vocabulary.
 */
export function collectActivations(
  model: LanguageModel,
  sequences: readonly ArrayLike<number>[],
  options: CollectOptions,
): Activations {
  const { device, config } = model;
  const { at, first, batchSize } = options;
  if (batchSize !== undefined && !(Number.isInteger(batchSize) && batchSize > 0)) {
    const got = String(batchSize);
    throw new ConfigError([{ path: 'collectActivations.batchSize', expected: 'a positive integer', got }]);
  }
  if (first !== undefined) checkToken('first', first, config.dVocab);
  const nFront = first === undefined ? 0 : 1;
  const wanted = sequences.map((tokens, i) => {
    const positions = options.positions(i);
    for (const p of positions) checkPosition(p, i, tokens.length, nFront, config.nCtx);
    return positions;
  });
  const asked = [...wanted.keys()].filter((i) => wanted[i]!.length > 0);
  const last = asked.reduce((max, i) => wanted[i]!.reduce((a, b) => Math.max(a, b), max), -nFront);
  const nPosition = last + nFront + 1;
  // Native products of few rows add up in an order of their own: rows of padding keep a small batch out of it.
  const nBatchLeast = device.native === undefined ? 1 : Math.ceil(LEAST_NATIVE_ROWS / nPosition);
  const nBatch = Math.max(nBatchLeast, Math.min(batchSize ?? Math.floor(4096 / nPosition), asked.length));

  const ids = device.zeros([nBatch, nPosition], 'i32');
  const program = device.withoutGrad(() => device.record(() => ({ activation: activationAt(model, ids, at) })));
  const d = program.results.activation.size / (nBatch * nPosition);
  const nRow = asked.reduce((total, i) => total + wanted[i]!.length, 0);
  const features = new Float32Array(nRow * d);
  const group = new Int32Array(nRow);
  let row = 0;
  for (let start = 0; start < asked.length; start += nBatch) {
    const batch = asked.slice(start, start + nBatch);
    const idValues = ids.values().fill(first ?? 0);
    batch.forEach((i, b) => {
      const tokens = sequences[i]!;
      const nFed = Math.min(tokens.length, nPosition - nFront);
      for (let t = 0; t < nFed; t++) {
        checkToken(`sequences[${i}][${t}]`, tokens[t]!, config.dVocab);
        idValues[b * nPosition + nFront + t] = tokens[t]!;
      }
    });
    program.run();
    const values = program.results.activation.values();
    batch.forEach((i, b) => {
      for (const p of wanted[i]!) {
        const from = (b * nPosition + nFront + p) * d;
        features.set(values.subarray(from, from + d), row * d);
        group[row++] = i;
      }
    });
  }
  return { features, nRow, d, group };
}

function activationAt(model: LanguageModel, ids: Tensor, at: string): Tensor {
  const trace = new Trace({ read: [at] });
  model.forward(ids, trace);
  const found = [...trace.activations()];
  const [path, activation] = found[0]!;
  const problem = (expected: string, got: string): ConfigError =>
    new ConfigError([{ path: 'collectActivations.at', expected, got }]);
  if (found.length > 1) {
    throw problem('the path of one activation', `'${at}', which matches ${found.map(([name]) => name).join(', ')}`);
  }
  if (ids.shape.some((size, axis) => size !== activation.shape[axis])) {
    throw problem(`an activation of shape [${ids.shape}, …]`, `'${path}' of shape [${activation.shape}]`);
  }
  return activation;
}

function checkPosition(p: number, sequence: number, nToken: number, nFront: number, nCtx: number): void {
  const reject = (expected: string): never => {
    throw new DataError('collectActivations.positions', expected, `position ${p} of sequence ${sequence}`);
  };
  if (!(Number.isInteger(p) && p >= -nFront && p < nToken)) {
    reject(`whole numbers ${-nFront} … ${nToken - 1} for sequence ${sequence} of ${nToken} tokens`);
  }
  if (p + nFront >= nCtx) reject(`positions before ${nCtx - nFront}, where the model's context ends`);
}

function checkToken(where: string, token: number, dVocab: number): void {
  if (Number.isInteger(token) && token >= 0 && token < dVocab) return;
  throw new DataError(`collectActivations.${where}`, `a token 0 … ${dVocab - 1}`, String(token));
}
