import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDevice } from '@physlm/model';
import { RunDirectory } from '@physlm/train';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Experiment, recipeNamed, runRecipe } from '../src/index.js';
import type { CfgResults } from '../src/run-cfg.js';

const sandbox = mkdtempSync(join(tmpdir(), 'physlm-cfg-run-'));
const recipe = recipeNamed('cfg');
// Small enough for the TypeScript kernels; nothing is learnt.
const small = { nLayer: 1, dModel: 8, nHead: 2, nStep: 3, tokensPerStep: 64, nCompletion: 3, nProbeStep: 1 };
const standard = recipe.experiment({
  scale: 'tiny',
  seed: 3,
  parameters: { grammar: 'cfg3b/10', cut: 3, nAttention: 2, robust: true, ...small },
});
const experiment = { ...standard, evaluate: { ...standard.evaluate, nKl: 2, nProbeTrain: 6, nProbeTest: 3 } };

/** Runs it; `end` says what happens before a part is measured. */
async function runIn(
  name: string,
  end: { readonly part?: string; readonly by?: 'abort' | 'death' } = {},
  what: Experiment = experiment,
) {
  const path = join(sandbox, name);
  const resume = existsSync(path);
  const controller = new AbortController();
  const parts: string[] = [];
  const outcome = await runRecipe({
    recipe,
    experiment: what,
    run: RunDirectory.open(path, what, 'resume'),
    device: openDevice('js'),
    command: 'physlm run cfg',
    resume,
    signal: controller.signal,
    onProgress({ phase, part }) {
      if (phase !== 'measure') return;
      parts.push(part!);
      if (part !== end.part) return;
      if (end.by === 'death') throw new Error('killed');
      controller.abort();
    },
  });
  return { path, parts, outcome };
}

const read = (name: string, file: string): string => readFileSync(join(sandbox, name, file), 'utf8');

let whole: Awaited<ReturnType<typeof runIn>>;
beforeAll(async () => {
  whole = await runIn('whole');
}, 60_000);
afterAll(() => rmSync(sandbox, { recursive: true, force: true }));

describe('a cfg run', () => {
  test('measures its parts in order and keeps them only while it is unfinished', () => {
    expect(whole.outcome.stopped).toBe('finished');
    expect(whole.parts).toEqual([
      'law',
      'sentences',
      'completions',
      'completions-spoiled-0.1',
      'completions-spoiled-1',
      'completions-0.1',
      'probes',
      'attention',
    ]);
    expect(readdirSync(whole.path)).not.toContain('measured');
  });

  test.each(['abort', 'death'] as const)('%s between parts: what was measured is not measured again', async (by) => {
    const first = await runIn(by, { part: 'probes', by }).catch((error: Error) => error.message);
    if (by === 'death') expect(first).toBe('killed');
    else expect(first).toMatchObject({ outcome: { stopped: 'aborted', step: 3 } });
    expect(existsSync(join(sandbox, by, 'results.json'))).toBe(false);
    const second = await runIn(by);
    expect(second.parts).toEqual(['probes', 'attention']);
    for (const file of ['results.json', 'metrics.jsonl']) expect(read(by, file)).toBe(read('whole', file));
  });
});

