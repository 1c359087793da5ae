// Builds libphyslm_cuda.so beside the addon when this machine has nvcc (no GPU is needed), else says why not:
//   node scripts/build-cuda.mjs               PHYSLM_CUDA_REQUIRED=1 turns "why not" into a failure
//   node scripts/build-cuda.mjs --emulated    the same kernels for the host, for tests; needs a C++ compiler only
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const emulated = process.argv.includes('--emulated');
const name = emulated ? 'physlm_cuda_emulated' : 'physlm_cuda';
const native = join(dirname(fileURLToPath(import.meta.url)), '..');
const build = join(native, 'build', emulated ? 'emulated' : 'cuda');

function giveUp(reason) {
  console.log(`${name}: ${reason}`);
  process.exit(process.env.PHYSLM_CUDA_REQUIRED === '1' ? 1 : 0);
}

const runs = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
if (!runs('cmake')) giveUp('not built, this machine has no cmake');
const nvcc = [process.env.CUDACXX, 'nvcc', '/usr/local/cuda/bin/nvcc'].find((path) => path && runs(path));
if (!emulated && nvcc === undefined) giveUp('not built, this machine has no nvcc (CUDA 12.8 or later)');

const configure = ['-S', join(native, 'cuda'), '-B', build, ...(runs('ninja') ? ['-G', 'Ninja'] : [])];
configure.push(emulated ? '-DPHYSLM_EMULATE=ON' : `-DCMAKE_CUDA_COMPILER=${nvcc}`);
const steps = [configure, ['--build', build, '--parallel', '2']];
for (const args of steps) {
  const { status, stdout, stderr } = spawnSync('cmake', args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (status !== 0) {
    console.log((stdout + stderr).split('\n').slice(-60).join('\n'));
    console.log(`${name}: the build failed`);
    process.exit(1);
  }
}
mkdirSync(join(native, 'build', 'Release'), { recursive: true });
if (!emulated) {
  copyFileSync(join(build, `lib${name}.so`), join(native, 'build', 'Release', `lib${name}.so`));
}
console.log(`${name}: built`);
