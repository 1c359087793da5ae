import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Rng } from '@physlm/base';
import { describe, expect, it } from 'vitest';
import {
  backward,
  buildModel,
  crossEntropy,
  deviceStatus,
  generate,
  gpt2,
  ignoreIndex,
  type LanguageModel,
  llama,
  type ModelConfig,
  openDevice,
  positionSchemes,
  reshape,
  scale,
  Trace,
} from '../src/index.js';

const sizes = { dModel: 16, dVocab: 13, nCtx: 16 };
const configs: [string, ModelConfig][] = [
  ['gpt', gpt2(2, 2, { ...sizes, initStd: 0.4 })],
  ['llama', llama(2, 4, { ...sizes, nKvHead: 2, initStd: 0.4 })],
  ...positionSchemes
    .filter((position) => position !== 'rotary')
    .map((position): [string, ModelConfig] => [`gpt, ${position}`, gpt2(2, 2, { ...sizes, initStd: 0.4, position })]),
  ['gpt, relative, clipped', gpt2(2, 2, { ...sizes, initStd: 0.4, position: 'relative', nDistance: 4 })],
  ['gpt, position, clipped', gpt2(2, 2, { ...sizes, initStd: 0.4, position: 'position', nDistance: 3 })],
  ['gpt without MLPs', gpt2(2, 2, { ...sizes, initStd: 0.4, dMlp: 0 })],
];
const js = openDevice('js');
const ids = (model: LanguageModel, tokens: number[]) => model.device.tensor(tokens, [1, tokens.length], 'i32');

describe('sizes', () => {
  it('count what the papers count: GPT2-small is 124M, 88M with the 3,275 rows that bioS uses', () => {
    const count = (dVocab: number): number => {
      const [l, d] = [12, 768];
      const block = 12 * d * d + 13 * d;
      return l * block + dVocab * d + 2 * d;
    };
    const tiny = buildModel(js, gpt2(2, 1, { dVocab: 50, nCtx: 8 }), new Rng(0));
    expect(tiny.nParameter).toBe(2 * (12 * 64 * 64 + 13 * 64) + 50 * 64 + 2 * 64);
    expect(count(3275) / 1e6).toBeCloseTo(87.6, 1);
  });
  it('draw each part from its own stream: another layer changes no other weights', () => {
    const [two, three] = [2, 3].map((nLayer) => buildModel(js, gpt2(nLayer, 2, { ...sizes, initStd: 1 }), new Rng(5)));
    const weight = (m: LanguageModel | undefined, name: string): number[] => m!.parameters().get(name)!.toArray();
    for (const name of ['embed.weight', 'blocks.1.mlp.up.weight'])
      expect(weight(two, name)).toEqual(weight(three, name));
  });
  it('name every size that does not fit', () => {
    const bad = gpt2(0, 3, { ...sizes, dVocab: 1.5 });
    expect(() => buildModel(js, bad, new Rng(0))).toThrow(/model\.nLayer[\s\S]*model\.dVocab/);
    expect(() => buildModel(js, gpt2(1, 3, sizes), new Rng(0))).toThrow(
      '[model.dModel] expected a multiple of nHead 3, got 16',
    );
    expect(() => buildModel(js, llama(1, 4, { ...sizes, nKvHead: 3 }), new Rng(0))).toThrow('model.nKvHead');
    const scheme = (rest: object): (() => unknown) => {
      return () => buildModel(js, { ...gpt2(1, 2, sizes), ...rest } as ModelConfig, new Rng(0));
    };
    expect(scheme({ position: 'relativ' })).toThrow(/model\.position.*got 'relativ'\nDid you mean 'relative'\?/);
    expect(scheme({ position: 'none' })).toThrow('[model.dRotary] expected 0 with none positions');
    expect(scheme({ position: 'uniform', dRotary: 0, causal: false })).toThrow('[model.causal] expected true');
    expect(scheme({ nDistance: 4 })).toThrow('[model.nDistance] expected nothing with rotary positions');
    expect(scheme({ position: 'relative', dRotary: 0, nDistance: 0 })).toThrow('a positive integer, got 0');
  });
});

