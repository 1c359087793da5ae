import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CheckpointError, Rng } from '@physlm/base';
import { describe, expect, it } from 'vitest';
import {
  buildModel,
  type GptConfig,
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
  ['gpt absolute', gpt2(2, 2, { ...sizes, position: 'absolute' })],
  ['gpt absolute untied', gpt2(1, 2, { ...sizes, position: 'absolute', tied: false })],
  ['gpt relative', gpt2(2, 2, { ...sizes, position: 'relative', nDistance: 5 })],
  ['gpt position', gpt2(2, 2, { ...sizes, position: 'position' })],
  ['gpt uniform', gpt2(2, 2, { ...sizes, position: 'uniform' })],
  ['gpt none', gpt2(2, 2, { ...sizes, position: 'none' })],
  ['gpt encoder', gpt2(1, 2, { ...sizes, position: 'absolute', causal: false })],
  ['gpt without MLPs', gpt2(1, 2, { ...sizes, dMlp: 0 })],
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

describe('checkpoints by scheme of positions', () => {
  const saved = (config: ModelConfig): { path: string; config: Record<string, unknown> } => {
    const path = folder();
    saveModel(path, buildModel(device, config, new Rng(3)));
    return { path, config: JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) };
  };
  it('absolute: the names, sizes and Conv1D weights of GPT2LMHeadModel', () => {
    const model = buildModel(device, gpt2(1, 2, { ...sizes, position: 'absolute' }), new Rng(3));
    const { path, config } = saved(model.config);
    const stored = readSafetensors(join(path, 'model.safetensors'));
    const inside = ['attn.c_attn', 'attn.c_proj', 'ln_1', 'ln_2', 'mlp.c_fc', 'mlp.c_proj'];
    expect([...stored.keys()].sort()).toEqual(
      [
        'transformer.ln_f.bias',
        'transformer.ln_f.weight',
        'transformer.wpe.weight',
        'transformer.wte.weight',
        ...inside.flatMap((name) => [`transformer.h.0.${name}.bias`, `transformer.h.0.${name}.weight`]),
      ].sort(),
    );
    const theirs = stored.get('transformer.h.0.attn.c_attn.weight')!;
    const ours = model.parameters().get('blocks.0.attn.qkv.weight')!.values();
    expect(theirs.shape).toEqual([16, 48]);
    for (const [i, o] of [
      [0, 0],
      [3, 1],
      [15, 40],
    ] as const) {
      expect(theirs.values[i * 48 + o]).toBe(ours[o * 16 + i]);
    }
    expect(stored.get('transformer.h.0.mlp.c_fc.weight')!.shape).toEqual([16, 64]);
    expect(config).toMatchObject({
      model_type: 'gpt2',
      n_embd: 16,
      n_positions: 8,
      n_inner: 64,
      n_head: 2,
      n_layer: 1,
    });
  });
  it('absolute: GPT-2 as its paper has it, on the written tensors, gives the logits of the model', () => {
    const config = gpt2(2, 2, { ...sizes, position: 'absolute', initStd: 0.3 });
    const model = buildModel(device, config, new Rng(3));
    const path = folder();
    const rng = new Rng('biases and gains');
    for (const tensor of model.parameters().values()) {
      const values = tensor.values();
      if (tensor.shape.length === 1) for (let i = 0; i < values.length; i++) values[i]! += 0.3 * rng.normal();
    }
    saveModel(path, model);
    const stored = readSafetensors(join(path, 'model.safetensors'));
    const tokens = [1, 5, 2, 2, 10, 0];
    const expected = gpt2Logits((name) => stored.get(`transformer.${name}`)!.values, tokens, config);
    const got = model.forward(device.tensor(tokens, [1, tokens.length], 'i32')).toArray();
    got.forEach((x, i) => {
      expect(Math.abs(x - expected[i]!)).toBeLessThan(1e-5);
    });
  });
  it('others: our names, and a model_type that transformers does not know', () => {
    for (const rest of [{ position: 'relative' }, { position: 'absolute', causal: false }, { dMlp: 0 }] as const) {
      expect(saved(gpt2(1, 2, { ...sizes, ...rest })).config).toMatchObject({ model_type: 'physlm_gpt' });
    }
    const { path } = saved(gpt2(1, 2, { ...sizes, position: 'relative', nDistance: 5 }));
    expect(readSafetensors(join(path, 'model.safetensors')).get('distances.weight')!.shape).toEqual([5, 16]);
  });
  it('an unknown scheme is named with its file', () => {
    const { path, config } = saved(gpt2(1, 2, { ...sizes, position: 'none' }));
    const physlm = { ...(config.physlm as object), position: 'alibi' };
    writeFileSync(join(path, 'config.json'), JSON.stringify({ ...config, physlm }));
    expect(() => loadModel(path, device)).toThrow(CheckpointError);
    expect(() => loadModel(path, device)).toThrow(/config\.json\].*model\.position: expected one of rotary.*'alibi'/);
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

/** Logits of GPT-2 from tensors with the names and layouts of `transformers`; Conv1D: y = x·W + b with W [in, out]. */
function gpt2Logits(
  tensor: (name: string) => Float32Array,
  tokens: readonly number[],
  { nLayer, nHead, dModel: D, dVocab, normEps }: GptConfig,
): number[] {
  const conv1d = (x: number[], name: string): number[] => {
    const [w, b] = [tensor(`${name}.weight`), tensor(`${name}.bias`)];
    return Array.from(b, (start, o) => x.reduce((sum, xi, i) => sum + xi * w[i * b.length + o]!, start));
  };
  const norm = (x: number[], name: string): number[] => {
    const [g, b] = [tensor(`${name}.weight`), tensor(`${name}.bias`)];
    const mean = x.reduce((a, v) => a + v, 0) / D;
    const deviation = Math.sqrt(x.reduce((a, v) => a + (v - mean) ** 2, 0) / D + normEps);
    return x.map((v, i) => ((v - mean) / deviation) * g[i]! + b[i]!);
  };
  const gelu = (v: number): number => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
  const plus = (a: number[], b: number[]): number[] => a.map((v, i) => v + b[i]!);
  const [wte, wpe] = [tensor('wte.weight'), tensor('wpe.weight')];
  let x = tokens.map((id, t) => Array.from({ length: D }, (_, i) => wte[id * D + i]! + wpe[t * D + i]!));
  const K = D / nHead;
  for (let layer = 0; layer < nLayer; layer++) {
    const h = `h.${layer}`;
    const qkv = x.map((row) => conv1d(norm(row, `${h}.ln_1`), `${h}.attn.c_attn`));
    const mixed = qkv.map((row, t) =>
      Array.from({ length: D }, (_, i) => {
        const head = Math.floor(i / K) * K;
        const weights = qkv.slice(0, t + 1).map((other) => {
          let score = 0;
          for (let k = head; k < head + K; k++) score += row[k]! * other[D + k]!;
          return Math.exp(score / Math.sqrt(K));
        });
        const total = weights.reduce((a, b) => a + b, 0);
        return weights.reduce((sum, w, s) => sum + (w / total) * qkv[s]![2 * D + i]!, 0);
      }),
    );
    x = x.map((row, t) => plus(row, conv1d(mixed[t]!, `${h}.attn.c_proj`)));
    x = x.map((row) => {
      const inner = conv1d(norm(row, `${h}.ln_2`), `${h}.mlp.c_fc`).map(gelu);
      return plus(row, conv1d(inner, `${h}.mlp.c_proj`));
    });
  }
  return x.flatMap((row) => {
    const last = norm(row, 'ln_f');
    return Array.from({ length: dVocab }, (_, v) => last.reduce((sum, xi, i) => sum + xi * wte[v * D + i]!, 0));
  });
}
