import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type SlurmCluster, slurmMissing, startSlurm } from './slurm-cluster.js';
import { outcome, runsOf, sweep, sweepOf, until } from './sweep-command.js';

// Sweeps through a real Slurm of one node. Debian: apt-get install slurm-wlm munge.

const sandbox = mkdtempSync(join(tmpdir(), 'physlm-slurm-'));
afterAll(() => rmSync(sandbox, { recursive: true, force: true }));
const folder = (name: string): string => mkdtempSync(join(sandbox, `${name}-`));
const grid = ['--grid', 'lrPeak=0.002,0.004,0.008'];
const slurm = [...grid, '--launcher', 'slurm'];

describe('without Slurm', () => {
  const env = { ...process.env, PATH: sandbox };

  test('the launcher says what is missing and what to do', async () => {
    const { code, stderr } = await sweep(folder('absent'), slurm, env).ended;
    expect(code).toBe(2);
    expect(stderr).toContain(
      '[launcher] expected sbatch, which submits jobs to Slurm, got no such command on the PATH',
    );
    expect(stderr).toContain('--dry-run');
  });

  test('--dry-run shows the script all the same, and writes nothing', async () => {
    const at = folder('dry');
    const { code, stdout } = await sweep(at, [...slurm, '--jobs', '2', '--slurm=--partition=p', '--dry-run'], env)
      .ended;
    expect(code).toBe(0);
    expect(stdout).toMatch(/^#!\/bin\/bash\n/);
    expect(stdout).toContain('#SBATCH --array=0-2%2\n');
    expect(stdout).toContain('#SBATCH --partition=p\n');
    expect(stdout).toMatch(/\nexec .* member .*manifest\.json "\$SLURM_ARRAY_TASK_ID" /);
    expect(existsSync(join(at, 'runs'))).toBe(false);
  });
});

const missing = slurmMissing();
if (missing !== undefined) console.log(`Sweeps through Slurm are not tested: ${missing}.`);

describe.skipIf(missing !== undefined)(`through Slurm${missing === undefined ? '' : ` (${missing})`}`, () => {
  let cluster: SlurmCluster;
  beforeAll(async () => {
    cluster = await startSlurm(folder('cluster'));
  }, 60_000);
  afterAll(() => cluster?.stop());
  const jobOf = (at: string): string => readFileSync(join(sweepOf(at), 'slurm-job'), 'utf8').trim();
  const submitted = (at: string): boolean => {
    const runs = join(at, 'runs');
    return existsSync(runs) && readdirSync(runs).some((name) => existsSync(join(runs, name, 'slurm-job')));
  };
  const scancel = (...args: string[]) => spawnSync('scancel', args, { env: cluster.env });

  test('a sweep runs as a job array, and equals one run here', async () => {
    const [there, here] = [folder('array'), folder('here')];
    const { code, stdout, stderr } = await sweep(there, slurm, cluster.env).ended;
    expect([code, stderr]).toEqual([0, expect.stringMatching(/Submitted job \d+: 3 tasks/)]);
    expect(stdout).toContain('members  3 finished');
    await sweep(here, grid).ended;
    for (const [i, run] of runsOf(there).entries()) expect(outcome(run)).toBe(outcome(runsOf(here)[i]!));
    const again = await sweep(there, slurm, cluster.env).ended;
    expect([again.code, again.stderr]).toEqual([0, expect.not.stringContaining('Submitted')]);
  });

  test('a task that Slurm kills is named, and a new array makes what is missing', async () => {
    const at = folder('killed');
    const { ended } = sweep(at, [...slurm, '--jobs', '1'], cluster.env);
    await until(
      'a run of the job',
      () => submitted(at) && runsOf(at).some((run) => existsSync(join(run, 'metrics.jsonl'))),
    );
    const job = jobOf(at);
    scancel(`${job}_2`);
    scancel(`${job}_0`);
    const { code, stdout } = await ended;
    expect(code).toBe(1);
    // Slurm lets a task know first: it saves.
    const checkpoints = runsOf(at).filter((run) => existsSync(join(run, 'checkpoints')));
    expect(checkpoints).toEqual(runsOf(at).filter((run) => existsSync(join(run, 'metrics.jsonl'))));
    expect(stdout).toMatch(/✗ failed {2}lrPeak=0\.008: Slurm says CANCELLED of task \d+_2; give the command again/);
    const again = await sweep(at, slurm, cluster.env).ended;
    expect([again.code, again.stderr]).toEqual([0, expect.stringMatching(/Submitted job \d+: [12] tasks/)]);
    expect(again.stdout).toContain('members  3 finished');
  });

  test('the command may go and come back: the job goes on, and is not submitted twice', async () => {
    const at = folder('left');
    const first = sweep(at, [...slurm, '--jobs', '1'], cluster.env);
    await until('a submitted job', () => submitted(at));
    const job = jobOf(at);
    first.child.kill('SIGKILL');
    await first.ended;
    const second = sweep(at, [...slurm, '--jobs', '1'], cluster.env);
    const { code, stdout, stderr } = await second.ended;
    expect(stderr).toContain(`Slurm still works on job ${job} of this sweep.`);
    expect([code, stderr]).toEqual([0, expect.not.stringContaining('Submitted')]);
    expect(stdout).toContain('members  3 finished');
  });

  test("a job that Slurm refuses is told in Slurm's words", async () => {
    const { code, stderr } = await sweep(folder('refused'), [...slurm, '--slurm=--partition=none'], cluster.env).ended;
    expect([code, stderr]).toEqual([2, expect.stringMatching(/invalid partition/i)]);
  });
});