describe.each(configs)('%s', (_, config) => {
  const model = buildModel(js, config, new Rng('weights'));

  it('does not look ahead', () => {
    const base = [1, 5, 2, 9, 4, 4];
    const changed = [...base.slice(0, 4), 7, 0];
    const [a, b] = [base, changed].map((tokens) => js.withoutGrad(() => model.forward(ids(model, tokens)).toArray()));
    expect(a!.slice(0, 4 * 13)).toEqual(b!.slice(0, 4 * 13));
    expect(a!.slice(4 * 13)).not.toEqual(b!.slice(4 * 13));
  });

  it('generates with a cache what the whole forward pass predicts, batched or not', () => {
    const prompts = [[1, 2, 3], [4], [7, 8, 9, 10, 11]];
    const batched = generate(model, prompts, { nNew: 6 });
    prompts.forEach((prompt, b) => {
      const tokens = [...prompt];
      for (let i = 0; i < 6; i++) {
        const logits = js.withoutGrad(() => model.forward(ids(model, tokens)).toArray()).slice(-13);
        tokens.push(logits.indexOf(Math.max(...logits)));
      }
      expect([...batched[b]!]).toEqual(tokens.slice(prompt.length));
      expect(generate(model, [prompt], { nNew: 6 })[0]).toEqual(batched[b]);
    });
  });

  it('samples what its seed says, whatever the batch-mates, and stops at EOS', () => {
    const options = { nNew: 8, temperature: 1.5, rng: new Rng('sampling') };
    const [first] = generate(model, [[1, 2], [3]], options);
    expect(
      generate(
        model,
        [
          [1, 2],
          [5, 6, 7],
        ],
        options,
      )[0],
    ).toEqual(first);
    const eos = first![3]!;
    const stopped = generate(model, [[1, 2], [3]], { ...options, eos })[0]!;
    expect([...stopped]).toEqual([...first!].slice(0, first!.indexOf(eos)));
    const greedy = generate(model, [[1, 2]], { nNew: 8 })[0];
    expect(generate(model, [[1, 2]], { ...options, topK: 1 })[0]).toEqual(greedy);
  });

  it('refuses to generate beyond its context, from nothing, or without a stream', () => {
    expect(() => generate(model, [[1, 2]], { nNew: 16 })).toThrow('within 16, got 2 + 16 tokens');
    expect(() => generate(model, [[]], { nNew: 1 })).toThrow('an empty prompt');
    expect(() => generate(model, [[1]], { nNew: 1, temperature: 1 })).toThrow('generate.rng');
  });

  it('shows and edits activations by path', () => {
    const tokens = ids(model, [1, 2, 3]);
    const plain = model.forward(tokens).toArray();
    const look = new Trace({ read: ['blocks.*.residPost', 'blocks.1.attn.z'] });
    expect(model.forward(tokens, look).toArray()).toEqual(plain);
    expect([...look.activations().keys()]).toEqual(['blocks.0.residPost', 'blocks.1.attn.z', 'blocks.1.residPost']);
    expect(look.activations().get('blocks.1.attn.z')!.shape).toEqual([1, 3, 16]);
    const mute = new Trace({ edit: { 'blocks.0.attn.z': (x) => scale(x, 0) } });
    expect(model.forward(tokens, mute).toArray()).not.toEqual(plain);
    const same = new Trace({ edit: { 'blocks.*.residMid': (x) => x } });
    expect(model.forward(tokens, same).toArray()).toEqual(plain);
    const typo = new Trace({ read: ['blocks.0.residpost'] });
    model.forward(tokens, typo);
    expect(() => typo.activations()).toThrow("Did you mean 'blocks.0.residPost'?");
    expect(() => typo.activations()).toThrow(/Nearest to '.*': blocks\.0\.residPost, blocks\.\d\.resid\w+, /);
  });

  const cpu = deviceStatus('cpu');
  it.skipIf(!cpu.available)(`gives the same logits on cpu as on js${cpu.available ? '' : ` (${cpu.reason})`}`, () => {
    const native = buildModel(openDevice('cpu'), config, new Rng('weights'));
    const tokens = [1, 5, 2, 9, 4, 4, 12, 0];
    const [expected, got] = [model, native].map((m) => m.device.withoutGrad(() => m.forward(ids(m, tokens)).toArray()));
    got!.forEach((x, i) => {
      expect(Math.abs(x - expected![i]!)).toBeLessThan(1e-4);
    });
    expect(generate(native, [[1, 2, 3], [4]], { nNew: 6 })).toEqual(generate(model, [[1, 2, 3], [4]], { nNew: 6 }));
  });
});

const reference =
  process.env.PHYSLM_REFERENCE ?? fileURLToPath(new URL('../../../../shared/reference', import.meta.url));
const fixture = join(reference, 'model', 'rope_full.json');

