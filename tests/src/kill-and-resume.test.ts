import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deviceStatus } from '@physlm/model';
import { RunDirectory } from '@physlm/train';
import { build } from 'tsup';
import { beforeAll, describe, expect, it } from 'vitest';

// 20 steps = some steps, kill -9, resume to 20: bit for bit, whatever moment the kill hits and however many threads.

let script = '';

beforeAll(async () => {
  // Beside the workspace's node_modules, so that the child finds the built packages.
  const outDir = fileURLToPath(new URL('../.vitest/child', import.meta.url));
  const entry = { child: fileURLToPath(new URL('./train-child.ts', import.meta.url)) };
  await build({
    entry,
    outDir,
    format: ['esm'],
    target: 'node20',
    silent: true,
    config: false,
    dts: false,
    outExtension: () => ({ js: '.mjs' }),
  });
  script = join(outDir, 'child.mjs');
});

/** Runs the child; kills it without warning once `until` says so. */
function child(
  folder: string,
  device: string,
  threads: number,
  delayMs: number,
  what: string,
  until?: () => boolean,
): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const process_ = spawn(process.execPath, [script, folder, device, String(threads), String(delayMs), what], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let errors = '';
    process_.stderr.on('data', (chunk) => {
      errors += chunk;
    });
    const watch = setInterval(() => {
      if (until?.()) process_.kill('SIGKILL');
    }, 2);
    process_.on('exit', (code, signal) => {
      clearInterval(watch);
      if (code !== 0 && signal !== 'SIGKILL') reject(new Error(`the child failed: ${errors}`));
      else resolve(code);
    });
  });
}

function contents(folder: string): Record<string, string> {
  const experiment = JSON.parse(readFileSync(join(folder, 'experiment.json'), 'utf8'));
  const last = RunDirectory.open(folder, experiment, 'resume').latestCheckpoint()!;
  expect(last.step).toBe(20);
  const files = readdirSync(last.path).map((name) => [name, readFileSync(join(last.path, name)).toString('base64')]);
  return { ...Object.fromEntries(files), metrics: readFileSync(join(folder, 'metrics.jsonl'), 'utf8') };
}

const steps = (folder: string): string[] => {
  try {
    return readdirSync(join(folder, 'checkpoints'));
  } catch {
    return []; // The child has not made the folder yet.
  }
};

describe.each([
  ['js', 1, 'all'],
  ['cpu', 1, 'all'],
  ['cpu', 2, 'all'],
  ['cpu', 2, 'low-rank'],
  ['cuda', 1, 'all'],
] as const)('on %s with %i threads, training %s', (device, threads, what) => {
  const status = deviceStatus(device);
  const reason = status.available ? '' : ` (skipped: ${status.reason})`;
  it.skipIf(reason !== '')(
    `a killed and resumed run equals an uninterrupted one${reason}`,
    { timeout: 120_000 },
    async () => {
      const parent = mkdtempSync(join(tmpdir(), 'physlm-kill-'));
      const [whole, killed] = [join(parent, 'whole'), join(parent, 'killed')];
      await child(whole, device, threads, 0, what);
      // At the checkpoint of step 10; then again in the middle of writing one, whenever that happens to be.
      expect(await child(killed, device, threads, 3, what, () => steps(killed).includes('0000010'))).toBeNull();
      expect(
        await child(killed, device, threads, 3, what, () => steps(killed).some((name) => name.endsWith('.tmp'))),
      ).toBeDefined();
      await child(killed, device, threads === 1 ? 2 : 1, 0, what);
      expect(contents(killed)).toEqual(contents(whole));
    },
  );
});
