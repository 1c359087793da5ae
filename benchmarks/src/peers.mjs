// Who else takes part: what is installed here, and the command that installs the rest.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cleanEnvironment } from './harness.mjs';
import { answer, root } from './machine.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const build = join(root, 'benchmarks', 'build');

/** Compiles peers/<source> unless that has been done; undefined where it cannot be. */
function compiled(name, source, flags, compiler = process.env.CXX ?? 'c++') {
  const from = here(`../peers/${source}`);
  const to = join(build, name);
  if (existsSync(to) && statSync(to).mtimeMs > statSync(from).mtimeMs) return to;
  mkdirSync(build, { recursive: true });
  try {
    execFileSync(compiler, ['-O3', '-o', to, from, ...flags], { stdio: ['ignore', 'ignore', 'ignore'] });
    return to;
  } catch {
    return undefined; // No compiler, or no headers of that library: the peer is reported as absent.
  }
}

const native = process.arch === 'x64' ? ['-march=native'] : [];

/** The program that measures the machine's limits. */
export function peakProgram() {
  const flags = [...native, '-std=c++17', '-ffp-contract=off', '-fno-tree-loop-distribute-patterns', '-lpthread'];
  return compiled('peak', 'peak.cc', flags);
}

const threadCounts = (threads) => ({ OMP_NUM_THREADS: `${threads}`, OPENBLAS_NUM_THREADS: `${threads}` });

/** OpenBLAS does not know every processor: the kernels that fit the instruction set are named to it. */
const openBlasCore = { avx512: 'SkylakeX', avx2: 'Haswell' };
const dnnlIsa = { avx512: 'DEFAULT', avx2: 'AVX2', generic: 'SSE41' };

const openBlasIsa = (isa) => (openBlasCore[isa] ? { OPENBLAS_CORETYPE: openBlasCore[isa] } : {});

/** Libraries of matrix products. */
export function gemmPeers(isa) {
  const peers = [];
  const absent = [];
  const openblas = compiled('gemm_openblas', 'gemm_peers.cc', ['-std=c++17', '-DPEER_OPENBLAS', '-lopenblas']);
  if (openblas === undefined) absent.push({ name: 'OpenBLAS', install: 'apt-get install libopenblas-openmp-dev' });
  else {
    const env = (threads) => ({ ...threadCounts(threads), ...openBlasIsa(isa) });
    peers.push({ name: 'OpenBLAS', kind: 'gemm', command: () => [openblas, []], env });
  }
  const dnnl = compiled('gemm_dnnl', 'gemm_peers.cc', ['-std=c++17', '-DPEER_DNNL', '-ldnnl']);
  if (dnnl === undefined) absent.push({ name: 'oneDNN', install: 'apt-get install libdnnl-dev' });
  else {
    const env = (threads) => ({ ...threadCounts(threads), ONEDNN_MAX_CPU_ISA: dnnlIsa[isa] ?? 'DEFAULT' });
    peers.push({ name: 'oneDNN', kind: 'gemm', command: () => [dnnl, []], env });
  }
  return { peers, absent };
}

/** A Python that has PyTorch, or undefined. Looked for once. */
let python;
function pythonWithTorch() {
  const env = cleanEnvironment();
  python ??= {
    file: ['python3', '/usr/bin/python3'].find((file) =>
      answer(file, ['-c', 'import torch; print(torch.__version__)'], env),
    ),
  };
  return python.file;
}

/**
 * PyTorch in the settings people run it in: as shipped (its own number of threads and nothing else), tuned (freed memory is
 * kept, the widest kernels are chosen), and tuned with every product sent to oneDNN.
 *
 * Each setting is `{ name, threads, env, products }`; threads 0 leaves the number to PyTorch. `products` names where its
 * products come from when that is not its own BLAS.
 */
