import { type DeviceName, deviceNames, deviceStatus, openDevice, ops } from '@physlm/model';
import { loadNative } from '@physlm/native';
import { machine } from '../environment.js';
import { packageVersion } from '../package-root.js';
import { gibibytes } from '../report/number-format.js';
import { colours, type Io, say } from './io.js';

/** Whether a device can be used, and if not why, and what to do about it. */
export interface DeviceReport {
  readonly available: boolean;
  readonly reason?: string;
  readonly fix?: string;
}

/** What computes one op on one device. */
export interface KernelReport {
  readonly op: string;
  readonly uses: 'native' | 'reference';
  /** Why not `native`. */
  readonly reason?: string;
}

/** What `physlm doctor --json` prints. */
export interface DoctorReport {
  readonly physlm: string;
  readonly node: string;
  readonly os: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly devices: Readonly<Record<DeviceName, DeviceReport>>;
  /** The device that `--device auto` takes. */
  readonly auto: DeviceName;
  readonly addon: {
    /** File or package that the addon was loaded from; null when none was. */
    readonly from: string | null;
    readonly isa: string | null;
    /** Instruction sets that this processor can run, best first. */
    readonly isas: readonly string[];
    readonly threads: number | null;
    /** Candidates that were refused. */
    readonly tried: readonly { readonly id: string; readonly problem: string }[];
  };
  readonly kernels: Readonly<Partial<Record<DeviceName, readonly KernelReport[]>>>;
  readonly environment: Readonly<Record<'PHYSLM_NATIVE' | 'PHYSLM_CPU_ISA', string | null>>;
}

/** Looks at this machine. Never throws for something that is missing: that is what it reports. */
export function inspect(env: Io['env']): DoctorReport {
  const { binding, from, tried } = loadNative();
  const devices = Object.fromEntries(deviceNames.map((name) => [name, deviceReport(name, env)])) as Record<
    DeviceName,
    DeviceReport
  >;
  const usable = deviceNames.filter((name) => devices[name].available);
  return {
    physlm: packageVersion(),
    node: process.versions.node,
    ...machine(),
    devices,
    auto: devices.cpu.available ? 'cpu' : 'js',
    addon: {
      from: from ?? null,
      isa: binding?.isa() ?? null,
      isas: binding?.isas() ?? [],
      threads: binding?.threads() ?? null,
      tried,
    },
    kernels: Object.fromEntries(usable.map((name) => [name, kernelsOf(name)])),
    environment: { PHYSLM_NATIVE: env.PHYSLM_NATIVE ?? null, PHYSLM_CPU_ISA: env.PHYSLM_CPU_ISA ?? null },
  };
}

function deviceReport(name: DeviceName, env: Io['env']): DeviceReport {
  const status = deviceStatus(name);
  if (status.available) return { available: true };
  return { available: false, reason: status.reason, fix: remedy(name, env) };
}

function remedy(name: DeviceName, env: Io['env']): string {
  if (name !== 'cpu') return 'Use --device cpu, which every recipe runs on.';
  const wish = env.PHYSLM_NATIVE ?? '';
  if (wish === 'off') return 'Unset PHYSLM_NATIVE, which switches the addon off.';
  if (wish !== '' && wish !== 'auto')
    return 'Unset PHYSLM_NATIVE, or set it to the path of an addon for this platform.';
  return (
    'Install physlm with optional dependencies (npm install --include=optional); in a checkout build the addon with ' +
    'npm run build, which needs a C++17 compiler and CMake.'
  );
}

function kernelsOf(name: DeviceName): readonly KernelReport[] {
  const device = openDevice(name);
  return ops.map(({ name: op, backward }) => {
    if (device.native === undefined) return { op, uses: 'reference', reason: `device ${name} has no native kernels` };
    const directions = backward === 'none' || backward === 'autodiff' ? ['forward'] : ['forward', 'backward'];
    const missing = directions.find((direction) => device.kernelIndex(`${op}_${direction}`) === undefined);
    if (missing === undefined) return { op, uses: 'native' };
    return { op, uses: 'reference', reason: `the addon holds no kernel ${op}_${missing}_${name}` };
  });
}

/** `physlm doctor`. */
export function doctor(json: boolean, io: Io): void {
  const found = inspect(io.env);
  if (json) {
    say(io, JSON.stringify(found, null, 2));
    return;
  }
  const c = colours(io, 'stdout');
  const { addon } = found;
  say(io, `physlm ${found.physlm}, Node.js ${found.node}, ${found.os}`);
  say(io, `${found.cpu}, ${found.cores} cores, ${gibibytes(found.memoryBytes)}`);
  say(io);
  say(io, c.bold('Devices'));
  for (const name of deviceNames) {
    const { available, reason, fix } = found.devices[name];
    const mark = available ? c.green('✓') : c.red('✗');
    const auto = found.auto === name ? c.dim('  (--device auto takes this one)') : '';
    say(io, `  ${mark} ${name.padEnd(5)} ${available ? 'available' : reason}${auto}`);
    if (fix !== undefined) say(io, `          ${c.yellow('fix:')} ${fix}`);
  }
  say(io);
  say(io, c.bold('Native addon'));
  if (addon.from !== null) {
    say(io, `  ${c.green('✓')} ${addon.from}`);
    say(
      io,
      `    instruction set ${addon.isa} (this processor can run ${addon.isas.join(', ')}), ${addon.threads} threads`,
    );
  }
  for (const { id, problem } of addon.tried)
    say(io, `  ${addon.from === null ? c.red('✗') : c.dim('–')} ${id}: ${problem}`);
  for (const [name, value] of Object.entries(found.environment)) if (value !== null) say(io, `    ${name}=${value}`);
  for (const name of deviceNames) {
    const kernels = found.kernels[name];
    if (kernels === undefined) continue;
    const native = kernels.filter(({ uses }) => uses === 'native');
    say(io);
    say(io, `${c.bold(`Kernels on ${name}`)}  ${native.length} of ${kernels.length} ops native`);
    if (native.length > 0) say(io, `  ${c.green('✓')} ${native.map(({ op }) => op).join(' ')}`);
    const reasons = new Map<string, string[]>();
    for (const { op, reason } of kernels) {
      if (reason !== undefined) reasons.set(reason, [...(reasons.get(reason) ?? []), op]);
    }
    for (const [reason, names] of reasons) say(io, `  ${c.dim('–')} ${names.join(' ')}: reference, ${reason}`);
  }
}
