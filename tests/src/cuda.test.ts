import { Rng } from '@physlm/base';
import {
  adamW,
  addLowRank,
  attentionPattern,
  backward,
  buildModel,
  crossEntropy,
  type Device,
  deviceStatus,
  documentAttention,
  documentStarts,
  fillInto,
  type GenerateOptions,
  generate,
  gpt2,
  gradNorm,
  ignoreIndex,
  type LowRankConfig,
  llama,
  type ModelConfig,
  openDevice,
  ParameterArena,
  type Precision,
  reshape,
  rotary,
  type Tensor,
} from '@physlm/model';
import { describe, expect, it } from 'vitest';

// Whole steps on device `cuda`, on a GPU or on the host: in f32 the bits of eager steps, in bf16 close to f32, and in both the
// same bits every time. See conformance.test.ts for single ops.

const status = deviceStatus('cuda');
const skipped = status.available ? '' : ` (skipped: ${status.reason})`;
const nCtx = 35;
const sizes = { dModel: 64, dVocab: 50, nCtx };
const configs: Readonly<Record<string, ModelConfig>> = {
  'gpt, tied': gpt2(2, 2, sizes),
  'gpt, odd widths': gpt2(1, 3, { ...sizes, dModel: 36, dVocab: 23, tied: false }),
  'llama, grouped heads': llama(2, 4, { ...sizes, nKvHead: 2, dMlp: 96 }),
  'gpt, documents': gpt2(2, 2, { ...sizes, dVocab: 11, documentSeparator: 0 }),
  'gpt, relative': gpt2(1, 2, { ...sizes, position: 'relative', nDistance: 20 }),
  'gpt, position': gpt2(1, 2, { ...sizes, position: 'position' }),
  'gpt, uniform': gpt2(1, 4, { ...sizes, position: 'uniform' }),
  'gpt, updates of low rank': gpt2(2, 2, { ...sizes, tied: false }),
};
/** What is trained of a model, when that is not all of it. */
const updates: ReadonlyMap<ModelConfig, LowRankConfig> = new Map([
  [
    configs['gpt, updates of low rank']!,
    { attention: { rank: 4, targets: ['q', 'v'] }, embedding: { rank: 8 }, scale: 4 },
  ],
]);

interface Trained {
  readonly losses: number[];
  readonly weights: number[];
  readonly gradients: number[];
}

/** A few optimiser steps on random windows, recorded or eager. */
function steps(device: Device, config: ModelConfig, nStep: number, recorded: boolean): Trained {
  const model = buildModel(device, config, new Rng('weights'));
  const lowRank = updates.get(config);
  if (lowRank !== undefined) addLowRank(model, lowRank, new Rng('updates'));
  const arena = new ParameterArena(device, model);
  const [m, v] = [arena.like(), arena.like()];
  const nRow = 2 * nCtx;
  const rng = new Rng('batch');
  const tokens = (low: number): number[] => Array.from({ length: nRow }, () => low + rng.below(config.dVocab - low));
  const ids = device.tensor(tokens(0), [2, nCtx], 'i32');
  const targets = device.tensor(tokens(ignoreIndex), [nRow], 'i32');
  const seed = device.tensor(new Float32Array(nRow).fill(1 / nRow), [nRow]);
  const hyper = device.tensor([1e-3, 0.9, 0.98, 1e-8, 0.1, 0.1, 0.02, 1], [8]);
  const step = (): { loss: Tensor } => {
    const logits = reshape(model.forward(ids), [nRow, config.dVocab]);
    const { loss } = crossEntropy({ logits, targets }, { ignore: ignoreIndex });
    backward(loss, seed);
    const g = arena.gradients.view([arena.gradients.size]);
    const { norm } = gradNorm({ g }, {});
    adamW({ w: arena.weights, g, m, v, norm, hyper }, { nDecay: arena.nDecay });
    return { loss };
  };
  const losses: number[] = [];
  const program = recorded ? device.record(step) : undefined;
  for (let i = 0; i < nStep; i++) {
    program?.run();
    const loss = program?.results.loss ?? step().loss;
    losses.push(loss.toArray().reduce((a, b) => a + b, 0) / nRow);
  }
  return { losses, weights: arena.weights.toArray(), gradients: arena.gradients.toArray() };
}

const cuda = (precision: Precision): Device => openDevice('cuda', { precision });
const norm = (x: readonly number[]): number => Math.sqrt(x.reduce((s, v) => s + v * v, 0));
const distance = (a: readonly number[], b: readonly number[]): number => norm(a.map((v, i) => v - b[i]!)) / norm(b);

