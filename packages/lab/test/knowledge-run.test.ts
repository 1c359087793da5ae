import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digest } from '@physlm/base';
import { ATTRIBUTES } from '@physlm/data/bio';
import { openDevice } from '@physlm/model';
import { RunDirectory } from '@physlm/train';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Experiment, recipeNamed, runFolder, runRecipe } from '../src/index.js';
import { type KnowledgeExperiment, knowledge } from '../src/recipes/knowledge.js';
import { openKnowledgeData } from '../src/recipes/knowledge-data.js';
import type { KnowledgeResults } from '../src/run-knowledge.js';

const sandbox = mkdtempSync(join(tmpdir(), 'physlm-knowledge-'));
const recipe = recipeNamed('knowledge');
// Small enough for the TypeScript kernels; nothing is learnt.
const small = {
  nPeople: 24,
  exposures: 2,
  nLayer: 1,
  dModel: 16,
  nCtx: 64,
  batchSize: 4,
  finetuneSteps: 3,
  rank: 2,
  embeddingRank: 2,
  nAsked: 6,
  qaShare: 0,
};
const make = (parameters: Readonly<Record<string, unknown>> = {}): KnowledgeExperiment =>
  knowledge({ scale: 'tiny', seed: 3, parameters: { ...small, ...parameters } });
const quick = { nStep: 2, batchSize: 4, learningRate: 1e-3, update: 'shared' } as const;
const probed = (experiment: KnowledgeExperiment): KnowledgeExperiment => ({
  ...experiment,
  evaluate: { ...experiment.evaluate, pProbe: quick, qProbe: quick },
});

/** Scored at the end only. */
const once = (experiment: KnowledgeExperiment): KnowledgeExperiment => ({
  ...experiment,
  train: { ...experiment.train, evaluateAt: [experiment.train.nStep] },
  ...(experiment.start && { start: { experiment: once(experiment.start.experiment) } }),
});

async function runIn(experiment: KnowledgeExperiment, end: { readonly abortBefore?: string } = {}) {
  const path = runFolder(experiment, sandbox);
  const resume = existsSync(path);
  const controller = new AbortController();
  const told: string[] = [];
  const outcome = await runRecipe({
    recipe,
    experiment,
    run: RunDirectory.open(path, experiment, 'resume'),
    device: openDevice('js'),
    command: 'physlm run knowledge',
    resume,
    signal: controller.signal,
    tell: (text) => told.push(text),
    onProgress: ({ part }) => {
      if (part !== undefined && part === end.abortBefore) controller.abort();
    },
  });
  return { path, told, outcome };
}

const resultsIn = (path: string): KnowledgeResults =>
  JSON.parse(readFileSync(join(path, 'results.json'), 'utf8')) as KnowledgeResults;

afterAll(() => rmSync(sandbox, { recursive: true, force: true }));

