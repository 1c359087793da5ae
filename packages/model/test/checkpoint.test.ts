import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CheckpointError, Rng } from '@physlm/base';
import { describe, expect, it } from 'vitest';
import {
  buildModel,
  gpt2,
  llama,
  loadModel,
  loadWeights,
  type ModelConfig,
  openDevice,
  readSafetensors,
  saveModel,
  writeSafetensors,
} from '../src/index.js';

const device = openDevice('js');
const sizes = { dModel: 16, dVocab: 11, nCtx: 8 };
const folder = (): string => mkdtempSync(join(tmpdir(), 'physlm-checkpoint-'));
const configs: [string, ModelConfig][] = [
  ['gpt tied', gpt2(2, 2, sizes)],
  ['gpt untied', gpt2(2, 2, { ...sizes, tied: false })],
  ['llama grouped', llama(2, 4, { ...sizes, nKvHead: 2 })],
];

describe('checkpoints', () => {
  it.each(configs)('round-trip byte for byte: %s', (_, config) => {
    const model = buildModel(device, config, new Rng(3));
    const [first, second] = [folder(), folder()];
    saveModel(first, model);
    const loaded = loadModel(first, device);
    expect(loaded.config).toEqual(config);
    for (const [name, tensor] of model.parameters())
      expect(loaded.parameters().get(name)!.toArray()).toEqual(tensor.toArray());
    saveModel(second, loaded);
    for (const file of ['model.safetensors', 'config.json']) {
      expect(readFileSync(join(second, file)).equals(readFileSync(join(first, file)))).toBe(true);
    }
  });

  it('carry the names, shapes and row order of transformers', () => {
    const model = buildModel(device, gpt2(1, 2, sizes), new Rng(3));
    const path = folder();
    saveModel(path, model);
    const stored = readSafetensors(join(path, 'model.safetensors'));
    expect([...stored.keys()].sort()).toEqual(
      [
        'gpt_neox.embed_in.weight',
        'gpt_neox.final_layer_norm.bias',
        'gpt_neox.final_layer_norm.weight',
        ...[
          'attention.dense',
          'attention.query_key_value',
          'input_layernorm',
          'mlp.dense_4h_to_h',
          'mlp.dense_h_to_4h',
          'post_attention_layernorm',
        ].flatMap((name) => [`gpt_neox.layers.0.${name}.bias`, `gpt_neox.layers.0.${name}.weight`]),
      ].sort(),
    );
    // Row order there: for each head its query, key and value rows; here: all queries, all keys, all values (heads of 8).
    const theirs = stored.get('gpt_neox.layers.0.attention.query_key_value.weight')!.values;
    const ours = model.parameters().get('blocks.0.attn.qkv.weight')!.values();
    const row = (values: ArrayLike<number>, r: number): number[] =>
      Array.from({ length: 16 }, (_, i) => values[r * 16 + i]!);
    for (let head = 0; head < 2; head++) {
      for (let part = 0; part < 3; part++) {
        for (let k = 0; k < 8; k++)
          expect(row(theirs, (head * 3 + part) * 8 + k)).toEqual(row(ours, (part * 2 + head) * 8 + k));
      }
    }
    const header = readFileSync(join(path, 'model.safetensors')).subarray(8, 60).toString();
    expect(header).toContain('{"__metadata__":{"format":"pt"}');
    const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'));
    expect(config).toMatchObject({
      model_type: 'gpt_neox',
      use_parallel_residual: false,
      rotary_pct: 0.25,
      hidden_act: 'gelu_new',
    });
  });

  it('refuse tensors that are missing, unknown or of another shape, before anything is written', () => {
    const path = folder();
    const model = buildModel(device, gpt2(1, 2, sizes), new Rng(3));
    saveModel(path, model);
    const file = join(path, 'model.safetensors');
    const target = buildModel(device, gpt2(1, 2, sizes), new Rng(4));
    const before = target.parameters().get('embed.weight')!.toArray();
    const change = (edit: (tensors: ReturnType<typeof readSafetensors>) => void): (() => void) => {
      const tensors = readSafetensors(file);
      edit(tensors);
      const broken = join(folder(), 'broken.safetensors');
      writeSafetensors(broken, tensors);
      return () => loadWeights(broken, target);
    };
    expect(change((t) => t.delete('gpt_neox.final_layer_norm.bias'))).toThrow("has no tensor 'norm.bias'");
    expect(change((t) => t.set('norm.bia', t.get('gpt_neox.final_layer_norm.bias')!))).toThrow(
      "the nearest known is 'norm.bias'",
    );
    const narrow = { shape: [4], values: new Float32Array(4) };
    expect(change((t) => t.set('gpt_neox.final_layer_norm.bias', narrow))).toThrow(
      "'norm.bias': expected shape [16], got [4]",
    );
    expect(target.parameters().get('embed.weight')!.toArray()).toEqual(before);
  });
});

