import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KernelLibrary, NativeBinding } from './binding.js';

/** The C ABI this package was written against; an addon of another one is refused. */
export const ABI_VERSION = 4;

/** What {@link loadNative} found. */
export interface LoadReport {
  readonly binding: NativeBinding | undefined;
  /** File or package the binding came from. */
  readonly from: string | undefined;
  /** Every candidate that was refused, with the reason. */
  readonly tried: readonly { readonly id: string; readonly problem: string }[];
}

let cached: LoadReport | undefined;

/**
 * Finds the addon: the environment variable `PHYSLM_NATIVE` (`off`, a path, or `auto`), then a local build, then the
 * package of this platform. Never throws; the first answer is kept for the life of the process.
 */
export function loadNative(): LoadReport {
  cached ??= search(process.env.PHYSLM_NATIVE ?? 'auto');
  return cached;
}

/** What {@link loadCuda} found: the kernels, or one sentence that says why there are none. */
export type CudaReport =
  | { readonly library: KernelLibrary; readonly from: string; readonly reason: undefined }
  | { readonly library: undefined; readonly from: string | undefined; readonly reason: string };

let cachedCuda: CudaReport | undefined;

/**
 * Finds the CUDA kernels: the path in the environment variable `PHYSLM_CUDA_LIB`, else `libphyslm_cuda.so` beside the addon.
 * Never throws; the first answer is kept for the life of the process.
 */
export function loadCuda(): CudaReport {
  cachedCuda ??= searchCuda(process.env.PHYSLM_CUDA_LIB ?? '');
  return cachedCuda;
}

function searchCuda(wish: string): CudaReport {
  const { binding, from } = loadNative();
  if (binding === undefined || from === undefined) {
    return {
      library: undefined,
      from: undefined,
      reason: 'the native addon, which loads the CUDA kernels, is not there',
    };
  }
  const beside = isAbsolute(from) ? from : createRequire(join(folder(), 'index.js')).resolve(from);
  const path = wish === '' ? join(dirname(beside), 'libphyslm_cuda.so') : resolve(wish);
  if (!existsSync(path)) {
    const build = 'build it with `npx nx run native:build-cuda`, which needs nvcc';
    return { library: undefined, from: path, reason: `${path} was not found; ${build}, or set PHYSLM_CUDA_LIB` };
  }
  try {
    return { library: binding.openLibrary(path), from: path, reason: undefined };
  } catch (error) {
    // No driver, no GPU, another ABI: all are reasons to go on without CUDA.
    return { library: undefined, from: path, reason: `${path}: ${String((error as Error).message ?? error)}` };
  }
}

function search(wish: string): LoadReport {
  if (wish === 'off') {
    return { binding: undefined, from: undefined, tried: [{ id: 'PHYSLM_NATIVE', problem: 'is off' }] };
  }
  const tried: { id: string; problem: string }[] = [];
  const here = folder();
  const require = createRequire(join(here, 'index.js'));
  const candidates =
    wish === 'auto' || wish === ''
      ? [join(here, '..', 'build', 'Release', 'physlm_native.node'), platformPackage()]
      : [resolve(wish)];
  for (const id of candidates) {
    if (id.endsWith('.node') && !existsSync(id)) {
      tried.push({ id, problem: 'not found' });
      continue;
    }
    try {
      const binding = require(id) as NativeBinding;
      const version = binding.abiVersion();
      if (version === ABI_VERSION) return { binding, from: id, tried };
      tried.push({ id, problem: `ABI version ${version}, expected ${ABI_VERSION}` });
    } catch (error) {
      // A missing package, a foreign platform's binary, an old C library: all are reasons to go on without kernels.
      tried.push({ id, problem: String((error as Error).message ?? error).split('\n')[0] as string });
    }
  }
  return { binding: undefined, from: undefined, tried };
}

/** This file's folder; the working directory inside a bundle that knows no `import.meta.url`. */
function folder(): string {
  try {
    return dirname(fileURLToPath(import.meta.url));
  } catch {
    // Bundled to CommonJS: fileURLToPath(undefined) throws a TypeError.
    return process.cwd();
  }
}

function platformPackage(): string {
  const suffix = process.platform === 'linux' ? `-${libc()}` : '';
  return `@physlm/native-${process.platform}-${process.arch}${suffix}`;
}

function libc(): 'gnu' | 'musl' {
  const report = process.report?.getReport() as unknown as { header?: { glibcVersionRuntime?: string } } | undefined;
  if (report?.header?.glibcVersionRuntime !== undefined) return 'gnu';
  try {
    return readFileSync('/usr/bin/ldd', 'utf8').includes('musl') ? 'musl' : 'gnu';
  } catch {
    // No ldd (ENOENT): an image without the tools of either; glibc is the common case.
    return 'gnu';
  }
}
