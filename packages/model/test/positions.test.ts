import { Rng } from '@physlm/base';
import { describe, expect, it } from 'vitest';
import {
  attentionPattern,
  backward,
  buildModel,
  crossEntropy,
  deviceStatus,
  type GptConfig,
  generate,
  gpt2,
  ignoreIndex,
  type LanguageModel,
  llama,
  type ModelConfig,
  openDevice,
  ParameterArena,
  positionSchemes,
  reshape,
  Trace,
} from '../src/index.js';

// What sets the schemes of positions apart: what each can see, the pattern it shows, and that each learns.

const devices = [openDevice('js'), ...(deviceStatus('cpu').available ? [openDevice('cpu')] : [])];
const js = devices[0]!;
const sizes = { dModel: 16, dVocab: 7, nCtx: 24, initStd: 0.5 };
const gpt = (position: GptConfig['position'], rest: Partial<GptConfig> = {}): GptConfig =>
  gpt2(2, 2, { ...sizes, ...rest, ...(position === undefined ? {} : { position }) });

function logits(model: LanguageModel, tokens: readonly number[]): number[] {
  const ids = model.device.tensor(tokens, [1, tokens.length], 'i32');
  return model.device.withoutGrad(() => model.forward(ids).toArray());
}

describe('what a scheme sees', () => {
  const [one, swapped] = [
    [1, 2, 3, 4, 5, 6],
    [1, 2, 4, 3, 5, 6],
  ];
  /** How much the last logits change when two earlier tokens trade places, in a single layer. */
  const change = (config: GptConfig): number => {
    const model = buildModel(js, { ...config, nLayer: 1 }, new Rng('weights'));
    const [a, b] = [one!, swapped!].map((tokens) => logits(model, tokens).slice(-7));
    return Math.max(...a!.map((x, i) => Math.abs(x - b![i]!)));
  };
  it.each(positionSchemes)('order of tokens: %s', (position) => {
    if (position === 'none') expect(change(gpt(position))).toBeLessThan(1e-5);
    else expect(change(gpt(position))).toBeGreaterThan(1e-3);
  });
  it('an encoder sees both sides, and cannot continue text', () => {
    for (const position of ['absolute', 'relative', 'rotary', 'none'] as const) {
      const model = buildModel(js, gpt(position, { causal: false }), new Rng('weights'));
      const [a, b] = [
        [1, 2, 3, 4],
        [1, 2, 3, 5],
      ].map((tokens) => logits(model, tokens).slice(0, 7));
      expect(a).not.toEqual(b);
      expect(() => generate(model, [[1]], { nNew: 2 })).toThrow(/causal model.*causal: false/);
    }
  });
  it('absolute positions end with the context', () => {
    const model = buildModel(js, gpt('absolute', { nCtx: 4 }), new Rng(1));
    expect(() => logits(model, [1, 2, 3, 4, 5])).toThrow('at most nCtx=4 tokens, got 5');
  });
  it('relative attention without position terms is plain attention on a smaller scale', () => {
    const relative = buildModel(js, gpt('relative'), new Rng('weights'));
    const plain = buildModel(js, gpt('none'), new Rng('weights'));
    for (const [name, tensor] of relative.parameters()) {
      if (/positionKey|positionQuery/.test(name)) tensor.values().fill(0);
    }
    // √3 smaller queries make up for the scale 1/√(3·dHead).
    for (const block of [0, 1]) {
      for (const kind of ['weight', 'bias']) {
        const values = plain.parameters().get(`blocks.${block}.attn.qkv.${kind}`)!.values();
        for (let i = 0; i < values.length / 3; i++) values[i]! /= Math.sqrt(3);
      }
    }
    const [a, b] = [relative, plain].map((model) => logits(model, [1, 2, 3, 4, 5, 6]));
    a!.forEach((x, i) => {
      expect(Math.abs(x - b![i]!)).toBeLessThan(1e-5);
    });
  });
});

const patternConfigs: [string, ModelConfig][] = [
  ...positionSchemes.map((position): [string, ModelConfig] => [position, gpt(position)]),
  ['relative, clipped', gpt('relative', { nDistance: 5 })],
  ['relative encoder', gpt('relative', { nDistance: 4, causal: false })],
  ['absolute encoder', gpt('absolute', { causal: false })],
  ['llama, grouped heads', llama(2, 4, { ...sizes, nKvHead: 2 })],
];
describe.each(devices.map((device) => [device.name, device] as const))('attention patterns on %s', (_, device) => {
  it.each(patternConfigs)('are what the model mixed values by: %s', (_, config) => {
    const model = buildModel(device, config, new Rng('weights'));
    const [B, T, D] = [2, 11, 16];
    const rng = new Rng('tokens');
    const ids = device.tensor(
      Array.from({ length: B * T }, () => rng.below(7)),
      [B, T],
      'i32',
    );
    const nHead = config.nHead;
    const dHead = D / nHead;
    const values = config.architecture === 'gpt' && ['position', 'uniform'].includes(config.position!) ? 'v' : 'qkv';
    const look = new Trace({ read: [`blocks.*.attn.${values}`, 'blocks.*.attn.z'] });
    device.withoutGrad(() => model.forward(ids, look));
    const seen: string[] = [];
    for (const { layer, sequence, head, row0, rows } of attentionPattern(model, ids, [1, 0], 4)) {
      seen.push([layer, sequence, head, row0].join());
      const packed = look.activations().get(`blocks.${layer}.attn.${values}`)!;
      const z = look.activations().get(`blocks.${layer}.attn.z`)!.values();
      const width = packed.shape[2]!;
      const nValue = 'nKvHead' in config ? config.nKvHead : nHead;
      const at = width - (nValue - Math.floor((head * nValue) / nHead)) * dHead;
      for (let r = 0; r < rows.length / T; r++) {
        const row = rows.subarray(r * T, (r + 1) * T);
        expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 5);
        if ((config as GptConfig).causal !== false)
          expect([...row.subarray(row0 + r + 1)].every((p) => p === 0)).toBe(true);
        for (let k = 0; k < dHead; k++) {
          let mixed = 0;
          for (let s = 0; s < T; s++) mixed += row[s]! * packed.values()[(sequence * T + s) * width + at + k]!;
          expect(mixed).toBeCloseTo(z[(sequence * T + row0 + r) * D + head * dHead + k]!, 4);
        }
      }
    }
    expect(seen.length).toBe(2 * B * nHead * 3);
    expect(seen[0]).toBe('1,0,0,0');
  });
});

