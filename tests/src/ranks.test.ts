import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deviceStatus } from '@physlm/model';
import { joinRanks, rankPlan, soleRank } from '@physlm/train';
import { build } from 'tsup';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Several processes train one model: the bits of one process that adds the same parts in turn, on every rank; and nobody waits
// for a rank that has ended.

let script = '';

beforeAll(async () => {
  const outDir = fileURLToPath(new URL('../.vitest/rank-child', import.meta.url));
  const entry = { child: fileURLToPath(new URL('./rank-child.ts', import.meta.url)) };
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

const addonPath = fileURLToPath(new URL('../../native/build/Release/physlm_native.node', import.meta.url));
const folders: string[] = [];
const temporary = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'physlm-ranks-'));
  folders.push(folder);
  return folder;
};
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

interface Asked {
  readonly device?: string;
  readonly accumulate?: number;
  readonly delayMs?: number;
  readonly name?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

interface Answer {
  readonly code: number | null;
  readonly out: string;
  readonly errors: string;
}

function start(folder: string, asked: Asked): { readonly process: ChildProcess; readonly answer: Promise<Answer> } {
  const { device = 'js', accumulate = 1, delayMs = 0, name = 'ranks', environment = {} } = asked;
  const { FORCE_COLOR: _, ...rest } = process.env;
  const child = spawn(process.execPath, [script, folder, device, String(accumulate), String(delayMs), name], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...rest, NO_COLOR: '1', ...environment },
  });
  let [out, errors] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const answer = new Promise<Answer>((resolve) => {
    child.on('close', (code) => resolve({ code, out: out.trim(), errors: errors.trim() }));
  });
  return { process: child, answer };
}

const rankEnvironment = (rank: number, worldSize: number, meeting: string): Record<string, string> => ({
  PHYSLM_RANK: String(rank),
  PHYSLM_WORLD_SIZE: String(worldSize),
  PHYSLM_RANKS_FOLDER: meeting,
});

/** Starts all ranks; `change` may make one of them different. */
function startRanks(
  folder: string,
  worldSize: number,
  asked: Asked,
  change: (rank: number, environment: Record<string, string>) => Asked = () => ({}),
) {
  const meeting = join(temporary(), 'meet');
  return Array.from({ length: worldSize }, (_, rank) => {
    const environment = rankEnvironment(rank, worldSize, meeting);
    return start(folder, { ...asked, environment, ...change(rank, environment) });
  });
}

const last = (folder: string): Record<string, string> => {
  const checkpoint = join(folder, 'checkpoints', readdirSync(join(folder, 'checkpoints')).sort().at(-1)!);
  return Object.fromEntries(
    ['model.safetensors', 'optimizer.safetensors'].map((name) => [
      name,
      readFileSync(join(checkpoint, name)).toString('base64'),
    ]),
  );
};

const losses = (folder: string): number[] =>
  readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { loss: number }).loss);

describe.each([
  ['js', 2],
  ['cpu', 2],
  ['cpu', 3],
  ['cuda', 2],
] as const)('on %s, %i ranks', (device, worldSize) => {
  const status = deviceStatus(device);
  const reason = status.available ? '' : ` (skipped: ${status.reason})`;
  it.skipIf(reason !== '')(
    `leave the bits of one process with as many parts, on every rank${reason}`,
    async () => {
      const [together, alone] = [temporary(), temporary()];
      const ranks = startRanks(together, worldSize, { device });
      const single = await start(alone, { device, accumulate: worldSize }).answer;
      expect(single).toMatchObject({ code: 0, errors: '' });
      for (const { answer } of ranks) expect(await answer).toEqual(single);
      expect(last(together)).toEqual(last(alone));
      losses(together).forEach((loss, i) => {
        expect(loss).toBeCloseTo(losses(alone)[i]!, 12);
      });
    },
    60_000,
  );
});

describe('ranks with a GPU each', () => {
  const status = deviceStatus('cuda');
  const played = join(temporary(), 'libnccl-played.so');
  const source = fileURLToPath(new URL('./played-nccl.c', import.meta.url));
  const compiled = spawnSync('cc', ['-O1', '-shared', '-fPIC', '-o', played, source]).status === 0;
  const emulated = process.env.PHYSLM_CUDA_LIB?.includes('emulated') === true;
  const reason = status.available && emulated && compiled ? '' : ' (skipped: the emulated library or cc is not here)';

  it.skipIf(reason !== '').each([2, 3])(
    `add through NCCL in the same order: %i ranks${reason}`,
    async (worldSize) => {
      const [together, alone] = [temporary(), temporary()];
      const ranks = startRanks(together, worldSize, { device: 'cuda' }, (_, environment) => ({
        environment: { ...environment, PHYSLM_NCCL: played },
      }));
      const single = await start(alone, { device: 'cuda', accumulate: worldSize }).answer;
      for (const { answer } of ranks) expect(await answer).toEqual(single);
      expect(single.code).toBe(0);
      expect(last(together)).toEqual(last(alone));
    },
    60_000,
  );

  it.skipIf(reason !== '')(
    `say what is missing without NCCL${reason}`,
    async () => {
      const missing = startRanks(temporary(), 2, { device: 'cuda' }, (rank, environment) => ({
        environment: { ...environment, PHYSLM_NCCL: rank === 1 ? '/nowhere/libnccl.so.2' : played },
      }));
      const [able, unable] = await Promise.all(missing.map(({ answer }) => answer));
      expect(unable!.errors).toMatch(
        /^\[ranks\] several GPUs need NCCL, and \/nowhere\/libnccl\.so\.2 could not be loaded/,
      );
      expect(unable!.errors).toContain(
        'Install it (libnccl2, or the Python package nvidia-nccl-cu13) or set PHYSLM_NCCL',
      );
      expect(able!.errors).toMatch(/^\[ranks\] 1 other ranks cannot join their GPUs/);
      const [other] = startRanks(temporary(), 2, { device: 'cuda' }, (_, environment) => ({
        environment: { ...environment, PHYSLM_NCCL: addonPath },
      }));
      expect((await other!.answer).errors).toMatch(/is no NCCL: it has no ncclGetUniqueId/);
    },
    60_000,
  );
});