describe('knowledge experiments', () => {
  const start = ({ start: from }: Experiment): string => digest(from!.experiment);

  test('finetunings of one pretraining share its run; what changes the texts or the model does not', () => {
    const alone = digest(make({ finetune: 'none', probes: 'none' }));
    for (const other of [
      {},
      { tasks: 'retrieval' },
      { nTrain: 5 },
      { finetune: 'full' },
      { rank: 3 },
      { probes: 'q' },
    ]) {
      expect(start(make(other))).toBe(alone);
    }
    for (const other of [{ augmentation: 'single' }, { celebrity: 'multi5' }, { dModel: 32 }, { exposures: 3 }]) {
      expect(start(make(other))).not.toBe(alone);
    }
    const mixed = { qaShare: 0.5, nPeople: 60 };
    expect(make(mixed).start).toBeUndefined();
    // What is taught after mixed training starts from the run that the same parameters give without it.
    const after = make({ ...mixed, finetune: 'lora', tasks: 'monthMod2', hintShare: 0.5, nTrain: 5 });
    expect(start(after)).toBe(digest(make(mixed)));
    expect([after.evaluate.pProbe, after.evaluate.qProbe]).toEqual([null, null]);
    expect(after.data.questions).toMatchObject({ tasks: ['monthMod2'], hintShare: 0.5, nTrain: 5 });
    expect(make({ finetune: 'full' }).train.lowRank).toBeUndefined();
    expect(make({ rank: 0 }).train.lowRank).toEqual({ embedding: { rank: 2 }, scale: 1 });
  });

  test('a setting is the same for every seed, but for the seed', () => {
    const setting = (seed: number): object => {
      const { data, model, train, evaluate } = knowledge({ scale: 'laptop', seed });
      return { data, model, train, evaluate };
    };
    for (const seed of [2, 3, 4]) expect(setting(seed)).toEqual(setting(1));
  });

  test('what does not fit is refused with the parameter and what fits', () => {
    expect(() => make({ augmentation: 'multi5+permut' })).toThrow(/augmentation.*'multi5\+permut'/s);
    expect(() => make({ tasks: 'extraction,majr' })).toThrow(/'majr'/);
    expect(() => make({ qaShare: 1 })).toThrow(/below 1/);
    expect(() => make({ nTrain: 13 })).toThrow(/1 … 12/);
    expect(() => make({ rank: 0, embeddingRank: 0 })).toThrow(/lowRank/);
    expect(() => make({ nCtx: 32, tasks: 'inverse', nPeople: 60 })).toThrow(/at least 4\d.*32/s);
    expect(() => make({ dModel: 24 })).toThrow(/multiple of dHead 16/);
    expect(() => make({ nPeople: 30_000 })).toThrow(/20000/);
    expect(() => make({ augmentation: 'multi5', nPeople: 3 })).toThrow(/groups/);
  });

  test('windows of finetuning hold one question about P_train; celebrities are asked about, the others are tests', () => {
    const { data, seed } = make({ celebrity: 'multi5' });
    const { split, windows, tokenizer, celebrities, people } = openKnowledgeData(data, seed);
    expect([...split.train]).toEqual(Array.from({ length: 24 }, (_, i) => 24 + i));
    expect([...split.test]).toEqual(Array.from({ length: 24 }, (_, i) => i));
    const names = new Set(
      [...split.train].map((person) => celebrities!.entry(person, 0).text.split(' ').slice(0, 3).join(' ')),
    );
    const [ids, targets] = [new Int32Array(windows.nCtx), new Int32Array(windows.nCtx)];
    for (let i = 0; i < 60; i++) {
      windows.window(i, ids, targets);
      const text = tokenizer.decode(ids.subarray(1));
      expect([...names].some((name) => text.includes(name))).toBe(true);
      expect(text.split('Answer:').length).toBe(2);
    }
    expect(people.document(5).group).toBeLessThan(24);
  });

  test('in mixed training the share of windows with questions is the one asked for', () => {
    const { data, seed } = make({ qaShare: 0.25, nPeople: 60 });
    const { windows, tokenizer } = openKnowledgeData(data, seed);
    const [ids, targets] = [new Int32Array(64), new Int32Array(64)];
    let asked = 0;
    for (let i = 0; i < 200; i++) {
      windows.window(i, ids, targets);
      if (tokenizer.decode(ids).includes('Answer:')) asked++;
    }
    expect(asked).toBe(50);
  });
});

