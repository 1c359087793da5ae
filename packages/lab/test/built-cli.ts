import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'tsup';

/** Builds the command as one file in `.vitest/<name>`; the words that start it as a process of its own. */
export async function builtCli(name: string): Promise<readonly [string, string]> {
  const outDir = fileURLToPath(new URL(`../.vitest/${name}`, import.meta.url));
  const entry = { cli: fileURLToPath(new URL('../src/cli.ts', import.meta.url)) };
  const options = { format: ['esm' as const], target: 'node20', silent: true, config: false as const, dts: false };
  await build({ entry, outDir, ...options, shims: true, outExtension: () => ({ js: '.mjs' }) });
  return [process.execPath, join(outDir, 'cli.mjs')];
}
