// Updates of low rank: what they add, what they leave alone, and that merging changes nothing but the form.
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Rng } from '@physlm/base';
import { describe, expect, it, vi } from 'vitest';
import {
  addLowRank,
  backward,
  buildModel,
  type Command,
  crossEntropy,
  type Device,
  deviceNames,
  deviceStatus,
  generate,
  gpt2,
  ignoreIndex,
  type LanguageModel,
  type LowRankConfig,
  llama,
  loadModel,
  type ModelConfig,
  Module,
  mergeLowRank,
  openDevice,
  ParameterArena,
  reshape,
  saveModel,
  Tensor,
} from '../src/index.js';
import { expectGradients } from './finite-differences.js';

const sizes = { dModel: 16, dVocab: 13, nCtx: 16, initStd: 0.3 };
const both: LowRankConfig = {
  attention: { rank: 3, targets: ['q', 'v'] },
  embedding: { rank: 2 },
  scale: 4,
};
const configs: [string, ModelConfig, LowRankConfig][] = [
  ['gpt', gpt2(2, 2, sizes), both],
  ['gpt untied, v only', gpt2(2, 2, { ...sizes, tied: false }), { attention: { rank: 2, targets: ['v'] }, scale: 1 }],
  [
    'gpt, absolute, embedding only',
    gpt2(2, 2, { ...sizes, position: 'absolute' }),
    { embedding: { rank: 2 }, scale: 1 },
  ],
  [
    'gpt, relative, all three',
    gpt2(2, 2, { ...sizes, position: 'relative' }),
    { ...both, attention: { rank: 2, targets: ['v', 'k', 'q'] } },
  ],
  [
    'gpt, position',
    gpt2(2, 2, { ...sizes, position: 'position' }),
    { ...both, attention: { rank: 2, targets: ['v'] } },
  ],
  [
    'gpt, uniform',
    gpt2(2, 2, { ...sizes, position: 'uniform' }),
    { attention: { rank: 2, targets: ['v'] }, scale: 0.5 },
  ],
  ['llama, grouped', llama(2, 4, { ...sizes, nKvHead: 2 }), both],
];
const js = openDevice('js');
const devices = deviceNames.filter((name) => name !== 'cuda' && deviceStatus(name).available);

/** A model with updates that are no longer zero. */
function updated(device: Device, config: ModelConfig, lowRank: LowRankConfig): LanguageModel {
  const model = buildModel(device, config, new Rng(1));
  addLowRank(model, lowRank, new Rng(2));
  const rng = new Rng(3);
  for (const tensor of model.trainable().values()) {
    const values = tensor.values();
    for (let i = 0; i < values.length; i++) values[i] = 0.3 * rng.normal();
  }
  return model;
}

const tokens = [3, 1, 4, 1, 5, 9, 2, 6];
const idsOf = (model: LanguageModel): Tensor => model.device.tensor(tokens, [2, 4], 'i32');
const logits = (model: LanguageModel): number[] => model.forward(idsOf(model)).toArray();
const values = (model: LanguageModel, name: string): number[] => model.parameters().get(name)!.toArray();

function expectNear(got: readonly number[], expected: readonly number[], tolerance: number): void {
  expect(got.length).toBe(expected.length);
  expect(Math.max(...got.map((x, i) => Math.abs(x - expected[i]!)))).toBeLessThan(tolerance);
}

/** Puts every parameter in double precision; what it computes then is too. */
function inDoublePrecision(part: Module): void {
  const fields = part as unknown as Record<string, unknown>;
  for (const [name, field] of Object.entries(fields)) {
    if (field instanceof Tensor) {
      const wide = field.device.tensor(field.values(), field.shape, 'f64');
      wide.requiresGrad = field.requiresGrad;
      fields[name] = wide;
    }
    for (const below of [field].flat()) if (below instanceof Module) inDoublePrecision(below);
  }
}

