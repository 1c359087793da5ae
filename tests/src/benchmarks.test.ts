import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { deviceStatus } from '@physlm/model';
import { afterAll, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const program = fileURLToPath(new URL('../../benchmarks/src/run.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'physlm-bench-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

const status = deviceStatus('cpu');
const why = status.available ? '' : ` (skipped: ${status.reason})`;

describe.skipIf(!status.available)(`npm run bench${why}`, () => {
  it('keeps checked times with what they need beside them', { timeout: 60_000 }, async () => {
    const out = join(folder, 'gemm.json');
    const args = ['gemm', '--quick', '--no-peers', '--threads', '1', '--max-seconds', '3', '--out', out];
    const { stdout } = await run(process.execPath, [program, ...args]);
    expect(stdout).toContain('products,');
    const result = JSON.parse(readFileSync(out, 'utf8'));
    expect(result).toMatchObject({ what: 'gemm', quick: true, threads: [1] });
    expect(result.machine).toMatchObject({ node: process.version, cpu: expect.any(String), isa: expect.any(String) });
    expect(result.machine).toHaveProperty('governor');
    expect(result.rows.length).toBeGreaterThan(0);
    for (const row of result.rows) {
      expect(row.error).toBeGreaterThan(0); // Exactly 0 would mean that nothing was compared.
      expect(row.error).toBeLessThan(5e-5);
      expect(row.seconds.low).toBeLessThanOrEqual(row.seconds.median);
      expect(row.seconds.median).toBeLessThanOrEqual(row.seconds.high);
      expect(row.rate).toBeCloseTo(row.flops / row.seconds.median / 1e9, 6);
      expect(row.version).toContain('1 threads');
    }
  });

  it.skipIf(process.platform !== 'linux')('ends its workers when it is interrupted', { timeout: 60_000 }, async () => {
    const args = ['gemm', '--quick', '--no-peers', '--threads', '1', '--out', join(folder, 'never.json')];
    const bench = spawn(process.execPath, [program, ...args], { stdio: 'ignore' });
    const closed = once(bench, 'close');
    const read = (file: string) => {
      try {
        return readFileSync(`/proc/${file}`, 'utf8');
      } catch {
        return ''; // That process is gone.
      }
    };
    let workers: string[] = [];
    while (workers.length === 0) {
      expect(bench.exitCode).toBeNull();
      await sleep(20);
      const children = read(`${bench.pid}/task/${bench.pid}/children`).trim().split(' ');
      workers = children.filter((pid) => pid !== '' && read(`${pid}/cmdline`).includes('kernel-child'));
    }
    bench.kill('SIGINT');
    expect(await closed).toEqual([130, null]);
    await sleep(200);
    for (const pid of workers) expect(read(`${pid}/cmdline`)).toBe(''); // A zombie has none either.
  });

  it('says what it does not know', async () => {
    const failed = run(process.execPath, [program, 'gemmm']);
    await expect(failed).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining('called gemmm') });
  });
});
