// Activations on disk, in plain files that need no library of ours:
//
//   index.json            what the store holds: points and widths, sentences, what decided the values
//   shards/00000.json     for each sentence of the shard: its index, its positions and its first row
//   shards/00000.safetensors   one tensor [nRow, d] (f32) for each point
//
// A shard counts once its .json is there, which is written last; a killed writer continues at the first missing shard.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, canonicalJson, DataError, writeFileAtomic } from '@physlm/base';
import { type LanguageModel, SafetensorsFile, writeSafetensors } from '@physlm/model';
import {
  type ActivationSource,
  type SentenceSource,
  type StreamOptions,
  streamActivations,
} from './activation-stream.js';

const FORMAT = 'physlm-activations-1';

/** What `index.json` says. */
export interface StoreIndex {
  readonly format: typeof FORMAT;
  readonly nSentence: number;
  readonly sentencesPerShard: number;
  readonly at: readonly string[];
  readonly first: number | null;
  /** What the caller said about the model and the sentences. */
  readonly origin: Readonly<Record<string, unknown>>;
}

/** What the .json of a shard says. */
interface ShardIndex {
  readonly points: Readonly<Record<string, number>>;
  readonly sentences: readonly {
    readonly index: number;
    readonly firstRow: number;
    readonly positions: readonly number[];
  }[];
}

/** What to store, and where. */
export interface StoreOptions extends StreamOptions {
  readonly folder: string;
  /**
   * Whatever decides the values besides the points: digests of checkpoint and data, the choice of positions, the edits. A
   * folder that holds activations of another origin is refused.
   */
  readonly origin: Readonly<Record<string, unknown>>;
  /** Sentences in a shard: what is in memory at a time, and lost when the writer is killed. 64. */
  readonly sentencesPerShard?: number | undefined;
}

/**
 * Streams activations into a folder, shard by shard; what is there already is kept. Memory holds one shard.
 *
 * @throws ConfigError when the folder holds other activations, and as `streamActivations`.
 * @throws OutputError when the folder cannot be written.
 */
export function storeActivations(model: LanguageModel, source: SentenceSource, options: StoreOptions): ActivationStore {
  const { folder, at, first = null, origin, sentencesPerShard = 64 } = options;
  if (!(Number.isInteger(sentencesPerShard) && sentencesPerShard > 0)) {
    const got = String(sentencesPerShard);
    throw new ConfigError([{ path: 'storeActivations.sentencesPerShard', expected: 'a positive integer', got }]);
  }
  const { nSentence } = source;
  const index: StoreIndex = { format: FORMAT, nSentence, sentencesPerShard, at, first, origin };
  const path = join(folder, 'index.json');
  if (existsSync(path)) {
    const [there, wanted] = [readFileSync(path, 'utf8').trim(), canonicalJson(index)];
    if (there !== wanted) {
      throw new ConfigError(
        [{ path: 'storeActivations.folder', expected: `a folder of ${wanted}`, got: `${folder} with ${there}` }],
        'Choose another folder, or remove this one.',
      );
    }
  } else {
    writeFileAtomic(path, `${canonicalJson(index)}\n`);
  }
  for (let shard = 0; shard * sentencesPerShard < nSentence; shard++) {
    if (existsSync(shardPath(folder, shard, 'json'))) continue;
    const start = shard * sentencesPerShard;
    writeShard(folder, shard, model, source, options, start, Math.min(nSentence, start + sentencesPerShard));
  }
  return openActivationStore(folder);
}

function writeShard(
  folder: string,
  shard: number,
  model: LanguageModel,
  source: SentenceSource,
  options: StreamOptions,
  start: number,
  end: number,
): void {
  const parts = new Map<string, { d: number; rows: Float32Array[] }>();
  const sentences: ShardIndex['sentences'][number][] = [];
  let nRow = 0;
  for (const batch of streamActivations(model, source, options, { start, end })) {
    for (const [i, positions] of batch.positions.entries()) {
      sentences.push({ index: batch.sentences[i]!, firstRow: nRow, positions });
      nRow += positions.length;
    }
    for (const [path, { d, rows }] of batch.points) {
      const part = parts.get(path);
      if (part === undefined) parts.set(path, { d, rows: [rows] });
      else part.rows.push(rows);
    }
  }
  const tensors = new Map(
    [...parts].map(([path, { d, rows }]) => {
      const values = new Float32Array(nRow * d);
      let at = 0;
      for (const part of rows) {
        values.set(part, at);
        at += part.length;
      }
      return [path, { shape: [nRow, d], values }];
    }),
  );
  writeSafetensors(shardPath(folder, shard, 'safetensors'), tensors);
  const points = Object.fromEntries([...parts].map(([path, { d }]) => [path, d]));
  writeFileAtomic(shardPath(folder, shard, 'json'), `${JSON.stringify({ points, sentences } satisfies ShardIndex)}\n`);
}