describe.each(devices)('updates of low rank on %s', (name) => {
  const device = openDevice(name);

  it.each(configs)('change nothing until they are trained: %s', (_, config, lowRank) => {
    const model = buildModel(device, config, new Rng(1));
    const before = logits(model);
    addLowRank(model, lowRank, new Rng(2));
    expectNear(logits(model), before, 1e-12);
  });

  it.each(configs)('merge into plain weights that compute the same: %s', (_, config, lowRank) => {
    const model = updated(device, config, lowRank);
    const plain = buildModel(device, config, new Rng(1));
    const merged = mergeLowRank(model);
    expectNear(logits(merged), logits(model), 2e-4);
    expect(Math.max(...logits(merged).map((x, i) => Math.abs(x - logits(plain)[i]!)))).toBeGreaterThan(0.05);
    expect([...merged.trainable().keys()]).toEqual([...merged.parameters().keys()]);
    expect(mergeLowRank(merged)).toBe(merged);

    const folder = mkdtempSync(join(tmpdir(), 'physlm-low-rank-'));
    saveModel(folder, model);
    const loaded = loadModel(folder, device);
    expect(loaded.config).toEqual(merged.config);
    expect(logits(loaded)).toEqual(logits(merged));
  });

  it.each(configs)('generate what the merged model generates: %s', (_, config, lowRank) => {
    const model = updated(device, config, lowRank);
    const options = { nNew: 8 };
    const prompts = [[1, 2, 3], [4]];
    expect(generate(model, prompts, options)).toEqual(generate(mergeLowRank(model), prompts, options));
  });

  it.each(configs)('give the same bits recorded as op by op: %s', (_, config, lowRank) => {
    const model = updated(device, config, lowRank);
    const arena = new ParameterArena(device, model);
    const ids = idsOf(model);
    const targets = device.tensor([1, 2, -1, 3, 4, -1, 5, 6], [8], 'i32');
    const weight = device.tensor(new Float32Array(8).fill(1 / 6), [8]);
    const step = (): { loss: Tensor } => {
      const { loss } = crossEntropy(
        { logits: reshape(model.forward(ids), [8, config.dVocab]), targets },
        { ignore: ignoreIndex },
      );
      backward(loss, weight);
      return { loss };
    };
    const eager = [step().loss.toArray(), arena.gradients.toArray()];
    const program = device.record(step);
    program.run();
    expect([program.results.loss.toArray(), arena.gradients.toArray()]).toEqual(eager);
    expect(Math.max(...arena.gradients.toArray().map(Math.abs))).toBeGreaterThan(1e-3);
  });
});

