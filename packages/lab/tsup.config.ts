import { defineConfig } from 'tsup';
import { base } from '../../tsup.base.js';

// The library and the command are built side by side into one folder, so neither may clear away the other's files. The
// command is split, to load what a sub-command needs when it is asked for.
export default defineConfig([
  base({ shims: true, clean: ['!cli.js', '!cli/**'] }),
  base({
    entry: { cli: 'src/cli.ts' },
    format: ['esm'],
    dts: false,
    splitting: true,
    clean: ['!index.*'],
    esbuildOptions(options) {
      options.chunkNames = 'cli/[name]-[hash]';
    },
  }),
]);
