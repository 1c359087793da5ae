import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Rng } from '@physlm/base';
import { describe, expect, it } from 'vitest';
import {
  attentionPattern,
  backward,
  buildModel,
  crossEntropy,
  deviceStatus,
  documentStarts,
  generate,
  gpt2,
  gptq,
  type LanguageModel,
  llama,
  loadModel,
  type ModelConfig,
  modelProblems,
  openDevice,
  ParameterArena,
  reshape,
  saveModel,
  Trace,
  toHfConfig,
} from '../src/index.js';

// Models in which documents of one window do not see each other.

const devices = [openDevice('js'), ...(deviceStatus('cpu').available ? [openDevice('cpu')] : [])];
const js = devices[0]!;
const END = 0;
const sizes = { dModel: 16, dVocab: 9, nCtx: 24, initStd: 0.5, documentSeparator: END };
const configs: Readonly<Record<string, ModelConfig>> = {
  rotary: gpt2(2, 2, sizes),
  'no positions': gpt2(2, 2, { ...sizes, position: 'none' }),
  llama: llama(2, 4, { ...sizes, nKvHead: 2, dMlp: 24 }),
};
const documents = [[3, 1, 4], [END, 1, 5, 2, 6, 5], [END], [END, 3, 5, 8, 7]];
const whole = documents.flat();

function logits(model: LanguageModel, tokens: readonly number[]): number[][] {
  const ids = model.device.tensor(tokens, [1, tokens.length], 'i32');
  const all = model.device.withoutGrad(() => model.forward(ids).toArray());
  return tokens.map((_, t) => all.slice(t * 9, (t + 1) * 9));
}

describe.each(Object.entries(configs))('documents of a window: %s', (_, config) => {
  it.each(devices.map((device) => [device.name, device] as const))('see themselves alone on %s', (_name, device) => {
    const model = buildModel(device, config, new Rng('weights'));
    const together = logits(model, whole).flat();
    const alone = documents.flatMap((tokens) => logits(model, tokens)).flat();
    together.forEach((x, i) => {
      expect(x).toBeCloseTo(alone[i]!, 4);
    });
    const { documentSeparator: _dropped, ...open } = config;
    const seeing = logits(buildModel(device, open as ModelConfig, new Rng('weights')), whole).flat();
    expect(Math.max(...seeing.map((x, i) => Math.abs(x - together[i]!)))).toBeGreaterThan(0.1);
  });

  it('train alike, eager and recorded, on every device', () => {
    const gradients = devices.map((device) => {
      const model = buildModel(device, config, new Rng('weights'));
      const arena = new ParameterArena(device, model);
      const ids = device.tensor(whole, [1, whole.length], 'i32');
      const targets = device.tensor([...whole.slice(1), END], [whole.length], 'i32');
      const seed = device.tensor(new Float32Array(whole.length).fill(1), [whole.length]);
      const step = () => {
        const { loss } = crossEntropy(
          { logits: reshape(model.forward(ids), [whole.length, 9]), targets },
          { ignore: -1 },
        );
        backward(loss, seed);
        return { loss };
      };
      step();
      const eager = arena.gradients.toArray();
      device.record(step).run();
      expect(arena.gradients.toArray()).toEqual(eager);
      return eager;
    });
    for (const other of gradients.slice(1))
      other.forEach((x, i) => {
        expect(x).toBeCloseTo(gradients[0]![i]!, 4);
      });
  });

  it('show no attention to one another', () => {
    const model = buildModel(js, config, new Rng('weights'));
    const T = whole.length;
    const starts = documents.flatMap((tokens, i) => tokens.map(() => documents.slice(0, i).flat().length));
    const ids = js.tensor(whole, [1, T], 'i32');
    expect([...documentStarts(ids, END).values()]).toEqual(starts);
    for (const { rows, row0 } of attentionPattern(model, ids, [0, 1], 4))
      for (let r = 0; r < rows.length / T; r++) {
        const row = [...rows.subarray(r * T, (r + 1) * T)];
        const seen = row.map((_x, s) => s >= starts[row0 + r]! && s <= row0 + r);
        expect(row.map((x) => x > 0)).toEqual(seen);
        expect(row.reduce((a, b) => a + b)).toBeCloseTo(1, 5);
      }
  });

  it('are continued one by one', () => {
    const model = buildModel(js, config, new Rng('weights'));
    const prompt = [END, 1, 5];
    const [tokens] = generate(model, [prompt], { nNew: 8, eos: END });
    const text = [...prompt];
    while (text.length < prompt.length + 8) {
      const last = logits(model, [...documents[0]!, ...text]).at(-1)!; // what stands before does not matter
      const next = last.indexOf(Math.max(...last));
      if (next === END) break;
      text.push(next);
    }
    expect([...tokens!]).toEqual(text.slice(prompt.length));
    expect(() => generate(model, [[1], [2, END, 1]], { nNew: 1, eos: END })).toThrow(
      '[generate.prompts[1]] expected prompts of one document, with 0 at their beginning only: documents do not see each other, got 0 further on',
    );
    expect(() => generate(model, [[1]], { nNew: 1 })).toThrow(
      '[generate.eos] expected 0, the separator of documents, which do not see each other, got none',
    );
  });

  it('calibrate GPTQ alike, one to a window and two', () => {
    const texts = [
      [END, 1, 5, 2, 6, 5],
      [END, 3, 5, 8, 7, 2],
    ];
    const rounded = [texts, [texts.flat()]].map((windows) => {
      const model = buildModel(js, config, new Rng('weights'));
      gptq(model, { bits: 4, windows: windows.map((tokens) => Int32Array.from(tokens)) });
      return logits(model, whole).flat();
    });
    rounded[1]!.forEach((x, i) => {
      expect(x).toBeCloseTo(rounded[0]![i]!, 5);
    });
  });
});

describe('a document mask', () => {
  it.each([configs.rotary!, configs.llama!])(
    'is kept with a model, under our own names: $architecture',
    async (config) => {
      const folder = mkdtempSync(join(tmpdir(), 'documents-'));
      try {
        const model = buildModel(js, config, new Rng('weights'));
        saveModel(folder, model);
        expect(toHfConfig(config).model_type).toBe(`physlm_${config.architecture}`);
        expect(logits(loadModel(folder, js), whole)).toEqual(logits(model, whole));
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  );

  it('needs a token of the vocabulary and attention that can be masked', () => {
    const problems = (rest: object): string[] =>
      modelProblems({ ...gpt2(1, 2, sizes), ...rest } as ModelConfig).map(
        ({ path, expected }) => `${path}: ${expected}`,
      );
    expect(problems({})).toEqual([]);
    const token = 'model.documentSeparator: a token of the vocabulary, 0 … 8';
    expect(problems({ documentSeparator: 9 })).toEqual([token]);
    expect(problems({ documentSeparator: -1 })).toEqual([token]);
    const kinds = 'model.documentSeparator: nothing but in causal models with rotary, absolute or no positions';
    expect(problems({ position: 'relative', dRotary: 0 })).toEqual([kinds]);
    expect(problems({ causal: false })).toEqual([kinds]);
  });

  it('is an activation of the layers', () => {
    const model = buildModel(js, configs.rotary!, new Rng('weights'));
    const trace = new Trace({ read: ['blocks.*.attn.starts'] });
    model.forward(js.tensor(whole, [1, whole.length], 'i32'), trace);
    expect([...trace.activations().keys()]).toEqual(['blocks.0.attn.starts', 'blocks.1.attn.starts']);
  });
});
