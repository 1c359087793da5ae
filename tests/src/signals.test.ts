import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const child = new URL('../../scripts/child.mjs', import.meta.url).href;
const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs `script` through scripts/child.mjs's `run` and ends with its exit code. */
function passThrough(script: string) {
  const outer = `import { run } from ${JSON.stringify(child)};
    const { code } = await run(process.execPath, ['-e', ${JSON.stringify(script)}]);
    process.exit(code);`;
  return spawn(process.execPath, ['--input-type=module', '-e', outer], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

describe('a program that npm start runs', () => {
  test('gives its exit code', async () => {
    expect(await once(passThrough('process.exit(7)'), 'exit')).toEqual([7, null]);
  });

  test('gets one SIGINT where npm and the terminal each send one, and may end in its own time', async () => {
    const started = passThrough(`
      let count = 0;
      process.on('SIGINT', () => { if (++count === 1) setTimeout(() => process.exit(40 + count), 600); });
      setInterval(() => {}, 1000);
      console.log('ready');`);
    await once(started.stdout, 'data');
    started.kill('SIGINT');
    started.kill('SIGINT');
    expect(await once(started, 'exit')).toEqual([41, null]);
  });

  test('that dies by a signal gives 128 + its number', async () => {
    const started = passThrough("console.log('ready'); setInterval(() => {}, 1000);");
    await once(started.stdout, 'data');
    started.kill('SIGTERM');
    expect(await once(started, 'exit')).toEqual([143, null]);
  });
});
