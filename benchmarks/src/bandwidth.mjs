// Ops that move memory more than they compute, next to a copy of as many bytes: what norm, loss and optimizer share.

import { ourKernels, threadText } from './contender.mjs';
import { kernelColumns, partOf, printTable, timeKernels } from './harness.mjs';
import { opOf } from './kernel-job.mjs';

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

/** Jobs for an op: what its declaration names for benchmarks, then `extra` shapes of dims by name. */
export function bandwidthJobs(name, { extra = {}, quick }) {
  const op = opOf({ op: name });
  const declared = Object.entries(op.bench);
  const [, { attrs }] = declared[0];
  const calls = quick
    ? declared
    : [...declared, ...Object.entries(extra).map(([label, dims]) => [label, { dims, attrs }])];
  const passes = op.backward === 'none' ? ['forward'] : ['forward', 'backward'];
  return calls.flatMap(([label, { dims, attrs: own }]) => {
    const full = { ...own, ...('nDecay' in own && { nDecay: dims.N }) };
    return passes.map((pass) => ({
      id: `${name} ${pass}, ${label}`,
      unit: 'GB/s',
      flops: op.cost(dims, full).flops,
      bytes: pass === 'forward' ? op.cost(dims, full).bytes : backwardBytes[name](dims),
      op: name,
      pass,
      dims,
      commands: { ours: JSON.stringify({ op: name, pass, dims, attrs: full }) },
    }));
  });
}

/** Times the jobs for each number of threads and prints them. */
export async function bandwidth(title, jobs, { isa, threads, meter, effort, deadline }) {
  const results = { rows: [], leftOut: [] };
  for (const [i, nThread] of threads.entries()) {
    const timed = await timeKernels(jobs, [ourKernels(isa)], {
      threads: nThread,
      isa,
      meter,
      effort,
      deadline: partOf(deadline, threads.length - i),
    });
    printTable(
      `${title}, ${isa}, ${threadText(nThread)}; limit: a copy of as many bytes`,
      [['call', ({ id }) => id], ...kernelColumns],
      timed.rows,
    );
    results.rows.push(...timed.rows);
    results.leftOut.push(...timed.leftOut);
  }
  return results;
}
