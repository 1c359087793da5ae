import { Rng } from '@physlm/base';
import {
  buildModel,
  type DeviceName,
  deviceNames,
  deviceStatus,
  generate,
  gpt2,
  type LanguageModel,
  openDevice,
} from '@physlm/model';
import { describe, expect, it } from 'vitest';
import { greedyMatches } from '../src/index.js';

const config = gpt2(1, 2, { dModel: 16, dVocab: 7, nCtx: 24, initStd: 0.4 });
const modelOn = (name: DeviceName): LanguageModel => buildModel(openDevice(name), config, new Rng('weights'));
const devices = deviceNames.filter((name) => name !== 'cuda' && deviceStatus(name).available);

describe.each(devices)('greedy matches on %s', (name) => {
  const model = modelOn(name);
  const prompts = Array.from({ length: 40 }, (_, i) => [1 + (i % 5), ...(i % 3 === 0 ? [2, 4] : [])]);
  const greedy = generate(
    model,
    prompts.map((prompt) => [0, ...prompt]),
    {
      nNew: 9,
      eos: 6,
      temperature: 0,
      rng: new Rng('unused'),
    },
  );

  it('what greedy decoding writes matches token by token, and nothing else does', () => {
    const written = prompts.map((prompt, i) => [...prompt, ...greedy[i]!]);
    for (const [i, matches] of greedyMatches(model, written, { first: 0 }).entries()) {
      expect([...matches.subarray(prompts[i]!.length)]).toEqual([...greedy[i]!].map(() => 1));
    }
    const spoiled = written.map((tokens, i) => tokens.map((t, at) => (at === prompts[i]!.length ? (t + 1) % 7 : t)));
    expect(greedy.filter((tokens) => tokens.length > 0).length).toBeGreaterThan(20);
    for (const [i, matches] of greedyMatches(model, spoiled, { first: 0 }).entries()) {
      if (greedy[i]!.length > 0) expect(matches[prompts[i]!.length]).toBe(0);
    }
  });

  it('do not depend on batch-mates', () => {
    const sequences = prompts.map((prompt, i) => [...prompt, ...greedy[i]!.subarray(0, i % 7)]);
    const all = greedyMatches(model, sequences, { first: 0 });
    expect(all.map((matches) => matches.length)).toEqual(sequences.map((tokens) => tokens.length));
    for (const batchSize of [1, 7]) expect(greedyMatches(model, sequences, { first: 0, batchSize })).toEqual(all);
    expect(greedyMatches(model, [[], []], { first: 0 })).toEqual([new Uint8Array(0), new Uint8Array(0)]);
  });

  it('refuse sequences beyond the context', () => {
    expect(() => greedyMatches(model, [new Array(25).fill(1)], { first: 0 })).toThrow(/up to 24 tokens.*25/s);
  });
});