describe('conformance with the released training code', () => {
  const reason = existsSync(fixture) ? '' : ` (no reference data at ${reference})`;
  it.skipIf(reason !== '')(`logits, loss and gradients of a two-layer LLaMA${reason}`, () => {
    const golden = JSON.parse(readFileSync(fixture, 'utf8'));
    const {
      dim,
      n_layers: nLayer,
      n_heads: nHead,
      hidden_dim,
      vocab_size: dVocab,
      norm_eps,
      rope_theta,
    } = golden.config;
    const parameter = (name: string): number[] => golden.params[name].data;
    const dMlp = parameter('layers.0.feed_forward.w1.weight').length / dim;
    expect(hidden_dim).toBeGreaterThan(0);
    const config = llama(nLayer, nHead, {
      dModel: dim,
      dMlp,
      dVocab,
      nCtx: 32,
      normEps: norm_eps,
      rotaryBase: rope_theta,
    });
    const model = buildModel(js, config, new Rng(0));
    expect(golden.params).toBeDefined();
    load(model, golden.params, dim, dim / nHead);
    const rows = golden.input.length * golden.input[0].length;
    const tokens = js.tensor(golden.input.flat(), [golden.input.length, golden.input[0].length], 'i32');
    const logits = model.forward(tokens);
    logits.toArray().forEach((x, i) => {
      expect(Math.abs(x - golden.logits[i])).toBeLessThan(2e-5);
    });
    const targets = js.tensor(golden.target.flat(), [rows], 'i32');
    const { loss } = crossEntropy({ logits: reshape(logits, [rows, dVocab]), targets }, { ignore: ignoreIndex });
    expect(loss.toArray().reduce((a, b) => a + b, 0) / rows).toBeCloseTo(golden.loss, 5);
    backward(loss, js.tensor(new Float32Array(rows).fill(1 / rows), [rows]));
    compareGradients(model, golden.params, dim, dim / nHead);
  });
});

type Golden = Readonly<Record<string, { readonly data: number[]; readonly grad: number[] }>>;

/** Their rotary turns neighbouring dimensions, ours those half a head apart: row 2i of a head there is row i here. */
function halfSplit(rows: number[], width: number, dHead: number): number[] {
  const result: number[] = [];
  for (let head = 0; head < rows.length / (width * dHead); head++) {
    for (let k = 0; k < dHead; k++) {
      const from = head * dHead + (k < dHead / 2 ? 2 * k : 2 * (k - dHead / 2) + 1);
      result.push(...rows.slice(from * width, (from + 1) * width));
    }
  }
  return result;
}

/** Our parameters built from one field (values or gradients) of the golden file. */
function* pairs(golden: Golden, field: 'data' | 'grad', dim: number, dHead: number): Generator<[string, number[]]> {
  const get = (name: string): number[] => golden[name]![field];
  yield ['embed.weight', get('tok_embeddings.weight')];
  yield ['norm.weight', get('norm.weight')];
  yield ['unembed.weight', get('output.weight')];
  for (let i = 0; `layers.${i}.attention_norm.weight` in golden; i++) {
    const layer = `layers.${i}`;
    const [q, k] = ['wq', 'wk'].map((name) => halfSplit(get(`${layer}.attention.${name}.weight`), dim, dHead));
    yield [`blocks.${i}.attnNorm.weight`, get(`${layer}.attention_norm.weight`)];
    yield [`blocks.${i}.attn.qkv.weight`, [...q!, ...k!, ...get(`${layer}.attention.wv.weight`)]];
    yield [`blocks.${i}.attn.out.weight`, get(`${layer}.attention.wo.weight`)];
    yield [`blocks.${i}.mlpNorm.weight`, get(`${layer}.ffn_norm.weight`)];
    const [gate, up] = ['w1', 'w3'].map((name) => get(`${layer}.feed_forward.${name}.weight`));
    yield [`blocks.${i}.mlp.gateUp.weight`, [...gate!, ...up!]];
    yield [`blocks.${i}.mlp.down.weight`, get(`${layer}.feed_forward.w2.weight`)];
  }
}

function load(model: LanguageModel, golden: Golden, dim: number, dHead: number): void {
  const parameters = model.parameters();
  let n = 0;
  for (const [name, values] of pairs(golden, 'data', dim, dHead)) {
    parameters.get(name)!.values().set(values);
    n++;
  }
  expect(n).toBe(parameters.size);
}

function compareGradients(model: LanguageModel, golden: Golden, dim: number, dHead: number): void {
  for (const [name, expected] of pairs(golden, 'grad', dim, dHead)) {
    const got = model.parameters().get(name)!.grad!.toArray();
    expected.forEach((g, i) => {
      expect(Math.abs(got[i]! - g), `${name}[${i}]`).toBeLessThan(2e-6);
    });
  }
}
