// The gates of a CUDA build that need nvcc but no GPU: node scripts/check-cuda.mjs
//   1. ptxas spills no register and serialises no wgmma (it says so in notices that no flag turns into errors)
//   2. the machine code holds what the sources mean: wgmma and TMA on Hopper, mma.sync elsewhere, no local memory
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { kernelsOf } from './cubin.mjs';

const native = join(dirname(fileURLToPath(import.meta.url)), '..');
const runs = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
const nvcc = [process.env.CUDACXX, 'nvcc', '/usr/local/cuda/bin/nvcc'].find((path) => path && runs(path));
if (nvcc === undefined) {
  console.log('check-cuda: nothing to check, this machine has no nvcc');
  process.exit(process.env.PHYSLM_CUDA_REQUIRED === '1' ? 1 : 0);
}
const problems = [];

/** Adds what ptxas says against a kernel. */
function readNotices(log) {
  let kernel = '';
  for (const line of log.split('\n')) {
    kernel = /Compiling entry function '([^']+)'/.exec(line)?.[1] ?? kernel;
    const spill = /(\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (spill && (spill[1] !== '0' || spill[2] !== '0')) problems.push(`${kernel} spills: ${line.trim()}`);
    if (/\(C75\d\d\)|instructions are serialized|setmaxnreg.*ignored/i.test(line))
      problems.push(`${kernel}: ${line.trim()}`);
  }
}

/** What each kernel of a file must and must not hold, by the start of its name. */
const rules = [
  ...['gemm_sm90', 'gemm_group_sm90'].map((file) => ({
    file,
    name: /multiply_wgmma/,
    needs: ['HGMMA', 'UTMALDG', 'SYNCS', 'USETMAXREG'],
    bans: ['HMMA', 'LDL', 'STL'],
  })),
  {
    file: 'attention_sm90',
    name: /forward_wgmma/,
    needs: ['HGMMA', 'UTMALDG', 'SYNCS', 'USETMAXREG'],
    bans: ['HMMA', 'LDL', 'STL', 'ATOMG', 'RED'],
  },
  {
    file: 'attention_backward_sm90',
    name: /gradient_.*_wgmma/,
    needs: ['HGMMA', 'UTMALDG', 'SYNCS', 'USETMAXREG'],
    bans: ['HMMA', 'LDL', 'STL', 'ATOMG', 'RED'],
  },
  { file: 'gemm', name: /multiply_bf16/, needs: ['HMMA', 'LDSM', 'LDGSTS'], bans: ['LDL', 'STL'] },
  { file: 'attention_bf16', name: /forward|backward/, needs: ['HMMA', 'LDSM', 'LDGSTS'], bans: ['LDL', 'STL'] },
  { file: 'attention_position', name: /mix|slopes|slide/, needs: [], bans: ['LDL', 'STL', 'ATOMG', 'RED'] },
  { file: 'attention_relative', name: /relative_/, needs: [], bans: ['LDL', 'STL', 'ATOMG', 'RED'] },
  { file: 'decode', name: /step|join/, needs: [], bans: ['LDL', 'STL'] },
  { file: 'position_mix', name: /mix|slopes/, needs: [], bans: ['LDL', 'STL', 'ATOMG', 'RED'] },
  { file: 'norm', name: /norm_/, needs: [], bans: ['LDL', 'STL', 'ATOMG', 'RED'] },
  { file: 'loss', name: /cross_entropy/, needs: [], bans: ['LDL', 'STL'] },
];
const folder = join(native, 'build', 'cuda', 'cubin');
mkdirSync(folder, { recursive: true });
const rows = [];
for (const { file, name, needs, bans } of rules) {
  const cubin = join(folder, `${file}.cubin`);
  const args = [
    '-std=c++17',
    '-O3',
    '-gencode=arch=compute_90a,code=sm_90a',
    '-cubin',
    '-w',
    '-Xptxas=-v',
    '-o',
    cubin,
  ];
  const { status, stderr } = spawnSync(nvcc, [...args, join(native, 'cuda', `${file}.cu`)], { encoding: 'utf8' });
  if (status !== 0) {
    problems.push(`${file}.cu: nvcc failed: ${stderr.trim().split('\n').at(-1)}`);
    continue;
  }
  readNotices(stderr);
  const kernels = kernelsOf(readFileSync(cubin)).filter((found) => name.test(found.name));
  if (kernels.length === 0) problems.push(`${file}.cu holds no kernel like ${name}`);
  for (const { name: symbol, instructions, counts } of kernels) {
    for (const op of needs) if (!counts[op]) problems.push(`${symbol} holds no ${op}`);
    for (const op of bans) if (counts[op]) problems.push(`${symbol} holds ${counts[op]} ${op}`);
    rows.push([
      symbol.replace(/^_ZN\d+_GLOBAL__N__\w+?_cu_[0-9a-f]{8}/, ''),
      instructions,
      ...['HGMMA', 'HMMA', 'UTMALDG', 'LDSM'].map((op) => counts[op] ?? 0),
    ]);
  }
}

console.log('instructions  HGMMA  HMMA  UTMALDG  LDSM  kernel (sm_90a)');
for (const [symbol, ...numbers] of rows)
  console.log(numbers.map((n, i) => String(n).padStart([12, 7, 6, 9, 6][i])).join(''), ` ${symbol}`);
console.log(`check-cuda: ${rows.length} kernels read, ${problems.length} problems`);
for (const problem of problems) console.log(`  ${problem}`);
process.exit(problems.length > 0 ? 1 : 0);
