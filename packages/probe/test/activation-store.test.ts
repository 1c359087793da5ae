import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Rng } from '@physlm/base';
import { buildModel, deviceStatus, gpt2, openDevice } from '@physlm/model';
import { afterEach, describe, expect, it } from 'vitest';
import {
  modelActivations,
  openActivationStore,
  type StreamOptions,
  storeActivations,
  streamActivations,
} from '../src/index.js';

const devices = (['js', 'cpu'] as const).filter((name) => deviceStatus(name).available).map((name) => openDevice(name));
const folders: string[] = [];
const folder = (): string => {
  const made = mkdtempSync(join(tmpdir(), 'physlm-store-'));
  folders.push(made);
  return made;
};
afterEach(() => {
  for (const made of folders.splice(0)) rmSync(made, { recursive: true });
});

describe.each(devices)('activations on $name', (device) => {
  const model = buildModel(device, gpt2(2, 2, { dModel: 8, dVocab: 5, nCtx: 40, initStd: 0.4 }), new Rng('model'));
  let nAsked = 0;
  const source = {
    nSentence: 23,
    sentence: (i: number) => {
      nAsked++;
      const rng = new Rng('tokens').at(i);
      return Array.from({ length: 3 + rng.below(35) }, () => rng.below(5));
    },
  };
  const points = ['blocks.*.residPost', 'norm'];
  const collect = (options: Partial<StreamOptions>): Map<string, number[][]> => {
    const all = new Map<string, number[][]>();
    for (const batch of streamActivations(model, source, { at: points, first: 0, ...options })) {
      for (const [path, { d, rows }] of batch.points) {
        const list = all.get(path) ?? [];
        all.set(path, list);
        let row = 0;
        for (const { length } of batch.positions) {
          list.push(Array.from(rows.subarray(row * d, (row + length) * d)));
          row += length;
        }
      }
    }
    return all;
  };

  it('are the same bits for several points at once and one, for any batch size', () => {
    const all = collect({});
    expect([...all.keys()]).toEqual(['blocks.0.residPost', 'blocks.1.residPost', 'norm']);
    for (const batchSize of [1, 3, 23]) expect(collect({ batchSize })).toEqual(all);
    expect(collect({ at: ['norm'] }).get('norm')).toEqual(all.get('norm'));
    for (const [i, rows] of all.get('norm')!.entries()) expect(rows.length).toBe(8 * source.sentence(i).length);
    const ends = collect({ positions: (_, nToken) => [nToken - 1] });
    expect(ends.get('norm')).toEqual(all.get('norm')!.map((rows) => rows.slice(-8)));
  });

  it('are the same as a source on demand and from a store, in any order', () => {
    const all = collect({}).get('norm')!;
    const live = modelActivations(model, source, { at: 'norm', first: 0 });
    const store = storeActivations(model, source, {
      folder: folder(),
      at: points,
      first: 0,
      origin: {},
      sentencesPerShard: 5,
    });
    const order = [22, 0, 7, 7, 13];
    for (const states of [live, store.source('norm')]) {
      expect(states).toMatchObject({ nSentence: 23, d: 8 });
      expect(states.read(order).map((rows) => Array.from(rows))).toEqual(order.map((i) => all[i]));
    }
    expect(store.positions(7)).toEqual(all[7]!.filter((_, i) => i % 8 === 0).map((_, i) => i));
  });

  it('asks for a few sentences at a time', () => {
    nAsked = 0;
    const stream = streamActivations(model, { ...source, nSentence: 1e9 }, { at: ['norm'], batchSize: 2 });
    stream.next();
    stream.next();
    expect(nAsked).toBe(4);
  });
});

describe('a store', () => {
  const device = devices.at(-1)!;
  const model = buildModel(device, gpt2(1, 1, { dModel: 4, dVocab: 5, nCtx: 8, initStd: 0.4 }), new Rng('model'));
  const source = { nSentence: 10, sentence: (i: number) => [i % 5, 1, 2] };
  const options = (where: string) => ({
    folder: where,
    at: ['norm'],
    origin: { checkpoint: 'a' },
    sentencesPerShard: 4,
  });

  it('is plain files: a header, rows, and JSON that says whose they are', () => {
    const where = folder();
    storeActivations(model, source, options(where));
    const index = JSON.parse(readFileSync(join(where, 'index.json'), 'utf8'));
    expect(index).toMatchObject({ nSentence: 10, at: ['norm'], origin: { checkpoint: 'a' } });
    const shard = JSON.parse(readFileSync(join(where, 'shards', '00002.json'), 'utf8'));
    expect(shard).toEqual({
      points: { norm: 4 },
      sentences: [
        { index: 8, firstRow: 0, positions: [0, 1, 2] },
        { index: 9, firstRow: 3, positions: [0, 1, 2] },
      ],
    });
    const bytes = readFileSync(join(where, 'shards', '00002.safetensors'));
    const header = Number(bytes.readBigUInt64LE(0));
    expect(JSON.parse(bytes.toString('utf8', 8, 8 + header)).norm).toEqual({
      dtype: 'F32',
      shape: [6, 4],
      data_offsets: [0, 96],
    });
  });

  it('continues where a writer was killed, and leaves finished shards alone', () => {
    const where = folder();
    const whole = storeActivations(model, source, options(where)).read('norm', [0, 5, 9]);
    const untouched = statSync(join(where, 'shards', '00000.safetensors')).mtimeMs;
    // Killed between the two files of shard 1.
    rmSync(join(where, 'shards', '00001.json'));
    expect(() => openActivationStore(where)).toThrow('expected a finished store with');
    const again = storeActivations(model, source, options(where));
    expect(again.read('norm', [0, 5, 9])).toEqual(whole);
    expect(statSync(join(where, 'shards', '00000.safetensors')).mtimeMs).toBe(untouched);
  });

  it('refuses another origin, a point that it does not hold, a sentence that is not there', () => {
    const where = folder();
    const store = storeActivations(model, source, options(where));
    expect(() => storeActivations(model, source, { ...options(where), origin: { checkpoint: 'b' } })).toThrow(
      'Choose another folder, or remove this one.',
    );
    expect(() => store.source('embed')).toThrow("[ActivationStore.source] expected one of norm, got 'embed'");
    expect(() => store.read('norm', [10])).toThrow('expected a sentence 0 … 9, got 10');
    expect(() => openActivationStore(join(where, 'nowhere'))).toThrow('expected a store with');
    expect(() => storeActivations(model, source, { ...options(folder()), at: ['nrm'] })).toThrow(
      "Did you mean 'norm'?",
    );
  });
});
