// What the built `physlm` does when nobody reads its output, or nothing can take it.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const bin = fileURLToPath(new URL('../../packages/lab/bin/physlm.js', import.meta.url));
const { FORCE_COLOR: _, ...env } = { ...process.env, NO_COLOR: '1' } as NodeJS.ProcessEnv;

/** Runs `physlm` in a shell; `redirect` follows its words. */
function shell(args: string, redirect: string) {
  const command = `set -o pipefail; "${process.execPath}" "${bin}" ${args} ${redirect}`;
  return spawnSync('bash', ['-c', command], { encoding: 'utf8', env });
}

describe.skipIf(process.platform === 'win32')('standard output', () => {
  test('a reader that has seen enough ends the command without a word', () => {
    const { status, stdout, stderr } = shell('data cfg --grammar cfg3b/13 -n 1000000', '| head -n 1');
    expect([status, stdout.split('\n').length, stderr]).toEqual([0, 2, '']);
  });

  test.skipIf(!existsSync('/dev/full'))('a full disk is said in one line', () => {
    const { status, stderr } = shell('data igsm -n 1', '> /dev/full');
    expect(stderr).toMatch(/^physlm: \[standard output\] cannot be written: ENOSPC.*\n$/);
    expect(status).toBe(1);
  });
});
