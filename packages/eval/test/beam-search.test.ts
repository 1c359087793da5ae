import { Rng } from '@physlm/base';
import {
  buildModel,
  type DeviceName,
  deviceNames,
  deviceStatus,
  gpt2,
  type LanguageModel,
  openDevice,
} from '@physlm/model';
import { describe, expect, it } from 'vitest';
import { beamSearch, completions, sequenceLosses } from '../src/index.js';

const config = gpt2(1, 2, { dModel: 16, dVocab: 5, nCtx: 12, initStd: 0.6 });
const modelOn = (name: DeviceName): LanguageModel => buildModel(openDevice(name), config, new Rng('beams'));
const devices = deviceNames.filter((name) => name !== 'cuda' && deviceStatus(name).available);
const EOS = 4;

/** Log-probability of a completion behind a prompt that begins with token 0. */
function logProbability(model: LanguageModel, prompt: readonly number[], tokens: readonly number[]): number {
  const losses = sequenceLosses(model, [[...prompt.slice(1), ...tokens]], { first: prompt[0]! })[0]!;
  return -losses.slice(prompt.length - 1).reduce((sum, loss) => sum + loss, 0);
}

/** Every sequence of up to `n` tokens without EOS. */
function* sequences(n: number): Generator<number[]> {
  yield [];
  if (n === 0) return;
  for (const rest of sequences(n - 1)) for (let v = 0; v < EOS; v++) yield [v, ...rest];
}

describe.each(devices)('beamSearch on %s', (name) => {
  const model = modelOn(name);
  const prompt = (i: number): number[] => [0, 1 + (i % 3), ...(i % 2 === 0 ? [2] : [])];

  it('with one hypothesis is greedy generation', () => {
    const greedy = { eos: EOS, nNew: 6, temperature: 0, rng: new Rng('unused') };
    const wanted = [...completions(model, 12, prompt, greedy)].map(({ tokens, ended }) => ({ tokens, ended }));
    const found = [...beamSearch(model, 12, prompt, { eos: EOS, nNew: 6, nBeam: 1 })];
    expect(found.map(({ tokens, ended }) => ({ tokens, ended }))).toEqual(wanted);
  });

  it('with a beam as wide as the tree finds the likeliest completion of all', () => {
    for (const one of beamSearch(model, 3, prompt, { eos: EOS, nNew: 3, nBeam: 64, batchSize: 2 })) {
      const start = prompt(one.index);
      const ended = [...new Set([...sequences(3)].map((tokens) => tokens.join()))]
        .map((text) => (text === '' ? [] : text.split(',').map(Number)))
        .map((tokens) => ({ tokens, score: logProbability(model, start, [...tokens, EOS]) }))
        .sort((a, b) => b.score - a.score);
      expect(one.ended).toBe(true);
      expect([...one.tokens]).toEqual(ended[0]!.tokens);
      expect(one.logProbability).toBeCloseTo(ended[0]!.score, 4);
    }
  });

  it('says the probability of what it found, and a wider beam finds nothing less likely', () => {
    const found = [1, 4].map((nBeam) => [...beamSearch(model, 8, prompt, { eos: EOS, nNew: 8, nBeam })]);
    for (const { index, tokens, ended, logProbability: said } of found.flat()) {
      if (!ended) continue;
      expect(said).toBeCloseTo(logProbability(model, prompt(index), [...tokens, EOS]), 4);
    }
  });

  it('does not depend on batches, also when it draws', () => {
    for (const rng of [undefined, new Rng('draws')]) {
      const options = { eos: EOS, nNew: 6, nBeam: 3, ...(rng && { rng }) };
      const all = [...beamSearch(model, 9, prompt, options)];
      expect([...beamSearch(model, 9, prompt, { ...options, batchSize: 2 })]).toEqual(all);
      expect([...beamSearch(model, 9, prompt, { ...options, from: 4 })]).toEqual(all.slice(4));
    }
  });

  it('drawn hypotheses differ with the stream', () => {
    const drawn = (seed: string): string =>
      [...beamSearch(model, 9, prompt, { eos: EOS, nNew: 6, nBeam: 2, rng: new Rng(seed) })]
        .map(({ tokens }) => tokens.join())
        .join(';');
    expect(drawn('a')).not.toBe(drawn('b'));
  });

  it('refuses prompts and options that cannot be', () => {
    const run = (options: object, one = prompt): unknown[] => [
      ...beamSearch(model, 1, one, { eos: EOS, nNew: 6, nBeam: 2, ...options }),
    ];
    expect(() => run({ nBeam: 0 })).toThrow('[beamSearch.nBeam] expected a positive integer, got 0');
    expect(() => run({ nNew: 40 })).toThrow('prompt and new tokens within 12, got 3 + 40 tokens');
    expect(() => run({}, () => [])).toThrow('at least one token each, got an empty prompt');
  });
});
