// Builds the addon when this machine can; otherwise says why and leaves the TypeScript kernels in charge.
// PHYSLM_NATIVE_REQUIRED=1 turns both cases into a failure.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const required = process.env.PHYSLM_NATIVE_REQUIRED === '1';

function giveUp(reason) {
  console.log(`native: ${reason}; the TypeScript kernels are used`);
  process.exit(required ? 1 : 0);
}

const runs = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
const needs = {
  cmake: ['cmake'],
  'C++ compiler': [process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean),
};
const missing = Object.entries(needs)
  .filter(([, commands]) => !commands.some(runs))
  .map(([name]) => name);
if (missing.length > 0) giveUp(`not built, this machine has no ${missing.join(' and no ')}`);

const require = createRequire(import.meta.url);
let cli;
try {
  cli = join(dirname(require.resolve('cmake-js/package.json')), require('cmake-js/package.json').bin['cmake-js']);
} catch {
  giveUp('not built, cmake-js is not installed');
}
const folder = join(dirname(fileURLToPath(import.meta.url)), '..');
const build = spawnSync(process.execPath, [cli, 'compile', '--parallel', '2', '--log-level', 'warn'], {
  cwd: folder,
  stdio: 'inherit',
});
if (build.status !== 0) giveUp('the build failed');
console.log('native: built');
