// Rows of `physlm data` that several processes make.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blocksOf, ROWS_OF_BLOCK } from '../src/cli/data-part.js';
import { main } from '../src/cli/main.js';
import { builtCli } from './built-cli.js';
import { Captured } from './captured.js';

const sandbox = mkdtempSync(join(tmpdir(), 'physlm-data-jobs-'));
afterAll(() => rmSync(sandbox, { recursive: true, force: true }));
let self: readonly [string, string];
beforeAll(async () => {
  self = await builtCli('data-cli');
}, 60_000);

async function physlm(...argv: string[]) {
  const [stdout, stderr] = [new Captured(), new Captured()];
  const code = await main(argv, { stdout, stderr, env: {}, self });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

describe('rows that several processes make', () => {
  const count = String(2 * ROWS_OF_BLOCK + 9);
  test.each([
    ['igsm', '--op-max', '3', '--ip-max', '4', '--retry', 'retry', '--labels'],
    ['cfg', '--grammar', 'cfg3b', '--labels'],
    ['knowledge', '--augmentation', 'multi5+permute'],
    ['knowledge', '--ask', 'extraction', '--side', 'test'],
  ])('are those of one process: %s %s', { timeout: 60_000 }, async (...command) => {
    const all = ['data', ...command, '-n', count, '--start', '3'];
    const alone = await physlm(...all);
    expect([alone.code, alone.stdout.trim().split('\n').length]).toEqual([0, Number(count)]);
    for (const jobs of ['2', '3']) expect((await physlm(...all, '--jobs', jobs)).stdout).toBe(alone.stdout);
    const file = join(sandbox, `${command.join('')}.jsonl`);
    expect((await physlm(...all, '--jobs', '2', '--out', file)).code).toBe(0);
    expect(readFileSync(file, 'utf8')).toBe(alone.stdout);
  });

  test('end with the message of a process that failed, and leave no file', { timeout: 60_000 }, async () => {
    const file = join(sandbox, 'none.jsonl');
    const argv = ['data', 'igsm', '--op', '40', '--ip-max', '5', '--jobs', '2', '-n', '600', '--out', file];
    const { code, stderr } = await physlm(...argv);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/^physlm: \[igsm\] expected problems of 40 operations to exist, got none/);
    expect(readdirSync(sandbox).filter((name) => name.startsWith('none'))).toEqual([]);
  });

  test('are rows of JSON', async () => {
    const { code, stderr } = await physlm('data', 'igsm', '--pretty', '--jobs', '2');
    expect([code, stderr]).toEqual([2, 'physlm: [jobs] expected rows of JSON, got --pretty\n']);
  });
});

test('parts hold every row once, in blocks', () => {
  for (const [count, parts] of [
    [1, 1],
    [ROWS_OF_BLOCK, 2],
    [5 * ROWS_OF_BLOCK + 1, 3],
  ] as const) {
    const blocks = Array.from({ length: parts }, (_, part) => [...blocksOf({ part, parts }, count)]).flat();
    const rows = blocks.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i));
    expect(rows.sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
  }
});
