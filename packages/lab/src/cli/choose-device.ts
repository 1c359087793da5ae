import { ConfigError, nearest } from '@physlm/base';
import { type DeviceName, deviceNames, deviceStatus } from '@physlm/model';

/** The device to use, and why it is not the one that `auto` prefers. */
export interface ChosenDevice {
  readonly name: DeviceName;
  readonly because?: string;
}

/**
 * Turns what the user wrote into a device. `auto` keeps to the device that a run was started on, else takes `cpu` when
 * its kernels can be loaded and `js` when not.
 *
 * @throws ConfigError with the nearest name when there is no such device.
 */
export function chooseDevice(choice: string, before: DeviceName | undefined): ChosenDevice {
  if (choice === 'auto') {
    if (before !== undefined) return { name: before };
    const cpu = deviceStatus('cpu');
    return cpu.available ? { name: 'cpu' } : { name: 'js', because: cpu.reason };
  }
  const found = deviceNames.find((name) => name === choice);
  if (found !== undefined) return { name: found };
  const known = ['auto', ...deviceNames];
  throw new ConfigError([
    { path: 'device', expected: `one of ${known.join(', ')}`, got: `'${choice}'`, nearest: nearest(choice, known) },
  ]);
}
