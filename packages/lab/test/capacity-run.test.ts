import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deviceStatus, openDevice } from '@physlm/model';
import { RunDirectory } from '@physlm/train';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CapacityResults, capacity, recipeNamed, runName, runRecipe } from '../src/index.js';

const sandbox = mkdtempSync(join(tmpdir(), 'physlm-capacity-'));
const recipe = recipeNamed('capacity');
// Small enough for the TypeScript kernels; a run this short learns the grammar and no facts.
const experiment = capacity({
  scale: 'tiny',
  seed: 3,
  parameters: { nPeople: 24, exposures: 6, nLayer: 1, dModel: 16, nCtx: 64, batchSize: 4 },
});

async function runIn(name: string, options: { abortAfterStep?: number; resume?: boolean } = {}) {
  const run = RunDirectory.open(join(sandbox, name), experiment, options.resume ? 'resume' : 'new');
  const controller = new AbortController();
  return {
    run,
    outcome: await runRecipe({
      recipe,
      experiment,
      run,
      device: openDevice('js'),
      command: 'physlm run capacity',
      resume: options.resume === true,
      signal: controller.signal,
      onProgress({ phase, step }) {
        if (phase === 'evaluate' && step >= (options.abortAfterStep ?? Number.POSITIVE_INFINITY)) controller.abort();
      },
    }),
  };
}

let whole: Awaited<ReturnType<typeof runIn>>;
beforeAll(async () => {
  whole = await runIn('whole');
}, 60_000);
afterAll(() => rmSync(sandbox, { recursive: true, force: true }));

const read = (name: string, file: string): string => readFileSync(join(sandbox, name, file), 'utf8');

