import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import { ConfigError } from '@physlm/base';
import type { Device, DeviceName, Precision } from '@physlm/model';
import { packageRoot, packageVersion } from './package-root.js';

/** Where and how a run was made: the content of `environment.json`. Names neither a user nor a host. */
export interface Environment {
  readonly physlm: string;
  readonly node: string;
  readonly os: string;
  /** Processor model as the system names it. */
  readonly cpu: string;
  /** Logical processors that this process may use. */
  readonly cores: number;
  readonly memoryBytes: number;
  readonly device: DeviceName;
  /** Threads of the native kernels. */
  readonly threads: number;
  /** Processes that trained together, where there were several. */
  readonly ranks?: number;
  /** Instruction set of the native kernels; on `cpu` only. */
  readonly isa?: string;
  /** GPU, driver and CUDA runtime; on `cuda` only. */
  readonly gpu?: string;
  /** How recorded steps keep intermediate results, where that is not f32. */
  readonly precision?: Precision;
  /** The command that gives this run again. */
  readonly command: string;
  /** Commit of this project, when it runs from a checkout; `-dirty` when files differ from it. */
  readonly commit?: string;
  /** ISO 8601, UTC. */
  readonly started: string;
  readonly finished?: string;
  /** Seconds of work, over all sessions of an interrupted run. */
  readonly seconds: number;
  /** The run whose training this one took, because it would have been the same; its seconds are not counted here. */
  readonly trained?: TrainedElsewhere;
}

/** Where training was done that a run did not have to do again. */
export interface TrainedElsewhere {
  /** Folder of that run, beside this one's. */
  readonly run: string;
  readonly commit?: string;
  /** That run took in all, with what it measured. */
  readonly seconds: number;
}

/** The environment of a run that starts now. */
export function currentEnvironment(device: Device, command: string, ranks = 1): Environment {
  const commit = checkoutCommit();
  return {
    physlm: packageVersion(),
    node: process.versions.node,
    ...machine(),
    device: device.name,
    threads: device.nThread,
    ...(ranks > 1 && { ranks }),
    ...(device.native && { [device.name === 'cuda' ? 'gpu' : 'isa']: device.native.description() }),
    ...(device.precision !== 'f32' && { precision: device.precision }),
    command,
    ...(commit !== undefined && { commit }),
    started: new Date().toISOString(),
    seconds: 0,
  };
}

/** This machine in four facts. */
export function machine(): Pick<Environment, 'os' | 'cpu' | 'cores' | 'memoryBytes'> {
  const processors = cpus();
  return {
    os: `${process.platform} ${process.arch} ${release()}`,
    cpu: processors[0]?.model.trim() || 'unknown processor',
    cores: processors.length,
    memoryBytes: totalmem(),
  };
}

/**
 * Refuses to go on with a run on another device: devices round differently, so the result would be neither's.
 *
 * @throws ConfigError when the devices differ.
 */
export function requireSameDevice(before: DeviceName, now: DeviceName): void {
  if (before === now) return;
  throw new ConfigError(
    [{ path: 'device', expected: `'${before}', on which this run was started`, got: `'${now}'` }],
    `Use --device ${before}, or start again with --fresh, or give --out another folder.`,
  );
}

/** The commit that this package was checked out at; undefined when it was installed from a registry or git is missing. */
function checkoutCommit(): string | undefined {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: packageRoot(), encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    // Inside another project's node_modules the commit would be that project's.
    if (git('rev-parse', '--show-prefix') !== 'packages/lab/') return undefined;
    const dirty = git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '-dirty';
    return git('rev-parse', 'HEAD') + dirty;
  } catch {
    // No git, or no repository: the commit is simply not known.
    return undefined;
  }
}
