// A Slurm of one node for tests: munged, slurmctld and slurmd of Debian's packages, with keys, sockets, ports and state of
// their own in a folder of their own. Nothing of the machine's own Slurm, if it has one, is used.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { cpus } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A cluster that runs. */
export interface SlurmCluster {
  /** Environment in which sbatch and scontrol mean this cluster. */
  readonly env: Record<string, string>;
  stop(): Promise<void>;
}

const PATH = `${process.env.PATH}${delimiter}/usr/sbin${delimiter}/sbin`;
const NODE = 'node0';

/** Why no cluster can be started here; undefined when one can. */
export function slurmMissing(): string | undefined {
  if (process.platform !== 'linux') return 'Slurm runs on Linux';
  const missing = ['munged', 'slurmctld', 'slurmd', 'sbatch', 'scontrol'].filter((name) => !onPath(name));
  if (missing.length > 0) return `${missing.join(', ')} not installed (Debian: slurm-wlm, munge)`;
  return process.getuid?.() === 0 ? undefined : 'slurmd must be started by root';
}

function onPath(name: string): boolean {
  return PATH.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false; // Not in this folder.
    }
  });
}

/** Starts a cluster in an empty folder and waits until it takes jobs. */
export async function startSlurm(folder: string): Promise<SlurmCluster> {
  const at = (name: string): string => join(folder, name);
  for (const name of ['munge', 'state', 'spool', 'logs']) mkdirSync(at(name), { mode: 0o755 });
  writeFileSync(at('munge/key'), randomBytes(128), { mode: 0o600 });
  const [controller, node] = [await freePort(), await freePort()];
  writeFileSync(
    at('slurm.conf'),
    [
      'ClusterName=test',
      'SlurmctldHost=localhost',
      `SlurmctldPort=${controller}`,
      `SlurmdPort=${node}`,
      'SlurmUser=root',
      'SlurmdUser=root',
      'AuthType=auth/munge',
      `AuthInfo=socket=${at('munge/socket')}`,
      'CredType=cred/munge',
      `StateSaveLocation=${at('state')}`,
      `SlurmdSpoolDir=${at('spool')}`,
      `SlurmctldPidFile=${at('slurmctld.pid')}`,
      `SlurmdPidFile=${at('slurmd.pid')}`,
      `SlurmctldLogFile=${at('logs/slurmctld')}`,
      `SlurmdLogFile=${at('logs/slurmd')}`,
      'ProctrackType=proctrack/linuxproc',
      'TaskPlugin=task/none',
      'JobAcctGatherType=jobacct_gather/none',
      'AccountingStorageType=accounting_storage/none',
      'SwitchType=switch/none',
      'MpiDefault=none',
      'SelectType=select/cons_tres',
      'SelectTypeParameters=CR_CPU',
      'SchedulerParameters=sched_interval=1,bf_interval=1',
      'KillWait=5',
      'ReturnToService=2',
      `NodeName=${NODE} NodeHostname=localhost NodeAddr=localhost CPUs=${cpus().length} State=UNKNOWN`,
      `PartitionName=test Nodes=${NODE} Default=YES MaxTime=INFINITE State=UP`,
      '',
    ].join('\n'),
  );
  const env = { ...(process.env as Record<string, string>), PATH, SLURM_CONF: at('slurm.conf') };
  const children: ChildProcess[] = [];
  const launch = (name: string, ...args: string[]): void => {
    children.push(spawn(name, args, { env, stdio: 'ignore' }));
  };
  const stop = async (): Promise<void> => {
    spawnSync('scancel', ['--quiet', '--user=root'], { env });
    for (const child of children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
      await ended;
      clearTimeout(timer);
    }
  };
  const munge = ['munge/socket', 'munge/pid', 'munge/log', 'munge/seed'].map(at);
  launch(
    'munged',
    ...['--foreground', '--force', `--key-file=${at('munge/key')}`, `--socket=${munge[0]}`],
    ...[`--pid-file=${munge[1]}`, `--log-file=${munge[2]}`, `--seed-file=${munge[3]}`],
  );
  try {
    await until(() => spawnSync('munge', ['-n', '-S', munge[0]!], { env }).status === 0, 'munged');
    launch('slurmctld', '-D', '-f', at('slurm.conf'));
    launch('slurmd', '-D', '-N', NODE, '-f', at('slurm.conf'));
    const idle = (): boolean =>
      /idle|mix|alloc/.test(spawnSync('sinfo', ['-h', '-o', '%T'], { env }).stdout.toString());
    await until(idle, 'slurmctld and slurmd');
  } catch (error) {
    await stop();
    const logs = ['munge/log', 'logs/slurmctld', 'logs/slurmd'].map((name) => tail(at(name)));
    throw new Error(`${(error as Error).message}\n${logs.join('\n')}`);
  }
  return { env, stop };
}

function tail(file: string): string {
  try {
    return `${file}:\n${readFileSync(file, 'utf8').split('\n').slice(-15).join('\n')}`;
  } catch {
    return `${file}: none`; // It never came to write one.
  }
}

async function until(ready: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 100; i++) {
    if (ready()) return;
    await sleep(200);
  }
  throw new Error(`${what} did not come up within 20 s`);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** What scontrol says about a job, for a test that fails. */
export function describeJob(cluster: SlurmCluster, id: string): string {
  return execFileSync('scontrol', ['show', 'job', id], { env: cluster.env, encoding: 'utf8' });
}