describe('an encoder', () => {
  const encoderOf = (parameters: Record<string, unknown>) =>
    recipe.experiment({ scale: 'tiny', seed: 3, parameters: { encoder: true, ...parameters } });

  test('is another experiment in name, tokens and data, and in nothing else of its training', () => {
    const [encoder, decoder] = [true, false].map((on) =>
      recipe.experiment({ scale: 'tiny', seed: 3, parameters: { encoder: on, position: 'relative' } }),
    );
    expect([encoder!.name, decoder!.name]).toEqual([
      'cfg-tiny-cfg3b.16-relative-encoder-s3',
      'cfg-tiny-cfg3b.16-relative-s3',
    ]);
    expect(encoder!.model).toEqual({ ...decoder!.model, causal: false, dVocab: decoder!.model.dVocab + 1 });
    expect(encoder!.data).toEqual({ ...decoder!.data, masked: 0.15 });
    expect(encoder!.train).toEqual(decoder!.train);
    const plain = recipe.experiment({ scale: 'tiny', seed: 3, parameters: { position: 'relative' } });
    expect(decoder).toEqual(plain);
  });

  test('reads whole sentences, is probed against what they allow, and writes nothing', async () => {
    const made = encoderOf({ grammar: 'cfg3b/10', position: 'relative', nLayer: 1, dModel: 8, nHead: 2, nStep: 4 });
    const evaluate = { ...made.evaluate, nProbeTrain: 12, nProbeTest: 6, nProbeStep: 2 };
    const { parts, outcome } = await runIn('encoder', {}, { ...made, evaluate });
    expect(parts).toEqual(['hidden-tokens', 'probes']);
    expect(outcome.stopped).toBe('finished');
    const { measures, intervals, probes, attention, maskedCurve } = JSON.parse(
      read('encoder', 'results.json'),
    ) as CfgResults;
    expect(measures.accuracyCut0).toBeUndefined();
    expect(measures.maskedLoss).toBeGreaterThan(0);
    expect(intervals.maskedLoss!.low).toBeLessThan(measures.maskedLoss!);
    expect(maskedCurve!.at(-1)).toEqual({ step: 4, maskedLoss: measures.maskedLoss });
    expect(attention).toBeNull();
    // cfg3b can be read off the whole sentence without doubt, also where a non-terminal ends.
    for (const { ceiling } of Object.values(probes!.ancestorAtEnd.diagonal.families)) expect(ceiling).toBeCloseTo(1, 9);
    expect(read('encoder', 'report.html')).toContain('nats per hidden token');
  });

  test('refuses what needs a model that writes', () => {
    const wrong = { position: 'uniform', nCompletion: 5, cut: 3, robust: true, nAttention: 2 };
    expect(() => encoderOf(wrong)).toThrow(
      [
        "[position] expected rotary, relative, absolute or none with encoder: true, got 'uniform', which looks back only",
        ...Object.entries({ nCompletion: 5, cut: 3, nAttention: 2, robust: true }).map(
          ([name, got]) => `[${name}] expected nothing with encoder: true, got ${got}`,
        ),
        'An encoder fills in hidden tokens; it writes no sentences.',
      ].join('\n'),
    );
    expect(() => encoderOf({ robust: false, nAttention: 0 })).not.toThrow();
  });
});

test('right sentences are compared with as many of the grammar, symbol by symbol and level by level', async () => {
  // Sentences of three to six ones: a model that knows nothing writes some of them.
  const file = join(sandbox, 'ones.json');
  const rules = { 4: [[3, 3, 3]], 3: [[1], [1, 1]] };
  writeFileSync(file, JSON.stringify({ levels: [[4], [3], [1]], rules }));
  const made = recipe.experiment({
    scale: 'tiny',
    seed: 3,
    parameters: { ...small, grammarFile: file, cut: 1, nCompletion: 300, nProbeStep: 0, nAttention: 0 },
  });
  await runIn('ones', {}, made);
  const { forms, measures, intervals } = JSON.parse(read('ones', 'results.json')) as CfgResults;
  expect(measures.longerThanWindow).toBeUndefined();
  const nRight = Math.round(measures.accuracyCut0! * 300);
  expect(nRight).toBeGreaterThan(5);
  expect(forms!.map(({ symbol, from, to }) => [symbol, from, to])).toEqual([
    [4, 1, 2],
    [4, 1, 3],
    [3, 2, 3],
  ]);
  for (const { model, truth } of forms!) expect([model.n, truth.n]).toEqual([nRight, nRight]);
  // Every sentence is three 3s.
  expect(forms![0]!.model).toMatchObject({ distinct: 1, repeat: 1 });
  expect(measures['forms.T.distinctTruth']).toBeLessThanOrEqual(4);
  expect(intervals['forms.T.repeat']!.low).toBeLessThanOrEqual(measures['forms.T.repeat']!);
});

test('sentences that are longer than a window are said, not cut silently', async () => {
  const parameters = { ...small, grammar: 'cfg3b/16', nCtx: 32, nCompletion: 2, nProbeStep: 0, nAttention: 0 };
  const made = recipe.experiment({ scale: 'tiny', seed: 3, parameters });
  // Every sentence still fits the model that is measured.
  expect(made.model.nCtx).toBeGreaterThan(54);
  await runIn('long', {}, made);
  const { measures } = JSON.parse(read('long', 'results.json')) as CfgResults;
  expect(measures.longerThanWindow).toBeGreaterThan(0.5);
  expect(measures.leftOut).toBe(0);
  expect(read('long', 'report.html')).toMatch(
    /of the sentences are longer than a window of 32 tokens, so training saw/,
  );
});

test('a prefix must leave something to write', () => {
  const withCut = (cut: number | undefined, grammar: string) =>
    recipe.experiment({ scale: 'tiny', seed: 3, parameters: { grammar, cut } }).evaluate as { cut: number };
  expect(() => withCut(400, 'cfg3b/16')).toThrow(
    /\[cut\] expected at most \d+: sentences of cfg3b\/16 have 49 tokens, and up to 72, got 400/,
  );
  expect(withCut(undefined, 'cfg3b/16').cut).toBe(20);
  // cfg3b/7: two or three terminals.
  expect(withCut(undefined, 'cfg3b/7').cut).toBe(1);
});