describe('hostile safetensors files', () => {
  const header = (value: unknown, data = 8, claim?: bigint): Buffer => {
    const text = Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
    const head = Buffer.alloc(8);
    head.writeBigUInt64LE(claim ?? BigInt(text.length));
    return Buffer.concat([head, text, Buffer.alloc(data)]);
  };
  const f32 = (shape: unknown, data_offsets: unknown, dtype = 'F32'): object => ({ dtype, shape, data_offsets });
  const cases: [string, Buffer, RegExp][] = [
    ['empty', Buffer.alloc(0), /too short/],
    ['8 GB header', header({}, 8, 8_000_000_000n), /claims 8000000000 bytes/],
    ['largest 64-bit header', header({}, 8, 2n ** 64n - 1n), /claims/],
    ['header past the end', header({}, 0, 64n), /the file has 2 more/],
    ['not JSON', header('{"a":'), /not JSON/],
    ['not UTF-8', Buffer.concat([header('', 0, 2n), Buffer.from([0xff, 0xfe])]), /not JSON/],
    ['array', header('[]'), /not an object/],
    ['null entry', header({ a: null }), /shape undefined/],
    ['negative size', header({ a: f32([-2], [0, 8]) }), /shape \[-2\]/],
    ['fractional size', header({ a: f32([1.5], [0, 8]) }), /shape \[1\.5\]/],
    ['overflowing shape', header({ a: f32([2 ** 31, 2 ** 31], [0, 8]) }), /needs/],
    ['reversed offsets', header({ a: f32([2], [8, 0]) }), /its offsets give -8/],
    ['overlap', header({ a: f32([2], [0, 8]), b: f32([1], [4, 8]) }), /overlap or gap/],
    ['gap', header({ a: f32([1], [0, 4]), b: f32([1], [8, 12]) }, 12), /overlap or gap/],
    ['past the end', header({ a: f32([4], [0, 16]) }), /cut short/],
    ['bytes nobody owns', header({ a: f32([1], [0, 4]) }), /cut short/],
    ['other dtype', header({ a: f32([2], [0, 8], 'F64') }), /F64/],
    ['offsets missing', header({ a: { dtype: 'F32', shape: [2] } }), /offsets undefined/],
  ];
  it.each(cases)('%s', (_, bytes, problem) => {
    const path = join(folder(), 'hostile.safetensors');
    writeFileSync(path, bytes);
    expect(() => readSafetensors(path)).toThrow(CheckpointError);
    expect(() => readSafetensors(path)).toThrow(problem);
    expect(() => readSafetensors(path)).toThrow(path);
  });
  it('a missing file', () => {
    expect(() => readSafetensors(join(folder(), 'none'))).toThrow(/cannot be opened/);
  });
  it('scalars and empty tensors are fine', () => {
    const path = join(folder(), 'fine.safetensors');
    const tensors = new Map([
      ['scalar', { shape: [], values: Float32Array.of(3) }],
      ['empty', { shape: [0, 4], values: new Float32Array(0) }],
    ]);
    writeSafetensors(path, tensors);
    expect(readSafetensors(path)).toEqual(tensors);
  });
});
