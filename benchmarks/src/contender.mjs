// Our side of every comparison.
import { fileURLToPath } from 'node:url';

export const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Environment of our processes: the instruction set, and which addon. */
export function ourEnvironment(isa) {
  const { PHYSLM_NATIVE } = process.env;
  return { PHYSLM_CPU_ISA: isa, ...(PHYSLM_NATIVE !== undefined && { PHYSLM_NATIVE }) };
}

/** Our kernels, as contenders of kind `kind`. */
export function ourKernels(isa, name = 'physlm', kind = 'ours') {
  const command = (threads) => [process.execPath, [here('./kernel-child.mjs'), `${threads}`]];
  return { name, kind, command, env: () => ourEnvironment(isa) };
}

export const threadText = (threads) => (threads === 1 ? '1 thread' : `${threads} threads`);