function shardPath(folder: string, shard: number, ending: 'json' | 'safetensors'): string {
  return join(folder, 'shards', `${String(shard).padStart(5, '0')}.${ending}`);
}

/**
 * Opens a finished store.
 *
 * @throws DataError when the folder holds no store, or one that is not finished.
 */
export function openActivationStore(folder: string): ActivationStore {
  const path = join(folder, 'index.json');
  if (!existsSync(path)) throw new DataError('openActivationStore', `a store with ${path}`, 'no such file');
  const index = parseJson<StoreIndex>(path);
  if (index.format !== FORMAT) throw new DataError(path, `format '${FORMAT}'`, String(index.format));
  for (let shard = 0; shard * index.sentencesPerShard < index.nSentence; shard++) {
    const wanted = shardPath(folder, shard, 'json');
    if (existsSync(wanted)) continue;
    const fix = 'Call storeActivations again with the same options: it continues here.';
    throw new DataError('openActivationStore', `a finished store with ${wanted}`, 'no such file', fix);
  }
  return new ActivationStore(folder, index);
}

function parseJson<T>(path: string): T {
  const text = readFileSync(path, 'utf8');
  try {
    return JSON.parse(text) as T;
  } catch {
    // Not JSON: say which file.
    throw new DataError(path, 'JSON', text.slice(0, 60));
  }
}

/** A finished store: reads any sentences of any point; memory holds what was asked for and one shard's index. */
export class ActivationStore {
  /** Width of each point by path. */
  readonly points: ReadonlyMap<string, number>;
  #shard: { readonly number: number; readonly index: ShardIndex } | undefined;

  constructor(
    readonly folder: string,
    readonly index: StoreIndex,
  ) {
    this.points = new Map(index.nSentence === 0 ? [] : Object.entries(this.#shardIndex(0).points));
  }

  /**
   * One point as a source for probes.
   *
   * @throws ConfigError when the store does not hold it, naming those that it does.
   */
  source(point: string): ActivationSource {
    const d = this.points.get(point);
    if (d === undefined) {
      const expected = `one of ${[...this.points.keys()].join(', ')}`;
      throw new ConfigError([{ path: 'ActivationStore.source', expected, got: `'${point}'` }]);
    }
    return { nSentence: this.index.nSentence, d, read: (sentences) => this.read(point, sentences) };
  }

  /** Positions of a sentence, in the order of its rows. */
  positions(sentence: number): readonly number[] {
    return this.#find(sentence).positions;
  }

  /** Rows [nPosition, d] of each of these sentences at a point. */
  read(point: string, sentences: readonly number[]): Float32Array[] {
    const d = this.points.get(point)!;
    const results: Float32Array[] = new Array(sentences.length);
    const byShard = new Map<number, number[]>();
    for (const [i, sentence] of sentences.entries()) {
      const shard = this.#shardOf(sentence);
      byShard.set(shard, [...(byShard.get(shard) ?? []), i]);
    }
    for (const [shard, members] of byShard) {
      using file = new SafetensorsFile(shardPath(this.folder, shard, 'safetensors'));
      for (const i of members) {
        const { firstRow, positions } = this.#find(sentences[i]!);
        results[i] = file.read(point, firstRow * d, (firstRow + positions.length) * d);
      }
    }
    return results;
  }

  #shardOf(sentence: number): number {
    const { nSentence, sentencesPerShard } = this.index;
    if (Number.isInteger(sentence) && sentence >= 0 && sentence < nSentence)
      return Math.floor(sentence / sentencesPerShard);
    throw new DataError('ActivationStore.read', `a sentence 0 … ${nSentence - 1}`, String(sentence));
  }

  #find(sentence: number): ShardIndex['sentences'][number] {
    const shard = this.#shardOf(sentence);
    return this.#shardIndex(shard).sentences[sentence - shard * this.index.sentencesPerShard]!;
  }

  #shardIndex(number: number): ShardIndex {
    if (this.#shard?.number !== number) {
      this.#shard = { number, index: parseJson(shardPath(this.folder, number, 'json')) };
    }
    return this.#shard.index;
  }
}