describe('attention patterns', () => {
  it('of GPT_uni are averages over 2^h − 1 tokens, of GPT_pos the same for every text', () => {
    const [uniform, position] = (['uniform', 'position'] as const).map((scheme) =>
      buildModel(js, gpt(scheme, { nHead: 4 }), new Rng('weights')),
    );
    const ids = js.tensor([1, 2, 3, 4, 5, 6, 5, 5, 1, 1], [2, 5], 'i32');
    const last = [...attentionPattern(uniform!, ids, [0], 1)].length;
    expect(last).toBe(2 * 4 * 5);
    for (const { head, row0, rows } of attentionPattern(uniform!, ids, [0], 5)) {
      expect(row0).toBe(0);
      const width = Math.min(5, 2 ** (head + 1) - 1);
      expect([...rows.subarray(20)]).toEqual([0, 1, 2, 3, 4].map((s) => (s > 4 - width ? Math.fround(1 / width) : 0)));
    }
    const bySequence = [0, 1].map((wanted) => {
      const found: number[] = [];
      for (const { sequence, rows } of attentionPattern(position!, ids, [1]))
        if (sequence === wanted) found.push(...rows);
      return found;
    });
    expect(bySequence[0]).toEqual(bySequence[1]);
  });
  it('refuse layers that are not there, and shapes that are not BT', () => {
    const model = buildModel(js, gpt('none'), new Rng(1));
    const ids = js.tensor([1, 2], [1, 2], 'i32');
    expect(() => attentionPattern(model, ids, [0, 2]).next()).toThrow('expected layers in 0 … 1, got 2');
    expect(() => attentionPattern(model, ids, [0], 0).next()).toThrow('attentionPattern.nRow');
    expect(() => attentionPattern(model, ids.view([2]), [0]).next()).toThrow('expected axes BT, got shape [2]');
  });
});

describe('learning', () => {
  /** Loss in nats by token after some steps of Adam on periodic text, whose next token stands two places back. */
  function finalLoss(config: GptConfig): number {
    const device = devices.at(-1)!;
    const model = buildModel(device, config, new Rng('weights'));
    const arena = new ParameterArena(device, model);
    const [B, T, V] = [16, 12, config.dVocab];
    const ids = device.zeros([B, T], 'i32');
    const targets = device.zeros([B * T], 'i32');
    const seed = device.tensor(new Float32Array(B * T).fill(1 / (B * (T - 2))), [B * T]);
    const program = device.record(() => {
      const all = reshape(model.forward(ids), [B * T, V]);
      const { loss } = crossEntropy({ logits: all, targets }, { ignore: ignoreIndex });
      backward(loss, seed);
      return { loss };
    });
    const rng = new Rng('text');
    const parameters = arena.weights.values();
    const gradients = arena.gradients.values();
    const [m, v] = [new Float64Array(parameters.length), new Float64Array(parameters.length)];
    let loss = 0;
    for (let step = 1; step <= 150; step++) {
      for (let b = 0; b < B; b++) {
        const period = [0, 1, 2].map(() => rng.below(V));
        for (let t = 0; t < T; t++) {
          ids.values()[b * T + t] = period[t % 3]!;
          targets.values()[b * T + t] = t < 2 ? ignoreIndex : period[(t + 1) % 3]!;
        }
      }
      program.run();
      loss = program.results.loss.toArray().reduce((a, b) => a + b, 0) / (B * (T - 2));
      for (let i = 0; i < parameters.length; i++) {
        m[i] = 0.9 * m[i]! + 0.1 * gradients[i]!;
        v[i] = 0.95 * v[i]! + 0.05 * gradients[i]! ** 2;
        const update = m[i]! / (1 - 0.9 ** step) / (Math.sqrt(v[i]! / (1 - 0.95 ** step)) + 1e-8);
        parameters[i]! -= 0.01 * update;
      }
    }
    return loss;
  }
  const lossOf = (position: (typeof positionSchemes)[number]): number =>
    finalLoss(gpt2(1, 4, { dModel: 32, dVocab: 7, nCtx: 12, initStd: 0.1, position }));
  it.each(['rotary', 'absolute', 'relative', 'position'] as const)('%s finds the token two places back', (position) => {
    expect(lossOf(position)).toBeLessThan(0.3);
  });
  // Averages over 1, 3, 7 or all tokens hold as much of the token one place back as of the one two places back.
  it.each(['uniform', 'none'] as const)('%s finds the three tokens, but cannot tell which one is next', (position) => {
    expect(lossOf(position)).toBeGreaterThan(0.45);
    expect(lossOf(position)).toBeLessThan(1);
  });
});