describe.skipIf(skipped !== '').each(Object.entries(configs))(`training on cuda${skipped}: %s`, (_, config) => {
  it('gives the bits of eager steps in f32, whether launched, captured or replayed', () => {
    const eager = steps(cuda('f32'), config, 3, false);
    expect(steps(cuda('f32'), config, 3, true)).toEqual(eager);
    const js = steps(openDevice('js'), config, 1, false);
    const once = steps(cuda('f32'), config, 1, true);
    expect(distance(once.gradients, js.gradients)).toBeLessThan(2e-5);
    expect(eager.losses[2]).toBeLessThan(eager.losses[0]!);
  });

  it('does what follows a product in the product, in bf16', () => {
    const kernels = (precision: Precision): string[] => {
      const device = cuda(precision);
      const model = buildModel(device, config, new Rng('weights'));
      const arena = new ParameterArena(device, model);
      const ids = device.zeros([2, nCtx], 'i32');
      const seed = device.tensor(new Float32Array(2 * nCtx * config.dVocab).fill(1), [2, nCtx, config.dVocab]);
      const program = device.record(() => {
        backward(model.forward(ids), seed);
        return { gradients: arena.gradients };
      });
      return [...program.profile().keys()].filter((kernel) => /Add|Of|Gate|Weights|[rR]otary/.test(kernel));
    };
    expect(kernels('f32').filter((kernel) => /^(linear|attention)/.test(kernel))).toEqual([]);
    const llama = ['linearAdd_forward', 'linearOfSiluGate_backward', 'linearSiluGate_forward'];
    const isLlama = config.architecture === 'llama';
    const turns = isLlama || (config.position ?? 'rotary') === 'rotary';
    const expected = isLlama ? llama : ['linearBiasAdd_forward', 'linearBiasOfGelu_backward'];
    expected.push('linearWeights_backward');
    const attention = config.documentSeparator === undefined ? 'attention' : 'documentAttention';
    if (turns)
      expected.push(`${attention}OfRotary_backward`, isLlama ? 'linearRotary_forward' : 'linearBiasRotary_forward');
    expect(kernels('bf16').toSorted()).toEqual(expected.toSorted());
  });

  it('stays close to f32 in bf16, with the same bits each time', () => {
    const exact = steps(cuda('f32'), config, 1, true);
    const rounded = steps(cuda('bf16'), config, 1, true);
    expect(rounded.losses[0]).toBeCloseTo(exact.losses[0]!, 2);
    const error = distance(rounded.gradients, exact.gradients);
    expect(error).toBeGreaterThan(1e-5); // it is another arithmetic
    expect(error).toBeLessThan(2e-2);
    const long = steps(cuda('bf16'), config, 3, true);
    expect(long.losses.slice(0, 1)).toEqual(rounded.losses);
    expect(long.losses[2]).toBeLessThan(long.losses[0]!);
  });
});

