import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDevice } from '@physlm/model';
import { RunDirectory } from '@physlm/train';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recipeNamed, runRecipe } from '../src/index.js';

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
async function runIn(name: string, end: { readonly part?: string; readonly by?: 'abort' | 'death' } = {}) {
  const path = join(sandbox, name);
  const resume = existsSync(path);
  const controller = new AbortController();
  const parts: string[] = [];
  const outcome = await runRecipe({
    recipe,
    experiment,
    run: RunDirectory.open(path, experiment, 'resume'),
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