describe('ranks', () => {
  it('of one world size have the same bits each time, also in parts, and resume', async () => {
    const [first, second, whole] = [temporary(), temporary(), temporary()];
    for (const folder of [first, whole])
      for (const { answer } of startRanks(folder, 2, { accumulate: 3 })) expect((await answer).code).toBe(0);
    expect(last(first)).toEqual(last(whole));
    const killed = startRanks(second, 2, { accumulate: 3, delayMs: 20 });
    while (!existsSync(join(second, 'checkpoints', '0000002'))) await new Promise((done) => setTimeout(done, 5));
    for (const { process: child } of killed) child.kill('SIGKILL');
    await Promise.all(killed.map(({ answer }) => answer));
    for (const { answer } of startRanks(second, 2, { accumulate: 3 }))
      expect(JSON.parse((await answer).out).step).toBe(6);
    expect(last(second)).toEqual(last(first));
  }, 60_000);

  it.each([0, 1, 2])(
    'end with a message when rank %i dies',
    async (dead) => {
      const folder = temporary();
      const ranks = startRanks(folder, 3, { delayMs: 15 });
      while (!existsSync(join(folder, 'checkpoints', '0000002'))) await new Promise((done) => setTimeout(done, 5));
      ranks[dead]!.process.kill('SIGKILL');
      const answers = await Promise.all(ranks.map(({ answer }) => answer));
      answers.forEach(({ code, errors }, rank) => {
        if (rank === dead) return;
        expect(code).toBe(1);
        expect(errors).toMatch(new RegExp(`^\\[ranks\\] rank ${dead} ended while others waited for it`));
      });
    },
    60_000,
  );

  it('refuse to train different experiments', async () => {
    const ranks = startRanks(temporary(), 3, {}, (rank) => (rank === 2 ? { name: 'another' } : {}));
    for (const { answer } of ranks) {
      const { code, errors } = await answer;
      expect(code).toBe(1);
      expect(errors).toMatch(/^\[ranks\.experiment\] expected \w+ as rank 0, got \w+ on rank 2\nStart every rank/);
    }
  }, 60_000);

  it('refuse to be differently many', async () => {
    const meeting = join(temporary(), 'meet');
    const worlds = [2, 3].map((worldSize, rank) =>
      start(temporary(), { environment: rankEnvironment(rank, worldSize, meeting) }),
    );
    for (const { answer } of worlds)
      expect((await answer).errors).toMatch(/^\[ranks\.worldSize\] expected 2 as rank 0, got 3 on rank 1/);
  }, 60_000);

  it('do not wait for ever for one that never comes', async () => {
    const meeting = join(temporary(), 'meet');
    const answers = [0, 1].map((rank) =>
      start(temporary(), { environment: { ...rankEnvironment(rank, 3, meeting), MEETING_MS: '700' } }),
    );
    expect((await answers[0]!.answer).errors).toMatch(/^\[ranks\] rank 2 did not come within the time for meeting/);
    expect((await answers[1]!.answer).errors).toMatch(/^\[ranks\] rank 0 /);
  }, 60_000);

  it('say when a step cannot be shared', async () => {
    for (const { answer } of startRanks(temporary(), 4, {}))
      expect((await answer).errors).toMatch(/^\[train\.batchSize\] expected a multiple of 4 ranks, got 6/);
  }, 60_000);
});

describe('a plan of ranks', () => {
  const plan = (rank?: string, worldSize?: string, folder?: string) =>
    rankPlan({ PHYSLM_RANK: rank, PHYSLM_WORLD_SIZE: worldSize, PHYSLM_RANKS_FOLDER: folder });

  it('is read from the environment, and is one process without it', () => {
    expect(plan()).toEqual({ rank: 0, worldSize: 1 });
    expect(plan('0', '1')).toEqual({ rank: 0, worldSize: 1 });
    expect(plan('2', '3', '/meet')).toEqual({ rank: 2, worldSize: 3, folder: '/meet' });
    expect(joinRanks({ rank: 0, worldSize: 1 }, 'any')).toBe(soleRank);
    expect(soleRank.sumNumbers([1, 2])).toEqual([1, 2]);
  });

  it.each([
    ['3', '3', '/meet', '[ranks.rank] expected 0 … 2, for 3 ranks, got 3'],
    ['-1', '3', '/meet', '[ranks.rank] expected 0 … 2, for 3 ranks, got -1'],
    ['0', 'two', '/meet', '[ranks.worldSize] expected 1 … 1024, got NaN'],
    [undefined, '2', '/meet', '[ranks.rank] expected 0 … 1, for 2 ranks, got NaN'],
    ['1', '2', undefined, '[ranks.folder] expected a folder where the ranks meet, got none'],
  ])('refuses rank %s of %s', (rank, worldSize, folder, message) => {
    expect(() => plan(rank, worldSize, folder)).toThrow(message);
  });
});