describe('updates of low rank', () => {
  it('are W + scale·A·B, by hand', () => {
    const config = llama(1, 4, { ...sizes, nKvHead: 2 });
    const model = updated(js, config, both);
    const [D, r] = [16, 3];
    const down = values(model, 'blocks.0.attn.qkv.update.down');
    const up = { q: values(model, 'blocks.0.attn.qkv.update.up.q'), v: values(model, 'blocks.0.attn.qkv.update.up.v') };
    const expected = values(model, 'blocks.0.attn.qkv.weight');
    // Rows 0 … 15 are queries of 4 heads of 4, 16 … 23 keys and 24 … 31 values of 2 heads.
    for (const [target, start, size, first] of [
      ['q', 0, 16, 0],
      ['v', 24, 8, r],
    ] as const) {
      for (let o = 0; o < size; o++) {
        for (let i = 0; i < D; i++) {
          for (let k = 0; k < r; k++)
            expected[(start + o) * D + i]! += 4 * up[target][k * size + o]! * down[(first + k) * D + i]!;
        }
      }
    }
    const merged = mergeLowRank(model);
    expectNear(values(merged, 'blocks.0.attn.qkv.weight'), expected, 1e-5);
    const [table, factor] = [values(model, 'embed.update.table'), values(model, 'embed.update.up')];
    const embed = values(model, 'embed.weight').map((e, at) => {
      const [token, d] = [Math.floor(at / D), at % D];
      return e + 4 * (table[token * 2]! * factor[d * 2]! + table[token * 2 + 1]! * factor[d * 2 + 1]!);
    });
    expectNear(values(merged, 'embed.weight'), embed, 1e-5);
  });

  it('leave a tied output layer as it was, so that the merged model is not tied', () => {
    const model = updated(js, gpt2(1, 2, sizes), both);
    const merged = mergeLowRank(model);
    expect(merged.config.tied).toBe(false);
    expect(values(merged, 'unembed.weight')).toEqual(values(model, 'embed.weight'));
    expect(values(merged, 'embed.weight')).not.toEqual(values(model, 'embed.weight'));
    const attentionOnly = updated(js, gpt2(1, 2, sizes), { attention: both.attention!, scale: 1 });
    expect(mergeLowRank(attentionOnly).config.tied).toBe(true);
  });

  it('are the only trainable parameters, and few', () => {
    const model = buildModel(js, gpt2(2, 2, sizes), new Rng(1));
    const before = model.nParameter;
    addLowRank(model, both, new Rng(2));
    expect([...model.trainable().keys()]).toEqual([
      'embed.update.table',
      'embed.update.up',
      ...[0, 1].flatMap((i) => ['down', 'up.q', 'up.v'].map((part) => `blocks.${i}.attn.qkv.update.${part}`)),
    ]);
    const added = 2 * (13 + 16) + 2 * (2 * 3 * (16 + 16));
    expect(model.nParameter).toBe(before + added);
    expect(new ParameterArena(js, model).slots.reduce((n, { tensor }) => n + tensor.size, 0)).toBe(added);
  });

  it.each([0, 2, 4, 6].map((i) => configs[i]!))(
    'have the gradients of central differences in f64: %s',
    (_, config, lowRank) => {
      const small = { ...config, dVocab: 7, dModel: 8, dMlp: 8, nLayer: 1 } as ModelConfig;
      const model = updated(js, small, lowRank);
      inDoublePrecision(model);
      const ids = js.tensor([1, 2, 3, 1, 0], [1, 5], 'i32');
      expectGradients([...model.trainable().values()], () => [model.forward(ids)]);
    },
  );

  it.skipIf(!devices.includes('cpu'))('leave out of a recorded step what only frozen weights would need', () => {
    const device = openDevice('cpu');
    const commandsOf = (lowRank: LowRankConfig | undefined): Command[] => {
      const model = buildModel(device, gpt2(2, 2, sizes), new Rng(1));
      if (lowRank !== undefined) addLowRank(model, lowRank, new Rng(2));
      const commands: Command[] = [];
      const spy = vi.spyOn(device, 'execute').mockImplementation((command) => void commands.push(command));
      const output = model.forward(idsOf(model));
      backward(output, output);
      spy.mockRestore();
      return commands;
    };
    const [full, few] = [commandsOf(undefined), commandsOf(both)];
    const valuesOnly = commandsOf({ attention: { rank: 2, targets: ['v'] }, scale: 1 });
    const count = (commands: Command[], kernel: string): number => commands.filter((c) => c.kernel === kernel).length;
    const weightGradients = (commands: Command[]): number =>
      commands.filter(({ kernel, outputs }) => /^linearBias(Gelu)?_backward$/.test(kernel) && outputs[1]).length;
    expect([full, few, valuesOnly].map(weightGradients)).toEqual([2 * 4, 0, 0]);
    // A frozen embedding: the pass ends at the values of layer 0, above its first norm.
    expect([full, few, valuesOnly].map((c) => count(c, 'embedding_backward'))).toEqual([1, 1, 0]);
    expect([full, few, valuesOnly].map((c) => count(c, 'layerNorm_backward'))).toEqual([5, 5, 4]);
    expect([full, few, valuesOnly].map((c) => count(c, 'attention_backward'))).toEqual([2, 2, 2]);
  });

  it('say what does not fit', () => {
    const add = (config: ModelConfig, lowRank: unknown): (() => void) => {
      return () => addLowRank(buildModel(js, config, new Rng(1)), lowRank as LowRankConfig, new Rng(2));
    };
    const gpt = gpt2(1, 2, sizes);
    expect(add(gpt, { scale: 1 })).toThrow(
      '[lowRank.attention] expected an update of attention or of the embedding, got nothing',
    );
    expect(add(gpt, { embedding: { rank: 0 }, attention: { rank: 1.5, targets: [] }, scale: 0 })).toThrow(
      /lowRank\.scale[\s\S]*embedding\.rank[\s\S]*attention\.rank[\s\S]*attention\.targets/,
    );
    expect(add(gpt, { attention: { rank: 2, targets: ['q', 'vv'] }, scale: 1 })).toThrow(
      "expected among q, k, v, got 'vv'\nDid you mean 'v'?",
    );
    expect(add(gpt2(1, 2, { ...sizes, position: 'uniform' }), both)).toThrow(
      "expected v, all that uniform attention projects, got 'q'",
    );
    const twice = updated(js, gpt, both);
    expect(() => addLowRank(twice, both, new Rng(2))).toThrow('[lowRank] expected a model without updates');
  });
});