describe('a capacity run', () => {
  test('measures bits by Definition 4.3', () => {
    const { measures, items, curve, trainingLoss } = JSON.parse(read('whole', 'results.json')) as CapacityResults;
    const { bits, maxBits, nParameter, nameLoss, valueLoss, perParameter } = measures;
    const facts = 12 * 28 * 50 * 60 * 60 * 30 * 60 * 2;
    expect(maxBits).toBeCloseTo(24 * (Math.log2(20_000 / 24) + Math.log2(facts)), 6);
    expect(bits).toBeCloseTo(
      24 * (Math.log2(20_000) - nameLoss! / Math.LN2 + Math.log2(facts) - valueLoss! / Math.LN2),
      6,
    );
    expect(perParameter).toBeCloseTo(bits! / nParameter!, 12);
    expect(items.reduce((sum, { loss }) => sum + loss, 0)).toBeCloseTo(nameLoss! + valueLoss!, 4);
    expect(curve.at(-1)?.perParameter).toBeCloseTo(perParameter!, 9);
    expect(curve.map(({ step }) => step)).toEqual(experiment.train.evaluateAt);
    expect(trainingLoss.at(-1)!.loss).toBeLessThan(trainingLoss[0]!.loss);
  });

  test('interrupted and resumed, it leaves the same results and metrics', async () => {
    const half = experiment.train.evaluateAt!.find((step) => step > experiment.train.nStep / 3)!;
    const first = await runIn('halves', { abortAfterStep: half });
    expect(first.outcome.stopped).toBe('aborted');
    const second = await runIn('halves', { resume: true });
    expect(second.outcome.stopped).toBe('finished');
    for (const file of ['results.json', 'metrics.jsonl', 'figures/bits-per-parameter.json']) {
      expect(read('halves', file)).toBe(read('whole', file));
    }
  });

  test('leaves a report that needs no network and no script', () => {
    const html = read('whole', 'report.html');
    expect(html).not.toMatch(/<script|<link|<img|@import|url\((?!#)|src=|href=|https?:/i);
    expect(html.length).toBeLessThan(500_000);
    expect(html.match(/<svg/g)).toHaveLength(4);
    expect(html.match(/<details>/g)!.length).toBeGreaterThanOrEqual(5);
    expect(html).toContain('prefers-color-scheme: dark');
    expect(html).toContain('arXiv:2404.05405');
    // Every colour of a figure must come from the page, or it would not follow it into the dark.
    const figures = html.match(/<svg[\s\S]*?<\/svg>/g)!.join('');
    expect(figures.match(/(?:fill|stroke)[=:]"?#[0-9a-f]{3,8}/gi)).toBeNull();
  });

  test('figures stand alone, next to the numbers they are drawn from', () => {
    expect(read('whole', 'figures/losses-by-item.svg')).toMatch(/^<svg [^>]*xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    const { table } = JSON.parse(read('whole', 'figures/losses-by-item.json'));
    expect(table.rows).toHaveLength(7);
    expect(table.rows[0][0]).toBe('name');
  });

  test('rendering again gives the same page, byte for byte', async () => {
    expect(whole.outcome.stopped).toBe('finished');
    if (whole.outcome.stopped !== 'finished') return;
    const { writeReport } = await import('../src/index.js');
    const before = read('whole', 'report.html');
    await writeReport(recipe, whole.outcome.finished);
    expect(read('whole', 'report.html')).toBe(before);
  });
});

describe('runs of the variants', () => {
  const small = { nPeople: 24, exposures: 2, nLayer: 1, dModel: 16, nCtx: 64, batchSize: 4 };
  const variants: Record<string, Record<string, unknown>> = {
    bioD: { dataset: 'bioD', nAttribute: 2, nString: 10, nSymbol: 400, stringLength: 1, tied: false },
    junk: { usefulShare: 0.25, tag: true },
    experts: { nExpert: 4, tag: true },
    mistral: { architecture: 'mistral', dataset: 'bioS-simple' },
  };

  test.each(Object.keys(variants))('%s: bits add up, and the page says what it was', async (name) => {
    const experiment = capacity({ scale: 'tiny', seed: 4, parameters: { ...small, ...variants[name] } });
    const run = RunDirectory.open(join(sandbox, name), experiment, 'new');
    const device = openDevice('js');
    await runRecipe({ recipe, experiment, run, device, command: 'physlm run capacity', resume: false });
    const { measures, intervals } = JSON.parse(read(name, 'results.json')) as CapacityResults;
    const { bits, bitsName, bitsValue, bitsDiversity = 0, perParameter, exposures, nParameter } = measures;
    expect(bits).toBeCloseTo(bitsName! + bitsValue! + bitsDiversity, 6);
    expect(intervals.perParameter!.low).toBeLessThan(perParameter!);
    expect(intervals.perParameter!.high).toBeGreaterThan(perParameter!);
    expect(exposures).toBeGreaterThanOrEqual(2);
    const html = read(name, 'report.html');
    if (name === 'bioD') {
      const { nameLoss, valueLoss, firstLoss, maxBits } = measures;
      expect(bits).toBeCloseTo(
        24 * (Math.log2(20_000) - nameLoss! / Math.LN2 + 2 * Math.log2(10) - valueLoss! / Math.LN2) +
          20 * (Math.log2(400 / 10) - firstLoss! / Math.LN2),
        6,
      );
      expect(maxBits).toBeCloseTo(24 * (Math.log2(20_000 / 24) + 2 * Math.log2(10)) + 20 * Math.log2(40), 6);
      // Rows of the embedding and of the output layer for at least 380 symbols that no attribute has.
      expect(nParameter).toBeLessThan(2 * 16 * 120 + 12 * 16 * 16 + 500);
      expect(html).toContain('in strings');
    }
    if (name === 'junk') expect(html).toContain('75.0 % was about 16,000 other people');
    if (name === 'experts') expect(html).toContain('A GPT with 4 experts of 1 layers');
    if (name === 'mistral') expect(html).toMatch(/A LLaMA of 1 layers.*the one biography each/s);
  });
});

describe('runs that change a model', () => {
  const small = { nPeople: 24, exposures: 8, nLayer: 2, dModel: 16, nCtx: 64, batchSize: 2 };
  const base = capacity({ scale: 'tiny', seed: 5, parameters: small });
  const runOf = async (parameters: Record<string, unknown>) => {
    const changed = capacity({ scale: 'tiny', seed: 5, parameters: { ...small, ...parameters } });
    const run = RunDirectory.open(join(sandbox, 'changes', runName(changed)), changed, 'new');
    const device = deviceStatus('cpu').available ? openDevice('cpu', { nThread: 1 }) : openDevice('js');
    const outcome = await runRecipe({ recipe, experiment: changed, run, device, command: 'physlm run', resume: false });
    if (outcome.stopped !== 'finished') throw new Error('stopped');
    return { results: outcome.finished.results as CapacityResults, path: run.path };
  };

  test('make the run that they start from once, and keep most of its knowledge at 16 bits and little at 2', async () => {
    const { results: fine, path } = await runOf({ quantize: 'rtn', bits: 16 });
    const trained = join(sandbox, 'changes', runName(base));
    const before = JSON.parse(readFileSync(join(trained, 'results.json'), 'utf8')) as CapacityResults;
    const written = statSync(join(trained, 'results.json')).mtimeMs;
    expect(before.measures.bits).not.toBe(fine.measures.bits);
    expect(fine.unchanged).toEqual(before.measures);
    expect(Math.abs(fine.measures.bits! / before.measures.bits! - 1)).toBeLessThan(0.01);
    expect(fine.measures).toMatchObject({
      nParameter: before.measures.nParameter,
      exposures: before.measures.exposures,
    });
    const chosen = await runOf({ quantize: 'gptq', bits: 8 });
    expect(Math.abs(chosen.results.measures.bits! - before.measures.bits!)).toBeLessThan(24);
    const coarse = await runOf({ quantize: 'rtn', bits: 2 });
    expect(coarse.results.measures.bits).toBeLessThan(before.measures.bits! - 24);
    expect(statSync(join(trained, 'results.json')).mtimeMs).toBe(written);
    const html = readFileSync(join(path, 'report.html'), 'utf8');
    expect(html).toContain('rounded to nearest, to 16 bits');
    expect(html).toContain(runName(base));
  }, 120_000);

  test('without its last layer a model has fewer parameters and less knowledge', async () => {
    const { results } = await runOf({ removeLayers: 1 });
    const { measures, unchanged } = results;
    expect(unchanged!.nParameter! - measures.nParameter!).toBe(12 * 16 * 16 + 13 * 16);
    expect(measures.bits).toBeLessThan(unchanged!.bits!);
  }, 120_000);
});
