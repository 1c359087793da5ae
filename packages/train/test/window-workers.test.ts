// Windows that threads make ahead of time.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { type TrainingWindows, WindowWorkers } from '../src/index.js';

const sandbox = mkdtempSync(join(tmpdir(), 'physlm-window-workers-'));
afterAll(() => rmSync(sandbox, { recursive: true, force: true }));
const url = pathToFileURL(join(sandbox, 'windows.mjs')).href;
writeFileSync(
  join(sandbox, 'windows.mjs'),
  `export function open({ factor, failAt = Infinity, exitAt = Infinity }) {
    return {
      nCtx: 3,
      window(index, ids, targets) {
        if (index >= exitAt) process.exit(1);
        if (index >= failAt) throw Object.assign(new Error('[windows] expected fewer, got ' + index), { code: 'config' });
        for (let t = 0; t < 3; t++) ids[t] = factor * index + t;
        if (index % 2 === 0) targets.fill(index);
      },
    };
  }`,
);

/** Marks what it makes itself, so that a window tells who made it. */
const here: TrainingWindows = {
  nCtx: 3,
  window(_, ids, targets) {
    ids.fill(-7);
    targets.fill(-7);
  },
};
let workers: WindowWorkers;
afterEach(() => workers.close());
const start = (options: object, nWorker = 2, from = url): WindowWorkers => {
  workers = new WindowWorkers(here, { url: from, exported: 'open', options }, nWorker);
  return workers;
};
function read(index: number): number[][] {
  const [ids, targets] = [new Int32Array(3), new Int32Array(3)];
  workers.window(index, ids, targets);
  return [[...ids], [...targets]];
}

describe('windows that threads make', () => {
  test.each([1, 3])('are those that were asked for, with %i threads', async (nWorker) => {
    start({ factor: 10 }, nWorker);
    for (const first of [0, 100, 200, 150]) {
      await workers.prepare(first, 100);
      for (const index of [first, first + 1, first + 63, first + 99]) {
        const targets = index % 2 === 0 ? [index, index, index] : [-1, -1, -1];
        expect(read(index)).toEqual([[10 * index, 10 * index + 1, 10 * index + 2], targets]);
      }
    }
  });

  test('are made here when nobody prepared them, and forgotten when steps are past', async () => {
    start({ factor: 1 });
    expect(read(5)[0]).toEqual([-7, -7, -7]);
    await workers.prepare(64, 10);
    await workers.prepare(640, 10);
    expect([read(64)[0], read(640)[0]]).toEqual([
      [-7, -7, -7],
      [640, 641, 642],
    ]);
  });

  test('fail where they are needed, with the message and code of the thread', async () => {
    start({ factor: 1, failAt: 64 });
    await workers.prepare(0, 64);
    expect(read(63)[0]).toEqual([63, 64, 65]);
    await expect(workers.prepare(64, 1)).rejects.toMatchObject({
      code: 'config',
      message: '[windows] expected fewer, got 64',
    });
  });

  test('fail when the module cannot be opened', async () => {
    start({}, 1, pathToFileURL(join(sandbox, 'none.mjs')).href);
    await expect(workers.prepare(0, 1)).rejects.toThrow(/none\.mjs/);
  });

  test('fail when a thread ends', { timeout: 20_000 }, async () => {
    start({ factor: 1, exitAt: 0 }, 1);
    await expect(workers.prepare(0, 1)).rejects.toThrow('a thread that makes windows ended');
  });
});
