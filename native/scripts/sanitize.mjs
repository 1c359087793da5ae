// Runs every kernel under the address, undefined-behaviour and thread sanitizers: node scripts/sanitize.mjs [thread]
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const out = join(root, 'build', 'sanitize');
mkdirSync(out, { recursive: true });
const compiler = process.env.CXX ?? 'c++';
const run = (command, args) => {
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
};

const x86 = process.arch === 'x64';
const isas = x86
  ? {
      generic: [],
      avx2: ['-mavx2', '-mfma'],
      avx512: ['-mavx2', '-mfma', '-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq'],
    }
  : { generic: [] };
for (const kind of process.argv[2] ? [process.argv[2]] : ['address,undefined', 'thread']) {
  const flags = [
    '-std=gnu++17',
    '-O1',
    '-g',
    '-w',
    `-fsanitize=${kind}`,
    '-fno-sanitize-recover=all',
    '-ffp-contract=off',
  ];
  if (x86) flags.push('-DPHYSLM_X86=1');
  const objects = [];
  const compile = (source, extra) => {
    const object = join(out, `${source.replaceAll('/', '-')}.o`);
    run(compiler, [...flags, ...extra, '-c', source, '-o', object]);
    objects.push(object);
  };
  for (const source of ['cpp/dispatch.cc', 'cpp/signature.cc', 'cpp/pool.cc', 'cpp/scratch.cc', 'test/sanitize.cc'])
    compile(source, []);
  for (const [isa, extra] of Object.entries(isas)) compile(`cpp/cpu/${isa}.cc`, extra);
  run(compiler, [`-fsanitize=${kind}`, ...objects, '-o', join(out, 'sanitize'), '-lpthread']);
  console.log(`sanitizers: ${kind}`);
  run(join(out, 'sanitize'), []);
}