describe('encoders', () => {
  const parameters = { encoder: true, qaShare: 0.5, nPeople: 60, probes: 'none' };

  test('windows hide words of biographies, and whole answers of questions', () => {
    const { data, seed, model } = make(parameters);
    expect(model.causal).toBe(false);
    const { windows, tokenizer, dVocab } = openKnowledgeData(data, seed);
    const mask = tokenizer.dVocab;
    expect([dVocab, windows.dVocab, model.dVocab]).toEqual([mask + 1, mask + 1, mask + 1]);
    const [ids, targets] = [new Int32Array(64), new Int32Array(64)];
    let [hidden, read] = [0, 0];
    for (let i = 0; i < 100; i++) {
      windows.window(i, ids, targets);
      const shown = tokenizer.decode(ids.filter((token) => token !== mask));
      if (shown.includes('Answer:')) {
        // Everything between an answer's colon and the end of its text is hidden, and asked for where it stands.
        const words = [...ids].map(
          (token, t) => (token === mask ? '?' : tokenizer.decode([token])) + (targets[t]! < 0 ? '' : '!'),
        );
        expect(words.join(' ').replaceAll('?!', '')).not.toMatch(/Answer: +(?!<)\S/);
        for (const [t, token] of ids.entries()) expect(token === mask).toBe(targets[t]! >= 0);
        continue;
      }
      hidden += targets.filter((token) => token >= 0).length;
      read += 64;
    }
    expect(Math.abs(hidden / read - 0.15)).toBeLessThan(0.04);
  });

  test('an encoder is asked in mixed training only, and runs to its scores', async () => {
    expect(() => make({ encoder: true, nPeople: 60 })).toThrow(/qaShare.*above 0 with encoder: true/s);
    expect(() => make({ ...parameters, probes: 'p' })).toThrow(/probes.*none with encoder: true/s);
    const experiment = once(make({ ...parameters, nAsked: 12 }));
    const { path } = await runIn(experiment);
    const { answers, biographies, measures } = resultsIn(path);
    expect(answers!.test.university!.exact.n).toBe(12);
    expect(biographies.test.major.n).toBe(2);
    expect(measures['exact.test']).toBeLessThanOrEqual(measures['first.test']!);
    expect(measures['memorised.test']).toBeUndefined();
  }, 120_000);
});

describe('a knowledge run', () => {
  const experiment = probed(once(make()));
  let first: Awaited<ReturnType<typeof runIn>>;
  let results: KnowledgeResults;
  beforeAll(async () => {
    first = await runIn(experiment);
    results = resultsIn(first.path);
  }, 120_000);

  test('makes the pretraining first, then asks both sides and probes', () => {
    expect(first.outcome.stopped).toBe('finished');
    expect(first.told[0]).toContain('First the run that this one starts from');
    const { answers, pProbe, qProbe, measures } = results;
    for (const side of ['train', 'test'] as const) {
      expect(Object.keys(answers![side])).toEqual([...ATTRIBUTES]);
      const tallies = Object.values(answers![side]).map(({ exact }) => exact);
      expect(tallies.every(({ n }) => n === 6)).toBe(true);
      const right = tallies.reduce((sum, { nRight }) => sum + nRight, 0);
      expect(measures[`exact.${side}`]).toBeCloseTo(right / 36, 12);
    }
    for (const attribute of ATTRIBUTES) {
      expect(pProbe![attribute].first.places.length).toBe(6);
      expect(pProbe![attribute].whole === null).toBe(attribute === 'birthDate');
      expect(qProbe![attribute].first.n).toBeGreaterThan(5);
      expect(qProbe![attribute].first.randomModel).not.toBeNull();
    }
    expect(readFileSync(join(first.path, 'report.html'), 'utf8')).toContain('P-probe');
    expect(existsSync(join(first.path, 'figures', 'p-probe-first.svg'))).toBe(true);
  });

  test('stopped between two parts and resumed, it gives the same results', async () => {
    const other = { ...experiment, name: 'again' };
    expect((await runIn(other, { abortBefore: 'p-probe' })).outcome.stopped).toBe('aborted');
    const { path, told } = await runIn(other);
    expect(told).toEqual([]);
    expect(resultsIn(path)).toEqual(results);
  }, 120_000);

  test('tasks with hints are scored with and without', async () => {
    const hinted = once(make({ tasks: 'monthMod2,majorRanking', hintShare: 0.5, probes: 'none' }));
    const { path } = await runIn(hinted);
    const { answers, measures } = resultsIn(path);
    expect(answers!.test.monthMod2!.hinted!.answer.n).toBe(6);
    expect(measures['hinted.test.majorRanking']).toBeGreaterThanOrEqual(0);
    expect(measures['majority.test.monthMod2']).toBeGreaterThanOrEqual(0.5);
  }, 120_000);
});