describe.skipIf(skipped !== '')(`the cuda device${skipped}`, () => {
  it.each(['llama, grouped heads', 'gpt, relative', 'gpt, position', 'gpt, uniform'])(
    'continues prompts as js does: %s',
    (name) => {
      const config = configs[name]!;
      const prompts = [[1, 2, 3], [4]];
      const on = (device: Device, options: Partial<GenerateOptions> = {}): number[][] =>
        generate(buildModel(device, config, new Rng('weights')), prompts, { nNew: 6, ...options }).map((tokens) => [
          ...tokens,
        ]);
      expect(on(cuda('f32'))).toEqual(on(openDevice('js')));
      expect(on(cuda('bf16')).map((tokens) => tokens.length)).toEqual([6, 6]);
      const sampled = { temperature: 1.5, topK: 20, rng: new Rng('draws'), nNew: 24 };
      const free = on(openDevice('js'), sampled);
      expect(on(cuda('f32'), sampled)).toEqual(free);
      // Sequences that end early are cut, though the device runs ahead of the host.
      const eos = free[0]![9]!;
      expect(on(cuda('f32'), { ...sampled, eos })).toEqual(on(openDevice('js'), { ...sampled, eos }));
    },
  );

  it.each(Object.entries(configs))('gives the attention pattern that js gives: %s', (_, config) => {
    const on = (device: Device): number[][] => {
      const ids = device.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], [2, 5], 'i32');
      const model = buildModel(device, config, new Rng('weights'));
      return Array.from(attentionPattern(model, ids, [0]), ({ rows }) => [...rows]);
    };
    const got = on(cuda('f32'));
    const expected = on(openDevice('js'));
    expect(got).toHaveLength(expected.length);
    got.forEach((rows, i) => {
      expect(distance(rows, expected[i]!)).toBeLessThan(1e-5);
    });
  });

  it('keeps half of the bytes in bf16', () => {
    const bytes = (precision: Precision): number => {
      const device = cuda(precision);
      const model = buildModel(device, configs['gpt, tied']!, new Rng('weights'));
      const ids = device.zeros([24, nCtx], 'i32');
      return device.withoutGrad(() => device.record(() => ({ logits: model.forward(ids) }))).arenaBytes;
    };
    expect(bytes('bf16')).toBeLessThan(0.75 * bytes('f32'));
  });

  it('reads the logits once for their loss and its gradient', () => {
    const device = cuda('f32');
    const rng = new Rng('logits');
    const some = (n: number): number[] => Array.from({ length: n }, () => rng.normal());
    const logits = device.tensor(some(15), [3, 5]);
    const targets = device.tensor([1, 4, ignoreIndex], [3], 'i32');
    const seed = device.tensor(some(3), [3]);
    const step = (write: boolean) => (): { loss: Tensor; gradient: Tensor } => {
      const leaf = logits.view([3, 5]);
      leaf.requiresGrad = true;
      const { loss } = crossEntropy({ logits: leaf, targets }, { ignore: ignoreIndex });
      if (write) fillInto(seed, 2);
      backward(loss, seed);
      return { loss, gradient: leaf.grad! };
    };
    const kernels = (write: boolean): string[] => {
      const program = device.record(step(write));
      const names = [...program.profile().keys()];
      const eager = step(write)();
      expect(program.results.loss.toArray()).toEqual(eager.loss.toArray());
      expect(program.results.gradient.toArray()).toEqual(eager.gradient.toArray());
      return names;
    };
    expect(kernels(false)).toEqual(['crossEntropyGradient_forward']);
    // The seed is only known after the loss.
    expect(kernels(true)).toEqual(['crossEntropy_forward', 'fill_forward', 'crossEntropy_backward']);
  });

  it('turns the gradients of attention within documents back where it makes them, in bf16', () => {
    const [T, nHead, dHead] = [70, 2, 32];
    const rng = new Rng('rows');
    const some = (n: number): number[] => Array.from({ length: n }, () => rng.normal());
    const [rows, seeds] = [some(2 * T * 3 * nHead * dHead), some(2 * T * nHead * dHead)];
    const tokens = Array.from({ length: 2 * T }, () => rng.below(20));
    const attention = (device: Device): (() => { gradient: Tensor }) => {
      const qkv = device.tensor(rows, [2, T, 3 * nHead * dHead]);
      const ids = device.tensor(tokens, [2, T], 'i32');
      const seed = device.tensor(seeds, [2, T, nHead * dHead]);
      const positions = device.tensor(
        Array.from({ length: T }, (_, t) => t),
        [T],
        'i32',
      );
      return () => {
        const x = qkv.view(qkv.shape);
        x.requiresGrad = true;
        const starts = documentStarts(ids, 0);
        const { y } = rotary({ x, positions }, { nHead: 2 * nHead, dHead, dRotary: dHead, base: 100 });
        const { o } = documentAttention({ qkv: y, starts }, { nHead, nKvHead: nHead, dHead, scale: dHead ** -0.5 });
        backward(o, seed);
        return { gradient: x.grad! };
      };
    };
    const exact = attention(openDevice('js'))().gradient.toArray();
    for (const precision of ['f32', 'bf16'] as const) {
      const device = cuda(precision);
      const program = device.record(attention(device));
      program.run();
      expect(distance(program.results.gradient.toArray(), exact)).toBeLessThan(precision === 'f32' ? 1e-5 : 1e-2);
      const last =
        precision === 'f32'
          ? ['documentAttention_backward', 'rotary_backward']
          : ['documentAttentionOfRotary_backward'];
      const names = [...program.profile().keys()].filter((name) => name !== 'cast_forward');
      expect(names).toEqual(['documentStarts_forward', 'rotary_forward', 'documentAttention_forward', ...last]);
    }
  });

  it('says when a replayed step meets a token that is not in the vocabulary', () => {
    const device = cuda('f32');
    const config = configs['gpt, tied']!;
    const model = buildModel(device, config, new Rng('weights'));
    const ids = device.zeros([1, 4], 'i32');
    const program = device.withoutGrad(() => device.record(() => ({ logits: model.forward(ids) })));
    for (const run of [1, 2, 3]) {
      ids.values().fill(run);
      program.run();
      expect(program.results.logits.values().every(Number.isFinite)).toBe(true);
    }
    ids.values()[2] = 77;
    program.run();
    expect(() => program.results.logits.values()).toThrow(
      '[embedding.ids] expected a token of the vocabulary, got 77 in row 2',
    );
    ids.values()[2] = 3;
    program.run();
    expect(program.results.logits.values().every(Number.isFinite)).toBe(true);
  });

  it('refuses precision bf16 elsewhere', () => {
    expect(() => openDevice('js', { precision: 'bf16' })).toThrow('[precision] expected f32 on device js, got bf16');
  });
});
