// Ops that move memory more than they compute, next to a copy of as many bytes and to PyTorch:
// what norm, loss and optimizer share.
import { ourKernels, threadText } from './contender.mjs';
import {
  againstBestPeer,
  kernelColumns,
  partOf,
  peerColumns,
  printTable,
  printVersions,
  timeKernels,
} from './harness.mjs';
import { opOf } from './kernel-job.mjs';
import { reportAbsent, torchPeers, torchWorkers } from './peers.mjs';

/**
 * Bytes that a backward kernel cannot do without: it reads what was saved and the output's gradient, and writes the
 * input's. Vectors of one number a row are left out.
 */
const backwardBytes = {
  layerNorm: ({ R, D }) => 12 * R * D,
  rmsNorm: ({ R, D }) => 12 * R * D,
  gelu: ({ N }) => 12 * N,
  rotary: ({ B, T, P }) => 8 * B * T * P,
  embedding: ({ R, V, D }) => 4 * R * D + 4 * V * D,
  crossEntropy: ({ R, V }) => 8 * R * V,
};

/** Jobs for an op: what its declaration names for benchmarks and `extra` shapes of dims by name; quick, the first of these. */
export function bandwidthJobs(name, { extra = {}, quick }) {
  const op = opOf({ op: name });
  const declared = Object.entries(op.bench);
  const [, { attrs }] = declared[0];
  const more = Object.entries(extra).map(([label, dims]) => [label, { dims, attrs }]);
  const calls = quick ? [...more, ...declared].slice(0, 1) : [...declared, ...more];
  const passes = op.backward === 'none' ? ['forward'] : ['forward', 'backward'];
  return calls.flatMap(([label, { dims, attrs: own }]) => {
    const full = { ...own, ...('nDecay' in own && { nDecay: dims.N }) };
    const job = (pass) => JSON.stringify({ op: name, pass, dims, attrs: full });
    return passes.map((pass) => ({
      id: `${name} ${pass}, ${label}`,
      unit: 'GB/s',
      flops: op.cost(dims, full).flops,
      bytes: pass === 'forward' ? op.cost(dims, full).bytes : backwardBytes[name](dims),
      op: name,
      pass,
      dims,
      commands: { ours: job(pass), torch: job(pass) },
    }));
  });
}

/** Times the jobs for each number of threads and prints them. */
export async function bandwidth(title, jobs, { quick, isa, threads, meter, effort, deadline, withPeers }) {
  const torch = withPeers ? torchPeers(isa, threads) : { settings: [], absent: [] };
  reportAbsent(torch.absent);
  const results = { rows: [], leftOut: [] };
  for (const [i, nThread] of threads.entries()) {
    const asShipped = !quick && nThread === threads.at(-1);
    const contenders = [ourKernels(isa), ...torchWorkers(torch, 'passes.py', { threads: nThread, asShipped })];
    const timed = await timeKernels(jobs, contenders, {
      threads: nThread,
      isa,
      meter,
      effort,
      deadline: partOf(deadline, threads.length - i),
    });
    printTable(
      `${title}, ${isa}, ${threadText(nThread)}; limit: a copy of as many bytes`,
      [['call', ({ id }) => id], ...kernelColumns, ...peerColumns],
      againstBestPeer(timed.rows, 'physlm'),
    );
    printVersions(timed.rows);
    results.rows.push(...timed.rows);
    results.leftOut.push(...timed.leftOut);
  }
  return { ...results, absent: torch.absent };
}