export function torchPeers(isa, threadList) {
  const python = pythonWithTorch();
  if (python === undefined) {
    return { settings: [], absent: [{ name: 'PyTorch', install: 'apt-get install python3-torch' }] };
  }
  const plain = { PYTHONDONTWRITEBYTECODE: '1' };
  const tuned = {
    ...plain,
    MALLOC_MMAP_MAX_: '0',
    MALLOC_TRIM_THRESHOLD_: '17179869184',
    MALLOC_TOP_PAD_: '268435456',
    ATEN_CPU_CAPABILITY: { avx512: 'avx512', avx2: 'avx2' }[isa] ?? 'default',
    ...openBlasIsa(isa),
    ONEDNN_MAX_CPU_ISA: dnnlIsa[isa] ?? 'DEFAULT',
  };
  const shim = compiled('blas_to_dnnl.so', 'blas_to_dnnl.c', ['-shared', '-fPIC', '-ldnnl'], process.env.CC ?? 'cc');
  const settings = [];
  for (const threads of threadList) {
    const counts = threadCounts(threads);
    const plural = threads === 1 ? '1 thread' : `${threads} threads`;
    settings.push({ name: `PyTorch tuned, ${plural}`, threads, env: { ...tuned, ...counts } });
    if (shim !== undefined) {
      const env = { ...tuned, ...counts, LD_PRELOAD: shim };
      settings.push({ name: `PyTorch tuned + oneDNN, ${plural}`, threads, env, products: 'oneDNN' });
    }
  }
  const absent = shim === undefined ? [{ name: 'oneDNN for PyTorch', install: 'apt-get install libdnnl-dev' }] : [];
  return { python, settings, asShipped: { name: 'PyTorch as shipped', threads: 0, env: plain }, absent };
}

/**
 * The worker peers/<script> in the settings of {@link torchPeers} that run on `threads` threads, as contenders of kind
 * `torch`. Without `products`, the work has none: where they come from makes no difference.
 */
export function torchWorkers(torch, script, { threads, asShipped, products }) {
  const settings = torch.settings.filter((one) => one.threads === threads && (products || one.products === undefined));
  if (asShipped && torch.asShipped !== undefined) settings.push(torch.asShipped);
  return settings.map(({ name, threads: count, env }) => ({
    name,
    kind: 'torch',
    command: () => [torch.python, [here(`../peers/${script}`), `${count}`]],
    env: () => env,
  }));
}

/**
 * Libraries from npm: `packages` are what a worker imports, `kinds` the jobs that it can do. Those of WebAssembly have one
 * thread in Node.js. None can be told an instruction set.
 */
const npmLibraries = [
  { name: 'onnxruntime-node', packages: ['onnxruntime-node'], script: 'onnxruntime.mjs', kinds: ['gemm', 'attention'] },
  {
    name: 'TensorFlow.js',
    packages: ['@tensorflow/tfjs', '@tensorflow/tfjs-backend-wasm'],
    script: 'tfjs.mjs',
    kinds: ['wasm', 'train'],
    oneThread: true,
  },
  { name: 'jax-js', packages: ['@jax-js/jax'], script: 'jax-js.mjs', kinds: ['wasm'], oneThread: true },
];

/** Whether a worker starts here: its packages are installed, and what they load is whole. */
const starts = new Map();
function npmWorkerStarts(script) {
  if (!starts.has(script)) {
    const env = cleanEnvironment();
    starts.set(script, answer(process.execPath, [here(`../peers/${script}`), '1'], env) !== undefined);
  }
  return starts.get(script);
}

/** The npm libraries that can do jobs of one of `kinds`; those of one thread only where that is asked for. */
export function npmPeers(kinds) {
  const peers = [];
  const absent = [];
  for (const { name, packages, script, kinds: can, oneThread } of npmLibraries) {
    const kind = kinds.find((one) => can.includes(one));
    if (kind === undefined) continue;
    if (!npmWorkerStarts(script)) {
      // Without scripts: what this one would fetch from elsewhere is for graphics processors.
      absent.push({ name, install: `npm install --no-save --ignore-scripts ${packages.join(' ')}` });
      continue;
    }
    const command = (threads) => [process.execPath, [here(`../peers/${script}`), `${threads}`]];
    peers.push({ name, kind, command, env: () => ({}), oneThread });
  }
  return { peers, absent };
}

/** Says once what is not here. */
export function reportAbsent(absent) {
  for (const { name, install } of absent) console.log(`${name}: absent (${install})`);
}
