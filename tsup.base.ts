import type { Options } from 'tsup';

/** Every published package is built this way: ESM and CommonJS with their own types, Node 20 and later. */
export function base(over: Options = {}): Options {
  return {
    entry: ['src/index.ts'],
    format: ['esm', 'cjs'],
    target: 'node20',
    platform: 'node',
    dts: true,
    sourcemap: false,
    clean: true,
    treeshake: true,
    splitting: false,
    ...over,
  };
}
