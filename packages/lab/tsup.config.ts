import { defineConfig } from 'tsup';
import { base } from '../../tsup.base.js';

export default defineConfig([
  base({ shims: true }),
  // The command loads what it needs when it needs it: split, so that `physlm --help` reads little.
  base({ entry: { cli: 'src/cli.ts' }, format: ['esm'], dts: false, clean: false, splitting: true }),
]);
